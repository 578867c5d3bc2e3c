"""The train and dev rows of a run, from files, or by PaddleNLP's names (``Global.dataset``)."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..errors import UserError, reason_in_short
from ..host.versions import need_paddlenlp
from ..labels import check_two_labels
from ..task import task_named
from .files import read_file
from .rows import LABEL_COLUMNS, Rows, Text, check_kind, read_records

if TYPE_CHECKING:  # predicting does without the configuration, and so without pydantic
    from ..config import GlobalConfig

_NAME = re.compile(r"[\w-]+")


def read_paddlenlp(config: GlobalConfig, with_train_labels: bool) -> tuple[Rows, Rows, list[str] | None]:
    """Return the rows of the splits "train" and "dev", and the names of the classes in the dataset's order.

    PaddleNLP downloads the dataset on first use, to ``~/.paddlenlp/datasets`` or below ``$PPNLP_HOME``.

    Raises:
        UserError: PaddleNLP is not installed, doesn't know the dataset, or can't download it.
    """
    path, name = config.dataset[0], config.dataset[1] if len(config.dataset) > 1 else None
    shown = "/".join(config.dataset)
    if len(config.dataset) > 2:
        raise UserError(f"Global.dataset: {shown} has {len(config.dataset)} names; write [DATASET] or [DATASET, NAME]")
    if not _NAME.fullmatch(path) or Path(path, f"{path}.py").exists():  # PaddleNLP would run a script that lies there
        raise UserError(f"Global.dataset: {path} is no name of a dataset, such as glue; name files of your own as "
                        "Global.train_file and Global.dev_file")
    need_paddlenlp("Global.dataset:", "name files of your own as Global.train_file and Global.dev_file")
    try:
        from paddlenlp.datasets import load_dataset

        train, dev = load_dataset(path, name, splits=["train", "dev"])
    except Exception as error:  # it downloads, unpacks and runs a dataset's own reader: anything can come out
        raise UserError(f"Global.dataset: PaddleNLP can't load {shown} ({reason_in_short(error)}); check the name and "
                        "the network, or set Global.train_file and Global.dev_file instead") from None
    names = None if train.label_list is None else [str(label) for label in train.label_list]
    return (_split_rows(train, f"{shown} train", names, config, with_train_labels),
            _split_rows(dev, f"{shown} dev", names, config, True), names)


def _split_rows(split: Sequence[dict[str, Any]], source: str, names: list[str] | None, config: GlobalConfig,
                with_labels: bool) -> Rows:
    rows = Rows(source, labels=[] if with_labels else None, from_list=True, task=task_named(config.task))
    return read_records(rows, enumerate(_named_labels(split, names)), config.text_column, config.label_column)


def _named_labels(split: Sequence[dict[str, Any]], names: list[str] | None) -> Iterator[dict[str, Any]]:
    """Yield the rows with class names in place of the positions in ``names`` that PaddleNLP puts there."""
    for row in split:
        if names is not None:
            row = {key: _named(value, names) if key in LABEL_COLUMNS else value for key, value in row.items()}
        yield row


def _named(label: Any, names: list[str]) -> Any:
    if isinstance(label, (list, tuple)):
        return [_named(one, names) for one in label]
    return names[label] if isinstance(label, int) else label


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """The data of a run.

    Attributes:
        train_texts, dev_texts, unlabeled_texts: stripped texts, none empty, or pairs of texts; all of one kind.
        train_labels: the task's, such as class ids [n] int64, or None when the training text has no labels and needs
            none.
        dev_labels: likewise.
        label_names: name of each of the teacher's outputs.
        train_rows: the rows behind ``train_texts`` and, second, ``unlabeled_texts``; they know their places.
        counts: what was read and what was odd about it, for the report: "train_rows", "train_empty_skipped",
            "train_duplicates", "train_conflicting_labels", of pairs "train_one_side_empty", the same for dev and
            unlabeled, "dev_texts_in_train".
    """

    train_texts: list[Text]
    train_labels: np.ndarray | None
    dev_texts: list[Text]
    dev_labels: np.ndarray
    unlabeled_texts: list[Text]
    label_names: list[str]
    train_rows: tuple[Rows, Rows]
    counts: dict[str, int]


def load_dataset(config: GlobalConfig, num_classes: int | None = None,
                 teacher_label_names: Sequence[str] | None = None, *, train: Sequence[Any] | None = None,
                 dev: Sequence[Any] | None = None, unlabeled: Sequence[Any] | None = None,
                 require_train_labels: bool = True) -> Dataset:
    """Read training, dev and unlabelled text from lists, files or PaddleNLP's datasets.

    Args:
        config: names the files or the dataset, and their columns.
        num_classes: outputs of the teacher; None where there is no teacher yet and the labels decide.
        teacher_label_names: names of its classes, None when it has none.
        train, dev: rows that replace the files: ``(text, label)``, ``((first, second), label)``,
            ``(first, second, label)`` or ``{"sentence": ..., "label": ...}`` each; or an array of such rows.
        unlabeled: texts, pairs of texts, or rows as above whose labels are ignored; replaces
            ``Global.unlabeled_file``.
        require_train_labels: False (distillation with alpha 0 and no Bi-LSTM trained alone) leaves the labels of
            the training text unread, so that it may have none.

    Raises:
        UserError: see :func:`~paddleslim_bilstm.text.files.read_file` and :mod:`~paddleslim_bilstm.task`.
    """
    if config.dataset is not None and (config.train_file or config.dev_file):
        raise UserError("Global.dataset and Global.train_file or dev_file both name the data; remove one")
    dataset_names = None
    if config.dataset is not None and (train is None or dev is None):
        train_rows, dev_rows, dataset_names = read_paddlenlp(config, require_train_labels)
    in_python = train is not None or dev is not None
    if train is not None or config.dataset is None:
        train_rows = _rows(train, "train", config.train_file, config, require_train_labels, in_python=in_python)
    if dev is not None or config.dataset is None:
        dev_rows = _rows(dev, "dev", config.dev_file, config, True, columns_of=train_rows.source, in_python=in_python)
    unlabeled_rows = Rows("unlabeled")
    if unlabeled is not None or config.unlabeled_file is not None:
        unlabeled_rows = _rows(unlabeled, "unlabeled", config.unlabeled_file, config, False, train_rows.pairs,
                               train_rows.source)
    for rows in (dev_rows, unlabeled_rows):
        check_kind(rows, train_rows.pairs, f"those of {train_rows.source}")

    if train_rows.labels is not None:
        check_two_labels(train_rows)
    check_two_labels(dev_rows)
    scheme = train_rows.task.scheme(None if train_rows.labels is None else train_rows, dev_rows, num_classes,
                                    teacher_label_names or dataset_names)
    return Dataset(
        train_texts=train_rows.texts,
        train_labels=None if train_rows.labels is None else scheme.ids_of(train_rows.labels),
        dev_texts=dev_rows.texts,
        dev_labels=scheme.ids_of(dev_rows.labels),
        unlabeled_texts=unlabeled_rows.texts,
        label_names=scheme.names,
        train_rows=(train_rows, unlabeled_rows),
        counts=_counts(train_rows, dev_rows, unlabeled_rows))


def load_dev_set(config: GlobalConfig, num_classes: int, label_names: Sequence[str] | None, dev: Sequence[Any] | None,
                 pairs: bool) -> Dataset:
    """Read the dev text alone, for training text that comes as token ids; the rest of the `Dataset` is empty.

    Args:
        config, num_classes, label_names, dev: as for `load_dataset`; the teacher's.
        pairs: whether the training text is pairs.

    Raises:
        UserError: as for `load_dataset`.
    """
    rows = _rows(dev, "dev", config.dev_file, config, True)
    check_kind(rows, pairs, "those of train_dataloader")
    check_two_labels(rows)
    scheme = rows.task.scheme(None, rows, num_classes, label_names)
    nothing = Rows("train_dataloader"), Rows("unlabeled")
    counts = {name: count for name, count in _counts(nothing[0], rows, nothing[1]).items()
              if name.startswith("dev_") and name != "dev_texts_in_train"}
    return Dataset([], None, rows.texts, scheme.ids_of(rows.labels), [], scheme.names, nothing, counts)


def _rows(rows: Sequence[Any] | None, name: str, file: str | None, config: GlobalConfig, with_labels: bool,
          pairs: bool = False, columns_of: str = "", in_python: bool = False) -> Rows:
    """Return rows that were handed over, or else those of the file; ``in_python``: others were handed over."""
    setting, task = f"Global.{name}_file", task_named(config.task)
    if rows is not None:
        empty = Rows(name, labels=[] if with_labels else None, from_list=True, task=task, columns_of=columns_of)
        result = read_records(empty, enumerate(_listed(rows, name)), config.text_column, config.label_column, pairs)
        if not result.texts:
            raise UserError(f"{name}: has no rows with text")
        return result
    if file is None:
        as_rows = f"give {name}=[(text, label), ...], or " if in_python else ""
        raise UserError(f"{setting} is missing; {as_rows}name a .tsv, .csv or .jsonl file (or set Global.dataset)")
    return read_file(file, setting, text_column=config.text_column, label_column=config.label_column,
                     with_labels=with_labels, task=task, columns_of=columns_of)


def _listed(rows: Any, name: str) -> Iterable[Any]:
    """Return rows that were handed over, of a table of pandas' or Polars' each as a dict.

    Raises:
        UserError: they are a path or a dict, whose items are letters or columns.
    """
    if isinstance(rows, (str, os.PathLike, Mapping)):
        raise UserError(f"{name}: is a {type(rows).__name__}, not a list of rows; name a file as Global.{name}_file, "
                        "or give [(text, label), ...]")
    if hasattr(rows, "columns") and hasattr(rows, "to_dict"):
        return rows.to_dicts() if hasattr(rows, "to_dicts") else rows.to_dict("records")
    return rows


def _counts(train: Rows, dev: Rows, unlabeled: Rows) -> dict[str, int]:
    counts = {}
    for name, rows in (("train", train), ("dev", dev), ("unlabeled", unlabeled)):
        counts.update({f"{name}_{key}": count for key, count in rows.counts().items()})
        if rows.empty_skipped:
            _log.warning("%s: %d rows without text were skipped", rows.source, rows.empty_skipped)
    train_texts = set(train.texts)
    counts["dev_texts_in_train"] = sum(text in train_texts for text in dev.texts)
    return counts
