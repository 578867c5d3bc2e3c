"""What a model can do and how fast it is, with what it costs (`costs`): a row of the report."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Mapping

import numpy as np
import onnxruntime
import paddle

from ..cpu import cores_to_use
from ..old_programs import old_programs
from ..predict.runtimes import Logits, batch_logits, onnx_logits, paddle_logits
from ..student.train import Evaluate
from ..task import CLASSIFICATION, DEV_SENTENCES, Task, metrics_by_name
from ..teacher import InferenceModel, Teacher, logits_of
from ..tokens import Reader, Sentences
from .costs import flops, onnx_flops, onnx_parameters, onnx_size_bytes, parameters, size_bytes, sum_if_known

SINGLE_SENTENCES = 200
BATCH_SIZE = 32
BATCHES = 8
PASSES = 3
_FEWEST_SENTENCES = 40
_BUDGET_S = 20.0  # of each of the two measurements; a slow model is measured on fewer sentences
TEACHER, ALONE, DISTILLED = "teacher", "Bi-LSTM alone", "distilled"  # rows of the report
_ONNX_RUNTIME = f"ONNX Runtime {onnxruntime.__version__}, 1 thread"
_NUMBERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(bool)": np.bool_}


@dataclass(frozen=True)
class Latency:
    """Milliseconds from token ids to logits for one sentence: its median and 99th percentile over sentences."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Speed:
    """What was measured, and how.

    Attributes:
        latency_ms: at batch 1.
        sentences_per_s: at batch ``BATCH_SIZE``.
        runtime: the engine, its version and threads, such as "Paddle Inference 2.6.2, 1 thread".
    """

    latency_ms: Latency
    sentences_per_s: float
    runtime: str


def measure_latency(prefix: Path, sentences: Sentences, reader: Reader) -> Speed:
    """Measure a Paddle inference model in Paddle Inference on one CPU thread.

    It runs without oneDNN, Paddle's default: for single sentences of ever new lengths that is slower, more than twice
    for a BERT, because it prepares the weights anew for each length.

    Args:
        prefix: path of the model without ``.pdmodel``.
        sentences: real sentences, already cut to the length that is served; a sample is taken.
    """
    return measure_speed(paddle_logits(prefix), sentences, reader,
                         f"Paddle Inference {paddle.__version__}, 1 thread")


def measure_speed(run: Logits, sentences: Sentences, reader: Reader, runtime: str) -> Speed:
    """Measure any engine: ``run`` takes an array a feed and returns the logits.

    Up to ``SINGLE_SENTENCES`` sentences, spread evenly over ``sentences``, are answered one at a time in
    ``PASSES`` passes. A sentence's time is its median over the passes, so that a machine busy with something
    else for a moment does not count; ``p99`` therefore shows the long sentences. For the throughput, batches of
    ``BATCH_SIZE`` sentences of similar length are answered, and the median pass counts.
    """
    if not len(sentences):
        raise ValueError("need at least one sentence to measure a model's speed")
    singles = [np.array([index]) for index in _spread(len(sentences), SINGLE_SENTENCES)]
    feeds = [reader.batch(sentences, index) for index in singles]
    feeds = feeds[:: _stride(run, feeds, _FEWEST_SENTENCES)]
    per_sentence_s = np.median([_times(run, feeds) for _ in range(PASSES)], axis=0)

    sample = _spread(len(sentences), BATCH_SIZE * BATCHES)
    sample = np.resize(sample, max(len(sample), BATCH_SIZE))  # a small set repeats itself up to one batch
    by_length = sample[np.argsort(-sentences.lengths[sample], kind="stable")]  # longest first: needs least memory
    batches = [reader.batch(sentences, by_length[start:start + BATCH_SIZE])
               for start in range(0, len(by_length) - BATCH_SIZE + 1, BATCH_SIZE)]
    batches = batches[:: _stride(run, batches, 2)]
    pass_s = statistics.median(sum(_times(run, batches)) for _ in range(PASSES))
    p50, p99 = np.percentile(per_sentence_s, [50, 99]) * 1000
    return Speed(Latency(float(p50), float(p99)), BATCH_SIZE * len(batches) / pass_s, runtime)


def _times(run: Logits, feeds: list[tuple[np.ndarray, ...]]) -> list[float]:
    """Return the seconds that each of ``feeds`` takes."""
    seconds = []
    for batch in feeds:
        start = time.perf_counter()
        run(*batch)
        seconds.append(time.perf_counter() - start)
    return seconds


def _stride(run: Logits, feeds: list, fewest: int) -> int:
    """Warm up, and return which share of ``feeds`` (every first, second, third, ...) fits into the time budget."""
    warm_up = [feeds[index] for index in _spread(len(feeds), 10 if len(feeds) > 10 else 3)]
    _times(run, warm_up[:2])
    seconds = statistics.mean(_times(run, warm_up)) * len(feeds) * PASSES
    return max(1, min(int(np.ceil(seconds / _BUDGET_S)), len(feeds) // fewest))


def _spread(total: int, count: int) -> np.ndarray:
    """Return up to ``count`` of the positions ``0 ... total - 1``, evenly spread: ``total=6, count=3 -> [0, 2, 4]``."""
    count = min(total, count)
    return np.arange(count) * total // count


@old_programs()
def metric_of_onnx(path: Path, evaluate: Evaluate, output: str = "logits") -> float:
    """Run an ``eval_callback`` on an ONNX file: its executor asks ONNX Runtime, whatever the program.

    Args:
        output: the name of the logits; a student's are called so.
    """
    executor = _OnnxExecutor(path, output)
    return float(evaluate(executor, paddle.static.Program(), executor.feed_names, [output]))


class _OnnxExecutor:
    """Stands in for ``paddle.static.Executor``."""

    def __init__(self, path: Path, output: str):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._output = output
        self._types = {feed.name: _NUMBERS[feed.type] for feed in self._session.get_inputs()}
        self.feed_names = list(self._types)

    def run(self, program: Any = None, feed: Any = None, fetch_list: Any = None, **_: Any) -> list[np.ndarray]:
        """Return ``[logits]`` of a feed, a dict by name (or a list with one) of arrays or Paddle's tensors."""
        values = feed[0] if isinstance(feed, (list, tuple)) else feed
        feed = {name: np.array(values[name], dtype) for name, dtype in self._types.items()}
        return [self._session.run([self._output], feed)[0].astype(np.float32, copy=False)]


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
        member_predictions: the answers of each of several teachers by itself.
        called: what the sentences are; where no dev set was named, some of the training sentences.
    """

    sentences: Sentences
    labels: np.ndarray | None
    teacher_predictions: np.ndarray | None
    num_classes: int
    reader: Reader
    metric: str = "accuracy"
    task: Task = CLASSIFICATION
    member_predictions: tuple[np.ndarray, ...] = ()
    called: str = DEV_SENTENCES

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
        by_label: where a text has several labels, the F1 of each, None for one that occurs in neither.
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
    parameters: int | None
    size_bytes: int | None
    flops: int | None
    flops_tokens: int
    latency_ms: Latency | None
    sentences_per_s: float | None
    runtime: str | None
    file: str | None = None
    metric: float | None = None
    notes: tuple[str, ...] = ()
    macro_f1: float | None = None
    matthews: float | None = None
    pearson: float | None = None
    spearman: float | None = None
    correlation: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    by_label: tuple[float | None, ...] = ()

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
    run = onnx_logits(path)
    logits = batch_logits(run, dev.sentences, dev.reader, BATCH_SIZE)
    speed = measure_speed(run, dev.sentences, dev.reader, _ONNX_RUNTIME)
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
        model = InferenceModel(prefix, threads=cores_to_use())
        predictions = dev.task.answers_of(logits_of(model, dev.sentences, dev.reader))
    speed = measure_latency(prefix, dev.sentences, dev.reader)
    return _row(name, predictions, dev, speed, metric=metric, parameters=parameters(prefix),
                size_bytes=size_bytes(prefix), flops=flops(prefix, dev.typical_tokens, _typical(dev)),
                flops_tokens=dev.typical_tokens, file=file, notes=notes)


def measure_teacher(teacher: Teacher, dev: DevSet, metric: float | None = None) -> ModelRow:
    """Return the teacher's row; what it costs is known of a model in a file alone, and of several such.

    Args:
        dev: with the teacher's answers.
        metric: the result of the user's own evaluation.
    """
    if teacher.members:
        return _measure_several(teacher, dev)
    network, sentences = teacher.asked(dev.sentences)
    dev, file = replace(dev, sentences=sentences, reader=network.framing), network.model_file
    if file is None:
        return _row(TEACHER, dev.teacher_predictions, dev, None, parameters=None, size_bytes=None, flops=None,
                    flops_tokens=dev.typical_tokens, metric=metric)
    if file.suffix != ".onnx":
        return measure_model(TEACHER, file.with_suffix(""), dev, metric=metric, predictions=dev.teacher_predictions)
    speed = measure_speed(network.engine(threads=1).run, sentences, dev.reader, _ONNX_RUNTIME)
    network.release()
    return _row(TEACHER, dev.teacher_predictions, dev, speed, parameters=onnx_parameters(file),
                size_bytes=onnx_size_bytes(file), flops=onnx_flops(file, _typical(dev)),
                flops_tokens=dev.typical_tokens, metric=metric)


def _typical(dev: DevSet) -> tuple[np.ndarray, ...]:
    """Return a sentence of `DevSet.typical_tokens`, or a pair of equally long sides, as a batch."""
    tokens = np.resize(dev.sentences.tokens, dev.typical_tokens - dev.reader.special_tokens(dev.sentences.pairs))
    half = -(-len(tokens) // 2)
    typical = (Sentences.from_sides(Sentences.from_lists([tokens[:half], tokens[half:]])) if dev.sentences.pairs
               else Sentences.from_lists([tokens]))
    return dev.reader.batch(typical, np.array([0]))


def _measure_several(teacher: Teacher, dev: DevSet) -> ModelRow:
    """Return the row of several teachers, each of which answers by itself, one after another."""
    rows = [measure_teacher(member.teacher, replace(dev, teacher_predictions=predictions))
            for member, predictions in zip(teacher.members, dev.member_predictions)]
    speed, costs = None, ("parameters", "size_bytes", "flops")
    if all(row.latency_ms is not None for row in rows):
        latency = Latency(*(sum(getattr(row.latency_ms, part) for row in rows) for part in ("p50", "p99")))
        speed = Speed(latency, 1 / sum(1 / row.sentences_per_s for row in rows),
                      " + ".join(dict.fromkeys(row.runtime for row in rows)))
    names, known = [member.name for member in teacher.members], ""
    if dev.labels is not None:
        metric = metrics_by_name()[dev.metric]
        known = f" (in brackets each one's {metric.title})"
        names = [f"{name} ({metric.shown(dev.task.score(dev.metric, dev.labels, predictions, dev.num_classes))})"
                 for name, predictions in zip(names, dev.member_predictions)]
    return _row(TEACHER, dev.teacher_predictions, dev, speed, flops_tokens=dev.typical_tokens,
                notes=(f"The mean of the logits of several{known}: {', '.join(names)}.",),
                **{cost: sum_if_known([getattr(row, cost) for row in rows]) for cost in costs})


def _row(name: str, predictions: np.ndarray, dev: DevSet, speed: Speed | None, **rest) -> ModelRow:
    """Return the row of a model that gives ``predictions`` on ``dev`` at ``speed``, None where that is unknown."""
    task, found, by_label = dev.task, {}, ()
    if dev.labels is not None:
        by_label = task.label_scores(dev.labels, predictions)
        found.update({metric: task.score(metric, dev.labels, predictions, dev.num_classes)
                      for metric in task.shown_metrics(dev.metric, dev.num_classes)})
    if dev.teacher_predictions is not None:
        found[task.likeness.name] = task.likeness.of(dev.teacher_predictions, predictions, dev.num_classes)
    own = {one.name for one in fields(ModelRow)}
    scores = {**dict.fromkeys(("accuracy", "f1", "agreement")), **{key: found[key] for key in found if key in own}}
    return ModelRow(
        name=name, latency_ms=speed and speed.latency_ms, sentences_per_s=speed and speed.sentences_per_s,
        runtime=speed and speed.runtime, **scores, scores={key: found[key] for key in found if key not in own},
        by_label=by_label, **rest)
