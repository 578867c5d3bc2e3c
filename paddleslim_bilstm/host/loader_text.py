"""The token ids in a PaddleSlim data loader, as text."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from ..errors import UserError
from ..task import Task
from ..tokens import Feed, Framing, Sentences, Tokenizer
from ..tokens.framing import IDS, Row

_LABEL_FEEDS = ("labels", "label")


def loader_batches(loader: Any, feeds: Sequence[Feed]) -> Iterator[dict[str, np.ndarray]]:
    """Yield one epoch of ``loader`` as arrays by feed name.

    PaddleSlim takes loaders whose batches are dicts, lists with one dict, or tuples in the order of the model's feeds;
    ``loader`` is called for an iterator (a ``paddle.io.DataLoader`` or a generator function), or iterated over.

    Raises:
        UserError: a batch has too few arrays, or none with the token ids.
    """
    names = [feed.name for feed in feeds]
    ids_name = next(feed.name for feed in feeds if feed.role == IDS)
    for batch in loader() if callable(loader) else loader:
        if isinstance(batch, (list, tuple)) and len(batch) == 1 and isinstance(batch[0], Mapping):
            batch = batch[0]
        if not isinstance(batch, Mapping):
            if len(batch) < len(names):
                raise UserError(f"train_dataloader: a batch has {len(batch)} arrays, but the teacher's feeds are "
                                f"{', '.join(names)}; yield a dict by feed name")
            batch = dict(zip((*names, "labels"), batch))
        if ids_name not in batch:
            raise UserError(f"train_dataloader: a batch has {', '.join(batch)}, but no {ids_name!r}, the "
                            "teacher's token ids; name its arrays as the teacher's feeds are named")
        yield {name: np.asarray(value) for name, value in batch.items()}


def read_loader(loader: Any, tokenizer: Tokenizer, framing: Framing, task: Task | None = None,
                outputs: int = 0) -> tuple[Sentences, np.ndarray | None]:
    """Collect one epoch's distinct sentences, sorted, so that a shuffling loader gives the same text each time.

    Returns:
        The sentences, or the pairs where a row has a second side, and their labels, as ``task`` has them for a model
        of so many ``outputs``, where the batches hold an array ``labels`` or ``label``; without a task none are read.

    Raises:
        UserError: a batch has no token ids, or labels that the task can't have, or the loader is empty.
    """
    found: dict[Row, Any] = {}
    for batch in loader_batches(loader, framing.feeds):
        contents, name = framing.contents(batch), next((name for name in _LABEL_FEEDS if name in batch), None)
        labels = name and task and task.of_array(batch[name], len(contents), outputs, f"train_dataloader: {name}")
        for position, row in enumerate(contents):
            if any(row):
                found.setdefault(row, None if labels is None else labels[position])
    if not found:
        raise UserError("train_dataloader: it yields no sentence; check the data set behind it")
    ordered = sorted(found)
    labels = [found[row] for row in ordered]
    pairs = any(second for _, second in ordered)
    lists = [side for row in ordered for side in (row if pairs else row[:1])]
    sentences = tokenizer.sentences_of(lists)
    return (Sentences.from_sides(sentences) if pairs else sentences,
            None if any(label is None for label in labels) else np.stack(labels))
