"""The token ids in a PaddleSlim data loader as training text."""

from __future__ import annotations

from typing import Any, Iterator, Mapping

import numpy as np

from ..errors import UserError
from ..tokens import Sentences, Tokenizer

_LABEL_FEEDS = ("labels", "label")


def loader_batches(loader, feed_names: tuple[str, ...]) -> Iterator[dict[str, np.ndarray]]:
    """Yield one epoch of ``loader`` as arrays by feed name.

    PaddleSlim takes loaders whose batches are dicts, lists with one dict, or tuples in the order of the model's feeds;
    ``loader`` is called for an iterator (a ``paddle.io.DataLoader`` or a generator function), or iterated over.
    """
    for batch in loader() if callable(loader) else loader:
        if isinstance(batch, (list, tuple)) and len(batch) == 1 and isinstance(batch[0], Mapping):
            batch = batch[0]
        if not isinstance(batch, Mapping):
            if len(batch) < len(feed_names):
                raise UserError(f"train_dataloader: a batch has {len(batch)} arrays, but the teacher's feeds are "
                                f"{', '.join(feed_names)}; yield a dict by feed name")
            batch = dict(zip((*feed_names, "labels"), batch))
        yield {name: np.asarray(value) for name, value in batch.items()}


def read_loader(loader: Any, tokenizer: Tokenizer, feed_names: tuple[str, ...]) -> tuple[Sentences, np.ndarray | None]:
    """Collect one epoch's sentences: each row's tokens between ``[CLS]`` and the last ``[SEP]``, duplicates dropped.

    They are sorted, so that a shuffling loader gives the same text each time.

    Returns:
        The sentences, and their labels int64 ``[n]`` where the batches hold an array ``labels`` or ``label``.

    Raises:
        UserError: a batch has no token ids, or the loader is empty.
    """
    ids_name = feed_names[0]
    rows: dict[tuple[int, ...], int | None] = {}
    for batch in loader_batches(loader, feed_names):
        if ids_name not in batch:
            raise UserError(f"train_dataloader: a batch has {', '.join(batch)}, but no {ids_name!r}, the teacher's token "
                            "ids; name its arrays as the teacher's feeds are named")
        labels = next((batch[name].reshape(-1) for name in _LABEL_FEEDS if name in batch), None)
        for position, row in enumerate(batch[ids_name]):
            tokens = row[row != tokenizer.pad_id].tolist()
            tokens = tokens[1:] if tokens[:1] == [tokenizer.cls_id] else tokens
            tokens = tokens[:-1] if tokens[-1:] == [tokenizer.sep_id] else tokens
            if tokens:
                rows.setdefault(tuple(tokens), None if labels is None else int(labels[position]))
    if not rows:
        raise UserError("train_dataloader: it yields no sentence; check the data set behind it")
    ordered = sorted(rows)
    continues = np.array([token.startswith("##") for token in tokenizer.vocab])
    sentences = Sentences.from_lists(ordered, [~continues[list(tokens)] for tokens in ordered])
    labels = [rows[tokens] for tokens in ordered]
    return sentences, None if None in labels else np.array(labels, np.int64)
