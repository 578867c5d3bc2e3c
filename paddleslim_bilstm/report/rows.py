"""One row of the report: what a model can do and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Mapping

import numpy as np
import onnxruntime

from ..cpu import physical_cores
from ..predict.batches import batch_logits
from ..predict.runtimes import onnx_logits
from ..student.train import Evaluate
from ..task import CLASSIFICATION, Task
from ..teacher.engine import InferenceModel, logits_of
from ..tokens import Reader, Sentences
from .flops import flops, parameters, size_bytes
from .latency import BATCH_SIZE, Latency, Speed, measure_latency, measure_speed
from .onnx_evaluation import metric_of_onnx

TEACHER = "teacher"
ALONE = "Bi-LSTM alone"
DISTILLED = "distilled"


@dataclass(frozen=True)
class DevSet:
    """The sentences on which models are compared.

    Attributes:
        sentences: cut to the length that is served.
        labels: the task's, such as int64 ``[n]``, or None where no labels are known.
        teacher_predictions: the teacher's answers, such as classes, int64 ``[n]``, or None where there is no teacher.
        num_classes: of the teacher's head.
        reader: feeds the sentences to a model: the teacher's framing, or the student's vocabulary.
        metric: what the run's models are judged by, a name of the task's.
        task: decides which metrics are shown.
    """

    sentences: Sentences
    labels: np.ndarray | None
    teacher_predictions: np.ndarray | None
    num_classes: int
    reader: Reader
    metric: str = "accuracy"
    task: Task = CLASSIFICATION

    @property
    def typical_tokens(self) -> int:
        """The median length of a sentence (or pair) in tokens, special ones included; FLOPs are stated for it."""
        return int(np.median(self.sentences.lengths)) + self.reader.special_tokens(self.sentences.pairs)


@dataclass(frozen=True)
class ModelRow:
    """A model's figures; shares go from 0 to 1, and None stands for "could not be measured".

    Attributes:
        name: "teacher", "Bi-LSTM alone", "distilled", or the name of a step of the chain.
        accuracy, f1: on the labelled dev set (F1 of class 1 for two classes, macro-F1 for more).
        macro_f1, matthews: likewise, where it is the run's metric.
        pearson, spearman: of a regression, which has neither accuracy nor F1.
        metric: what the user's own evaluation returned, where there is one.
        agreement: share of dev sentences on which the model predicts the teacher's class.
        correlation: for a regression, Pearson's with the teacher's numbers.
        scores: the figures of another task that have no name here, by their names.
        parameters: weights, float or int8.
        size_bytes: of the model's files on disk.
        flops: floating-point operations for one sentence of ``flops_tokens`` tokens.
        latency_ms: at batch 1 on ``runtime``.
        sentences_per_s: at batch 32 on ``runtime``.
        file: the model, relative to the output folder, without suffix for Paddle models; None if it isn't kept there.
    """

    name: str
    accuracy: float | None
    f1: float | None
    agreement: float | None
    parameters: int
    size_bytes: int
    flops: int
    flops_tokens: int
    latency_ms: Latency
    sentences_per_s: float
    runtime: str
    file: str | None = None
    metric: float | None = None
    notes: tuple[str, ...] = ()
    macro_f1: float | None = None
    matthews: float | None = None
    pearson: float | None = None
    spearman: float | None = None
    correlation: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    def figure(self, name: str) -> float | None:
        """Return what the model reaches by a metric or likeness, by its name."""
        return self.scores.get(name, getattr(self, name, None))


def measure_onnx(name: str, path: Path, dev: DevSet, like: ModelRow, file: str | None = None,
                 notes: tuple[str, ...] = (), eval_callback: Evaluate | None = None) -> ModelRow:
    """Measure a student's ONNX file in ONNX Runtime on one CPU thread.

    Args:
        like: the row of the Paddle model that it was made from, for its parameters and FLOPs.
        eval_callback: the user's own evaluation.
    """
    metric = None
    if eval_callback is not None:
        try:
            metric = metric_of_onnx(path, eval_callback)
        except Exception as error:  # whatever the user's function asks of the stand-in
            notes = (*notes, f"Your eval_callback can't be run on ONNX Runtime ({type(error).__name__}).")
    run = onnx_logits(path, threads=1)
    logits = batch_logits(run, dev.sentences, dev.reader, BATCH_SIZE)
    speed = measure_speed(run, dev.sentences, dev.reader, f"ONNX Runtime {onnxruntime.__version__}, 1 thread")
    return _row(name, dev.task.answers_of(logits), dev, speed, parameters=like.parameters,
                size_bytes=path.stat().st_size, flops=like.flops, flops_tokens=like.flops_tokens, file=file,
                metric=metric, notes=notes)


def measure_model(name: str, prefix: Path, dev: DevSet, file: str | None = None, metric: float | None = None,
                  predictions: np.ndarray | None = None, notes: tuple[str, ...] = ()) -> ModelRow:
    """Measure a Paddle inference model: quality on all of ``dev``, speed on one CPU thread.

    Args:
        prefix: path of the model without ``.pdmodel``.
        file: what the report shows as its path.
        metric: the result of the user's own evaluation.
        predictions: the model's answers on ``dev.sentences``, as the task has them, where they are known already.
    """
    prefix = Path(prefix)
    if predictions is None:
        model = InferenceModel(prefix, threads=physical_cores())
        predictions = dev.task.answers_of(logits_of(model, dev.sentences, dev.reader))
    speed = measure_latency(prefix, dev.sentences, dev.reader)
    return _row(name, predictions, dev, speed, metric=metric, parameters=parameters(prefix),
                size_bytes=size_bytes(prefix), flops=flops(prefix, dev.typical_tokens, dev.sentences.pairs),
                flops_tokens=dev.typical_tokens, file=file, notes=notes)


def _row(name: str, predictions: np.ndarray, dev: DevSet, speed: Speed, **rest) -> ModelRow:
    """Return the row of a model that gives ``predictions`` on ``dev`` at ``speed``."""
    task, found = dev.task, {}
    if dev.labels is not None:
        found.update({metric: task.score(metric, dev.labels, predictions, dev.num_classes)
                      for metric in task.shown_metrics(dev.metric, dev.num_classes)})
    if dev.teacher_predictions is not None:
        found[task.likeness.name] = task.likeness.of(dev.teacher_predictions, predictions, dev.num_classes)
    own = {one.name for one in fields(ModelRow)}
    scores = {**dict.fromkeys(("accuracy", "f1", "agreement")), **{key: found[key] for key in found if key in own}}
    return ModelRow(
        name=name, latency_ms=speed.latency_ms, sentences_per_s=speed.sentences_per_s, runtime=speed.runtime, **scores,
        scores={key: found[key] for key in found if key not in own}, **rest)
