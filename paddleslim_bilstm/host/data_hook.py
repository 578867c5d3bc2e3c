"""``DataAugmentation`` without ``bert_to_bilstm``: the batches of a PaddleSlim run, augmented on the way in."""

from __future__ import annotations

from itertools import count
from typing import Any, Iterator, Mapping

import numpy as np
from paddleslim.common.dataloader import get_feed_vars

from ..augment import Corpus, check_hooks
from ..augment.pairs import change_in_turn
from ..augment.registry import apply_hooks
from ..config import load_config
from ..errors import UserError
from ..tokens import load_tokenizer
from .loader_text import Row, content_tokens, loader_batches, read_loader

_SEED = 0


def augmented_loader(section: Mapping[str, Any] | None, arguments: Mapping[str, Any]):
    """Return ``train_dataloader`` as a generator function whose batches passed through the hooks of ``section``.

    Each epoch draws anew; ``n_iter`` has no meaning here. The labels that a batch may hold stay as they are.

    Args:
        section: the ``DataAugmentation`` section.
        arguments: of ``AutoCompression``: ``model_dir`` with tokenizer files, ``train_dataloader``.

    Raises:
        UserError: a hook is unknown or wrongly set, the loader is missing or can't be read, or ``model_dir`` has no
            tokenizer files.
    """
    hooks = load_config({"bert_to_bilstm": None, "DataAugmentation": section}).augmentation.hooks
    check_hooks(hooks)
    loader = arguments.get("train_dataloader")
    if loader is None:
        raise UserError("DataAugmentation: there is no train_dataloader whose batches could be augmented; give one")
    tokenizer = load_tokenizer(arguments["model_dir"])
    feed_names = tuple(get_feed_vars(arguments["model_dir"], arguments.get("model_filename"),
                                     arguments.get("params_filename")))
    corpus = Corpus.create(read_loader(loader, tokenizer, feed_names)[0], tokenizer)
    position = {_as_row(one): row for row, one in enumerate(corpus.originals.to_lists())}
    rng, epochs = np.random.default_rng(_SEED), count()

    def batches() -> Iterator[dict[str, np.ndarray]]:
        changed = apply_hooks(hooks, corpus.sentences, corpus, rng)
        if corpus.pairs:
            changed = change_in_turn(corpus.sentences, changed, next(epochs))
        for batch in loader_batches(loader, feed_names):
            rows = [position.get(row) for row in content_tokens(batch, feed_names, tokenizer)]
            if None in rows:  # a sentence that the loader did not yield in its first epoch
                yield batch
                continue
            yield {**batch, **dict(zip(feed_names, tokenizer.feeds(changed, np.array(rows))))}

    return batches


def _as_row(ids: list[int] | tuple[list[int], list[int]]) -> Row:
    return (tuple(ids), ()) if isinstance(ids, list) else (tuple(ids[0]), tuple(ids[1]))
