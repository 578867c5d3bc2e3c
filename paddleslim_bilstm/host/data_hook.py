"""``DataAugmentation`` without ``bert_to_bilstm``: the batches of a PaddleSlim run, augmented on the way in."""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from itertools import count
from operator import itemgetter
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import paddle

from ..augment import Corpus, check_hooks
from ..augment.registry import apply_hooks
from ..augment.transfer_set import change_in_turn
from ..config import load_config
from ..config.source import Source, read_source
from ..errors import UserError
from ..scopes import dynamic_mode
from ..task import Task
from ..teacher.files import exported_files
from ..teacher.program import read_signature
from ..tokens import Feed, Framing, Sentences, Tokenizer, load_tokenizer
from ..tokens.framing import IDS, Row

_log = logging.getLogger(__name__)

_READ_OF_GLOBAL = ("tokenizer_dir", "seed")
_CALIBRATES = "QuantPost"  # it trains nothing, and looks at the loader's own batches
_TRAINING = ("Distillation", "MultiTeacherDistillation", "QuantAware", "UnstructurePrune", "ASPPrune", "ChannelPrune",
             "TransformerPrune")


def augmented_loader(config: Mapping[str, Any] | Source, arguments: Mapping[str, Any]) -> Callable[[], Iterator[dict]]:
    """Return ``train_dataloader`` as a generator function whose batches passed through the hooks of the config.

    Each epoch draws anew. A batch keeps its shape, whatever the hooks do: rows are cut
    to its width and padded to it, masks and token types are made for what a row holds now. The labels that a batch may
    hold stay as they are, and so do rows that the loader did not yield in its first epoch.

    Args:
        config: with ``DataAugmentation``; of ``Global``, ``tokenizer_dir`` and ``seed`` are read.
        arguments: of ``AutoCompression``: ``model_dir`` with an exported classifier and its tokenizer files,
            ``train_dataloader`` in any form that PaddleSlim takes.

    Raises:
        UserError: a hook is unknown or wrongly set, or ``n_iter`` is set, nothing is trained, the loader is missing or
            can't be read, or ``model_dir`` holds no text classifier with its tokenizer.
    """
    written = read_source(config)
    section = written.values.get("Global")
    known = {key: section[key] for key in _READ_OF_GLOBAL if key in section} if isinstance(section, Mapping) else {}
    ours = {"Global": known, "bert_to_bilstm": None, "DataAugmentation": written.values["DataAugmentation"]}
    settings = load_config(replace(written, values=ours))
    hooks = settings.augmentation.hooks
    check_hooks(hooks)
    if settings.augmentation.n_iter is not None:
        raise written.error(("DataAugmentation", "n_iter"), "does nothing without bert_to_bilstm, as each epoch draws "
                            "anew; leave it out")
    if not any(name in written.values for name in _TRAINING):
        raise UserError(f"DataAugmentation: nothing here trains on its sentences ({_CALIBRATES} only calibrates); "
                        "remove it, or add a strategy that trains")
    loader = arguments.get("train_dataloader")
    if loader is None:
        raise UserError("DataAugmentation: there is no train_dataloader whose batches could be augmented; give one")
    folder = Path(arguments["model_dir"])
    files = exported_files(folder, arguments.get("model_filename"), arguments.get("params_filename"))
    if not files:
        raise UserError(f"DataAugmentation: {folder} holds no inference model; name its files, or remove the section")
    tokenizer, signature = load_tokenizer(settings.global_.tokenizer_dir or folder), read_signature(files[0])
    framing = Framing.of(tokenizer, signature.feeds, signature.width)
    corpus = Corpus.create(read_loader(loader, tokenizer, framing)[0], tokenizer)
    position = {_as_row(one): row for row, one in enumerate(corpus.originals.to_lists())}
    rng, epochs = np.random.default_rng(settings.global_.seed), count()

    def changed() -> Sentences:
        sentences = apply_hooks(hooks, corpus.sentences, corpus, rng)
        return change_in_turn(corpus.sentences, sentences, next(epochs)) if corpus.pairs else sentences

    def batches() -> Iterator[dict[str, np.ndarray]]:
        sentences = changed()
        for batch in loader_batches(loader, framing.feeds):
            rows = np.array([position.get(row, -1) for row in framing.contents(batch)])
            yield {**batch, **_refilled(batch, framing, rows >= 0, sentences.take(rows[rows >= 0]))}

    _log.info("DataAugmentation: %s change %d of the %d distinct %s of train_dataloader, anew each epoch; the batches "
              "keep their shapes", ", ".join(hook.name for hook in hooks) or "no hooks",
              sum(one != other for one, other in zip(changed().to_lists(), corpus.originals.to_lists())),
              len(corpus.originals), "pairs" if corpus.pairs else "sentences")
    return batches


def _refilled(batch: Mapping[str, np.ndarray], framing: Framing, rows: np.ndarray,
              sentences: Sentences) -> dict[str, np.ndarray]:
    """Return the feeds of ``batch`` in their shapes, with ``sentences`` in its ``rows``, bool ``[batch]``."""
    width = batch[framing.ids_name].shape[1]
    sentences = sentences.truncate(width - framing.special_tokens(sentences.pairs))
    arrays = replace(framing, width=width).batch(sentences, np.arange(len(sentences)))
    refilled = {}
    for feed, array in zip(framing.feeds, arrays):
        if feed.name in batch:
            refilled[feed.name] = batch[feed.name].copy()
            refilled[feed.name][rows] = array
    return refilled


def _as_row(ids: list[int] | tuple[list[int], list[int]]) -> Row:
    return (tuple(ids), ()) if isinstance(ids, list) else (tuple(ids[0]), tuple(ids[1]))


_LABEL_FEEDS = ("labels", "label")


def loader_batches(loader: Any, feeds: Sequence[Feed]) -> Iterator[dict[str, np.ndarray]]:
    """Yield one epoch of ``loader`` as arrays by feed name.

    PaddleSlim takes loaders whose batches are dicts, lists with one dict, or tuples in the order of the model's feeds;
    ``loader`` is called for an iterator (a ``paddle.io.DataLoader`` or a generator function), or iterated over.

    Raises:
        UserError: a batch has too few arrays, or none with the token ids, or there is no batch at all.
    """
    batch = None
    names = [feed.name for feed in feeds]
    ids_name = next(feed.name for feed in feeds if feed.role == IDS)
    for batch in loader() if callable(loader) else loader:
        if isinstance(batch, (list, tuple)) and len(batch) == 1 and isinstance(batch[0], Mapping):
            batch = batch[0]
        if hasattr(batch, "shape"):  # one array by itself is the batch of a model of one input
            batch = (batch,)
        if not isinstance(batch, Mapping):
            if len(batch) < len(names):
                raise UserError(f"train_dataloader: a batch has {len(batch)} arrays, but the teacher's feeds are "
                                f"{', '.join(names)}; yield a dict by feed name")
            batch = dict(zip((*names, "labels"), batch))
        if ids_name not in batch:
            raise UserError(f"train_dataloader: a batch has {', '.join(batch)}, but no {ids_name!r}, the "
                            "teacher's token ids; name its arrays as the teacher's feeds are named")
        yield {name: np.asarray(value) for name, value in batch.items()}
    if batch is None:
        raise UserError("train_dataloader: it yields no batch; check the data set behind it, and let its batches be "
                        "arrays, since none of tensors can be made in static mode (PaddleNLP's DataCollatorWithPadding "
                        "takes return_tensors=\"np\")")


def _is_for_dynamic_mode(loader: Any) -> bool:
    """Return whether a loader may make its batches of tensors, which it can't in static mode: it would yield none."""
    return isinstance(loader, paddle.io.DataLoader) and not loader.feed_list


@contextmanager
def reading(loader: Any, feeds: Sequence[Feed]) -> Iterator[Iterator[dict[str, np.ndarray]]]:
    """Give `loader_batches` in the mode that the loader is for, which is on until the end of the block."""
    with dynamic_mode() if _is_for_dynamic_mode(loader) else nullcontext(), \
            closing(loader_batches(loader, feeds)) as batches:
        yield batches


def static_loader(loader: Any) -> Any:
    """Return a loader for static mode: in place of one that makes tensors, an epoch's batches as arrays, read now.

    A thread of Paddle's own reads what trains, while the executor runs in static mode. A data set without a length,
    which may never end, is left to that; it must make arrays.
    """
    if not _is_for_dynamic_mode(loader) or isinstance(loader.dataset, paddle.io.IterableDataset):
        return loader
    with dynamic_mode():
        if not _makes_tensors(loader):
            return loader
        batches = [_as_arrays(batch) for batch in loader]
    return lambda: iter(batches)


def _makes_tensors(loader: paddle.io.DataLoader) -> bool:
    """Return whether a loader's first batch, before the loader hands it over as tensors whatever it was, has any."""
    if loader.batch_sampler is None:  # each row is a batch
        return True  # as far as is known
    rows = [loader.dataset[row] for row in next(iter(loader.batch_sampler), ())]
    return _has_tensors(loader.collate_fn(rows) if rows and loader.collate_fn else rows)


def _has_tensors(batch: Any) -> bool:
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    return any(map(_has_tensors, batch)) if isinstance(batch, (list, tuple)) else isinstance(batch, paddle.Tensor)


def _as_arrays(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {name: np.asarray(value) for name, value in batch.items()}
    return list(map(_as_arrays, batch)) if isinstance(batch, (list, tuple)) else np.asarray(batch)


def read_loader(loader: Any, tokenizer: Tokenizer, framing: Framing, task: Task | None = None, outputs: int = 0,
                name: str = "train_dataloader", distinct: bool = True) -> tuple[Sentences, np.ndarray | None]:
    """Collect one epoch's sentences, sorted, so that a shuffling loader gives the same text each time.

    Args:
        name: of the loader, for errors.
        distinct: each sentence once, with its first label.

    Returns:
        The sentences, or the pairs where a row has a second side, and their labels, as ``task`` has them for a model
        of so many ``outputs``, where the batches hold an array ``labels`` or ``label``; without a task none are read,
        and None where all are missing.

    Raises:
        UserError: a batch has no token ids, or labels that the task can't have, or the loader is empty.
    """
    found: list[tuple[Row, Any]] = []
    with reading(loader, framing.feeds) as batches:
        for batch in batches:
            contents, feed = framing.contents(batch), next((feed for feed in _LABEL_FEEDS if feed in batch), None)
            labels = feed and task and task.of_array(batch[feed], len(contents), outputs, f"{name}: {feed}")
            found += [(row, None if labels is None else labels[position]) for position, row in enumerate(contents)
                      if any(row)]
    if not found:
        raise UserError(f"{name}: it yields no sentence; check the data set behind it")
    if distinct:
        found = list(dict(reversed(found)).items())
    found.sort(key=itemgetter(0))
    ordered, labels = [row for row, _ in found], [label for _, label in found]
    pairs = any(second for _, second in ordered)
    lists = [side for row in ordered for side in (row if pairs else row[:1])]
    sentences = tokenizer.sentences_of(lists)
    known = None if any(label is None for label in labels) else np.stack(labels)
    return (Sentences.from_sides(sentences) if pairs else sentences,
            known if known is not None and task.has_label(known).any() else None)
