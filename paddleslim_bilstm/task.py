"""What a label is: a class, a number, or any of several names. One class holds all that depends on it, and the package
asks it by name.

`TASKS` is the table of them. The configuration names one (``Global.task``, `task_named`); where only a model is known,
the number of its outputs tells (`task_of_outputs`). To add a task, write its class here and put it into the table.

Needs neither Paddle nor the configuration: the losses, which make part of a program, import Paddle when called.
"""

from __future__ import annotations

import ast
import logging
import math
import numbers
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Collection, Hashable, Protocol, Sequence

import numpy as np

from .errors import UserError, short
from .labels import (
    NUMBER,
    NumberScheme,
    SeveralLabels,
    check_all_classes,
    check_dev_labels,
    in_order,
    label_as_text,
    label_scheme,
    listed,
)
from .metrics import (
    AGREEMENT,
    CLASS_METRICS,
    CORRELATION,
    LABEL_METRICS,
    SAME_LABELS,
    VALUE_METRICS,
    Metric,
    f1_by_label,
    micro_f1,
)
from .thresholds import HALF, best_thresholds, log_odds, sigmoid
from .users_code import code_fingerprint

if TYPE_CHECKING:
    from .text.rows import Rows

_log = logging.getLogger(__name__)

NO_LABEL = -1  # the class of a sentence without a label
DEV_SENTENCES, TRAINING_SENTENCES = "dev sentences", "training sentences"  # on which models are compared
_FEWEST = 50  # dev sentences; fewer say nothing about a model
_CLEARLY_BETTER = 0.1  # accuracy
LEAST_PROBABILITY = 1e-4  # that is told from 0 where probabilities become logits
_REACHED = 4.0  # a spread (standard deviation) of numbers that training reaches by itself
SMOOTHING = 0.1  # of labels that become logits: the share that all classes share, as in Szegedy et al. 2016
SEPARATOR, OTHER_SEPARATORS = ",", ";|\uff0c\u3001\uff1b\uff5c"  # of labels in a text; Chinese ones, too
_NO_COMMA = re.compile(r"['\"]\s+['\"]")  # between two texts, which Python joins: as NumPy prints an array


def wrong_separator(where: str, labels: str, separator: str) -> UserError:
    """Return what to say of several labels in a text with one of `OTHER_SEPARATORS` between them."""
    which = "" if separator.isascii() else ' (",")'  # beside a Chinese one
    return UserError(f"{where}: the labels are {short(labels)}; put a comma{which} between them, or give a list where "
                     f"a name has a {separator}")


class Answer(ABC):
    """What a student says of a text."""

    @abstractmethod
    def as_json(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Return what ``paddleslim-bilstm predict`` prints beside the text; names in the order of the logits."""


@dataclass(frozen=True)
class Prediction(Answer):
    """What the student says of a text.

    Attributes:
        label: the name of the likeliest class.
        probabilities: float32 ``[classes]``, in the order of ``Predictor.label_names``.
    """

    label: str
    probabilities: np.ndarray

    def as_json(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Return ``{"label", "probabilities": {name: probability}}``."""
        return {"label": self.label,
                "probabilities": {name: round(float(p), 6) for name, p in zip(label_names, self.probabilities)}}


@dataclass(frozen=True)
class Score(Answer):
    """What the student of a regression says of a text: a number on the scale of its labels."""

    score: float

    def as_json(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Return ``{"score"}``."""
        return {"score": round(self.score, 6)}


@dataclass(frozen=True)
class FoundLabels(Answer):
    """What the student of a task of several labels says of a text.

    Attributes:
        labels: names of those whose probability is above their threshold, in the order of ``Predictor.label_names``;
            there may be none.
        probabilities: float32 ``[labels]``, in that order; each from 0 to 1, whatever the others are.
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray

    def as_json(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Return ``{"labels", "probabilities": {name: probability}}``."""
        return {"labels": list(self.labels),
                "probabilities": {name: round(float(p), 6) for name, p in zip(label_names, self.probabilities)}}


def _first_places(*parts: Rows) -> dict[str, str]:
    """Return the place of each label's first row, for messages; of rows without places their source."""
    places: dict[str, str] = {}
    for rows in parts:
        for row, found in enumerate(rows.labels):
            for label in [found] if isinstance(found, str) else found:
                if label not in places:
                    places[label] = rows.at(rows.places[row]) if rows.places else rows.source
    return places


class Scheme(Protocol):
    """What each label as written means; ``names`` are those of a model's outputs."""

    names: Sequence[str]

    def ids_of(self, labels: Sequence[Any]) -> np.ndarray:
        """Return labels as arrays, ``[n, ...]``."""


class Task(ABC):
    """What a label is, and all that follows from it.

    Labels are arrays ``[n, *label_shape]`` of ``dtype``, answers ``[n]`` or ``[n, ...]``, logits float32
    ``[n, outputs]``; a model's outputs have names, ``label_names``.

    Attributes:
        name: of ``Global.task``.
        metrics: that may choose the best student; the first is the default.
        likeness: of a model's answers to the teacher's.
        dtype: of labels, ``int64`` or ``float32``.
        missing: the label of a sentence that has none.
        some_names: label names of a model as small as the task has them.
        has_classes: a softmax over the outputs gives probabilities, as some distillation losses need it.
        other_rows: what to add where all rows have the same label.
        answer_field: of a prediction, the one that the model card's example shows; "" shows it whole.
        thresholds: probabilities above which an output is answered, one each or one for all; empty where a task has
            no such thing.
        what_to_label: what a label is, told to people who give them.
        smooths_labels: whether labels lose certainty in `logits_of_labels`.
    """

    name: str
    metrics: tuple[Metric, ...]
    likeness: Metric = AGREEMENT
    dtype: str
    missing: float
    some_names: tuple[str, ...]
    has_classes: bool = False
    other_rows: str = "with other labels"
    answer_field: str = ""
    thresholds: tuple[float, ...] = ()
    what_to_label: str = "what the data has as labels"
    smooths_labels: bool = True

    def with_thresholds(self, thresholds: Sequence[float]) -> Task:
        """Return the task with other thresholds."""
        return self

    def fitted(self, labels: np.ndarray, logits: np.ndarray) -> Task:
        """Return the task with the thresholds that are best for a model's ``logits`` on a labelled dev set."""
        return self

    # models

    @abstractmethod
    def fits(self, outputs: int) -> bool:
        """Return whether a model with so many outputs can do this."""

    def check_teacher(self, outputs: int) -> None:
        """Refuse a teacher whose outputs don't fit.

        Raises:
            UserError: naming the task that fits.
        """
        if not self.fits(outputs):
            raise UserError(f"Global.task: is {self.name}, but the teacher has {outputs} output{'s' * (outputs > 1)}; "
                            f"set it to {task_of_outputs(outputs).name}, or name another teacher")

    # labels as read

    def read_label(self, label: Any, where: str) -> Hashable:
        """Return a label as written in a file or handed over in Python, as `Rows` keep it.

        Here text, stripped: 1, 1.0 and "1" are the same label, True is "true".

        Raises:
            UserError: there is none, or one that can't be; the message names ``where``.
        """
        label = label_as_text(label, where, "it must be text or a whole number (Global.task: regression takes scores, "
                                       "multi_label lists)")
        if not label:
            raise UserError(f"{where}: has no label; add it or remove the row")
        return label

    def of_array(self, values: np.ndarray, rows: int, outputs: int, where: str) -> np.ndarray:
        """Return the labels that an array of a data loader holds for ``rows`` sentences.

        Raises:
            UserError: it holds something else; the message names ``where``.
        """
        if values.size != rows:
            raise UserError(f"{where}: has the shape {list(values.shape)} for {rows} sentences; it must be one label "
                            "each (0 or 1 for each of several labels is Global.task: multi_label)")
        return values.reshape(-1).astype(self.dtype)

    @abstractmethod
    def scheme(self, train: Rows | None, dev: Rows, outputs: int | None, names: Sequence[str] | None) -> Scheme:
        """Return what each label as written means.

        Args:
            train: rows to learn from, or None where they have no labels.
            dev: labelled rows.
            outputs: of the teacher or student; None where there is none yet and the labels decide.
            names: of its outputs, None where it has none.

        Raises:
            UserError: the labels don't go with the outputs.
        """

    # learning

    def label_shape(self, outputs: int) -> tuple[int, ...]:
        """Return the shape of one label."""
        return ()

    def has_label(self, labels: np.ndarray) -> np.ndarray:
        """Return which labels are known, bool ``[n]``."""
        return labels != self.missing

    def with_unlabelled(self, labels: np.ndarray, count: int) -> np.ndarray:
        """Return ``labels``, and behind them ``count`` missing ones."""
        return np.concatenate([labels, np.full((count, *labels.shape[1:]), self.missing, labels.dtype)])

    def one_label(self, labels: np.ndarray) -> np.ndarray:
        """Return what a text is taught whose rows have these labels, all known: the commonest, the first of equals."""
        _, first, counts = np.unique(labels, axis=0, return_index=True, return_counts=True)
        return labels[first[counts == counts.max()].min()]

    @abstractmethod
    def hard_loss(self, logits: Any, labels: Any) -> Any:
        """Return the loss against the labels that are known, a scalar; variables of a static program or tensors."""

    def finetune_loss(self, logits: Any, labels: Any) -> Any:
        """Return the loss of tensors where all labels are known."""
        return self.hard_loss(logits, labels)

    def first_bias(self, labels: np.ndarray, precision: type = np.float64) -> np.ndarray | None:
        """Return the bias of the outputs to start from where labels are learned, float32 ``[outputs]``.

        None stands for zeros. ``precision`` is the dtype of the sum.
        """
        return None

    def first_bias_for(self, logits: np.ndarray) -> np.ndarray | None:
        """Return the bias of the outputs to start from where the teacher's logits are learned; None for zeros."""
        return None

    def first_scale(self, learned: np.ndarray) -> float:
        """Return what the outputs' first weights are multiplied by, where ``learned`` are the labels or logits."""
        return 1.0

    # answers of others, in place of a teacher's

    def logits_of_probabilities(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Return logits of a teacher with such probabilities, ``[n, outputs]``; None where the task has none."""
        return None

    def logits_of_labels(self, labels: np.ndarray, outputs: int) -> np.ndarray | None:
        """Return logits ``[n, outputs]`` of a teacher that gives such labels; None where labels can't be that."""
        return None

    # answers

    @abstractmethod
    def answers_of(self, logits: np.ndarray) -> np.ndarray:
        """Return the answers behind logits."""

    @abstractmethod
    def predictions(self, logits: np.ndarray, label_names: Sequence[str]) -> list[Answer]:
        """Return the answers that a user gets."""

    @abstractmethod
    def in_words(self, answer: Any, label_names: Sequence[str]) -> str:
        """Return one of `answers_of` for a message."""

    def decisions(self, answers: np.ndarray) -> np.ndarray:
        """Return what of ``answers`` counts where two are compared for being the same, ``[n]`` or ``[n, ...]``."""
        return answers

    def probabilities(self, logits: np.ndarray) -> np.ndarray | None:
        """Return how probable each output is, from 0 to 1, same shape; None where outputs are no such thing."""
        return None

    def chosen(self, answers: np.ndarray, outputs: int) -> np.ndarray | None:
        """Return which outputs ``answers`` (or labels) choose, bool ``[n, outputs]``; None as in `probabilities`."""
        return None

    def all_the_same(self, answers: np.ndarray) -> bool:
        """Return whether every answer is the first."""
        decisions = self.decisions(answers)
        return bool((decisions == decisions[:1]).all())

    def kept_by_rounding(self, logits: np.ndarray, rounded: np.ndarray) -> float:
        """Return the share of decisions, 0 to 1, that are the same behind two models' logits."""
        one, other = (self.decisions(self.answers_of(values)) for values in (logits, rounded))
        return float(np.mean(one == other))

    # how good they are

    def score(self, metric: str, labels: np.ndarray, answers: np.ndarray, outputs: int) -> float:
        """Return the metric called ``metric``; higher is better.

        Raises:
            ValueError: the shapes differ, or there are no labels.
        """
        return next(one for one in self.metrics if one.name == metric).of(labels, answers, outputs)

    def score_logits(self, metric: str, labels: np.ndarray, logits: np.ndarray) -> float:
        """Return the metric called ``metric`` of the answers behind logits."""
        return self.score(metric, labels, self.answers_of(logits), logits.shape[1])

    def shown_metrics(self, metric: str, outputs: int) -> tuple[str, ...]:
        """Return the names of the metrics that a report shows where the run is judged by ``metric``."""
        return tuple(one.name for one in self.metrics)

    def label_scores(self, labels: np.ndarray, answers: np.ndarray) -> tuple[float | None, ...]:
        """Return the F1 of each output, where each has one of its own; None for one that occurs in neither."""
        return ()

    # what a report, the model card and the log say

    def what_it_does(self, texts: str, outputs: int, names: str) -> str:
        """Return what a student does with ``texts``; ``names`` are those of its outputs, shortened."""
        return f"labels {texts} ({names})"

    @abstractmethod
    def how_measured(self, sentences: str) -> list[str]:
        """Return the lines of report.md that explain its columns; ``sentences`` says which, "dev sentences"."""

    def quantized_note(self, likeness: float, sentences: str = DEV_SENTENCES) -> str:
        """Return how much the int8 student is like the float one on the ``sentences`` that are compared."""
        return f"Agrees with the float student on {100 * likeness:.1f} % of the {sentences}."

    def kept_labels(self, share: float) -> str:
        """Return how many of the teacher's labels rounding has kept, as the end of a sentence."""
        return f", and {100 * share:.2f} % of the labels agree"

    def teacher_doubts(self, labels: np.ndarray | None, answers: np.ndarray, label_names: Sequence[str],
                       sentences: str = DEV_SENTENCES) -> list[str]:
        """Return doubts, in words, that the teacher's answers and the labels of the dev set give rise to."""
        doubts = self.one_answer("the teacher", answers, label_names, sentences)
        if labels is None or len(labels) < _FEWEST or doubts:
            return doubts
        return self.doubts(labels, answers, label_names)

    def doubts(self, labels: np.ndarray, answers: np.ndarray, label_names: Sequence[str]) -> list[str]:
        """Return doubts about a teacher that answers different things."""
        return []

    def one_answer(self, name: str, answers: np.ndarray, label_names: Sequence[str],
                   sentences: str = DEV_SENTENCES) -> list[str]:
        """Doubt a model that answers the same to all ``sentences``, which is what they are called."""
        if len(answers) < _FEWEST or not self.all_the_same(answers):
            return []
        return [f"{name.upper()} ANSWERS THE SAME TO ALL {len(answers)} {sentences.upper()}: "
                f"{self.in_words(answers[0], label_names)}; it is useless as it is. Check the labels and the teacher; "
                "then train longer (TrainConfig.epochs), with another learning rate"]


class Classification(Task):
    """A label is one of several classes: its id, int64, in the order of the logits."""

    name = "classification"
    metrics = CLASS_METRICS
    dtype = "int64"
    missing = NO_LABEL
    some_names = ("0", "1")
    has_classes = True
    other_rows = "of the other classes"
    answer_field = "label"
    what_to_label = "the name of a class"

    def fits(self, outputs: int) -> bool:
        return outputs > 1

    def scheme(self, train: Rows | None, dev: Rows, outputs: int | None, names: Sequence[str] | None) -> Scheme:
        """Also refuse labels in ``dev`` that ``train`` lacks, and a teacher with a class that never occurs in it."""
        if train is None:
            return label_scheme(dev.labels, outputs, names, dev.source, _first_places(dev), dev.labels_of)
        check_dev_labels(train, dev)
        scheme = label_scheme(train.labels, outputs, names, train.source, _first_places(train))
        if outputs is not None:
            check_all_classes(train, scheme)
        return scheme

    def of_array(self, values: np.ndarray, rows: int, outputs: int, where: str) -> np.ndarray:
        labels = super().of_array(values, rows, outputs, where)
        known = labels[labels != NO_LABEL]
        if (labels != values.reshape(-1)).any() or known.size and not 0 <= known.min() <= known.max() < outputs:
            raise UserError(f"{where}: must be the numbers of classes, 0 to {outputs - 1}, or {NO_LABEL} for a text "
                            "without a label")
        return labels

    def hard_loss(self, logits: Any, labels: Any) -> Any:
        """Mean cross-entropy over the labels that are known; 0 for a batch without any.

        Paddle's own mean does so in dygraph, but divides by all sentences of a batch in a static program.
        """
        import paddle
        losses = paddle.nn.functional.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="none")
        known = paddle.mean(paddle.cast(labels != NO_LABEL, "float32"))
        return paddle.mean(losses) / paddle.where(known > 0, known, paddle.ones_like(known))

    def logits_of_probabilities(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Their logarithms, each row moved to the mean 0: a teacher's logits but for what its softmax ignores."""
        logits = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
        return logits - logits.mean(axis=1, keepdims=True)

    def logits_of_labels(self, labels: np.ndarray, outputs: int) -> np.ndarray | None:
        """Those of a teacher that gives `SMOOTHING` of its probability to all classes alike."""
        probabilities = np.full((len(labels), outputs), SMOOTHING / outputs)
        probabilities[np.arange(len(labels)), labels] += 1 - SMOOTHING
        return self.logits_of_probabilities(probabilities)

    def answers_of(self, logits: np.ndarray) -> np.ndarray:
        """The likeliest classes, int64 ``[n]``."""
        return logits.argmax(axis=1)

    def probabilities(self, logits: np.ndarray) -> np.ndarray | None:
        return softmax(logits)

    def chosen(self, answers: np.ndarray, outputs: int) -> np.ndarray | None:
        return answers[:, None] == np.arange(outputs)

    def predictions(self, logits: np.ndarray, label_names: Sequence[str]) -> list[Answer]:
        return [Prediction(label_names[row.argmax()], row) for row in softmax(logits)]

    def in_words(self, answer: Any, label_names: Sequence[str]) -> str:
        return label_names[answer]

    def shown_metrics(self, metric: str, outputs: int) -> tuple[str, ...]:
        """Accuracy, F1, and ``metric`` where it is another one; ``macro_f1`` of more than two classes is ``f1``."""
        same = {"macro_f1": "f1"} if outputs > 2 else {}
        return tuple(dict.fromkeys(("accuracy", "f1", same.get(metric, metric))))

    def what_it_does(self, texts: str, outputs: int, names: str) -> str:
        return f"sorts {texts} into {outputs} classes ({names})"

    def how_measured(self, sentences: str) -> list[str]:
        return ["- **acc, F1**: on the whole dev set; F1 is that of class 1 for two classes, macro-F1 for more.",
                f"- **agree**: the share of {sentences} on which a model predicts the teacher's class."]

    def doubts(self, labels: np.ndarray, answers: np.ndarray, label_names: Sequence[str]) -> list[str]:
        """Another order of the labels fits the answers better, or they are worse than one answer to all."""
        accuracy = float((labels == answers).mean())
        fitting = fitting_classes(labels, answers, len(label_names))
        fitting_accuracy = 0.0 if fitting is None else float((fitting[labels] == answers).mean())
        if fitting_accuracy > accuracy + _CLEARLY_BETTER:
            pairs = ", ".join(f"{label_names[label]} as {label_names[answer]}" for label, answer in enumerate(fitting)
                              if label != answer)
            return [f"THE LABELS SEEM TO BE SWAPPED: the teacher's accuracy on the dev set is {accuracy:.1%}, and "
                    f"{fitting_accuracy:.1%} if one reads {pairs}; rename the labels in the data, or mend id2label in "
                    "the teacher's config.json"]
        chance = float(np.bincount(labels).max() / len(labels))
        if accuracy < chance:
            return [f"the teacher's accuracy on the dev set is {accuracy:.1%}, less than always answering the "
                    f"commonest class ({chance:.1%}), and no other order of the labels fits: is it another task's "
                    "teacher?"]
        return []


class Regression(Task):
    """A label is a number, float32, NaN where it is missing; the one output, called "score", answers it."""

    name = "regression"
    metrics = VALUE_METRICS
    likeness = CORRELATION
    dtype = "float32"
    missing = np.nan
    some_names = ("score",)
    answer_field = "score"
    what_to_label = "a number"
    smooths_labels = False

    def fits(self, outputs: int) -> bool:
        return outputs == 1

    def read_label(self, label: Any, where: str) -> Hashable:
        """A finite number, as text: 0.5 is "0.5"; written as ``3``, ``-0.5`` or ``1e-3``."""
        if isinstance(label, numbers.Real) and not isinstance(label, numbers.Integral) and \
                not float(label).is_integer():
            label = repr(float(label))
        label = super().read_label(label, where)
        if not NUMBER.fullmatch(label) or not math.isfinite(float(label)):
            raise UserError(f"{where}: the label is {short(label)}; for a regression (Global.task) it must be a number")
        return label

    def scheme(self, train: Rows | None, dev: Rows, outputs: int | None, names: Sequence[str] | None) -> Scheme:
        return NumberScheme()

    def has_label(self, labels: np.ndarray) -> np.ndarray:
        return ~np.isnan(labels)

    def one_label(self, labels: np.ndarray) -> np.ndarray:
        """The mean of the numbers."""
        return labels.mean(dtype=np.float64).astype(labels.dtype)

    def hard_loss(self, logits: Any, labels: Any) -> Any:
        """Mean squared error over the labels that are known; 0 for a batch without any."""
        import paddle
        answers = paddle.squeeze(logits, axis=1)
        known = paddle.cast(paddle.logical_not(paddle.isnan(labels)), "float32")
        errors = paddle.where(known > 0, answers - labels, paddle.zeros_like(answers))
        return paddle.sum(errors * errors) / paddle.clip(paddle.sum(known), min=1.0)

    def finetune_loss(self, logits: Any, labels: Any) -> Any:
        """Paddle's own mean squared error, which differs from `hard_loss` in the last bits."""
        import paddle
        return paddle.nn.functional.mse_loss(logits, labels.unsqueeze(1))

    def first_bias(self, labels: np.ndarray, precision: type = np.float64) -> np.ndarray | None:
        """The mean of what is learned, which may lie far from 0."""
        return np.array([np.nanmean(labels, dtype=precision)], np.float32)

    def first_bias_for(self, logits: np.ndarray) -> np.ndarray | None:
        return self.first_bias(logits)

    def first_scale(self, learned: np.ndarray) -> float:
        """By how far the numbers lie apart: an optimizer would take thousands of steps to reach large ones."""
        spread = float(np.nanstd(learned, dtype=np.float64))
        return spread if spread > _REACHED else 1.0

    def logits_of_labels(self, labels: np.ndarray, outputs: int) -> np.ndarray | None:
        """The numbers themselves."""
        return labels[:, None]

    def answers_of(self, logits: np.ndarray) -> np.ndarray:
        """The numbers, float32 ``[n]``."""
        return logits[:, 0]

    def predictions(self, logits: np.ndarray, label_names: Sequence[str]) -> list[Answer]:
        return [Score(float(value)) for value in logits[:, 0]]

    def in_words(self, answer: Any, label_names: Sequence[str]) -> str:
        return f"{answer:.4g}"

    def what_it_does(self, texts: str, outputs: int, names: str) -> str:
        return f"scores {texts}"

    def how_measured(self, sentences: str) -> list[str]:
        return ["- **Pearson, Spearman**: correlation of a model's numbers with the labels, on the whole dev set.",
                "- **corr.**: Pearson correlation of a model's numbers with the teacher's."]

    def quantized_note(self, likeness: float, sentences: str = DEV_SENTENCES) -> str:
        return f"Its numbers correlate with the float student's at {likeness:.4f}."

    def kept_by_rounding(self, logits: np.ndarray, rounded: np.ndarray) -> float:
        """All: a number that moves a little is no other answer."""
        return 1.0

    def kept_labels(self, share: float) -> str:
        return ""

    def doubts(self, labels: np.ndarray, answers: np.ndarray, label_names: Sequence[str]) -> list[str]:
        """The numbers don't rise with the labels."""
        correlation = float(np.corrcoef(labels, answers)[0, 1])
        if correlation <= 0:
            return [f"the teacher's numbers and the dev set's labels don't go together (Pearson correlation "
                    f"{correlation:.3f}): are the labels reversed, or is it another task's teacher?"]
        return []


class MultiLabel(Task):
    """A label says of each output whether the text has it, 1 or 0: float32 ``[outputs]``, NaN where it is not known.

    An answer is float32 ``[outputs]``: by how much each logit is above that of the output's threshold. What is above 0
    is a yes; so metrics of decisions and of order (mean average precision) read the same answers.
    """

    name = "multi_label"
    metrics = LABEL_METRICS
    likeness = SAME_LABELS
    dtype = "float32"
    missing = np.nan
    what_to_label = 'the names of its labels as a list, ["NAME", "OTHER"], or []'
    some_names = ("a", "b")
    answer_field = "labels"

    def __init__(self, thresholds: Sequence[float] = (HALF,)):
        self.thresholds = tuple(thresholds)

    def with_thresholds(self, thresholds: Sequence[float]) -> Task:
        return type(self)(thresholds)

    def fitted(self, labels: np.ndarray, logits: np.ndarray) -> Task:
        """See `thresholds.best_thresholds`."""
        return self.with_thresholds(best_thresholds(labels, logits))

    def fits(self, outputs: int) -> bool:
        return outputs > 0

    def read_label(self, label: Any, where: str) -> Hashable:
        """The labels, sorted, as a tuple: of a list, or of a text the parts between commas; () of an empty one.

        A list that was written as text, as pandas writes it into a table, is read as the list: ``"['joy', 'fear']"``.
        """
        if label is None:
            raise UserError(f"{where}: has no labels; where it has none of them write [] (in a table, an empty cell), "
                            "else remove the row")
        if isinstance(label, str) and label.strip()[:1] == "[" and label.strip()[-1:] == "]":
            label = _list_in_text(label.strip(), where)
        if isinstance(label, str):
            parts = label.split(SEPARATOR) if label.strip() else []
            other = next((one for one in OTHER_SEPARATORS if one in label), None)
            if other:
                raise wrong_separator(where, label, other)
        else:
            parts = list(label) if isinstance(label, (list, tuple, set, frozenset)) else [label]
        names = [label_as_text(part, where, "it must be a list of names or ids, or text with commas between them")
                 for part in parts]
        if not all(names):
            raise UserError(f"{where}: one of the labels {short(repr(label))} is empty; remove it")
        if len(set(names)) < len(names):
            raise UserError(f"{where}: the labels {short(repr(label))} hold one twice; give the names or ids of those "
                            "that the text has, not a 0 or 1 for each")
        return tuple(sorted(names, key=in_order))

    def of_array(self, values: np.ndarray, rows: int, outputs: int, where: str) -> np.ndarray:
        """The array itself, ``[rows, outputs]`` of 0 and 1; a row of NaN has no labels."""
        if values.shape != (rows, outputs):
            raise UserError(f"{where}: has the shape {list(values.shape)}; for several labels a text it must be "
                            f"{[rows, outputs]}, 0 or 1 for each of the teacher's {outputs}")
        values = values.astype(self.dtype)
        unknown = np.isnan(values)
        if not np.isin(values[~unknown], (0, 1)).all() or (unknown.any(axis=1) != unknown.all(axis=1)).any():
            raise UserError(f"{where}: holds other values than 0 and 1 (or a whole row of NaN for a text without "
                            "labels)")
        return values

    def scheme(self, train: Rows | None, dev: Rows, outputs: int | None, names: Sequence[str] | None) -> Scheme:
        """Labels of train alone where no teacher has outputs for those of dev; warns of outputs that never occur."""
        parts = [rows for rows in (train, dev) if rows is not None]
        places = _first_places(*(parts if outputs is not None else parts[:1]))
        source = " and ".join(dict.fromkeys(rows.source for rows in parts))
        found = label_scheme(places, outputs, names, source if outputs is not None else parts[0].source, places,
                             dev.labels_of)
        for labels, place in zip(dev.labels, dev.places):
            strange = [label for label in labels if label not in found.ids]
            if strange:
                raise UserError(f"{dev.at(place)}: {listed(strange)} is not among the labels of {parts[0].source} "
                                f"({listed(found.names)})")
        occurring = {found.ids[label] for rows in parts[:1] for labels in rows.labels for label in labels}
        absent = [name for i, name in enumerate(found.names) if i not in occurring]
        if train is not None and absent:
            _log.warning("%s: no text has %s of the teacher's %d labels", train.source, listed(absent),
                         len(found.names))
        return SeveralLabels(found)

    def label_shape(self, outputs: int) -> tuple[int, ...]:
        return (outputs,)

    def has_label(self, labels: np.ndarray) -> np.ndarray:
        return ~np.isnan(labels).any(axis=1)

    def one_label(self, labels: np.ndarray) -> np.ndarray:
        """Of each output the share of the rows that have it, 0 to 1."""
        return labels.mean(axis=0, dtype=np.float64).astype(labels.dtype)

    def hard_loss(self, logits: Any, labels: Any) -> Any:
        """Binary cross-entropy, the mean over the outputs of all sentences with labels; 0 for a batch without any."""
        import paddle
        known = paddle.cast(paddle.logical_not(paddle.isnan(labels)), "float32")
        wanted = paddle.where(known > 0, labels, paddle.zeros_like(labels))
        errors = paddle.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return paddle.sum(errors * known) / paddle.clip(paddle.sum(known), min=1.0)

    def first_bias(self, labels: np.ndarray, precision: type = np.float64) -> np.ndarray | None:
        """The log-odds of each label's share of the texts, one more with and one without it counted."""
        known = labels[self.has_label(labels)]
        return log_odds((known.sum(axis=0, dtype=precision) + 1) / (len(known) + 2)).astype(np.float32)

    def first_bias_for(self, logits: np.ndarray) -> np.ndarray | None:
        """Their means: most texts lack most labels, so they lie far below 0."""
        return logits.mean(axis=0, dtype=np.float64).astype(np.float32)

    def logits_of_probabilities(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Their log-odds, of each output by itself."""
        return log_odds(np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))

    def logits_of_labels(self, labels: np.ndarray, outputs: int) -> np.ndarray | None:
        """Those of a teacher that is `SMOOTHING` unsure of each yes and no."""
        return log_odds(np.where(labels > 0, 1 - SMOOTHING, SMOOTHING))

    def answers_of(self, logits: np.ndarray) -> np.ndarray:
        """The logits above those of the thresholds, float32 ``[n, outputs]``."""
        return logits - log_odds(self.thresholds).astype(np.float32)

    def predictions(self, logits: np.ndarray, label_names: Sequence[str]) -> list[Answer]:
        found = self.decisions(self.answers_of(logits))
        return [FoundLabels(tuple(name for name, has in zip(label_names, row) if has), probabilities)
                for row, probabilities in zip(found, sigmoid(logits))]

    def in_words(self, answer: Any, label_names: Sequence[str]) -> str:
        return ", ".join(name for name, value in zip(label_names, answer) if value > 0) or "none of the labels"

    def decisions(self, answers: np.ndarray) -> np.ndarray:
        """Yes or no to each label, bool ``[n, outputs]``."""
        return answers > 0

    def probabilities(self, logits: np.ndarray) -> np.ndarray | None:
        return sigmoid(logits)

    def chosen(self, answers: np.ndarray, outputs: int) -> np.ndarray | None:
        return answers > 0

    def label_scores(self, labels: np.ndarray, answers: np.ndarray) -> tuple[float | None, ...]:
        return tuple(None if score != score else float(score) for score in f1_by_label(labels, answers))

    def what_it_does(self, texts: str, outputs: int, names: str) -> str:
        return f"says which of {outputs} labels {texts} have ({names})"

    def how_measured(self, sentences: str) -> list[str]:
        return ["- **micro-F1, macro-F1**: on the whole dev set, F1 over all decisions (a label of a text each) and "
                "the mean of the labels' own F1 (without labels that no text has and no model answers).",
                "- **exact**: the share of texts with all labels right. **mAP**: mean average precision over the "
                "labels, which looks at the order of the probabilities alone.",
                f"- **agree**: the share of {sentences} to which a model gives just the teacher's labels."]

    def doubts(self, labels: np.ndarray, answers: np.ndarray, label_names: Sequence[str]) -> list[str]:
        """The outputs fit the labels better in another order, or worse than the commonest labels for every text."""
        score = micro_f1(labels, answers)
        fitting = fitting_outputs(labels, answers)
        fitting_score = 0.0 if fitting is None else micro_f1(labels, answers[:, fitting])
        if fitting_score > score + _CLEARLY_BETTER:
            pairs = ", ".join(f"{label_names[label]} as {label_names[output]}" for label, output in enumerate(fitting)
                              if label != output)
            return [f"THE LABELS SEEM TO BE SWAPPED: the teacher's micro-F1 on the dev set is {score:.1%}, and "
                    f"{fitting_score:.1%} if one reads {pairs}; rename the labels in the data, or mend id2label in the "
                    "teacher's config.json"]
        counts = np.sort((labels > 0).sum(axis=0))[::-1]
        most = np.arange(1, len(counts) + 1)
        constant = float((2 * np.cumsum(counts) / (most * len(labels) + counts.sum())).max())
        if score < constant:
            return [f"the teacher's micro-F1 on the dev set is {score:.1%}, less than always answering the commonest "
                    f"labels ({constant:.1%}): is it another task's teacher, or one of a single class a text?"]
        return []


CLASSIFICATION, REGRESSION, MULTI_LABEL = Classification(), Regression(), MultiLabel()
TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, REGRESSION, MULTI_LABEL)}


def _list_in_text(text: str, where: str) -> list[Any]:
    try:
        found = None if _NO_COMMA.search(text) else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise UserError(f"{where}: the labels are {short(text)}; put commas between them and no brackets around, or "
                        "give lists in JSONL")
    return found


def task_named(name: str) -> Task:
    """Return the task that ``Global.task`` names; the configuration has checked that there is one."""
    return TASKS[name]


def task_code(name: str | None) -> tuple[str, ...]:
    """Return what changes with the code of a user's task, see `code_fingerprint`; nothing for ours."""
    kind = type(TASKS[name]) if name else Task
    return () if kind.__module__ == __name__ else (code_fingerprint(f"Global.task: {name}", kind),)


def task_of_outputs(outputs: int) -> Task:
    """Return the task of a model of which only the number of outputs is known: the first of `TASKS` that it fits."""
    return next(task for task in TASKS.values() if task.fits(outputs))


def metrics_by_name() -> dict[str, Metric]:
    """Return the metrics of all tasks."""
    found: dict[str, Metric] = {}
    for task in TASKS.values():
        for metric in task.metrics:
            found.setdefault(metric.name, metric)
    return found


def in_table_order(names: Collection[str]) -> list[Metric]:
    """Return the metrics called so in the order of the first task that has them all."""
    known = next((task.metrics for task in TASKS.values() if set(names) <= {one.name for one in task.metrics}),
                 tuple(metrics_by_name().values()))
    return [one for one in known if one.name in names]


def likenesses() -> dict[str, Metric]:
    """Return how much a model can be like its teacher, of all tasks, by name."""
    return {task.likeness.name: task.likeness for task in TASKS.values()}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of ``logits`` ``[n, classes]``, same shape."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fitting_classes(labels: np.ndarray, answers: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Return the class that the teacher mostly answers to each label, int64 ``[classes]``.

    None where that is the same class for two labels, so that swapping labels explains nothing.
    """
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, answers), 1)
    fitting = counts.argmax(axis=1)
    return fitting if len(set(fitting.tolist())) == num_classes else None


def fitting_outputs(labels: np.ndarray, answers: np.ndarray) -> np.ndarray | None:
    """Return the output that answers each label best, by its F1: int64 ``[labels]``, of ``[n, labels]``.

    None where one output is the best for two labels, so that swapping explains nothing.
    """
    truth, found = (labels > 0).astype(np.float64), (answers > 0).astype(np.float64)
    occurrences = truth.sum(axis=0)[:, None] + found.sum(axis=0)
    fitting = (truth.T @ found / np.maximum(occurrences, 1)).argmax(axis=1)
    return fitting if len(set(fitting.tolist())) == len(fitting) else None
