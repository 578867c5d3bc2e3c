"""The int8 student, with as many layers in float as its accuracy needs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..export.onnx_model import build_onnx
from ..files import whole_file
from ..predict.batches import batch_logits
from ..predict.runtimes import onnx_logits
from ..student.graph import Weights
from ..student.spec import StudentSpec
from ..tokens import Reader, Sentences
from .rounding import int8_layers, round_layers

_BATCH_SIZE = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuantizationResult:
    """What quantization did.

    Attributes:
        path: the int8 ONNX file.
        float_layers: layers that the accuracy guard kept in float; empty is best.
        metric_before, metric_after: of the float and the int8 student on the dev set.
        agreement: likeness of both models' answers: the share of equal classes, 0 to 1, or what the task has.
    """

    path: Path
    float_layers: tuple[str, ...]
    metric_before: float
    metric_after: float
    agreement: float


def quantize_student(path: str | Path, weights: Weights, spec: StudentSpec, sentences: Sentences, labels: np.ndarray,
                     reader: Reader, max_accuracy_drop: float = 0.005,
                     metric: str = "accuracy") -> QuantizationResult:
    """Write the student with int8 weights and dynamically rounded activations to ``path``.

    All of `int8_layers` become int8. If that costs more of the metric than allowed, layers go back to float, those
    that save the fewest bytes first, until it doesn't; then layers that needn't have gone back are int8 again.

    Args:
        weights: the float student, as `student_file.load_student` returns it; zeros stay zero.
        sentences, labels: the dev set, cut to what is served; such as class numbers, int ``[n]``.
        reader: feeds ``sentences`` to the student.
        max_accuracy_drop: how much of the metric may be lost, 0 to 1.
        metric: a name of the task's.
    """
    task = spec.task

    def answers(model: bytes) -> np.ndarray:
        return task.answers_of(batch_logits(onnx_logits(model), sentences, reader, _BATCH_SIZE))

    float_answers = answers(build_onnx(weights, spec).SerializeToString())
    metric_before = task.score(metric, labels, float_answers, spec.num_classes)

    def attempt(float_layers: list[str]) -> _Attempt:
        rounded = [layer for layer in int8_layers(spec) if layer not in float_layers]
        model = build_onnx(round_layers(weights, spec, rounded), spec).SerializeToString()
        found = answers(model)
        return _Attempt(tuple(float_layers), model, task.score(metric, labels, found, spec.num_classes),
                        task.likeness.of(float_answers, found, spec.num_classes))

    def holds(one: _Attempt) -> bool:
        return metric_before - one.metric <= max_accuracy_drop

    arrays = int8_layers(spec)
    by_bytes = sorted(arrays, key=lambda layer: sum(weights[name].size for name in arrays[layer]))
    best = attempt([])
    while not holds(best):
        best = attempt(by_bytes[:len(best.float_layers) + 1])
    for layer in reversed(best.float_layers[:-1]):
        without = attempt([kept for kept in best.float_layers if kept != layer])
        best = without if holds(without) else best
    if best.float_layers:
        _log.warning("QuantBiLSTM: %s stay in float, int8 would cost more than %g %s; raise "
                     "QuantBiLSTM.max_accuracy_drop for a smaller, faster student",
                     ", ".join(best.float_layers), max_accuracy_drop, metric)
    with whole_file(path) as partial:
        partial.write_bytes(best.model)
    return QuantizationResult(Path(path), best.float_layers, metric_before, best.metric, best.agreement)


@dataclass(frozen=True)
class _Attempt:
    float_layers: tuple[str, ...]
    model: bytes
    metric: float
    agreement: float
