"""What a Paddle that nobody here has tried must be able to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import paddle

from ..export.paddle_model import export_paddle_model, read_paddle_model
from ..old_programs import old_programs
from ..predict.runtimes import paddle_logits
from ..student.spec import StudentSpec
from ..student.train import TrainingPlan, TrainingSet, train_student
from ..student.weights import first_weights
from ..tokens import Sentences

_TOKENS = 12
_SPEC = StudentSpec(8, 8, 1, ("a", "b"), pad_id=0, max_seq_length=8)
_PLAN = TrainingPlan(total_steps=2, batch_size=4, alpha=0.0, dropout=0.1, eval_iter=2, target_metric=None, seed=0)


@old_programs()
def try_student() -> None:
    """Build a tiny student, train it for two steps, export it, read it back, and run it in Paddle Inference.

    Raises:
        ValueError: training changes nothing, weights are others when they are read back, or the exported student
            answers something else than a second sentence in the batch lets it.
        Exception: whatever Paddle raises.
    """
    rng = np.random.default_rng(0)
    sentences = Sentences.from_lists([[5, 6, 7], [8, 9], [5], [9, 8, 7, 6]])
    first = first_weights(_SPEC, np.arange(_TOKENS, dtype=np.int32), None, rng)
    paddle.enable_static()
    with paddle.utils.unique_name.guard():
        trained = train_student(_SPEC, first, TrainingSet(sentences, None, np.array([0, 1, 0, 1])), _PLAN, None,
                                lambda steps: (paddle.optimizer.Adam(0.01), None), None).weights
    if any(np.array_equal(trained[name], first[name]) for name in ("embedding", "hidden.weight")):
        raise ValueError("training changes no weights")
    ids = np.array([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
    with tempfile.TemporaryDirectory() as folder:
        prefix = export_paddle_model(Path(folder), _SPEC, trained)
        read = read_paddle_model(prefix, _SPEC)
        answer = paddle_logits(prefix)
        together = answer(ids, np.zeros_like(ids))
        alone = answer(ids[1:, :3], np.zeros_like(ids[1:, :3]))
    if any(not np.array_equal(read[name], value) for name, value in trained.items()):
        raise ValueError("an exported student's weights are read back as others")
    if not np.isfinite(together).all() or np.abs(together[1:] - alone).max() > 1e-4:
        raise ValueError("an exported student answers a padded batch wrongly")
