"""A first configuration for somebody's data: what a file and a teacher's folder look like, and the YAML that suits."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from ..augment.speech import is_chinese
from ..augment.transfer_set import rounds_for
from ..errors import UserError, in_one_line, short
from ..labels import NUMBER, check_two_labels
from ..storage import read_json, whole_file
from ..task import (
    CLASSIFICATION,
    MULTI_LABEL,
    OTHER_SEPARATORS,
    REGRESSION,
    SEPARATOR,
    Task,
    wrong_separator,
)
from ..teacher.families import check_classifier, family_of
from ..teacher.files import model_files
from ..teacher.weights import CONFIG_FILES, read_config, weight_names
from ..text.files import TABLES, read_file, read_sample
from ..text.rows import LABEL_COLUMNS, PAIR_COLUMNS, TEXT_COLUMNS, Rows, Text, TextColumn, find_columns, known_pair
from ..tokens import has_tokenizer, load_tokenizer
from .reading import load_config
from .schema import StudentConfig
from .source import dumped

SAMPLE_ROWS = 1000  # by which columns are found
_DEV_NAMES = ("dev", "valid", "validation", "val", "eval", "test")
_DEV_SHARE, _MOST_DEV = 0.1, 2000  # where there is no dev file
_LENGTHS = (32, 64, 128, 256, 512)
_COVERED = 0.99  # of the texts, by max_seq_length
_TOKENS_A_WORD = 1.3
_FEW_LABELS = 100  # classes at most
_USUAL_NAMES = {*TEXT_COLUMNS, *LABEL_COLUMNS, *chain.from_iterable(PAIR_COLUMNS)}
_RARE = 0.4  # a class with less than this part of its fair share
_DEFAULT_OUTPUTS = 2  # of a checkpoint that does not say
_CODE = re.compile(r"[!-~]*")  # no blank and no letter but English ones
_MOST_PARTS = 12  # of a label cell
_COMMENTS = 38  # the column where they begin, if the value leaves room
_PRETRAINED = {True: "bert-base-chinese", False: "bert-base-uncased"}


@dataclass(frozen=True)
class Look:
    """What was seen in a data file and a teacher's folder.

    Attributes:
        rows: all that was read.
        dev: the file of the dev set; None where the data is to be split.
        text_column, label_column: None where they are found by their names.
        parts: the rows to train on and those of the dev set, where the data is to be split.
        passed_over: which file is called like a dev set and can't be one, and why.
        tokens: of each text, by the teacher's tokenizer or estimated.
        teacher: its folder; None where one is to be fine-tuned. ``kind`` says what it is.
        reads: the tokens that it takes at most, if its configuration tells.
    """

    file: Path
    rows: Rows
    dev: Path | None
    parts: tuple[Rows, Rows] | None
    passed_over: str
    text_column: TextColumn | None
    label_column: str | None
    tokens: np.ndarray
    counted: bool
    chinese: bool
    teacher: str | None
    kind: str
    reads: int | None

    @property
    def task(self) -> Task:
        return self.rows.task

    @property
    def shares(self) -> list[tuple[str, float]]:
        """Each label's share of the texts, the commonest first."""
        several = self.task is MULTI_LABEL
        counts = Counter(one for label in self.rows.labels for one in (label if several else (label,)))
        return [(label, count / len(self.rows.texts)) for label, count in counts.most_common()]

    @property
    def longest(self) -> int:
        """The tokens that `_COVERED` of the texts have at most."""
        return int(np.quantile(self.tokens, _COVERED))

    @property
    def max_seq_length(self) -> int:
        suits = next((length for length in _LENGTHS if length >= self.longest), _LENGTHS[-1])
        return min(suits, self.reads or suits)

    @property
    def rounds(self) -> int:
        return rounds_for(int(np.minimum(self.tokens, self.max_seq_length).sum()))

    def lines(self) -> list[str]:
        """Return what was seen, in five lines."""
        counts, texts = self.rows.counts(), "pairs" if self.rows.pairs else "texts"
        columns = " and ".join(self.text_column) if isinstance(self.text_column, tuple) else self.text_column
        where = f" in {columns}" if columns else ""
        label = f", labels in {self.label_column}" if self.label_column else ""
        odd = [f"{counts[key]:,} {what}" for key, what in (
            ("duplicates", "repeated"), ("conflicting_labels", "repeated with another label"),
            ("empty_skipped", "without text"), ("without_letters", "without letters")) if counts[key]]
        dev = f"dev set: {self.dev}"
        if self.parts is not None:
            dev = f"{self.passed_over or 'no dev file beside it'}: {len(self.parts[1].texts):,} are split off"
        return [in_one_line(line) for line in (
                f"{self.file}: {len(self.rows.texts):,} {texts}{where}{label}",
                self._labels(),
                f"{'Chinese' if self.chinese else 'no Chinese'}; {int(np.median(self.tokens))} tokens in the middle, "
                f"{_COVERED:.0%} have at most {self.longest}{'' if self.counted else ' (estimated)'}",
                f"{', '.join(odd) or 'nothing odd'}; {dev}",
                self.kind)]

    def _labels(self) -> str:
        if self.task is REGRESSION:
            numbers = np.array(list(map(float, self.rows.labels)))
            return f"numbers from {numbers.min():g} to {numbers.max():g}: a regression"
        shown = ", ".join(f"{label} {share:.0%}" for label, share in self.shares[:6])
        more = f" and {len(self.shares) - 6} more" if len(self.shares) > 6 else ""
        what = "labels, any number of them a text" if self.task is MULTI_LABEL else "classes"
        return f"{len(self.shares)} {what}: {shown}{more}"


def look_at(data: str | Path, teacher: str | None = None, text_column: TextColumn | None = None,
            label_column: str | None = None) -> Look:
    """Read a labelled file and a teacher's configuration.

    Raises:
        UserError: the file can't be read, its columns can't be told, or the teacher has other outputs than the data.
    """
    file = Path(data)
    names, sample = read_sample(file, "DATA", SAMPLE_ROWS)
    if file.suffix.lower() in TABLES and text_column is None and label_column is None:
        _check_names(names, sample, file)
    teacher_config = _teacher_config(teacher)
    label_column = label_column or _label_column(names, sample, text_column)
    text_column = text_column or _text_column(names, sample, label_column, file)
    task = _task([row[names.index(label_column)] for row in sample if label_column in names], label_column,
                 _teachers_task(teacher_config))
    rows = read_file(file, "DATA", text_column=text_column, label_column=label_column, task=task)
    chinese = is_chinese("".join(map(_joined, rows.texts[:SAMPLE_ROWS])))
    outputs, classes, kind, reads = _teacher(teacher, teacher_config, chinese)
    check_two_labels(rows)
    if outputs is not None:
        task.check_teacher(outputs)
    task.scheme(rows, rows, outputs, classes)  # what a run would refuse
    dev, passed_over, parts = None, "", None
    for candidate in _dev_files(file):
        try:
            dev_rows = read_file(candidate, "DATA", text_column=text_column, label_column=label_column, task=task)
            check_two_labels(dev_rows)
            task.scheme(rows, dev_rows, outputs, classes)
        except UserError as error:
            passed_over = passed_over or f"{candidate} can't be the dev set ({error})"
        else:
            dev = candidate
            break
    if dev is None:
        parts = _split(rows)
        if len(set(parts[1].labels)) < 2:
            raise UserError(f"{file}: has too few rows of a label to split a dev set off; add rows, or have "
                            f"train{file.suffix} and dev{file.suffix} beside each other")
        task.scheme(*parts, outputs, classes)
    found = _unless_found(names, text_column, label_column)
    return Look(file, rows, dev, parts, "" if dev else passed_over, *found,
                *_tokens(rows.texts, teacher), chinese, teacher, kind, reads)


def write_draft(look: Look, path: Path) -> list[Path]:
    """Write the YAML, and where there is no dev file the data in two parts beside it; return what was written.

    Raises:
        UserError: one of the files is there already.
    """
    train, dev, written = look.file, look.dev, [path]
    if look.parts is not None:
        train, dev = (path.with_name(f"{path.stem}.{part}.jsonl") for part in ("train", "dev"))
        written += [train, dev]
    there = [file for file in written if file.exists()]
    if there:
        raise UserError(f"--output: {there[0]} is there already; name another file")
    with whole_file(path) as partial:
        partial.write_text(_yaml(look, path, train, dev), encoding="utf-8")
        load_config(partial)
        for rows, file in zip(look.parts or (), (train, dev)):
            _write_rows(rows, file)
    return written


def _yaml(look: Look, path: Path, train: Path, dev: Path) -> str:
    columns = {} if look.dev is None else {"text_column": look.text_column, "label_column": look.label_column}
    name, shares, task = path.stem, look.shares, look.task
    rare = shares[-1][0] if task is CLASSIFICATION and shares[-1][1] * len(shares) < _RARE else None
    about = [("model_dir", look.teacher or f"output/{name}/teacher",
              look.kind if look.teacher else "is not there yet: Finetune makes it"),
             ("train_file", str(train), f"{len(look.rows.texts):,} rows" + ("" if look.dev else " less dev_file")),
             ("dev_file", str(dev), "what the report measures on"),
             ("text_column", columns.get("text_column"), ""), ("label_column", columns.get("label_column"), ""),
             ("task", None if task is CLASSIFICATION else task.name, ""),
             ("metric", rare and "macro_f1", f"{rare} is rare, and counts as much as the others"),
             ("save_dir", f"output/{name}/student", "where the student and its report.html go"),
             ("max_seq_length", look.max_seq_length, f"{_COVERED:.0%} of the texts have at most {look.longest} tokens"
              + (f"; the teacher reads {look.reads}" if look.max_seq_length == look.reads else "")),
             ("seed", 0, "")]
    command = f"paddleslim-bilstm compress {shlex.quote(str(path))}"
    lines = [in_one_line(f"# Made by `paddleslim-bilstm init`. Run it here: {command}"),
             "# Any value can be set on the command line: -o DataAugmentation.n_iter=5", "", "Global:"]
    lines += [_line(key, value, comment) for key, value, comment in about if value is not None]
    if look.teacher is None:
        lines += ["", "Finetune:", _line("model", _PRETRAINED[look.chinese], "a folder, or PaddleNLP's name for it"),
                  _line("epochs", 3, ""), _line("learning_rate", 5e-5, "")]
    sentences = look.rounds * len(look.rows.texts)
    lines += ["", "bert_to_bilstm:", _line("loss", "logit_mse", ""),
              _line("alpha", 0.0, "weight of the labels beside the teacher's answers"),
              "  # student: {hidden_size: 158}".ljust(_COMMENTS)
              + f"  # units in each direction, {StudentConfig().hidden_size} by default",
              "", "DataAugmentation:",
              _line("n_iter", look.rounds, f"rounds: some {sentences:,} sentences for the teacher to label"),
              "", "TrainConfig: {}".ljust(_COMMENTS) + "  # epochs: 4 over the transfer set, at least 2,000 batches",
              "", "QuantBiLSTM: {}".ljust(_COMMENTS) + "  # int8 for ONNX Runtime: model.int8.onnx"]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, comment: str) -> str:
    value = list(value) if isinstance(value, tuple) else value
    texts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    odd = any(not one.isprintable() for one in texts)
    shown = dumped(value, default_flow_style=True, default_style='"' if odd else None, allow_unicode=not odd,
                           width=2**20).partition("\n")[0]
    return in_one_line(f"  {key}: {shown}".ljust(_COMMENTS) + f"  # {comment}" if comment else f"  {key}: {shown}")


def _split(rows: Rows) -> tuple[Rows, Rows]:
    """Return ``rows`` in two parts: equal texts go to the same one, and of each class that has two texts some to both.
    """
    firsts: dict[Text, int] = {}
    group = np.array([firsts.setdefault(text, len(firsts)) for text in rows.texts])
    labels: list[set[str]] = [set() for _ in firsts]
    for number, label in zip(group, rows.labels):
        labels[number].update(label if isinstance(label, tuple) else (label,))
    if rows.task is REGRESSION:  # numbers needn't occur in both, but must differ
        commonest = Counter(rows.labels).most_common(1)[0][0]
        labels = [{str(commonest in of_text)} for of_text in labels]
    left = Counter(label for of_text in labels for label in of_text)
    order, chosen, met = np.random.default_rng(0).permutation(len(firsts)), set(), set()
    most = max(2, min(int(_DEV_SHARE * len(firsts)), _MOST_DEV))
    for needs_new in (True, False):
        for number in order:
            free = number not in chosen and all(left[label] > 1 for label in labels[number])
            if free and (labels[number] - met if needs_new else len(chosen) < most):
                chosen.add(number)
                met |= labels[number]
                left.subtract(labels[number])
    in_dev = np.isin(group, list(chosen))
    return _rows_of(rows, ~in_dev), _rows_of(rows, in_dev)


def _rows_of(rows: Rows, part: np.ndarray) -> Rows:
    places = np.flatnonzero(part)
    return replace(rows, texts=[rows.texts[row] for row in places], labels=[rows.labels[row] for row in places],
                   places=[rows.places[row] for row in places])


def _write_rows(rows: Rows, path: Path) -> None:
    with whole_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
        for text, label in zip(rows.texts, rows.labels):
            sides = {"text": text} if isinstance(text, str) else {"text_a": text[0], "text_b": text[1]}
            label = list(label) if isinstance(label, tuple) else label
            file.write(json.dumps({**sides, "label": label}, ensure_ascii=False) + "\n")


def _dev_files(file: Path) -> list[Path]:
    """Return what may be the dev set beside ``train.tsv`` or ``reviews_train.csv``: called dev or so in place of train.
    """
    names = _DEV_NAMES if "train" in file.stem else ()
    candidates = (file.with_name(file.name.replace("train", name)) for name in names)
    return [one for one in candidates if one.is_file()]


def _tokens(texts: Sequence[Text], teacher: str | None) -> tuple[np.ndarray, bool]:
    """Return how many tokens the texts have, with special ones, and whether they were counted or estimated."""
    folder = Path(teacher).parent if teacher and teacher.endswith(".onnx") else Path(teacher or "")
    pairs = bool(texts) and not isinstance(texts[0], str)
    if teacher and has_tokenizer(folder):
        tokenizer = load_tokenizer(folder)
        return tokenizer.encode(texts).lengths + tokenizer.framing.special_tokens(pairs), True
    words = np.array([len(re.findall(r"[\u3400-\u9fff]", text)) + _TOKENS_A_WORD * len(
        re.findall(r"[^\W\u3400-\u9fff]+|[^\w\s]", text)) for text in map(_joined, texts)])
    return np.ceil(words).astype(int) + 2 + pairs, False


def _teacher_config(folder: str | None) -> dict[str, Any] | None:
    """Return a teacher's config.json, None without one.

    Raises:
        UserError: the folder is not there or holds no classifier, or the file is damaged.
    """
    if folder is None:
        return None
    files = model_files(Path(folder), setting="--teacher")
    if files[0].name in CONFIG_FILES:
        check_classifier(files[0], read_config(files[0]), weight_names(files[1:]))
    file = Path(folder) / "config.json"
    return read_json(file, "name the folder of the fine-tuned classifier") if file.is_file() else None


def _teacher(folder: str | None, config: Mapping[str, Any] | None,
             chinese: bool) -> tuple[int | None, list[str] | None, str, int | None]:
    """Return a teacher's outputs, the names of its classes, what it is, and the tokens that it reads at most.

    None stands for what its configuration doesn't tell.
    """
    if folder is None:
        kind = f"no teacher: {_PRETRAINED[chinese]} will be fine-tuned; name a finished one with --teacher"
        return None, None, kind, None
    if config is None:
        return None, None, "a teacher without config.json: its outputs show when the run starts", None
    names = config.get("id2label") if isinstance(config.get("id2label"), dict) else {}
    classes = [str(names[key]) for key in sorted(names, key=lambda key: (len(str(key)), str(key)))]
    outputs = config.get("num_labels") or config.get("num_classes") or len(classes) or _DEFAULT_OUTPUTS
    layers = config.get("num_hidden_layers") or config.get("n_layers") or "?"
    told = f" ({', '.join(classes[:4])}{', ...' * (len(classes) > 4)})" if classes else ""
    kind = f"teacher: {config.get('model_type', 'a BERT')}, {layers} layers, {outputs} outputs{told}"
    reads = config.get("max_position_embeddings")
    for key, value in (("num_labels", outputs), ("max_position_embeddings", reads)):
        if value is not None and not isinstance(value, int):
            raise UserError(f"{Path(folder) / 'config.json'}: {key} is {value!r}, which must be a whole number")
    family = family_of(config)
    if reads and family is not None and family.behind_padding:
        padding = config.get("pad_token_id")
        reads -= 1 + (padding if isinstance(padding, int) else 1)
    return outputs, classes or None, kind, reads


def _teachers_task(config: Mapping[str, Any] | None) -> Task | None:
    """Return the task that a teacher's configuration tells of, if it does."""
    if config is None:
        return None
    if config.get("problem_type") == "multi_label_classification":
        return MULTI_LABEL
    outputs = config.get("num_labels") or config.get("num_classes") or len(config.get("id2label") or ())
    return REGRESSION if config.get("problem_type") == "regression" or outputs == 1 else None


def _task(labels: Sequence[Any], column: str, teachers: Task | None = None) -> Task:
    """Return the task by the look of labels: lists are several, fractions a regression; or ``teachers``, where it fits.

    Raises:
        UserError: they are numbers with a decimal comma, or several with something else than a comma between them.
    """
    if teachers is MULTI_LABEL or any(isinstance(label, (list, tuple)) for label in labels):
        return MULTI_LABEL
    texts = [str(label).strip() for label in labels]
    if any(texts) and all(not text or text[0] + text[-1] == "[]" for text in texts):
        return MULTI_LABEL
    if texts and all(NUMBER.fullmatch(text) for text in texts):
        fractions = any(not float(text).is_integer() for text in texts)
        return REGRESSION if teachers is REGRESSION or fractions else CLASSIFICATION
    if texts and all(re.fullmatch(r"[-+]?\d+(,\d+)?", text) for text in texts):
        odd = next(text for text in texts if "," in text)
        raise UserError(f"DATA: {column} holds {odd}, which may be a decimal or two labels; write decimals with a "
                        "point, or labels as lists in JSONL")
    for separator in (SEPARATOR, *OTHER_SEPARATORS):
        parts = [text.split(separator) for text in texts]
        lone = {part[0].strip() for part in parts if len(part) == 1}
        several = [part for part in parts if 1 < len(part) <= _MOST_PARTS]
        known = sum(all(one.strip() in lone for one in part) for part in several)
        if several and 2 * known > len(several):
            if separator == SEPARATOR:
                return MULTI_LABEL
            raise wrong_separator(f"DATA: {column}", separator.join(several[0]), separator)
    return CLASSIFICATION


def _check_names(names: Sequence[str], sample: Sequence[Sequence[str]], file: Path) -> None:
    """Refuse a first line that is a row: a cell of it is a number above numbers, or stands further below, too.

    Usual names are names, and so are the numbers from 0 that pandas counts columns by.
    """
    told = [name for name in names if name]  # pandas leaves that of the index out
    if {name.lower() for name in told} & _USUAL_NAMES or told == [str(number) for number in range(len(told))]:
        return
    below = [row for row in sample if [cell.strip() for cell in row] != list(names)]  # where files were joined
    for place, name in enumerate(names):
        cells = [row[place].strip() for row in below]
        numbers = NUMBER.fullmatch(name) and cells and all(NUMBER.fullmatch(cell) for cell in cells)
        if name and (numbers or name in cells):
            raise UserError(f"{file}:1: reads like a row, not like names of columns: {short(name)} is "
                            f"{'a number above numbers' if numbers else 'in rows below it, too'}; write names, such as "
                            "sentence and label, into a line above it, or if these are names, give them as "
                            "--text-column and --label-column")


def _label_column(names: Sequence[str], sample: Sequence[Sequence[Any]], text_column: TextColumn | None) -> str:
    """Return the column of the labels: by a usual name, or else the one with the fewest values, and few.

    Raises:
        UserError: there is none.
    """
    lower = [name.strip().lower() for name in names]
    texts = text_column if isinstance(text_column, tuple) else (text_column,)
    usual = next((name for name in LABEL_COLUMNS if name in lower and names[lower.index(name)].strip() not in texts),
                 None)
    if usual is not None:
        return names[lower.index(usual)].strip()
    values = {name: {str(row[place]).strip() for row in sample}
              for place, name in enumerate(names) if name not in texts}
    few = [(len(found), -place, name) for place, (name, found) in enumerate(values.items())
           if 1 < len(found) <= min(_FEW_LABELS, max(2, len(sample) // 3))]
    if not few:
        raise UserError(f"DATA: none of the columns {', '.join(map(short, names))} looks like labels; name it with "
                        "--label-column (a first line must name the columns, or in JSONL the keys)")
    return min(few)[2].strip()


def _text_column(names: Sequence[str], sample: Sequence[Sequence[Any]], label_column: str, file: Path) -> TextColumn:
    """Return the column, or the two of pairs, of the text: by a usual name, or else the longest that is no code.

    Raises:
        UserError: usual names don't say whether these are pairs.
    """
    pair = known_pair(names, f"{file}:1", "--text-column", label_column)
    lower = [name.strip().lower() for name in names]
    usual = next((name for name in TEXT_COLUMNS if name in lower and names[lower.index(name)].strip() != label_column),
                 None)
    if pair or usual:
        return pair or names[lower.index(usual)].strip()
    lengths = {name.strip(): _lengths([str(row[place]).strip() for row in sample])
               for place, name in enumerate(names) if name.strip() != label_column}
    if not lengths:
        raise UserError(f"{file}: has the column {label_column} alone; name the text's with --text-column")
    longest = max(lengths, key=lengths.get)
    alike = [name for name in lengths if _without_number(name) == _without_number(longest)]
    return (alike[0], alike[1]) if len(alike) == 2 else longest


def _lengths(cells: Sequence[str]) -> tuple[float, float]:
    """Return how long the cells are on average: codes, such as numbers and addresses, counted as empty, and in full."""
    return (float(np.mean([0 if _CODE.fullmatch(cell) else len(cell) for cell in cells])),
            float(np.mean(list(map(len, cells)))))


def _without_number(name: str) -> str:
    """Return a column's name without what tells the sides of a pair apart: ``"Frage_2" -> "frage"``."""
    return re.sub(r"[\s_#-]*(?:[12]|[ab])$", "", name.lower())


def _unless_found(names: Sequence[str], text_column: TextColumn,
                  label_column: str) -> tuple[TextColumn | None, str | None]:
    """Return the columns, with None for one that the reader finds by itself."""
    wanted = find_columns(names, "", text_column, label_column, True)
    found_text = found_label = None
    with suppress(UserError):
        found_text = find_columns(names, "", None, None, False).texts
    with suppress(UserError):
        found_label = find_columns(names, "", text_column, None, True).label
    return (None if found_text == wanted.texts else text_column,
            None if found_label == wanted.label else label_column)


def _joined(text: Text) -> str:
    return text if isinstance(text, str) else " ".join(text)
