"""The default evaluation of a program on a labelled dev set: a metric by name."""

from __future__ import annotations

import numpy as np
import paddle

from ..old_programs import old_programs
from ..task import Task, task_of_outputs
from ..tokens import Reader, Sentences

_BATCH_SIZE = 64


def metric_on(dev: Sentences, labels: np.ndarray, reader: Reader, metric: str = "accuracy",
              task: Task | None = None):
    """Return an ``eval_callback`` in PaddleSlim's shape that measures ``metric`` on ``dev``.

    Args:
        dev: content tokens, cut to the length that is served.
        labels: the task's, such as class ids, int64 ``[n]``.
        reader: makes the program's feeds.
        metric: a name of the task's.
        task: what the number of outputs tells, if it isn't given.

    Returns:
        ``callback(executor, program, feed_names, fetch_targets) -> metric``, higher is better.
    """
    order = np.argsort(dev.lengths, kind="stable")
    index = [order[start:start + _BATCH_SIZE] for start in range(0, len(order), _BATCH_SIZE)]
    batches = [reader.batch(dev, rows) for rows in index]
    truth = labels[order]

    def evaluate(executor, program, feed_names: list[str], fetch_targets: list) -> float:
        logits = np.concatenate([
            executor.run(program, feed=dict(zip(feed_names, batch)), fetch_list=fetch_targets)[0]
            for batch in batches])
        return (task or task_of_outputs(logits.shape[1])).score_logits(metric, truth, logits)

    return evaluate


@old_programs()
def metric_of(prefix, evaluate) -> float:
    """Run an ``eval_callback`` on the inference model at ``prefix`` (path without ``.pdmodel``)."""
    executor = paddle.static.Executor(paddle.framework._current_expected_place())
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feed_names, fetch_targets = paddle.static.load_inference_model(str(prefix), executor)
        return float(evaluate(executor, program, feed_names, fetch_targets))
