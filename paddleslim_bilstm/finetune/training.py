"""Training a classifier: AdamW with linear warm-up and decay, batches of nearly equal lengths, best epoch kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import paddle

from ..errors import UserError
from ..progress import progress_bar
from ..student.batches import plan_batches
from ..teacher import batches_by_length
from ..tokens import Sentences, Tokenizer

_log = logging.getLogger(__name__)

_MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Labelled:
    """Tokenized sentences (without special tokens) and their classes, int64 ``[n]``."""

    sentences: Sentences
    labels: np.ndarray


def train_classifier(network: paddle.nn.Layer, tokenizer: Tokenizer, train: Labelled, dev: Labelled, *, epochs: int,
                     learning_rate: float, batch_size: int, warmup: float, weight_decay: float,
                     rng: np.random.Generator) -> list[float]:
    """Train ``network`` in place and leave it with the weights of its best epoch by dev accuracy.

    Must run in dynamic mode.

    Args:
        learning_rate: the peak; it rises linearly from 0 over the share ``warmup`` of all steps and falls
            linearly to 0.
        weight_decay: AdamW's, on all weights but biases and layer normalisation.

    Returns:
        The dev accuracy after each epoch.

    Raises:
        UserError: the loss is no longer a finite number.
    """
    steps = epochs * -(-len(train.sentences) // batch_size)
    schedule = paddle.optimizer.lr.LambdaDecay(learning_rate, lambda step: warmup_and_decay(step, steps, warmup))
    decayed = {parameter.name for name, parameter in network.named_parameters()
               if not name.endswith("bias") and "norm" not in name}
    optimizer = paddle.optimizer.AdamW(schedule, parameters=network.parameters(), weight_decay=weight_decay,
                                       apply_decay_param_fun=lambda name: name in decayed,
                                       grad_clip=paddle.nn.ClipGradByGlobalNorm(_MAX_GRADIENT_NORM))
    accuracies: list[float] = []
    best: dict[str, np.ndarray] = {}
    with progress_bar("Fine-tuning the teacher", epochs * len(train.sentences), "sentences") as bar:
        for _ in range(epochs):
            network.train()
            for batch in plan_batches(train.sentences.lengths, batch_size, rng):
                logits = _logits(network, tokenizer, train.sentences, batch)
                loss = paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(train.labels[batch]))
                loss.backward()
                optimizer.step()
                optimizer.clear_grad()
                schedule.step()
                if not np.isfinite(float(loss)):
                    raise UserError(f"Finetune.learning_rate: {learning_rate:g} is too high, the loss is {float(loss)} "
                                    f"at step {schedule.last_epoch} of {steps}; lower it")
                bar.update(len(batch))
            predicted = predict_classes(network, tokenizer, dev.sentences)
            accuracies.append(float((predicted == dev.labels).mean()))
            bar.set_postfix_str(f"dev accuracy {accuracies[-1]:.2%}")
            if accuracies[-1] >= max(accuracies):
                best = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    network.set_state_dict(best)
    network.eval()
    if len(np.unique(predicted)) == 1 < len(np.unique(dev.labels)):
        _log.warning("the fine-tuned teacher answers the same class for every dev sentence; try other values of "
                     "Finetune.learning_rate and Finetune.epochs")
    return accuracies


def predict_classes(network: paddle.nn.Layer, tokenizer: Tokenizer, sentences: Sentences) -> np.ndarray:
    """Return the class of each sentence, int64 ``[n]``; must run in dynamic mode."""
    network.eval()
    classes = np.empty(len(sentences), np.int64)
    with paddle.no_grad():
        for batch in batches_by_length(sentences.lengths + 2):
            classes[batch] = _logits(network, tokenizer, sentences, batch).numpy().argmax(axis=1)
    return classes


def warmup_and_decay(step: int, steps: int, warmup: float) -> float:
    """Return the factor of the learning rate: ``steps=10, warmup=0.2 -> 0, 0.5, 1, 0.875, ..., 0.125, 0``."""
    rising = round(warmup * steps)
    if step < rising:
        return step / rising
    return max(0.0, (steps - step) / max(1, steps - rising))


def _logits(network: paddle.nn.Layer, tokenizer: Tokenizer, sentences: Sentences, batch: np.ndarray) -> paddle.Tensor:
    ids = sentences.padded(batch, tokenizer.pad_id, [tokenizer.cls_id], [tokenizer.sep_id])
    mask = (ids != tokenizer.pad_id).astype(np.int64)
    return network(input_ids=paddle.to_tensor(ids), attention_mask=paddle.to_tensor(mask))
