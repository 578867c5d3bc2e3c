"""The transfer set: the original sentences and their augmented variants, each distinct sentence once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Sequence

import numpy as np

from ..errors import UserError
from ..files import checksum, whole_folder
from ..progress import progress_bar
from ..sealed import read_sealed_json, write_sealed_json
from ..tokens import Sentences
from .array_file import ArrayWriter, read_array
from .chunks import chunks_of, part_of
from .corpus import Corpus
from .pairs import change_in_turn
from .registry import HookConfig, apply_hooks, full_params, hook_fingerprint
from .seen import SeenHashes
from .words import row_hashes

_FORMAT = 1  # of transfer sets: counts up when the same input would give another one
_FILE = "transfer_set.json"
_ARRAYS = {"tokens": np.int32, "offsets": np.int64, "word_starts": np.bool_, "source": np.int32,
           "split": np.int64}  # no split: single sentences

log = logging.getLogger(__name__)


class Augmentation(Protocol):
    """The ``DataAugmentation`` section: rounds, and hooks in order."""

    n_iter: int
    hooks: Sequence[HookConfig]


@dataclass(frozen=True)
class TransferSet:
    """What the teacher labels and the student learns from.

    Attributes:
        sentences: ``m`` distinct sentences, or pairs, the originals first; memory-mapped.
        source: index of the original sentence that each was made from, int32 ``[m]``.
        counts: ``originals``, ``made`` (all rounds, the originals included) and ``duplicates`` (removed of them).
        key: changes with anything that the transfer set depends on, see `transfer_set_fingerprint`.
    """

    sentences: Sentences
    source: np.ndarray
    counts: dict[str, int]
    key: str


def build_transfer_set(corpus: Corpus, augmentation: Augmentation, seed: int, folder: str | Path,
                       max_tokens: int | None = None) -> TransferSet:
    """Make the transfer set in ``folder``, or load it from there when it is the same and sound.

    Round 0 are the originals; each of ``n_iter`` rounds passes every original through all hooks in order; of pairs the
    sides, of which one or both then change (`change_in_turn`). Results are cut to ``max_tokens``. Of equal token
    sequences the first is kept. The same corpus, augmentation and seed give the same files to the byte. Memory does
    not grow with the rounds, but for 14 to 27 bytes a distinct sentence.

    Raises:
        UserError: a hook's name, parameters or result is wrong.
    """
    folder = Path(folder)
    identity = transfer_set_fingerprint(corpus, augmentation, seed, max_tokens)
    if folder.exists():
        try:
            return load_transfer_set(folder, identity)
        except UserError as error:
            log.warning("%s; it is made again", error)
    with whole_folder(folder) as partial:
        _write(corpus, augmentation, seed, max_tokens, partial, identity)
    return load_transfer_set(folder, identity)


def load_transfer_set(folder: str | Path, identity: str | None = None) -> TransferSet:
    """Memory-map the transfer set in ``folder`` after checking every byte of it.

    Raises:
        UserError: it is not there, truncated, altered, or not the one with the fingerprint ``identity``.
    """
    folder = Path(folder)
    try:
        facts = read_sealed_json(folder / _FILE)
        if identity not in (None, facts["fingerprint"]):
            raise ValueError("it was made from other data or settings")
        arrays = {name: read_array(folder / f"{name}.npy", dtype, **facts["arrays"][name])
                  for name, dtype in _ARRAYS.items()}
        counts = {name: int(facts["counts"][name]) for name in ("originals", "made", "duplicates")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: not a sound transfer set ({_reason(error)})") from None
    sentences = Sentences(arrays["tokens"], arrays["offsets"], arrays["word_starts"],
                          arrays["split"] if len(arrays["split"]) else None)
    return TransferSet(sentences, arrays["source"], counts, facts["fingerprint"])


def transfer_set_fingerprint(corpus: Corpus, augmentation: Augmentation, seed: int,
                             max_tokens: int | None = None) -> str:
    """Return 32 hex digits that change with anything that the transfer set depends on.

    That is: tokens, words, texts, vocabulary and tagger; hooks with their parameters, and the modules of users' hooks;
    rounds, seed and length; our format and NumPy's version.

    Raises:
        UserError: a hook's name or parameters are wrong.
    """
    hooks = [[hook_fingerprint(hook.name), full_params(hook)] for hook in augmentation.hooks]
    texts = [] if corpus.texts is None else corpus.texts
    text_parts = [checksum("\0".join(texts[first:first + 100_000])) for first in range(0, len(texts), 100_000)]
    sentences = corpus.sentences
    return checksum(_FORMAT, sentences.tokens, sentences.offsets, sentences.word_starts, text_parts,
                    corpus.texts is None, corpus.pairs, corpus.tokenizer.vocab, corpus.tokenizer.mask_id,
                    corpus.tagger.name, hooks, augmentation.n_iter, seed, max_tokens, np.__version__)


def _write(corpus: Corpus, augmentation: Augmentation, seed: int, max_tokens: int | None, folder: Path,
           identity: str) -> None:
    originals = corpus.originals
    chunks = chunks_of(originals)
    made = len(originals) * (augmentation.n_iter + 1)
    seen = SeenHashes()
    if augmentation.n_iter and len(corpus):  # one sentence first: tables are made and mistakes show before the bar
        apply_hooks(augmentation.hooks, *corpus.part(0, 1), np.random.default_rng(seed))
    with ArrayWriter(folder / "tokens.npy", np.int32) as tokens, \
            ArrayWriter(folder / "offsets.npy", np.int64) as offsets, \
            ArrayWriter(folder / "word_starts.npy", np.bool_) as word_starts, \
            ArrayWriter(folder / "source.npy", np.int32) as source, \
            ArrayWriter(folder / "split.npy", np.int64) as split, \
            progress_bar("augment", made, "sentences") as bar:
        offsets.append(np.zeros(1, np.int64))
        for round_ in range(augmentation.n_iter + 1):
            for number, (first, last) in enumerate(chunks):
                sentences = part_of(originals, first, last)
                if round_:
                    rng = np.random.default_rng([seed, round_, number])
                    sentences = _changed(corpus, first, last, augmentation.hooks, round_, rng)
                if max_tokens is not None:
                    sentences = sentences.truncate(max_tokens)
                new = seen.add(row_hashes(sentences))
                fresh = sentences.take(new)
                offsets.append(fresh.offsets[1:] + tokens.length)
                tokens.append(fresh.tokens)
                word_starts.append(fresh.word_starts)
                source.append(first + new)
                if corpus.pairs:
                    split.append(fresh.split)
                bar.update(last - first)
    arrays = {"tokens": tokens, "offsets": offsets, "word_starts": word_starts, "source": source, "split": split}
    write_sealed_json(folder / _FILE, {
        "fingerprint": identity,
        "counts": {"originals": len(originals), "made": made, "duplicates": made - source.length},
        "arrays": {name: {"length": array.length, "digest": array.digest} for name, array in arrays.items()},
    })


def _changed(corpus: Corpus, first: int, last: int, hooks: Sequence[HookConfig], round_: int,
             rng: np.random.Generator) -> Sentences:
    """Return what a round makes of the originals ``first`` to ``last``."""
    if not corpus.pairs:
        return apply_hooks(hooks, *corpus.part(first, last), rng)
    sides, view = corpus.part(2 * first, 2 * last)
    return change_in_turn(sides, apply_hooks(hooks, sides, view, rng), round_ - 1 + first)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{Path(error.filename or '').name}: {error.strerror}"
    return f"{_FILE} is damaged" if isinstance(error, (KeyError, TypeError)) else str(error)
