"""Labels as they are written, and the teacher's classes that they mean."""

from __future__ import annotations

import logging
import numbers
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence

import numpy as np

from .errors import UserError, short

if TYPE_CHECKING:
    from .text.rows import Rows

_log = logging.getLogger(__name__)

_MADE_UP = re.compile(r"LABEL_(\d{1,9})")
_INTEGER = re.compile(r"[-+]?\d{1,18}")
_WHOLE = re.compile(r"([-+]?\d{1,18})\.0+")  # as pandas writes whole numbers beside missing ones
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def check_two_labels(rows: Rows) -> None:
    """Refuse rows that all have the same label.

    Raises:
        UserError: naming the source and the label.
    """
    if len(set(rows.labels)) < 2:
        label = rows.labels[0]
        shown = f"the label {listed([label])}" if isinstance(label, str) else f"the labels {listed(label) or 'none'}"
        raise UserError(f"{rows.source}: every row has {shown}; add rows {rows.task.other_rows}")


@dataclass(frozen=True)
class LabelScheme:
    """The classes by name, and the id of each label as written.

    >>> label_scheme({"bad", "good"}, 2, ["Bad", "Good"], "train.tsv")
    LabelScheme(names=['Bad', 'Good'], ids={'bad': 0, 'good': 1})
    """

    names: list[str]
    ids: dict[str, int]

    def ids_of(self, labels: Sequence[str]) -> np.ndarray:
        """Return the class ids [n] int64 of labels."""
        return np.fromiter((self.ids[label] for label in labels), np.int64, len(labels))


@dataclass(frozen=True)
class NumberScheme:
    """The labels of a regression: numbers, for the one output called "score"."""

    names: tuple[str, ...] = ("score",)

    def ids_of(self, labels: Sequence[str]) -> np.ndarray:
        """Return the numbers [n] float32 of labels."""
        return np.array(list(map(float, labels)), np.float32)


@dataclass(frozen=True)
class SeveralLabels:
    """The labels by name, of which a text has any number."""

    classes: LabelScheme

    @property
    def names(self) -> Sequence[str]:
        return self.classes.names

    def ids_of(self, labels: Sequence[tuple[str, ...]]) -> np.ndarray:
        """Return float32 ``[n, labels]``, 1 for each label that a text has: ``("b",) -> [0, 1, 0]``."""
        found = np.zeros((len(labels), len(self.names)), np.float32)
        for row, names in enumerate(labels):
            found[row, self.classes.ids_of(names)] = 1
        return found


def label_scheme(labels: Iterable[str], num_classes: int | None, teacher_names: Sequence[str] | None,
                 source: str, places: Mapping[str, str] | None = None, model: str = "teacher") -> LabelScheme:
    """Return which label as written is which of the teacher's classes.

    In this order: labels that are all names of the teacher's classes (capitals count only where they tell two classes
    apart); 1.0 for 1, where all are whole numbers; whole numbers from 0 to ``num_classes`` - 1; where the teacher has
    no names, such numbers behind LABEL_, or as many different labels as it has classes, in sorted order, with a
    warning. Names such as LABEL_0, which Hugging Face makes up, count as none of the teacher's.

    Args:
        labels: the labels as written.
        num_classes: outputs of the teacher; None where there is no teacher yet and the labels decide.
        teacher_names: names of its classes by id, or None.
        source: the file the labels are from, for messages.
        places: the place of each label's first row, for messages, where it is known.
        model: what these classes are of, for messages: "teacher" or "student".

    Raises:
        UserError: the classes don't match the teacher's; the message names them.
    """
    found = sorted(set(labels), key=in_order)
    names = None if teacher_names is None or _made_up(teacher_names) else [str(name) for name in teacher_names]
    has_teacher = num_classes is not None
    if not has_teacher:
        num_classes = len(names or found)
    if names is not None and len(names) != num_classes:
        raise UserError(f"the {model} names {len(names)} classes ({listed(names)}) but has {num_classes} outputs; "
                        "mend id2label in its config.json")
    if names is not None:
        ids = {label: _class_named(label, names) for label in found}
        if None not in ids.values():
            if any(_INTEGER.fullmatch(label) and int(label) != i for label, i in ids.items()) and \
                    all(_is_id(label, num_classes) for label in found):
                _log.warning("%s: the labels %s are read as names of classes (%s), not as their ids", source,
                             listed(found), listed(names))
            return LabelScheme(names, ids)
    whole = {label: one[1] if (one := _WHOLE.fullmatch(label)) else label for label in found}
    if any(whole[label] != label for label in found) and all(map(_INTEGER.fullmatch, whole.values())):
        scheme = label_scheme(whole.values(), num_classes if has_teacher else None, teacher_names, source, places and {
            whole[label]: place for label, place in places.items()}, model)
        return LabelScheme(scheme.names, {label: scheme.ids[whole[label]] for label in found})
    if all(_is_id(label, num_classes) for label in found):
        return LabelScheme(names or [str(i) for i in range(num_classes)], {label: int(label) for label in found})
    made_up = [_MADE_UP.fullmatch(label) for label in found]
    if names is None and all(one and int(one[1]) < num_classes for one in made_up):
        return LabelScheme([f"LABEL_{i}" for i in range(num_classes)],
                           {label: int(one[1]) for label, one in zip(found, made_up)})
    if names is not None:
        unknown = [label for label in found if ids[label] is None]
        if len(unknown) == len(found):  # ids are meant, and those that there are aren't what is wrong
            unknown = [label for label in found if not _is_id(whole[label], num_classes)]
        where = next(place for label, place in places.items() if label in unknown) if places else source
        raise UserError(f"{where}: the labels {listed(unknown)} are none of the {model}'s classes "
                        f"({listed(names)}); use these names, or 0 to {num_classes - 1}")
    if len(found) != num_classes:
        raise UserError(f"{source}: has {len(found)} classes ({listed(found)}) where the {model} has {num_classes} "
                        f"without names; write its class ids, 0 to {num_classes - 1}, as labels")
    scheme = LabelScheme(found, {label: i for i, label in enumerate(found)})
    if has_teacher:
        _log.warning("the %s doesn't name its classes; labels are taken in sorted order: %s", model,
                     ", ".join(f"{label} = class {i}" for label, i in scheme.ids.items()))
    return scheme


def check_all_classes(train: Rows, scheme: LabelScheme) -> None:
    """Refuse training rows in which a class of the teacher's never occurs: it is another task's teacher.

    Raises:
        UserError: naming the classes.
    """
    occurring = {scheme.ids[label] for label in train.labels}
    missing = [name for i, name in enumerate(scheme.names) if i not in occurring]
    if missing:
        raise UserError(f"{train.source}: {listed(missing)} of the teacher's {len(scheme.names)} classes "
                        "never occurs here; name the teacher that was fine-tuned on these labels, or add such rows")


def check_dev_labels(train: Rows, dev: Rows) -> None:
    """Refuse labels in ``dev`` that ``train`` lacks.

    Raises:
        UserError: naming the labels and the first row that has one.
    """
    known = set(train.labels)
    strange = sorted(set(dev.labels) - known, key=in_order)
    if strange:
        row = next(i for i, label in enumerate(dev.labels) if label not in known)
        raise UserError(f"{dev.at(dev.places[row])}: {listed(strange)} is not among the labels of {train.source} "
                        f"({listed(sorted(known, key=in_order))})")


def label_as_text(label: Any, where: str, must_be: str) -> str:
    """Return one label as text, stripped; "" for None.

    Raises:
        UserError: it is neither text, a whole number, a boolean nor None.
    """
    if label is None or isinstance(label, str):
        return (label or "").strip()
    if isinstance(label, (bool, np.bool_)):
        return str(label).lower()
    whole = isinstance(label, numbers.Integral)  # however large
    if whole or isinstance(label, numbers.Real) and label == label and float(label).is_integer():
        return str(int(label))
    raise UserError(f"{where}: the label is {short(repr(label))}; {must_be}")


def _made_up(names: Sequence[str]) -> bool:
    return all(name == f"LABEL_{i}" for i, name in enumerate(names))


def _is_id(label: str, num_classes: int) -> bool:
    return _INTEGER.fullmatch(label) is not None and 0 <= int(label) < num_classes


def _class_named(label: str, names: Sequence[str]) -> int | None:
    if label in names:
        return names.index(label)
    same = [i for i, name in enumerate(names) if name.lower() == label.lower()]
    return same[0] if len(same) == 1 else None


def in_order(label: str) -> tuple[bool, int, str]:
    """Numbers by value before names by letter."""
    is_integer = _INTEGER.fullmatch(label) is not None
    return (not is_integer, int(label) if is_integer else 0, label)


def listed(labels: Sequence[str]) -> str:
    shown = [label if len(label) <= 40 else label[:37] + "..." for label in labels[:8]]
    return ", ".join(shown) + (f", ... ({len(labels)} in all)" if len(labels) > len(shown) else "")
