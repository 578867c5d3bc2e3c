"""The transfer set as text for whoever labels it: JSONL in parts, and what to give back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np

from ..augment import TransferSet
from ..augment.words import row_hashes
from ..errors import UserError
from ..progress import progress_bar
from ..storage import read_json, whole_folder, write_json
from ..task import Task
from ..tokens import TOKENIZER_FILES, Sentences, copy_tokenizer, has_tokenizer
from .spelling import Speller

PART_ROWS = 65_536
DEV_FILE, MANIFEST, README = "dev.jsonl", "manifest.json", "README.md"
TOKENIZER = "tokenizer"  # in the manifest, and a folder beside it
ID_DIGITS = 16
TEXT_FIELDS = ("id", "text", "text_a", "text_b", "input_ids")
_FORMAT = 1

_README = """\
# Texts to label

{count:,} texts, a JSON object a line, in {parts} (`part-00000.jsonl`, ...){and_dev}.
`{example}`

Give back for each `id` one of

- `"logits": [{numbers}]`, {each} ({names}), in this order;
{probabilities}- `"label": ...`, {labels}.

as JSONL, `{{"id": "...", "logits": [...]}}` a line, in any order, in any number of files; or as an array
`part-00000.npy` (logits, float, a row for each line of `part-00000.jsonl`) or `part-00000.safetensors` (a tensor
`logits`, `probabilities` or `labels`) beside the part that it answers. Rows without an answer may stay in, they are
left out of the training. If your numbers have another order, change `label_names` in `{manifest}` and leave that
beside them.

Many texts are made from others by masking, replacing, cutting and joining, and are odd on purpose: answer what stands
there. {special}

Then name the files, or this folder, in place of a model, and leave all else in the configuration as it is:

```yaml
Global:
  teacher_labels: FOLDER
```
"""
_OF_TOKENS = """
The texts are of the tokens of the tokenizer in `{tokenizer}`, which is found by `{manifest}`. Leave both beside the
answers, or set `tokenizer_dir: FOLDER/{tokenizer}`, too.
"""
_PROBABILITIES = '- `"probabilities": [...]` in the same order, or by name, `{"NAME": 0.9, ...}`;\n'
_DEV = (", and {count:,} texts of the dev set in\n`dev.jsonl`. Answer these, too, and the report holds the teacher's "
        "quality and how much the student agrees with it")


def write_texts(folder: str | Path, transfer: TransferSet, dev: Sentences, speller: Speller, task: Task,
                label_names: Sequence[str], tokens: bool = False,
                tokenizer_dir: Path | None = None) -> dict[str, int]:
    """Write the texts of the transfer set, and those of the dev set that it lacks, into ``folder``, all or nothing.

    Args:
        tokens: write the content tokens beside each text, ``input_ids``.
        tokenizer_dir: the folder of a tokenizer to copy there, so that `tokenizer_beside` finds it.

    Returns:
        The lines of each file of texts.

    Raises:
        UserError: ``folder`` holds something else.
    """
    folder = Path(folder).resolve()  # what a link stands for, or the link would be replaced
    check_replaceable(folder)
    _, first = np.unique(row_hashes(dev), return_index=True)
    dev = dev.take(np.sort(first))
    dev = dev.take(~np.isin(row_hashes(dev), row_hashes(transfer.sentences)))
    total = len(transfer.sentences) + len(dev)
    counts = {}
    with whole_folder(folder) as partial, progress_bar("write texts", total, "texts") as bar:
        for name, sentences in _parts(transfer.sentences, dev):
            rows = _rows(sentences, speller, tokens)
            (partial / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
            counts[name] = len(rows)
            bar.update(len(rows))
        manifest = {"format": _FORMAT, "task": task.name, "label_names": list(label_names), "texts": counts,
                    "transfer_set": transfer.key}
        if tokenizer_dir is not None:
            (partial / TOKENIZER).mkdir()
            copy_tokenizer(tokenizer_dir, partial / TOKENIZER)
            manifest[TOKENIZER] = TOKENIZER
        write_json(partial / MANIFEST, manifest)
        example = _rows(transfer.sentences.take(np.arange(1)), speller, False)[0]
        readme = _readme(counts, task, label_names, example, speller)
        if tokenizer_dir is not None:
            readme += _OF_TOKENS.format(tokenizer=TOKENIZER, manifest=MANIFEST)
        (partial / README).write_text(readme, encoding="utf-8")
    return counts


def tokenizer_beside(paths: Sequence[str]) -> Path | None:
    """Return the folder of the tokenizer that was written with texts, if the manifest beside their answers names one.

    Args:
        paths: files and folders of answers.

    Raises:
        UserError: it is not there.
    """
    for path in map(Path, paths):
        manifest = (path if path.is_dir() else path.parent) / MANIFEST
        name = read_json(manifest, "mend it, or remove it").get(TOKENIZER) if manifest.is_file() else None
        if name is None:
            continue
        if name != TOKENIZER or not has_tokenizer(manifest.with_name(TOKENIZER)):
            raise UserError(f"{manifest}: the texts are of the tokens of a tokenizer, whose folder {TOKENIZER} is not "
                            "beside it; copy it there from the folder that augment wrote, or name it as "
                            "Global.tokenizer_dir")
        return manifest.with_name(TOKENIZER)
    return None


def part_name(number: int) -> str:
    """Return the file of a part of the transfer set: ``0 -> "part-00000.jsonl"``."""
    return f"part-{number:05d}.jsonl"


def id_of(hash_: int) -> str:
    """Return a text's id: the hash of its tokens, see `row_hashes`, in hex digits."""
    return f"{hash_:0{ID_DIGITS}x}"


def _parts(sentences: Sentences, dev: Sentences) -> Iterator[tuple[str, Sentences]]:
    for start in range(0, len(sentences), PART_ROWS):
        rows = np.arange(start, min(start + PART_ROWS, len(sentences)))
        yield part_name(start // PART_ROWS), sentences.take(rows)
    if len(dev):
        yield DEV_FILE, dev


def _rows(sentences: Sentences, speller: Speller, tokens: bool) -> list[str]:
    """Return a line of JSON a sentence."""
    rows = []
    ids = sentences.to_lists() if tokens else [None] * len(sentences)
    for hash_, text, input_ids in zip(row_hashes(sentences).tolist(), speller.spell(sentences), ids):
        row: dict[str, Any] = {"id": id_of(hash_)}
        row.update({"text": text} if isinstance(text, str) else {"text_a": text[0], "text_b": text[1]})
        if tokens:
            row["input_ids"] = input_ids
        rows.append(json.dumps(row, ensure_ascii=False))
    return rows


def _readme(counts: dict[str, int], task: Task, names: Sequence[str], example: str, speller: Speller) -> str:
    vocab, mask = speller.tokenizer.vocab, speller.tokenizer.mask_id
    special = f"`{vocab[speller.tokenizer.unk_id]}` is what the student has no token for"
    if mask is not None:
        special += f", `{vocab[mask]}` a hidden word; put your own model's mask there if it has one"
    parts = len(counts) - (DEV_FILE in counts)
    return _README.format(
        count=sum(count for name, count in counts.items() if name != DEV_FILE),
        parts=f"{parts} parts" if parts > 1 else "one part",
        and_dev=_DEV.format(count=counts[DEV_FILE]) if DEV_FILE in counts else "", example=example,
        numbers=", ".join(["0.1", "-2.3", "1.2"][:len(names)]) + ", ..." * (len(names) > 3),
        each="one number" if len(names) == 1 else f"{len(names)} numbers", names=", ".join(names),
        probabilities="" if task.logits_of_probabilities(np.full((1, len(names)), 0.5)) is None else _PROBABILITIES,
        labels=task.what_to_label, manifest=MANIFEST, special=f"{special}.")


def check_replaceable(folder: Path) -> None:
    """Refuse a folder with anything in it that an earlier call has not written, such as labels that came back.

    Raises:
        UserError: naming it; or it is the working folder or a disk's, which can't be replaced.
    """
    if folder.resolve() == Path.cwd() or os.path.ismount(folder.resolve()):
        which = "the working folder" if folder.resolve() == Path.cwd() else "a mounted disk"
        raise UserError(f"--output: {folder} is {which}, which can't be replaced; name a folder inside it")
    if not folder.exists():
        return
    found = {file.name for file in folder.iterdir()} if folder.is_dir() else {folder.name}
    ours = {MANIFEST, README}
    if folder.is_dir() and (folder / MANIFEST).is_file():
        manifest = read_json(folder / MANIFEST, "name another folder with --output")
        texts = manifest.get("texts")
        ours |= set(texts) if isinstance(texts, dict) else set()
        if TOKENIZER in manifest and (folder / TOKENIZER).is_dir():
            found |= {f"{TOKENIZER}/{file.name}" for file in (folder / TOKENIZER).iterdir()}
            ours |= {TOKENIZER, *(f"{TOKENIZER}/{name}" for name in TOKENIZER_FILES)}
    strange = sorted(found - ours)
    if strange:
        raise UserError(f"--output: {folder} holds {strange[0]}, which augment has not written; name a new folder")
