"""Teacher and student on the same texts: where they differ, how sure they were, what classes and lengths do to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Sequence

import numpy as np

from ..task import Task
from ..text.rows import Text

_LENGTHS = 6  # groups of texts of like length
_BINS = 10  # of probabilities
_SAME_NUMBERS = 1e-6  # of a regression


@dataclass(frozen=True)
class Said:
    """What a model says of texts: logits, float32 ``[n, outputs]``, and the task by whose thresholds it answers."""

    logits: np.ndarray
    task: Task

    @cached_property
    def answers(self) -> np.ndarray:
        """As the task has them."""
        return self.task.answers_of(self.logits)

    @cached_property
    def probabilities(self) -> np.ndarray | None:
        """Of each output, ``[n, outputs]``; None where the task has none."""
        return self.task.probabilities(self.logits)

    @cached_property
    def chosen(self) -> np.ndarray | None:
        """Which outputs the answers choose, bool ``[n, outputs]``; None likewise."""
        return self.task.chosen(self.answers, self.logits.shape[1])


@dataclass(frozen=True)
class Comparison:
    """What a teacher and its student say of the same texts.

    Attributes:
        texts: or pairs of texts, ``n``.
        labels: gold labels, as the task has them; None where none are known.
        lengths: of the texts, in tokens.
        label_names: of the outputs.
        where: the texts' source, for the reader.
    """

    texts: Sequence[Text]
    labels: np.ndarray | None
    teacher: Said
    student: Said
    lengths: np.ndarray
    label_names: Sequence[str]
    where: str

    @property
    def task(self) -> Task:
        return self.student.task

    @cached_property
    def disagreements(self) -> np.ndarray:
        """The texts on which the two differ, by their indices: first those of which the teacher was surest."""
        return _strongest_first(self._against(self.teacher, self.student.answers))

    @cached_property
    def teacher_errors(self) -> np.ndarray:
        """The texts on which the teacher contradicts the gold label, likewise; none where no labels are known."""
        if self.labels is None:
            return np.empty(0, np.int64)
        return _strongest_first(self._against(self.teacher, self.labels))

    @cached_property
    def teacher_is_right(self) -> np.ndarray | None:
        """Bool ``[n]``; None where no labels are known, or where an answer is more or less right."""
        if self.labels is None or self.teacher.chosen is None:
            return None
        return ~np.isin(np.arange(len(self.texts)), self.teacher_errors)

    def case(self, index: int) -> dict[str, Any]:
        """Return one text with all that is known of it, JSON-able.

        ``sure`` is how sure the teacher was (from 0 to 1, of all in which the student differs), or how far apart the
        two numbers are.
        """
        text, found = self.texts[index], {}
        found["text"] = text if isinstance(text, str) else list(text)
        if self.labels is not None:
            found["label"] = self.task.in_words(self.labels[index], self.label_names)
        if self.teacher_is_right is not None:
            found["teacher_is_right"] = bool(self.teacher_is_right[index])
        for name, said in (("teacher", self.teacher), ("student", self.student)):
            answer, = said.task.predictions(said.logits[index:index + 1], self.label_names)
            found[name] = answer.as_json(self.label_names)
        return {**found, "sure": round(float(self._sure[index]), 6)}

    def concerned(self, index: int) -> list[int]:
        """Return the outputs that the teacher, the student or the gold label choose; none where there are no such."""
        masks = [said.chosen for said in (self.teacher, self.student)]
        if masks[0] is None:
            return []
        if self.labels is not None:
            masks.append(self.task.chosen(self.labels, len(self.label_names)))
        return np.flatnonzero(np.any([mask[index] for mask in masks], axis=0)).tolist()

    def confusions(self) -> dict[str, np.ndarray]:
        """Return how often which class is answered to which, ``[classes, classes]`` each, by whose answers they are.

        Rows are gold labels or, last, the teacher's answers. Empty for a task without classes.
        """
        if not self.task.has_classes:
            return {}
        pairs = {} if self.labels is None else {"the teacher's": (self.labels, self.teacher.answers),
                                                "the student's": (self.labels, self.student.answers)}
        pairs["the student's, against the teacher's"] = self.teacher.answers, self.student.answers
        outputs, found = len(self.label_names), {}
        for name, (rows, columns) in pairs.items():
            found[name] = np.zeros((outputs, outputs), np.int64)
            np.add.at(found[name], (rows, columns), 1)
        return found

    def calibration(self) -> dict[str, list[tuple[float, float, int]]]:
        """Return of each model ``(mean probability, share that came true, how many)`` of its probabilities, by tenths.

        Empty without gold labels, or where outputs are no probabilities.
        """
        found: dict[str, list[tuple[float, float, int]]] = {}
        if self.labels is None or self.student.probabilities is None:
            return found
        truth = self.task.chosen(self.labels, len(self.label_names))
        for name, said in (("teacher", self.teacher), ("student", self.student)):
            bins = np.minimum((said.probabilities * _BINS).astype(int), _BINS - 1)
            groups = [bins == number for number in range(_BINS)]
            found[name] = [(float(said.probabilities[group].mean()), float(truth[group].mean()), int(group.sum()))
                           for group in groups if group.any()]
        return found

    def by_length(self, metric: str) -> list[dict[str, Any]]:
        """Return how alike the two are, and how good, of texts of like length: shortest, longest, texts, figures.

        The figures are the likeness and, where labels are known, ``metric`` of both; each None where it can't be told.
        """
        edges = np.unique(np.quantile(self.lengths, np.linspace(0, 1, _LENGTHS + 1)).astype(int))
        groups = np.clip(np.searchsorted(edges, self.lengths, side="right") - 1, 0, max(len(edges) - 2, 0))
        found, outputs = [], len(self.label_names)
        for rows in (np.flatnonzero(groups == number) for number in range(max(len(edges) - 1, 1))):
            if not len(rows):
                continue
            figures = {self.task.likeness.name: self.task.likeness.of(self.teacher.answers[rows],
                                                                      self.student.answers[rows], outputs)}
            if self.labels is not None:
                figures.update({name: self.task.score(metric, self.labels[rows], said.answers[rows], outputs)
                                for name, said in (("teacher", self.teacher), ("student", self.student))})
            found.append({"shortest": int(self.lengths[rows].min()), "longest": int(self.lengths[rows].max()),
                          "texts": len(rows), **figures})
        return found

    @cached_property
    def _sure(self) -> np.ndarray:
        return self._against(self.teacher, self.student.answers)

    def _against(self, said: Said, others: np.ndarray) -> np.ndarray:
        """Return how strongly a model speaks against other answers, ``[n]``: 0 where they say the same.

        Of probabilities: how sure it was, at least, of each output on which they differ. Of numbers their distance.
        """
        chosen, outputs = said.chosen, said.logits.shape[1]
        if chosen is None:
            distance = np.abs(said.answers - others, dtype=np.float64)
            return np.where(distance > _SAME_NUMBERS, distance, 0.0)
        differ = chosen != self.task.chosen(others, outputs)
        sure = np.where(chosen, said.probabilities, 1 - said.probabilities)
        return np.where(differ.any(axis=1), np.where(differ, sure, 1.0).min(axis=1), 0.0)


def _strongest_first(strength: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(strength > 0)
    return rows[np.argsort(-strength[rows], kind="stable")]

