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

from ..export.inference_file import forget_call_stacks
from ..old_programs import old_programs
from ..scopes import own_scope
from ..storage import checksum
from ..tokens import Framing, Sentences
from ..tokens.framing import IDS, MASK

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
def write_hinting_program(prefix: Path, framing: Framing, target: Path) -> bool:
    """Write the program at ``prefix`` to ``target`` with the mean hidden states ``[batch, hidden]`` as second output.

    They are those of the layer two thirds of the way to the last one: what the layer normalisation at the end of it
    returns. The program is to be run with the parameters of the first one.

    Returns:
        Whether there is such a layer; else nothing is written.
    """
    with own_scope(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle's own operators warn of Paddle's plans
        executor = paddle.static.Executor(paddle.CPUPlace())
        program, names, outputs = paddle.static.load_inference_model(str(prefix), executor)
        states = _middle_states(program)
        if states is None:
            return False
        feeds = [program.global_block().var(name) for name in names]
        inputs = {feed.role: variable for feed, variable in zip(framing.feeds, feeds)}
        with paddle.static.program_guard(program), paddle.utils.unique_name.guard("hints_"):
            kept = paddle.cast(inputs[MASK] if MASK in inputs else inputs[IDS] != framing.pad_id, "float32")
            shares = paddle.unsqueeze(kept / paddle.sum(kept, axis=1, keepdim=True), axis=1)
            mean = paddle.squeeze(paddle.matmul(shares, states), axis=1)
        sentences = Sentences.from_lists([[framing.cls_id], []])
        batch = dict(zip(names, framing.batch(sentences, np.arange(2))))
        try:
            *_, found = executor.run(program, feed=batch, fetch_list=[*outputs, mean])
        except Exception:  # EnforceNotMet, RuntimeError, ... of states that are no [batch, length, hidden]
            return False
        if found.shape != (2, states.shape[2]):
            return False
        program = paddle.static.normalize_program(program, feeds, [*outputs, mean])
        target.write_bytes(paddle.static.serialize_program(feeds, [*outputs, mean], program=program))
    forget_call_stacks(target)
    return True


def _middle_states(program: paddle.static.Program) -> Any:
    """Return the states ``[batch, length, hidden]`` at the end of the layer two thirds of the way, if it can be told.
    """
    block = program.global_block()
    states = [block.var(op.output("Y")[0]) for op in block.ops if op.type == "layer_norm"]
    states = [one for one in states if len(one.shape) == 3]
    middle = middle_of(states)
    return middle if middle is not None and middle.shape[1] == states[0].shape[1] and middle.shape[2] > 0 else None


def middle_of(states: Sequence[Any]) -> Any:
    """Return what ends the layer two thirds of the way, of all that layer normalisations return, in order.

    An encoder normalises its embeddings, and twice in each layer. None where that makes no layer.
    """
    layers = (len(states) - 1) // 2
    return states[2 * (2 * layers // 3)] if layers > 0 else None
