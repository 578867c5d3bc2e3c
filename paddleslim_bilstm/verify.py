"""The last check of a run: do the files that it is about to publish answer as the trained student does?"""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import Callable, Mapping, Sequence

import numpy as np

from .errors import UserError
from .export.inference_file import ends_whole
from .export.paddle_model import MODEL_NAME, read_paddle_model, student_logits
from .export.student_file import WEIGHTS_FILE, load_student
from .models import QUANTIZED_BY_PADDLESLIM, PaddleModel
from .predict.runtimes import Logits, onnx_logits, paddle_logits
from .report.measure import DevSet
from .student.spec import StudentSpec

_PROBE_SENTENCES = 8
_TOLERANCE = 1e-4  # of the largest logit


def verify(models: Sequence[PaddleModel], final_dir: Path, spec: StudentSpec, weights: Mapping[str, np.ndarray],
           dev_set: DevSet) -> None:
    """Ask every model for the logits of a few dev sentences, from the shortest to the longest, padded to one batch.

    Exported models must answer as the network does that was trained, with the weights that it was trained to; what
    PaddleSlim has written, as the network does with the weights found in the file. Models that PaddleSlim has
    quantized, and the int8 ONNX model, need only answer: the report shows what quantization costs.

    Args:
        models: the Paddle models, the last of them the final one: ``name``, ``folder``, and ``weights`` or None.
        final_dir: what is about to be published: the final model, ONNX files, the float student.
        weights: the float student's.

    Raises:
        UserError: a file is damaged or answers something else; the message names it.
    """
    order = np.argsort(dev_set.sentences.lengths, kind="stable")
    rows = order[np.unique(np.linspace(0, len(order) - 1, _PROBE_SENTENCES).astype(np.int64))]
    batch = dev_set.reader.batch(dev_set.sentences, rows)

    quantized = False
    for model in models:
        prefix = model.folder / MODEL_NAME
        if not ends_whole(prefix.with_suffix(".pdiparams")):
            raise _refusal(prefix.with_suffix(".pdiparams"), "is cut")
        quantized = quantized or model.name in QUANTIZED_BY_PADDLESLIM
        found = _answers(paddle_logits, prefix, batch)
        if model.weights is not None or not quantized:
            own = read_paddle_model(prefix, spec) if model.weights is None else model.weights
            _compare(prefix, found, student_logits(spec, own, *batch))
    for file in models[-1].folder.iterdir():
        copy, = final_dir.glob(f"*{file.suffix}")
        if not filecmp.cmp(file, copy, shallow=False):
            raise _refusal(copy, "is not what was copied there")
    for file in final_dir.glob("*.onnx"):
        found = _answers(onnx_logits, file, batch)
        if file.name == "model.onnx":
            _compare(file, found, student_logits(spec, weights, *batch))
    read, read_spec = load_student(final_dir)
    if read_spec != spec or any(not np.array_equal(read[name], weights[name]) for name in weights):
        raise _refusal(final_dir / WEIGHTS_FILE, "does not hold the trained weights")


def _answers(load: Callable[[Path], Logits], file: Path, batch: tuple[np.ndarray, ...]) -> np.ndarray:
    try:
        logits = load(file)(*batch)
    except Exception as error:  # Paddle and ONNX Runtime raise what they like on a damaged file
        raise _refusal(file, f"can't be run ({type(error).__name__})") from error
    if not np.isfinite(logits).all():
        raise _refusal(file, f"answers {logits[~np.isfinite(logits)][0]}")
    return logits


def _compare(file: Path, found: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(found - expected).max() if found.shape == expected.shape else np.inf
    if not difference <= _TOLERANCE * max(1.0, np.abs(expected).max()):
        raise _refusal(file, f"answers dev sentences other than the trained student does, by {difference:.2g}")


def _refusal(file: Path, what: str) -> UserError:
    return UserError(f"{file}: {what}, so nothing is published; give the same command again, and with --fresh if that "
                     "does not help")
