"""Training of the student on cached teacher logits, or on labels alone, as a Paddle static program."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import paddle

from .. import ranks
from ..cpu import give_back_freed_memory, keep_freed_memory, use_all_cores
from ..errors import UserError
from ..export.file_names import NEW_PROGRAM, program_file
from ..old_programs import old_programs
from ..progress import progress_bar
from ..scopes import own_scope
from ..task import Task, task_of_outputs
from ..teacher.new_program import NewProgram
from ..tokens import Reader, Sentences
from ..tokens.sentences import plan_batches, widths
from .checkpoint import Progress, checkpoint_of_first, load_checkpoint, save_checkpoint
from .network import BASE, TOKEN_MAP
from .program import (
    Evaluate,
    MakeOptimizer,
    SharedTrainingProgram,
    StaticLoss,
    TrainingPlan,
    TrainingProgram,
    TrainingSet,
)
from .recurrent import operators_at_once
from .spec import StudentSpec
from .vocabulary import token_counts
from .weights import Weights

_log = logging.getLogger(__name__)

_RANK_SEED = 1_000_003  # sets the ranks' random streams apart


@dataclass(frozen=True)
class TrainedStudent:
    """The best student of a run: its weights, its metric on the dev set, its step, and the run's history: ``[step,
    metric, mean loss since the evaluation before]`` of each evaluation. ``chosen_by`` says what chose it, if not the
    metric."""

    weights: Weights
    metric: float | None
    evaluations: list
    step: int
    chosen_by: str | None = None


@old_programs()
def train_student(spec: StudentSpec, first: Weights, data: TrainingSet, plan: TrainingPlan, loss: StaticLoss | None,
                  make_optimizer: MakeOptimizer, evaluate: Evaluate | None, checkpoint: Path | None = None,
                  stage: str = "train student", logging_iter: int | None = None,
                  show: Callable[[Progress], None] = lambda progress: None,
                  choose: Evaluate | None = None, base: np.ndarray | None = None) -> TrainedStudent:
    """Train a student and return its best state by ``choose``, or else ``evaluate`` (the last one without either).

    Args:
        first: the weights to start from.
        base: what the embedding is projected from in training, see `network.ProjectedEmbedding`; it starts as ``first``
            has it, the base's first columns.
        loss: the distillation loss; None to train on the labels alone.
        checkpoint: where the run's state is kept after each evaluation; an interrupted run goes on from it, and a
            finished one isn't repeated.
        stage: what the progress bar says.
        logging_iter: steps between two log lines; None for none.
        show: is told of the progress whenever there is some to show.

    Raises:
        UserError: the loss or a weight is no longer a finite number; the message names the step, the rows of the
            batch and the last good checkpoint.
    """
    first = ranks.arrays_of_first(first)
    base = None if base is None else ranks.arrays_of_first({BASE: base})[BASE]
    progress, state, best = checkpoint_of_first(checkpoint) or (Progress(), {}, dict(first))
    show(progress)
    if not progress.finished:
        use_all_cores(operators_at_once(spec, plan.dropout))
        keep_freed_memory()
        with own_scope():
            program = TrainingProgram if ranks.count() == 1 else SharedTrainingProgram
            occurs = token_counts(data.sentences, len(first[TOKEN_MAP])) > 0
            occurs[0] = True  # it fills batches up, see `padded_rows`
            occurring = first[TOKEN_MAP][occurs]
            hint_units = 0 if data.hints is None else data.hints.shape[1]
            run = program(spec, first, plan, loss, make_optimizer, base, int(occurring.max()) + 1, hint_units)
            if progress.step:
                run.restore(state, progress.step)
                _log.info("%s: goes on from step %d of %d", stage, progress.step, plan.total_steps)
            best = _train(run, data, plan, evaluate, choose, progress, best, checkpoint, stage, logging_iter, show)
        if checkpoint and ranks.is_first():
            save_checkpoint(checkpoint, progress, {}, best)
    best[TOKEN_MAP] = first[TOKEN_MAP]
    return TrainedStudent(best, progress.best_metric, progress.evaluations, progress.best_step)


def _train(run: TrainingProgram, data: TrainingSet, plan: TrainingPlan, evaluate: Evaluate | None,
           choose: Evaluate | None, progress: Progress, best: Weights, checkpoint: Path | None, stage: str,
           logging_iter: int | None, show: Callable[[Progress], None]) -> Weights:
    """Go on from ``progress`` to the end, bring it up to date, and return the best weights."""
    learned = data.learned
    epoch_steps = -(-len(learned) // plan.batch_size)
    lengths = widths(data.sentences)[learned]
    batches, losses = [], []
    with progress_bar(stage, plan.total_steps * plan.batch_size, "sentences") as bar:
        bar.update(progress.step * plan.batch_size)
        bar.initial += progress.step * plan.batch_size  # done before: the rate is of the sentences trained on now
        paddle.seed(_seed_at(plan, progress))
        while not progress.finished:
            epoch, position = divmod(progress.step, epoch_steps)
            if position == 0 or not batches:
                batches = plan_batches(lengths, plan.batch_size, np.random.default_rng([plan.seed, epoch]))
            batch = learned[batches[position]]
            losses.append(run.step(data, batch, progress.step))
            if not np.isfinite(losses[-1]):
                raise _diverged(f"the training loss is {losses[-1]}", data, batch, progress, checkpoint)
            if progress.count_step(losses[-1], plan.total_steps):
                show(progress)
            bar.update(plan.batch_size)
            if logging_iter is not None and progress.step % logging_iter == 0:
                _log.info("%s: step %d of %d, loss %.4f", stage, progress.step, plan.total_steps, losses[-1])
            if progress.step % plan.eval_iter and progress.step < plan.total_steps:
                continue
            state = run.state()
            if not all(np.isfinite(value).all() for value in state.values()):
                raise _diverged("a weight is no longer a finite number", data, batch, progress, checkpoint)
            metric = ranks.of_first(lambda: run.evaluate(evaluate))
            score = ranks.of_first(lambda: run.evaluate(choose)) if choose else metric
            progress.evaluations.append([progress.step, metric, float(np.mean(losses))])
            show(progress)
            reached = plan.target_metric is not None and metric is not None and metric > plan.target_metric
            if reached or score is None or _is_better(score, progress.best_score):
                progress.best_metric, progress.best_score, best = metric, score, run.weights()
                progress.best_step = progress.step
            best_yet = {} if metric is None else {"best": progress.best_metric}
            bar.set_postfix(loss=f"{np.mean(losses):.3g}", **best_yet, refresh=False)
            losses = []
            give_back_freed_memory()  # the heap grows with every shape of a batch, however little of it is in use
            if reached:
                _log.info("%s: the metric %.4f has passed target_metric %.4f", stage, metric, plan.target_metric)
            progress.finished = reached or progress.step >= plan.total_steps
            if checkpoint and not progress.finished and ranks.is_first():
                save_checkpoint(checkpoint, progress, state, best)
            paddle.seed(_seed_at(plan, progress))  # so that a resumed run drops the same units
    return best


def _is_better(score: float, best: float | None) -> bool:
    """Return whether a score is the best one yet; one that is no number is worse than any."""
    return best is None or math.isnan(best) or score > best


def _seed_at(plan: TrainingPlan, progress: Progress) -> int:
    """Return the seed of the dropout between layers, which Paddle draws: another in each rank."""
    return plan.seed + progress.step + ranks.rank() * _RANK_SEED


def _diverged(what: str, data: TrainingSet, batch: np.ndarray, progress: Progress,
              checkpoint: Path | None) -> UserError:
    saved = load_checkpoint(checkpoint) if checkpoint else None
    kept = f"; the last good state, of step {saved[0].step}, is kept in {checkpoint}" if saved else ""
    source = f" (batch from {data.where(batch)})" if data.where else ""
    remedy = ("lower TrainConfig.learning_rate, or add a grad_clip to TrainConfig.optimizer_builder" if progress.step
              else "that is before anything was learned, so look at bert_to_bilstm.loss")
    return UserError(f"{what} at step {progress.step}{source}: {remedy}{kept}")


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


def closeness_to(logits: np.ndarray, sentences: Sentences, reader: Reader) -> Evaluate:
    """Return an ``eval_callback``: minus the mean squared error to the teacher's ``logits``, float32 ``[n, classes]``.

    Args:
        sentences: content tokens, ``n`` of them, cut to the length that is served.
        reader: makes the program's feeds.
    """
    order = np.argsort(sentences.lengths, kind="stable")
    batches = [order[start:start + _BATCH_SIZE] for start in range(0, len(order), _BATCH_SIZE)]

    def evaluate(executor, program, feed_names: list[str], fetch_targets: list) -> float:
        total = sum(float(np.square(executor.run(program, feed=dict(zip(feed_names, reader.batch(sentences, rows))),
                                                 fetch_list=fetch_targets)[0] - logits[rows]).sum())
                    for rows in batches)
        return -total / logits.size

    return evaluate


@old_programs()
def metric_of(prefix, evaluate) -> float:
    """Run an ``eval_callback`` on the inference model at ``prefix`` (path without ``.pdmodel``)."""
    if program_file(prefix).suffix == NEW_PROGRAM:
        with NewProgram(prefix) as program:
            return program.metric_by(evaluate)
    executor = paddle.static.Executor(paddle.framework._current_expected_place())
    with own_scope():
        program, feed_names, fetch_targets = paddle.static.load_inference_model(str(prefix), executor)
        return float(evaluate(executor, program, feed_names, fetch_targets))
