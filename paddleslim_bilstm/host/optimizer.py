"""PaddleSlim's ``TrainConfig`` turned into a Paddle optimizer, by PaddleSlim's own code."""

from __future__ import annotations

import copy
import logging
from typing import Mapping

import paddle
from paddleslim.auto_compression.create_compressed_program import _create_optimizer

from ..errors import UserError
from ..old_programs import old_programs

_log = logging.getLogger(__name__)

DEFAULT_LEARNING_RATE = 4e-3
_LOWEST_RATE = 1e-4  # below it Adam moves a weight by less than its size in thousands of steps
# what a schedule calls its own length, filled in with the run's steps where the config leaves it out
_LENGTH_NAMES = {"PolynomialDecay": "decay_steps", "CosineAnnealingDecay": "T_max", "OneCycleLR": "total_steps"}


def make_optimizer_of(train):
    """Return ``make(total_steps) -> (optimizer, schedule or None)`` for the settings of a ``TrainConfig`` section.

    ``learning_rate`` is a number (constant), a schedule of ``paddle.optimizer.lr`` as PaddleSlim writes it
    (``{type: CosineAnnealingDecay, learning_rate: 0.001}``; ``T_max``, ``decay_steps`` and ``total_steps`` default to
    the length of the run), or None: from 0.004 linearly to zero.
    """
    def make(total_steps: int):
        rate = train.learning_rate if isinstance(train.learning_rate, Mapping) else {}
        if rate.get("type") == "OneCycleLR" and rate.get("total_steps", total_steps) < total_steps:
            raise UserError(f"TrainConfig.learning_rate: OneCycleLR ends after total_steps ({rate['total_steps']}), "
                            f"and this training has {total_steps}; leave total_steps out, and it is the training's")
        return _made(train, total_steps)
    return make


def _made(train, total_steps: int):
    """Return the optimizer and its schedule, None for a constant rate, of a training of so many steps."""
    options = {"learning_rate": _learning_rate(train.learning_rate, total_steps),
               "optimizer_builder": copy.deepcopy(dict(train.optimizer_builder))}
    _check_classes(options)
    try:
        optimizer, rate = _create_optimizer(options)
    except (ArithmeticError, AssertionError, AttributeError, KeyError, NotImplementedError, TypeError,
            ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "name classes of paddle.optimizer.lr and paddle.optimizer with their own arguments"
        if "weight_decay" in reason:
            remedy = "give weight_decay beside optimizer, such as 0.01, and a class that takes one"
        raise UserError(f"TrainConfig: learning_rate or optimizer_builder can't be used: {reason}; {remedy}") from None
    return optimizer, None if isinstance(rate, float) else rate


def _check_classes(options: dict) -> None:
    """Refuse names of anything else than the classes that PaddleSlim is to make."""
    builder = options["optimizer_builder"]
    kinds = {"optimizer": (paddle.optimizer, paddle.optimizer.Optimizer),
             "grad_clip": (paddle.nn, paddle.nn.clip.ClipGradBase),
             "regularizer": (paddle.regularizer, paddle.regularizer.WeightDecayRegularizer)}
    named = [(f"optimizer_builder.{key}", builder[key], *kind) for key, kind in kinds.items() if key in builder]
    if isinstance(options["learning_rate"], dict):
        named.append(("learning_rate", options["learning_rate"], paddle.optimizer.lr, paddle.optimizer.lr.LRScheduler))
    for key, value, module, base in named:
        cls = getattr(module, value["type"], None)
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise UserError(f"TrainConfig.{key}: {value['type']} is no {base.__name__} of {module.__name__}; name one "
                            "of its classes")


@old_programs()
def check_optimizer(train) -> None:
    """Build the optimizer once in a program that is thrown away.

    Raises:
        UserError: a class or an argument in ``TrainConfig`` doesn't exist, or a schedule wants to be told more than
            that a step is over.
    """
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        _, schedule = _made(train, 1000)
        try:
            schedule is None or schedule.step()
        except (ArithmeticError, NotImplementedError, TypeError, ValueError) as error:
            raise UserError(f"TrainConfig.learning_rate: {type(schedule).__name__} can't follow a training's steps "
                            f"({error}); name another class of paddle.optimizer.lr") from None
    rate = _highest_rate(train.learning_rate)
    if rate is not None and rate < _LOWEST_RATE:
        _log.warning("TrainConfig.learning_rate: %g is one for a BERT, with which a Bi-LSTM hardly learns; leave it "
                     "out (from %g down to 0), or set it to 0.001 or more", rate, DEFAULT_LEARNING_RATE)


def _highest_rate(setting) -> float | None:
    """Return the learning rate that a setting begins with or warms up to, where it says one."""
    while isinstance(setting, Mapping):
        setting = max(setting["values"]) if "values" in setting else setting.get("learning_rate",
                                                                                setting.get("max_learning_rate"))
    return float(setting) if isinstance(setting, (int, float)) else None


def _learning_rate(setting, total_steps: int):
    if setting is None:
        setting = {"type": "PolynomialDecay", "learning_rate": DEFAULT_LEARNING_RATE, "end_lr": 0.0}
    if not isinstance(setting, dict):
        return float(setting)
    schedule = copy.deepcopy(dict(setting))
    if name := missing_length(schedule):
        schedule[name] = total_steps
    return schedule


def missing_length(schedule: dict) -> str | None:
    """Return what a schedule calls its own length, ``T_max`` for one, where it needs one and has none."""
    name = _LENGTH_NAMES.get(schedule.get("type"))
    return name if name not in schedule else None
