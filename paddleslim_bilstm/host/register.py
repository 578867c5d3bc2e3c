"""The registrations with PaddleSlim: the strategy, the data hook and the losses."""

from __future__ import annotations

import paddle
from paddleslim import dist
from paddleslim.auto_compression import AutoCompression, config_helpers, create_compressed_program, strategy_config
from paddleslim.dist import single_distiller
from paddleslim.dygraph.dist.losses.basic_loss import BASIC_LOSS

from ..errors import UserError
from ..student.losses import LOSSES, DistillationLoss, LossFunction, told_of_losses
from . import STRATEGY
from .auto_compression import extend
from .strategies import BertToBiLSTM


def register_losses() -> None:
    """Make the losses of the table known to static runs (``Distillation: {loss: logit_mse}``) and to dygraph's.

    PaddleSlim's static side evaluates the name in the module ``create_compressed_program``; its dygraph side has the
    registry ``BASIC_LOSS``.

    Raises:
        UserError: a user's loss is called like something of PaddleSlim's.
    """
    for loss in LOSSES.values():
        if not loss.of_paddleslim:
            _register(loss)
    if _register not in told_of_losses:  # those that come later
        told_of_losses.append(_register)


def _register(loss: DistillationLoss) -> None:
    for module in (create_compressed_program, dist, single_distiller):
        known = getattr(module, loss.name, None)
        if known is not None and not hasattr(known, "is_registered_loss"):
            raise UserError(f"distillation loss {loss.name}: {module.__name__} has something else of that name; choose "
                            "another one")
        setattr(module, loss.name, _static(loss.function))
    BASIC_LOSS.module_dict[loss.name] = _layer(loss.function)


def _static(function: LossFunction):
    """Return ``loss(teacher_var_name, student_var_name, program=None)``, as PaddleSlim's static losses are."""
    def loss(teacher_var_name: str, student_var_name: str, program: paddle.static.Program | None = None):
        program = program or paddle.static.default_main_program()
        teacher, student = (single_distiller._find_var_from_program(program, name)
                            for name in (teacher_var_name, student_var_name))
        teacher.stop_gradient = True
        return function(student, teacher)

    loss.is_registered_loss = True
    return loss


def _layer(function: LossFunction) -> type:
    """Return the class of a layer ``forward(student_logits, teacher_logits)``, as dygraph's losses are.

    It is made with the function's own options, such as ``reduction``. Either side may come first, as in PaddleSlim's
    losses: the gradient reaches both, and the optimizer holds the student's parameters alone.
    """
    class LogitLoss(paddle.nn.Layer):
        def __init__(self, **options):
            super().__init__()
            self._options = options

        def forward(self, student_logits: paddle.Tensor, teacher_logits: paddle.Tensor) -> paddle.Tensor:
            return function(student_logits, teacher_logits, **self._options)

    return LogitLoss


def register() -> None:
    """Make PaddleSlim know the strategy, the data hook and the loss; doing it again changes nothing.

    PaddleSlim reads its sections with ``eval`` of the name in ``config_helpers`` after a look into
    ``SUPPORTED_CONFIG``. The class `AutoCompression` itself is extended, so that code which imported it before works.
    """
    if STRATEGY not in strategy_config.SUPPORTED_CONFIG:
        strategy_config.SUPPORTED_CONFIG.append(STRATEGY)
    for module in (strategy_config, config_helpers):
        setattr(module, STRATEGY, BertToBiLSTM)
    register_losses()
    extend(AutoCompression)
