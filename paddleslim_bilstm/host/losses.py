"""PaddleSlim's losses by name, ours among them."""

from __future__ import annotations

import difflib

from paddleslim import dist
from paddleslim.auto_compression import create_compressed_program
from paddleslim.dist import single_distiller
from paddleslim.dygraph.dist.losses.basic_loss import BASIC_LOSS

from ..errors import UserError
from ..student.losses import LogitMSELoss, logit_mse

_LOGIT_LOSSES = ("logit_mse", "l2", "soft_label", "dkd")


def register_losses() -> None:
    """Make ``logit_mse`` known to static runs (``Distillation: {loss: logit_mse}``) and to dygraph's ``Distill``.

    PaddleSlim's static side evaluates the name in the module ``create_compressed_program``; its dygraph side has the
    registry ``BASIC_LOSS``.
    """
    for module in (create_compressed_program, dist, single_distiller):
        module.logit_mse = logit_mse
    BASIC_LOSS.module_dict["logit_mse"] = LogitMSELoss


def static_logit_loss(name: str):
    """Return the loss called ``name``: ``loss(teacher_var_name, student_var_name) -> scalar variable``.

    Raises:
        UserError: PaddleSlim has no loss on logits by that name.
    """
    if name not in _LOGIT_LOSSES:
        near = difflib.get_close_matches(name, _LOGIT_LOSSES, 1)
        raise UserError(f"bert_to_bilstm.loss: no loss on logits is called {name!r}"
                        f"{f' (did you mean {near[0]!r}?)' if near else ''}; there are {', '.join(_LOGIT_LOSSES)}")
    return getattr(dist, name)
