"""The distillation loss of the paper, in Paddle's static and dynamic worlds."""

from __future__ import annotations

import paddle


def logit_mse(teacher_var_name: str, student_var_name: str, program: paddle.static.Program | None = None):
    """Mean squared error between teacher's and student's logits, in a static program.

    It has the signature of PaddleSlim's static losses (``paddleslim.dist.l2`` and others), so that
    ``Distillation: {loss: logit_mse}`` finds it.

    Source: Tang et al. 2019 (arXiv 1903.12136), section 3.2: ``L = ||z_teacher - z_student||^2``, here averaged
    over classes as in PaddleNLP's tutorial (``paddle.nn.MSELoss``).

    Args:
        teacher_var_name: name of the teacher's logits, float32 ``[batch, classes]``; no gradient flows into them.
        student_var_name: name of the student's logits, float32 ``[batch, classes]``.
        program: where both live; the default main program by default.

    Returns:
        The loss, a float32 scalar variable.
    """
    program = program or paddle.static.default_main_program()
    teacher, student = (_find(program, name) for name in (teacher_var_name, student_var_name))
    teacher.stop_gradient = True
    return paddle.nn.functional.mse_loss(student, teacher)


def labelled_mse(logits, labels):
    """Mean squared error of a regression's one output against its labels, over those that are known.

    Args:
        logits: float32 ``[batch, 1]``.
        labels: float32 ``[batch]``, NaN where a sentence has none.

    Returns:
        The loss, a float32 scalar variable; 0 for a batch without labels.
    """
    answers = paddle.squeeze(logits, axis=1)
    known = paddle.cast(paddle.logical_not(paddle.isnan(labels)), "float32")
    errors = paddle.where(known > 0, answers - labels, paddle.zeros_like(answers))
    return paddle.sum(errors * errors) / paddle.clip(paddle.sum(known), min=1.0)


class LogitMSELoss(paddle.nn.MSELoss):
    """The same loss for ``paddleslim.dygraph.dist.Distill``, there called ``logit_mse``.

    It takes ``reduction`` as ``paddle.nn.MSELoss`` does. `Distill` hands over the logits in the order of its
    ``model_name_pairs``, which may name the teacher first, so gradients flow into both; ``Distill.parameters()``, which
    the optimizer gets, are the student's alone.
    """


def _find(program: paddle.static.Program, name: str):
    for block in program.blocks:
        if block.has_var(name):
            return block.var(name)
    raise ValueError(f"no variable {name!r} in the program")
