"""The distillation losses by name, in one table: the paper's, PaddleSlim's, and those of users.

The table is read where Paddle is not loaded, so functions import it when they are called.
"""

from __future__ import annotations

import inspect
import keyword
from dataclasses import dataclass
from typing import Any, Callable

from ..errors import UserError, line_of, nearest
from ..users_code import code_fingerprint

LossFunction = Callable[[Any, Any], Any]  # (student_logits, teacher_logits) -> scalar


@dataclass(frozen=True)
class DistillationLoss:
    """A distillation loss.

    Attributes:
        name: in the YAML, ``bert_to_bilstm.loss`` and ``Distillation.loss``.
        function: ``function(student_logits, teacher_logits) -> scalar`` of float32 ``[batch, classes]``, variables of
            a static program or tensors; the teacher's take no gradient.
        needs_classes: compares probabilities of classes, so tasks without them can't use it.
        of_paddleslim: PaddleSlim has it itself, for static programs only.
        of_user: from the user's own code.
    """

    name: str
    function: LossFunction
    needs_classes: bool = False
    of_paddleslim: bool = False
    of_user: bool = False


def logit_mse(student_logits, teacher_logits, reduction: str = "mean"):
    """Return the mean squared error between the logits; ``reduction`` as in ``paddle.nn.MSELoss``.

    Source: Tang et al. 2019 (arXiv 1903.12136), section 3.2: ``L = ||z_teacher - z_student||^2``, here averaged
    over classes as in PaddleNLP's tutorial (``paddle.nn.MSELoss``).
    """
    import paddle
    return paddle.nn.functional.mse_loss(student_logits, teacher_logits, reduction)


def _paddleslims(name: str, needs_classes: bool) -> DistillationLoss:
    def function(student_logits, teacher_logits):
        from paddleslim import dist
        return getattr(dist, name)(teacher_logits.name, student_logits.name)

    return DistillationLoss(name, function, needs_classes, of_paddleslim=True)


told_of_losses: list[Callable[[DistillationLoss], None]] = []  # called with each loss that a user registers
LOSSES = {loss.name: loss for loss in (
    DistillationLoss("logit_mse", logit_mse), _paddleslims("l2", False), _paddleslims("soft_label", True),
    _paddleslims("dkd", True), _paddleslims("skd", True))}


def distillation_loss(name: str, *, needs_classes: bool = False) -> Callable[[LossFunction], LossFunction]:
    """Register a function as the distillation loss ``name``; it can then stand in the YAML.

    The function gets the logits of student and teacher, float32 ``[batch, classes]``, and returns a scalar, in
    operations of Paddle that work in static programs as in dygraph. ``needs_classes`` says that it makes no sense for
    tasks without classes, such as a regression. A later registration of a name replaces the user's earlier one.

    Example, the mean absolute difference:
        >>> @distillation_loss("logit_mae")
        ... def logit_mae(student_logits, teacher_logits):
        ...     return paddle.nn.functional.l1_loss(student_logits, teacher_logits)

    Raises:
        ValueError: the name is taken or no name of a Python function, which PaddleSlim looks losses up by.
        TypeError: the function doesn't take ``(student_logits, teacher_logits)``.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f'distillation loss "{name}": the name must be one of a Python function, such as logit_mae')
    if name in LOSSES and not LOSSES[name].of_user:
        raise ValueError(f'distillation loss "{name}": the name is taken; choose another one')

    def register(function: LossFunction) -> LossFunction:
        required = [parameter for parameter in inspect.signature(function).parameters.values()
                    if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD]
        if len(required) != 2:
            raise TypeError(f'distillation loss "{name}" must take (student_logits, teacher_logits)')
        loss = DistillationLoss(name, function, needs_classes, of_user=True)
        for tell in told_of_losses:
            tell(loss)
        LOSSES[name] = loss
        return function
    return register


def loss_function(name: str) -> LossFunction:
    """Return the loss called ``name``.

    Raises:
        UserError: there is none.
    """
    if name not in LOSSES:
        raise UserError(f"bert_to_bilstm.loss: no loss is called {name!r}{nearest(name, LOSSES)}")
    return LOSSES[name].function


def check_loss(name: str, num_classes: int) -> None:
    """Build the loss called ``name`` and its gradient once, in a static program that is thrown away.

    Raises:
        UserError: there is no such loss, or it raises, is no scalar, or has no gradient.
    """
    import paddle
    function = loss_function(name)
    from ..old_programs import old_programs
    with old_programs(), paddle.static.program_guard(paddle.static.Program()), paddle.utils.unique_name.guard():
        student, teacher = (paddle.static.data(of, [-1, num_classes], "float32") for of in ("student", "teacher"))
        student.stop_gradient = False
        try:
            loss = function(student, teacher)
            if not isinstance(loss, paddle.static.Variable) or tuple(loss.shape) not in ((), (1,)):
                raise ValueError(f"it must return a scalar, not {loss!r}")
            if all(gradient is None for gradient in paddle.static.gradients([loss], [student])):
                raise ValueError("it has no gradient for the student's logits")
        except Exception as error:  # somebody's own code: anything can come out
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            raise UserError(f"bert_to_bilstm.loss: {name} can't be used: {line_of(error, function)}"
                            f"{type(error).__name__}: {reason}") from None


def loss_fingerprint(name: str) -> str:
    """Return what changes with the code of the loss called ``name``, see `code_fingerprint`."""
    loss = LOSSES[name]
    return f"{name} {code_fingerprint(f'bert_to_bilstm.loss: {name}', loss.function)}" if loss.of_user else name
