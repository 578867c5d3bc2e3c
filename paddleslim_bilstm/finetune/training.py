"""Training a classifier: AdamW with linear warm-up and decay, batches of nearly equal lengths, best epoch kept."""

from __future__ import annotations

import inspect
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from .. import ranks
from ..config import FinetuneConfig
from ..cpu import use_all_cores
from ..errors import UserError
from ..progress import progress_bar
from ..student.checkpoint import Progress, checkpoint_of_first, save_checkpoint
from ..task import Task
from ..teacher import batches_by_length
from ..tokens import Sentences, Tokenizer
from ..tokens.sentences import plan_batches
from .pretrained import output_layer

_log = logging.getLogger(__name__)

_MAX_GRADIENT_NORM = 1.0
_CHECKPOINT_S = 60.0  # of training between two checkpoints, and 20 times what writing one takes, if that is more
_WRITING_SHARE = 1 / 20


@dataclass(frozen=True)
class Labelled:
    """Tokenized sentences (without special tokens) and their labels, as the task has them."""

    sentences: Sentences
    labels: np.ndarray


def train_classifier(network: paddle.nn.Layer, tokenizer: Tokenizer, train: Labelled, dev: Labelled,
                     settings: FinetuneConfig, task: Task, metric: str, seed: int, checkpoint: Path) -> list[float]:
    """Train ``network`` in place and leave it with the weights of its best epoch by ``metric`` on ``dev``.

    Must run in dynamic mode, in a fresh ``paddle.utils.unique_name.guard()`` that ``network`` was made in.

    Args:
        settings: of its values ``learning_rate`` is the peak: it rises linearly from 0 over the share ``warmup`` of
            all steps and falls linearly to 0. ``weight_decay`` is AdamW's, on all weights but biases and layer
            normalisation.
        task: has the loss and the metric.
        metric: a name of the task's.
        seed: of the batches' order and of dropout, which follow from it and the step: a run that goes on from
            ``checkpoint`` ends, on the same machine, as one that was never interrupted.
        checkpoint: the file where the state is kept on the way; a run that was killed goes on from it.

    Returns:
        The metric after each epoch.

    Raises:
        UserError: the loss is no longer a finite number.
    """
    use_all_cores()
    epoch_steps = -(-len(train.sentences) // settings.batch_size)
    steps = settings.epochs * epoch_steps
    run = _Run(network, tokenizer, settings, task, steps)
    progress, state, best = checkpoint_of_first(checkpoint) or (Progress(), {}, {})
    if progress.step:
        run.restore(state, progress.step)
        _log.info("fine-tuning goes on from step %d of %d", progress.step, steps)
    batches, saved = [], _Clock()
    with progress_bar("fine-tune teacher", steps * settings.batch_size, "sentences") as bar:
        bar.update(progress.step * settings.batch_size)
        bar.initial = progress.step * settings.batch_size  # done before; the rate is that of this run
        while progress.step < steps:
            epoch, position = divmod(progress.step, epoch_steps)
            if position == 0 or not batches:
                batches = plan_batches(train.sentences.lengths, settings.batch_size,
                                       np.random.default_rng([seed, epoch]))
            random = [seed, progress.step, *([ranks.rank()] if ranks.rank() else [])]
            paddle.seed(int(np.random.SeedSequence(random).generate_state(1)[0]))  # dropout's
            run.step(train, batches[position], progress.step)
            progress.step += 1
            bar.update(settings.batch_size)
            if position == epoch_steps - 1:
                answers = predict(network, tokenizer, dev.sentences, task) if ranks.is_first() else None
                score = ranks.of_first(lambda: task.score(metric, dev.labels, answers, run.num_classes))  # noqa: B023
                progress.evaluations.append([progress.step, score])
                best = _keep_best(progress, run, best)
                bar.set_postfix(**{metric: f"{progress.evaluations[-1][1]:.4f}"}, best=f"{progress.best_metric:.4f}")
                if progress.step == steps and ranks.is_first() and task.all_the_same(answers):
                    _log.warning("the fine-tuned teacher answers the same to every dev sentence; try other values of "
                                 "Finetune.learning_rate and Finetune.epochs")
            if ranks.is_first() and (position == epoch_steps - 1 or saved.due()):
                with saved:
                    save_checkpoint(checkpoint, progress, run.state(), best)
    network.set_state_dict(best)
    network.eval()
    return [value for _, value in progress.evaluations]


def predict(network: paddle.nn.Layer, tokenizer: Tokenizer, sentences: Sentences, task: Task) -> np.ndarray:
    """Return the answer to each sentence, as the task has it; must run in dynamic mode."""
    network.eval()
    logits: dict[int, np.ndarray] = {}
    with paddle.no_grad():
        for batch in batches_by_length(sentences.lengths + tokenizer.framing.special_tokens(sentences.pairs)):
            logits.update(zip(batch.tolist(), _logits(network, tokenizer, sentences, batch).numpy()))
    return task.answers_of(np.stack([logits[row] for row in range(len(sentences))]))


def warmup_and_decay(step: int, steps: int, warmup: float) -> float:
    """Return the factor of the learning rate: ``steps=10, warmup=0.2 -> 0, 0.5, 1, 0.875, ..., 0.125, 0``."""
    rising = round(warmup * steps)
    if step < rising:
        return step / rising
    return max(0.0, (steps - step) / max(1, steps - rising))


class _Run:
    """The network and its optimizer: one step, and their state as arrays."""

    def __init__(self, network: paddle.nn.Layer, tokenizer: Tokenizer, settings: FinetuneConfig, task: Task,
                 steps: int):
        self._network, self._tokenizer, self._settings, self._steps = network, tokenizer, settings, steps
        self._task, self.num_classes = task, output_layer(network).weight.shape[1]
        self._schedule = paddle.optimizer.lr.LambdaDecay(
            settings.learning_rate, lambda step: warmup_and_decay(step, steps, settings.warmup))
        decayed = {parameter.name for name, parameter in network.named_parameters()
                   if not name.endswith("bias") and "norm" not in name}
        self._optimizer = paddle.optimizer.AdamW(
            self._schedule, parameters=network.parameters(), weight_decay=settings.weight_decay,
            apply_decay_param_fun=lambda name: name in decayed,
            grad_clip=paddle.nn.ClipGradByGlobalNorm(_MAX_GRADIENT_NORM))

    def step(self, train: Labelled, batch: np.ndarray, number: int) -> None:
        """Take one optimizer step on the sentences at ``batch``, of which each rank works through its part."""
        own = np.array_split(batch, ranks.count())[ranks.rank()]
        share, own = len(own) / len(batch), own if len(own) else batch[:1]
        self._network.train()
        logits, labels = _logits(self._network, self._tokenizer, train.sentences, own), train.labels[own]
        loss = self._task.finetune_loss(logits, paddle.to_tensor(labels))
        if ranks.count() > 1:
            loss = loss * share
        loss.backward()
        loss = loss.detach()
        gradients = (parameter.grad for parameter in self._network.parameters())
        ranks.sum_tensors([loss, *(gradient for gradient in gradients if gradient is not None)])
        self._optimizer.step()
        self._optimizer.clear_grad()
        self._schedule.step()
        if not np.isfinite(float(loss)):
            raise UserError(f"Finetune.learning_rate: {self._settings.learning_rate:g} is too high, the loss is "
                            f"{float(loss)} at step {number + 1} of {self._steps}; lower it")

    def weights(self) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self._network.state_dict().items()}

    def state(self) -> dict[str, np.ndarray]:
        """Copy everything that training changes but the schedule, which follows from the step."""
        moments = {name: value.numpy() for name, value in self._optimizer.state_dict().items()
                   if name != "LR_Scheduler"}
        return {**{f"network.{name}": value for name, value in self.weights().items()},
                **{f"optimizer.{name}": value for name, value in moments.items()}}

    def restore(self, state: dict[str, np.ndarray], step: int) -> None:
        """Put a copied state back and advance the schedule to ``step``."""
        parts: dict[str, dict[str, np.ndarray]] = {"network": {}, "optimizer": {}}
        for name, value in state.items():
            part, _, name = name.partition(".")
            parts[part][name] = value
        self._network.set_state_dict(parts["network"])
        self._schedule.step(step)
        self._optimizer.set_state_dict({name: paddle.to_tensor(value) for name, value in parts["optimizer"].items()}
                                       | {"LR_Scheduler": self._schedule.state_dict()})


class _Clock:
    """Tells when the next checkpoint is due; a context manager around the writing of one."""

    def __init__(self):
        self._last, self._wait = time.monotonic(), _CHECKPOINT_S

    def due(self) -> bool:
        return time.monotonic() - self._last >= self._wait

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *failure: object) -> None:
        self._last = time.monotonic()
        self._wait = max(_CHECKPOINT_S, (self._last - self._started) / _WRITING_SHARE)


def _keep_best(progress: Progress, run: _Run, best: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights to keep: those now, if the last evaluation is the best (the later of equal ones)."""
    step, value = progress.evaluations[-1]
    if progress.best_metric is not None and value < progress.best_metric:
        return best
    progress.best_metric, progress.best_step = value, step
    return run.weights()


def _logits(network: paddle.nn.Layer, tokenizer: Tokenizer, sentences: Sentences, batch: np.ndarray) -> paddle.Tensor:
    ids, types = tokenizer.framing.batch(sentences, batch)
    feeds = {"input_ids": ids, "token_type_ids": types, "attention_mask": (ids != tokenizer.pad_id).astype(np.int64)}
    takes = inspect.signature(network.forward).parameters
    return network(**{name: paddle.to_tensor(array) for name, array in feeds.items() if name in takes})
