"""The default evaluation of a program on a labelled dev set: accuracy."""

from __future__ import annotations

import numpy as np
import paddle

from ..tokens import Sentences, Tokenizer

_BATCH_SIZE = 64


def accuracy_on(dev: Sentences, labels: np.ndarray, tokenizer: Tokenizer):
    """Return an ``eval_callback`` in PaddleSlim's shape that measures accuracy on ``dev``.

    Args:
        dev: content tokens, cut to the length that is served.
        labels: class ids, int64 ``[n]``.

    Returns:
        ``callback(executor, program, feed_names, fetch_targets) -> accuracy`` (0 to 1). The program takes
        ``input_ids`` and, where it has a second feed, ``token_type_ids``.
    """
    order = np.argsort(dev.lengths, kind="stable")
    index = [order[start:start + _BATCH_SIZE] for start in range(0, len(order), _BATCH_SIZE)]
    batches = [(dev.padded(rows, tokenizer.pad_id, [tokenizer.cls_id], [tokenizer.sep_id]), labels[rows])
               for rows in index]

    def evaluate(executor, program, feed_names: list[str], fetch_targets: list) -> float:
        correct = 0
        for input_ids, truth in batches:
            values = (input_ids, np.zeros_like(input_ids))
            logits = executor.run(program, feed=dict(zip(feed_names, values)), fetch_list=fetch_targets)[0]
            correct += int((logits.argmax(-1) == truth).sum())
        return correct / len(labels)

    return evaluate


def metric_of(prefix, evaluate) -> float:
    """Run an ``eval_callback`` on the inference model at ``prefix`` (path without ``.pdmodel``)."""
    executor = paddle.static.Executor(paddle.framework._current_expected_place())
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feed_names, fetch_targets = paddle.static.load_inference_model(str(prefix), executor)
        return float(evaluate(executor, program, feed_names, fetch_targets))
