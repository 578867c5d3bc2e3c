"""Hints: what a teacher's network holds of a sentence half-way, which a student learns to tell beside its logits.

A few logits say little of why; the hidden states behind them say more. The hint is the mean of a middle layer's states
over a sentence's tokens, along the directions in which it varies most.

Source: FitNets (Romero et al. 2015, arXiv 1412.6550), where a linear layer maps the student's states to the teacher's.
"""

from __future__ import annotations

import base64
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import paddle

from ..export.file_names import NEW_PROGRAM, program_file
from ..export.inference_file import forget_call_stacks
from ..old_programs import old_programs
from ..scopes import own_scope
from ..storage import checksum
from ..tokens import Framing, Sentences
from ..tokens.framing import IDS, MASK
from .engine import InferenceModel
from .new_program import NewProgram

HINT_UNITS = 64  # at most
_SENTENCES_PER_UNIT = 8  # at least, of the sample that tells the directions
_LEAST_VARIANCE = 1e-4  # of a direction, in parts of the largest
_STEPS = 32  # of a whole number, per standard deviation


@dataclass(frozen=True)
class Basis:
    """How mean hidden states become hints: units of variance 1, none of which tells what another does.

    Attributes:
        axes: float32 ``[hidden, units]``.
        offsets: float32 ``[units]``, what the mean of all sentences becomes, negative.
    """

    axes: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, states: np.ndarray) -> Basis | None:
        """Return the principal components of mean hidden states, float32 ``[n, hidden]``; None where they are too few.
        """
        if not len(states) or not np.isfinite(states).all():
            return None
        mean = states.mean(axis=0, dtype=np.float64)
        variances, directions = np.linalg.eigh(np.cov(states.T, ddof=0).reshape(states.shape[1], -1))
        variances, directions = variances[::-1], directions[:, ::-1]
        units = min(HINT_UNITS, len(states) // _SENTENCES_PER_UNIT,
                    int((variances > max(_LEAST_VARIANCE * variances[0], np.finfo(np.float32).tiny)).sum()))
        if not units:
            return None
        axes = directions[:, :units] / np.sqrt(variances[:units])
        return cls(axes.astype(np.float32), (-mean @ axes).astype(np.float32))

    @property
    def units(self) -> int:
        return self.axes.shape[1]

    @cached_property
    def key(self) -> str:
        """Changes with the hints that it makes."""
        return checksum(self.axes, self.offsets)

    def hints(self, states: np.ndarray) -> np.ndarray:
        """Return the hints of mean hidden states ``[n, hidden]``, float32 ``[n, units]``."""
        return states @ self.axes + self.offsets

    def to_text(self) -> str:
        """Return it as text, for a JSON file."""
        return f"{self.units}:" + base64.b64encode(np.vstack([self.axes, self.offsets]).astype("<f4")).decode()

    @classmethod
    def from_text(cls, text: str | None) -> Basis | None:
        """Return what `to_text` returned, or None for None.

        Raises:
            ValueError: it is something else.
        """
        if text is None:
            return None
        units, content = text.split(":")
        rows = np.frombuffer(base64.b64decode(content, validate=True), "<f4").reshape(-1, int(units))
        return cls(rows[:-1], rows[-1])


def packed(hints: np.ndarray) -> np.ndarray:
    """Round hints to int8, in steps of 1/32 of a standard deviation, four of them at most."""
    return np.clip(np.rint(hints * _STEPS), -127, 127).astype(np.int8)


def unpacked(hints: np.ndarray) -> np.ndarray:
    """Return hints that were `packed`, float32."""
    return hints.astype(np.float32) / _STEPS


@old_programs()
def write_hinting_program(prefix: Path, framing: Framing) -> Path | None:
    """Write the program at ``prefix`` beside it, with the mean hidden states ``[batch, hidden]`` as second output.

    They are those of the layer two thirds of the way to the last one: what the layer normalisation at the end of it
    returns. The program is to be run with the parameters of the first one.

    Returns:
        The program's file; None where there is no such layer, and then nothing is written.
    """
    target = hinting_program(prefix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle's own operators warn of Paddle's plans
        write = _write_new if target.suffix == NEW_PROGRAM else _write_old
        hidden = write(prefix, framing, target)
    if hidden is None:
        return None
    try:
        batch = framing.batch(Sentences.from_lists([[framing.cls_id], []]), np.arange(2))
        shape = InferenceModel(prefix, 1, program=target).run(*batch).shape
    except Exception:  # EnforceNotMet, RuntimeError, ... of states that are no [batch, length, hidden]
        shape = ()
    if len(shape) == 2 and shape[0] == 2 and shape[1] > hidden:
        return target
    target.unlink()
    return None


def hinting_program(prefix: Path) -> Path:
    """Return the file that `write_hinting_program` writes for the model at ``prefix``."""
    return prefix.with_name(f"hints{program_file(prefix).suffix}")


def _write_old(prefix: Path, framing: Framing, target: Path) -> int | None:
    """Write a ``.pdmodel`` and return the units of its states, if there are any."""
    with own_scope(), paddle.utils.unique_name.guard("hints_"):  # the same names each time, and none that is there
        program, names, outputs = paddle.static.load_inference_model(str(prefix),
                                                                     paddle.static.Executor(paddle.CPUPlace()))
        block = program.global_block()
        states = _middle_states([block.var(op.output("Y")[0]) for op in block.ops if op.type == "layer_norm"])
        if states is None:
            return None
        feeds = [block.var(name) for name in names]
        with paddle.static.program_guard(program):
            outputs = [*outputs, _mean_of_tokens(states, feeds, framing)]
        program = paddle.static.normalize_program(program, feeds, outputs)
        target.write_bytes(paddle.static.serialize_program(feeds, outputs, program=program))
    forget_call_stacks(target)
    return states.shape[2]


def _write_new(prefix: Path, framing: Framing, target: Path) -> int | None:
    """Write a ``.json``, likewise."""
    with NewProgram(prefix) as program:
        states = _middle_states(program.normalised())
        if states is None:
            return None
        with program.building():
            mean = _mean_of_tokens(states, [program.data[name] for name in program.feeds], framing)
        program.save_with([*program.outputs, mean], target.with_suffix(""))
        hidden = states.shape[2]
    target.with_suffix(".pdiparams").unlink()  # they are the first one's
    return hidden


def _mean_of_tokens(states: Any, feeds: Sequence[Any], framing: Framing) -> Any:
    """Return the mean of states ``[batch, length, hidden]`` over all that is no padding."""
    inputs = {feed.role: variable for feed, variable in zip(framing.feeds, feeds)}
    kept = paddle.cast(inputs[MASK] if MASK in inputs else inputs[IDS] != framing.pad_id, "float32")
    shares = paddle.unsqueeze(kept / paddle.sum(kept, axis=1, keepdim=True), axis=1)
    return paddle.squeeze(paddle.matmul(shares, states), axis=1)


def _middle_states(normalised: Sequence[Any]) -> Any:
    """Return the states ``[batch, length, hidden]`` at the end of the layer two thirds of the way, if it can be told.
    """
    states = [one for one in normalised if len(one.shape) == 3]
    middle = middle_of(states)
    return middle if middle is not None and middle.shape[1] == states[0].shape[1] and middle.shape[2] > 0 else None


def middle_of(states: Sequence[Any]) -> Any:
    """Return what ends the layer two thirds of the way, of all that layer normalisations return, in order.

    An encoder normalises its embeddings, and twice in each layer. None where that makes no layer.
    """
    layers = (len(states) - 1) // 2
    return states[2 * (2 * layers // 3)] if layers > 0 else None
