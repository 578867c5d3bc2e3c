"""Training data by PaddleNLP's names (``Global.dataset``), through ``paddlenlp.datasets.load_dataset``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Sequence

from ..errors import UserError
from ..task import task_named
from .columns import LABEL_COLUMNS
from .rows import Rows, read_records

if TYPE_CHECKING:
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
    try:
        from paddlenlp.datasets import load_dataset
    except ImportError as error:
        raise UserError(f"Global.dataset: needs PaddleNLP, which can't be imported ({error}); "
                        "pip install paddleslim-bilstm[cpu], or name files instead") from None
    try:
        train, dev = load_dataset(path, name, splits=["train", "dev"])
    except Exception as error:  # it downloads, unpacks and runs a dataset's own reader: anything can come out
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"Global.dataset: PaddleNLP can't load {shown} ({problem}); check the name and the network, "
                        "or set Global.train_file and Global.dev_file instead") from None
    names = None if train.label_list is None else [str(label) for label in train.label_list]
    return (_rows(train, f"{shown} train", names, config, with_train_labels),
            _rows(dev, f"{shown} dev", names, config, True), names)


def _rows(split: Sequence[dict[str, Any]], source: str, names: list[str] | None, config: GlobalConfig,
          with_labels: bool) -> Rows:
    rows = Rows(source, labels=[] if with_labels else None, from_list=True, task=task_named(config.task))
    return read_records(rows, enumerate(_named_labels(split, names)), config.text_column, config.label_column)


def _named_labels(split: Sequence[dict[str, Any]], names: list[str] | None) -> Iterator[dict[str, Any]]:
    """Yield the rows with class names in place of the positions in ``names`` that PaddleNLP puts there."""
    for row in split:
        if names is not None:
            row = {key: names[value] if key in LABEL_COLUMNS and isinstance(value, int) else value
                   for key, value in row.items()}
        yield row
