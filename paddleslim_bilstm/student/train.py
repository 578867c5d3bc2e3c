"""Training of the student on cached teacher logits, or on labels alone, as a Paddle static program."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle

from ..cpu import keep_freed_memory, use_all_cores
from ..errors import UserError
from ..old_programs import old_programs
from ..progress import progress_bar
from ..task import Task, task_of_outputs
from ..text.rows import Where
from ..tokens import Reader, Sentences
from ..tokens.sentences import padded_rows, plan_batches, widths
from .checkpoint import Progress, load_checkpoint, save_checkpoint
from .network import TOKEN_MAP, StudentNetwork, kept_units, logits_of_feeds, read_weights, student_feeds, write_weights
from .recurrent import DIRECTIONS
from .spec import StudentSpec
from .weights import Weights

_log = logging.getLogger(__name__)

# evaluate(executor, program, feed_names, fetch_targets) -> metric, higher is better: PaddleSlim's eval_callback
Evaluate = Callable[[Any, Any, list, list], float]
# loss(student_logits, teacher_logits) -> scalar variable
StaticLoss = Callable[[Any, Any], Any]
# make_optimizer(total_steps) -> (optimizer, its learning-rate schedule or None)
MakeOptimizer = Callable[[int], tuple]


@dataclass(frozen=True)
class TrainingSet:
    """What the student learns from.

    Attributes:
        sentences: content tokens, in the teacher's ids.
        logits: the teacher's, float32 ``[n, classes]``; None when the student learns from labels alone.
        labels: the task's, such as class ids, int64 ``[n]``, its marker where a sentence has none; None when alpha
            is 0.
        where: tells where sentences were read, by their indices; for messages.
        key: changes with the sentences, logits and labels.
    """

    sentences: Sentences
    logits: np.ndarray | None
    labels: np.ndarray | None
    where: Where | None = None
    key: str = ""


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how the student is trained.

    Attributes:
        total_steps: batches in all.
        batch_size: sentences of a batch.
        alpha: weight of the task's hard-label loss; the distillation loss has ``1 - alpha`` (the tutorial's alpha).
        dropout: share of embedding units dropped in training.
        eval_iter: steps between two evaluations (PaddleSlim's ``TrainConfig.eval_iter``).
        target_metric: training stops once the metric exceeds it; None to go on to the end.
        seed: of the batches' order and of dropout.
    """

    total_steps: int
    batch_size: int
    alpha: float
    dropout: float
    eval_iter: int
    target_metric: float | None
    seed: int


@dataclass(frozen=True)
class TrainedStudent:
    """The best student of a run: its weights, its metric on the dev set, and every ``(step, metric)`` on the way."""

    weights: Weights
    metric: float | None
    evaluations: list


@old_programs()
def train_student(spec: StudentSpec, first: Weights, data: TrainingSet, plan: TrainingPlan, loss: StaticLoss | None,
                  make_optimizer: MakeOptimizer, evaluate: Evaluate | None, checkpoint: Path | None = None,
                  stage: str = "train student", logging_iter: int | None = None) -> TrainedStudent:
    """Train a student and return its best state by ``evaluate`` (the last one without it).

    Args:
        first: the weights to start from.
        loss: the distillation loss; None to train on the labels alone.
        checkpoint: where the run's state is kept after each evaluation; an interrupted run goes on from it, and a
            finished one isn't repeated.
        stage: what the progress bar says.
        logging_iter: steps between two log lines; None for none.

    Raises:
        UserError: the loss or a weight is no longer a finite number; the message names the step, the rows of the
            batch and the last good checkpoint.
    """
    progress, state, best = (load_checkpoint(checkpoint) if checkpoint else None) or (Progress(), {}, dict(first))
    if not progress.finished:
        use_all_cores(at_once=len(DIRECTIONS) if spec.num_layers == 1 else 1)
        keep_freed_memory()
        with paddle.static.scope_guard(paddle.static.Scope()):
            run = _Run(spec, first, plan, loss, make_optimizer)
            if progress.step:
                run.restore(state, progress.step)
                _log.info("%s: goes on from step %d of %d", stage, progress.step, plan.total_steps)
            best = _train(run, data, plan, evaluate, progress, best, checkpoint, stage, logging_iter)
        if checkpoint:
            save_checkpoint(checkpoint, progress, {}, best)
    best[TOKEN_MAP] = first[TOKEN_MAP]
    return TrainedStudent(best, progress.best_metric, progress.evaluations)


def _train(run: _Run, data: TrainingSet, plan: TrainingPlan, evaluate: Evaluate | None, progress: Progress,
           best: Weights, checkpoint: Path | None, stage: str, logging_iter: int | None) -> Weights:
    """Go on from ``progress`` to the end, bring it up to date, and return the best weights."""
    epoch_steps = -(-len(data.sentences) // plan.batch_size)
    lengths = widths(data.sentences)
    batches, losses = [], []
    with progress_bar(stage, plan.total_steps * plan.batch_size, "sentences") as bar:
        bar.update(progress.step * plan.batch_size)
        bar.initial += progress.step * plan.batch_size  # done before: the rate is of the sentences trained on now
        paddle.seed(plan.seed + progress.step)
        while not progress.finished:
            epoch, position = divmod(progress.step, epoch_steps)
            if position == 0 or not batches:
                batches = plan_batches(lengths, plan.batch_size, np.random.default_rng([plan.seed, epoch]))
            losses.append(run.step(data, batches[position], progress.step))
            if not np.isfinite(losses[-1]):
                raise _diverged(f"the training loss is {losses[-1]}", data, batches[position], progress, checkpoint)
            progress.step += 1
            bar.update(plan.batch_size)
            if logging_iter is not None and progress.step % logging_iter == 0:
                _log.info("%s: step %d of %d, loss %.4f", stage, progress.step, plan.total_steps, losses[-1])
            if progress.step % plan.eval_iter and progress.step < plan.total_steps:
                continue
            state = run.state()
            if not all(np.isfinite(value).all() for value in state.values()):
                raise _diverged("a weight is no longer a finite number", data, batches[position], progress, checkpoint)
            metric = run.evaluate(evaluate)
            progress.evaluations.append([progress.step, metric])
            if metric is None or progress.best_metric is None or metric > progress.best_metric:
                progress.best_metric, progress.best_step, best = metric, progress.step, run.weights()
            bar.set_postfix(loss=f"{np.mean(losses):.4f}", metric=metric, best=progress.best_metric, refresh=False)
            losses = []
            reached = plan.target_metric is not None and metric is not None and metric > plan.target_metric
            if reached:
                _log.info("%s: the metric %.4f has passed target_metric %.4f", stage, metric, plan.target_metric)
            progress.finished = reached or progress.step >= plan.total_steps
            if checkpoint and not progress.finished:
                save_checkpoint(checkpoint, progress, state, best)
            paddle.seed(plan.seed + progress.step)  # so that a resumed run drops the same units
    return best


def _diverged(what: str, data: TrainingSet, batch: np.ndarray, progress: Progress,
              checkpoint: Path | None) -> UserError:
    saved = load_checkpoint(checkpoint) if checkpoint else None
    kept = f"; the last good state, of step {saved[0].step}, is kept in {checkpoint}" if saved else ""
    source = f" (batch from {data.where(batch)})" if data.where else ""
    return UserError(f"{what} at step {progress.step}{source}: lower TrainConfig.learning_rate, or add a grad_clip to "
                     f"TrainConfig.optimizer_builder{kept}")


class _Run:
    """The training program and the drop-in program, both in the current scope, with shared weights."""

    def __init__(self, spec: StudentSpec, first: Weights, plan: TrainingPlan, loss: StaticLoss | None,
                 make_optimizer: MakeOptimizer):
        self._token_map = first[TOKEN_MAP]
        self._scope = paddle.static.global_scope()
        self._place = paddle.framework._current_expected_place()
        self._executor = paddle.static.Executor(self._place)
        self._build_training(spec, len(first["embedding"]), plan, loss, make_optimizer)
        self._build_drop_in(spec, len(first["embedding"]))
        self._write({self._names[name]: value for name, value in first.items() if name in self._names})
        self._write({TOKEN_MAP: self._token_map})

    def _build_training(self, spec, rows_count, plan, loss, make_optimizer):
        self._program, startup = paddle.static.Program(), paddle.static.Program()
        self._program.random_seed = startup.random_seed = plan.seed
        with paddle.static.program_guard(self._program, startup), paddle.utils.unique_name.guard():
            rows = paddle.static.data("rows", [-1, -1], "int64")
            lengths = paddle.static.data("lengths", [-1], "int32")
            network = StudentNetwork(spec, rows_count, plan.dropout, training=True)
            self._network, self._dropout, self._seed = network, plan.dropout, plan.seed
            kept = paddle.static.data("kept", network.embedded_shape(-1, -1), "uint8") if plan.dropout else None
            logits = network(rows, lengths, kept)
            self._loss = self._total_loss(spec, logits, loss, plan.alpha)
            self._uses_labels = loss is None or plan.alpha > 0
            self._uses_logits = loss is not None and plan.alpha < 1
            self._names = network.weight_names()
            optimizer, self._schedule = make_optimizer(plan.total_steps)
            optimizer.minimize(self._loss)
            self._executor.run(startup)

    @staticmethod
    def _total_loss(spec, logits, loss, alpha):
        hard = soft = 0.0
        if loss is None or alpha > 0:
            task = spec.task
            labels = paddle.static.data("labels", [-1, *task.label_shape(spec.num_classes)], task.dtype)
            hard = task.hard_loss(logits, labels)
        if loss is None:
            return hard
        if alpha < 1:
            teacher_logits = paddle.static.data("teacher_logits", [-1, spec.num_classes], "float32")
            soft = loss(logits, teacher_logits)
        return alpha * hard + (1 - alpha) * soft

    def _build_drop_in(self, spec, rows_count):
        self._drop_in = paddle.static.Program()
        with paddle.static.program_guard(self._drop_in, paddle.static.Program()), paddle.utils.unique_name.guard():
            feeds = student_feeds(spec)
            self._feed_names = [feed.name for feed in feeds]
            network = StudentNetwork(spec, rows_count)
            self._fetches = [logits_of_feeds(network, spec, len(self._token_map), feeds)]

    def step(self, data: TrainingSet, batch: np.ndarray, number: int) -> float:
        """Take one optimizer step on the sentences at ``batch`` and return the loss."""
        tokens, lengths = padded_rows(data.sentences, batch)
        rows = self._token_map[tokens].astype(np.int64)
        feed = {"rows": rows, "lengths": lengths.astype(np.int32)}
        if self._dropout:
            rng = np.random.default_rng([self._seed, number])
            feed["kept"] = kept_units(self._network.embedded_shape(*rows.shape), self._dropout, rng)
        if self._uses_logits:
            feed["teacher_logits"] = data.logits[batch]
        if self._uses_labels:
            feed["labels"] = data.labels[batch]
        loss = float(self._executor.run(self._program, feed=feed, fetch_list=[self._loss])[0])
        if self._schedule is not None:
            self._schedule.step()
        return loss

    def evaluate(self, evaluate: Evaluate | None) -> float | None:
        """Return the metric of the student as it stands."""
        if evaluate is None:
            return None
        return float(evaluate(self._executor, self._drop_in, self._feed_names, self._fetches))

    def weights(self) -> Weights:
        return read_weights(self._scope, self._names)

    def state(self) -> dict[str, np.ndarray]:
        """Copy everything that training changes: weights and the optimizer's moments."""
        return read_weights(self._scope, {name: name for name in self._persistables()})

    def restore(self, state: dict[str, np.ndarray], step: int) -> None:
        """Put a copied state back and advance the schedule to ``step``."""
        self._write(state)
        for _ in range(step if self._schedule is not None else 0):
            self._schedule.step()

    def _persistables(self) -> list[str]:
        return [variable.name for variable in self._program.list_vars()
                if variable.persistable and variable.name not in ("feed", "fetch")
                and self._scope.find_var(variable.name) is not None
                and self._scope.find_var(variable.name).get_tensor()._is_initialized()]

    def _write(self, values: dict[str, np.ndarray]) -> None:
        write_weights(self._scope, {name: name for name in values}, values, self._place)


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
