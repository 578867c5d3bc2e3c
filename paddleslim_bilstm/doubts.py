"""What a run's answers on the dev set give away before hours are spent: swapped labels, a model that says one thing.

Each function returns doubts in words, for the log and the report. Labels and answers are class ids, int64 ``[n]``, or
the numbers of a regression, float32 ``[n]`` (``label_names`` then names one output).
"""

from __future__ import annotations

from typing import Sequence

import numpy as np

_FEWEST = 50  # dev sentences; fewer say nothing
_CLEARLY_BETTER = 0.1  # accuracy


def teacher_doubts(labels: np.ndarray | None, answers: np.ndarray, label_names: Sequence[str]) -> list[str]:
    """Hold the teacher's answers against the labels of the dev set."""
    doubts = one_answer("the teacher", answers, label_names)
    if labels is None or len(labels) < _FEWEST or doubts:
        return doubts
    if len(label_names) == 1:
        correlation = float(np.corrcoef(labels, answers)[0, 1])
        if correlation <= 0:
            return [f"the teacher's numbers and the dev set's labels don't go together (Pearson correlation "
                    f"{correlation:.3f}): are the labels reversed, or is it another task's teacher?"]
        return []
    accuracy = float((labels == answers).mean())
    fitting = fitting_classes(labels, answers, len(label_names))
    fitting_accuracy = 0.0 if fitting is None else float((fitting[labels] == answers).mean())
    if fitting_accuracy > accuracy + _CLEARLY_BETTER:
        pairs = ", ".join(f"{label_names[label]} as {label_names[answer]}" for label, answer in enumerate(fitting)
                          if label != answer)
        return [f"THE LABELS SEEM TO BE SWAPPED: the teacher's accuracy on the dev set is {accuracy:.1%}, and "
                f"{fitting_accuracy:.1%} if one reads {pairs}; rename the labels in the data, or mend id2label in the "
                "teacher's config.json"]
    chance = float(np.bincount(labels).max() / len(labels))
    if accuracy < chance:
        return [f"the teacher's accuracy on the dev set is {accuracy:.1%}, less than always answering the commonest "
                f"class ({chance:.1%}), and no other order of the labels fits: is it another task's teacher?"]
    return []


def fitting_classes(labels: np.ndarray, answers: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Return the class that the teacher mostly answers to each label, int64 ``[classes]``.

    None where that is the same class for two labels, so that swapping labels explains nothing.
    """
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, answers), 1)
    fitting = counts.argmax(axis=1)
    return fitting if len(set(fitting.tolist())) == num_classes else None


def one_answer(name: str, answers: np.ndarray, label_names: Sequence[str]) -> list[str]:
    """Doubt a model that answers the same to every dev sentence."""
    if len(answers) < _FEWEST or len(np.unique(answers)) > 1:
        return []
    answer = f"{answers[0]:.4g}" if len(label_names) == 1 else label_names[answers[0]]
    return [f"{name.upper()} ANSWERS THE SAME TO ALL {len(answers)} DEV SENTENCES: {answer}; it is useless as it is. "
            "Check the labels and the teacher; then train longer (TrainConfig.epochs), with another learning rate"]
