"""`Predictor`: a student's folder in, labels and probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np

from ..errors import UserError
from ..export.student_spec import read_spec
from ..tokens import load_tokenizer
from .batches import sentence_logits
from .runtimes import onnx_logits, paddle_logits

RUNTIMES = ("onnx-int8", "onnx", "paddle")
_MODEL_FILES = {"onnx-int8": "model.int8.onnx", "onnx": "model.onnx", "paddle": "model.pdmodel"}


@dataclass(frozen=True)
class Prediction:
    """What the student says of a text.

    Attributes:
        label: the name of the likeliest class.
        probabilities: float32 ``[classes]``, in the order of ``Predictor.label_names``.
    """

    label: str
    probabilities: np.ndarray


class Predictor:
    """Classifies texts with the student in ``folder``, an output folder of `compress` or a copy of it.

    Loading reads ``student.json``, the tokenizer's files and one model; Paddle is imported only for the runtime
    ``paddle``. May be used from several threads at once.

    Args:
        runtime: ``onnx-int8``, ``onnx`` or ``paddle``; by default the first of the two ONNX files that is there.
        threads: threads a prediction may use.

    Raises:
        UserError: a file is missing or damaged, or the runtime is none of these.

    Example:
        >>> Predictor("output/sst2").predict(["a gripping , funny film"])[0].label
        '1'

    The int8 model rounds activations in steps that depend on the largest of the batch, so a text's probabilities
    vary a little (0.001 mostly, up to 0.02) with the texts beside it; ``batch_size=1`` makes each text's its own.
    """

    def __init__(self, folder: str | Path, runtime: str | None = None, threads: int = 1):
        folder = Path(folder)
        self._spec = read_spec(folder)
        self.runtime = _choose_runtime(folder, runtime)
        self.label_names = self._spec.label_names
        self._tokenizer = load_tokenizer(folder)
        path = folder / _MODEL_FILES[self.runtime]
        if self.runtime == "paddle":
            self._run = paddle_logits(path.with_suffix(""), threads)
        else:
            self._run = onnx_logits(path, threads)
        self._threads = threads

    def predict(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
        """Return a `Prediction` for each of ``texts``, in their order."""
        probabilities = softmax(self.logits(texts, batch_size))
        return [Prediction(self.label_names[row.argmax()], row) for row in probabilities]

    def logits(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """Return the logits of ``texts``, float32 ``[n, classes]``.

        Texts are cut to the student's ``max_seq_length`` and run in batches of similar length.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of strings, not one string")
        if not len(texts):
            return np.empty((0, len(self.label_names)), np.float32)
        return sentence_logits(self._run, self._tokenize(texts), self._tokenizer, self._spec.max_seq_length, batch_size)

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        rust = self._tokenizer.rust
        if self._threads > 1:
            encoded = rust.encode_batch(list(texts), add_special_tokens=False)
        else:  # a batch of one keeps the Rust library from starting a thread a core
            encoded = [rust.encode_batch([text], add_special_tokens=False)[0] for text in texts]
        return [one.ids for one in encoded]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of ``logits`` ``[n, classes]``, same shape."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _choose_runtime(folder: Path, runtime: str | None) -> str:
    if runtime is None:
        for candidate in ("onnx-int8", "onnx"):
            if (folder / _MODEL_FILES[candidate]).is_file():
                return candidate
        raise UserError(f"{folder}: neither model.int8.onnx nor model.onnx is there; name an output folder of "
                        "`paddleslim-bilstm compress`, or ask for the runtime paddle")
    if runtime not in RUNTIMES:
        raise UserError(f"runtime: {runtime!r} is none of {', '.join(RUNTIMES)}")
    if not (folder / _MODEL_FILES[runtime]).is_file():
        raise UserError(f"{folder / _MODEL_FILES[runtime]}: no such file; choose another runtime "
                        f"({', '.join(RUNTIMES)})")
    return runtime
