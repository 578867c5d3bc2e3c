"""What PaddleSlim is told of a step that trains behind the distillation: a tenth of everything."""

from __future__ import annotations

import copy
import logging
from typing import Any, Mapping

import numpy as np

from .optimizer import DEFAULT_LEARNING_RATE, missing_length

_log = logging.getLogger(__name__)

_EVAL_ITER = 1000  # PaddleSlim's default


def train_config_of(train, train_dataloader) -> dict[str, Any]:
    """Return PaddleSlim's ``TrainConfig`` of a step behind the distillation."""
    settings = copy.deepcopy(dict(vars(train)))
    settings["origin_metric"] = None
    settings["eval_iter"] = settings["eval_iter"] or _EVAL_ITER
    if settings["train_iter"] is not None:
        settings["train_iter"] = max(settings["train_iter"] // 10, 1)
    if settings["epochs"] is not None or settings["train_iter"] is None:
        settings["epochs"] = max((settings["epochs"] or 1) // 10, 1)
    settings["learning_rate"] = rate = _tenth_of_rate(settings["learning_rate"])
    if isinstance(rate, dict) and (length := missing_length(rate)):
        rate[length] = _batches_of_step(settings, train_dataloader)
    return settings


def _batches_of_step(settings: Mapping[str, Any], train_dataloader) -> int:
    """Return how many batches a step trains on."""
    bound = settings["train_iter"] or np.inf
    epochs = settings["epochs"]
    return int(min(bound, np.inf if epochs is None else epochs * sum(1 for _ in train_dataloader())))


_RATES = ("learning_rate", "max_learning_rate", "base_learning_rate", "start_lr", "end_lr", "end_learning_rate",
          "eta_min")

_DEFAULT_RATES = {"NoamDecay": {"learning_rate": 1.0}, "PolynomialDecay": {"end_lr": 1e-4},
                  "OneCycleLR": {"end_learning_rate": 1e-4}}  # Paddle's own, which must become a tenth, too


def _tenth_of_rate(rate: float | dict[str, Any] | None) -> float | dict[str, Any]:
    """Return a tenth of a number, or of all rates in a schedule of ``paddle.optimizer.lr``, and of its warm-up."""
    if not isinstance(rate, dict):
        return float(DEFAULT_LEARNING_RATE if rate is None else rate) / 10
    scaled = dict(rate)
    scaled = {**_DEFAULT_RATES.get(scaled.get("type"), {}), **scaled}
    for name in _RATES:
        if isinstance(scaled.get(name), (int, float)):
            scaled[name] = scaled[name] / 10
    if "warmup_steps" in scaled and scaled.get("type") == "LinearWarmup":
        scaled["warmup_steps"] = max(int(scaled["warmup_steps"]) // 10, 1)
    if "values" in scaled:
        scaled["values"] = [value / 10 for value in scaled["values"]]
    return scaled


_LEAST_PERIOD = 11  # batches between two ratios of gmp: more than 10 PaddleSlim wants
_ITERATIONS = ("stable_iterations", "pruning_iterations", "tunning_iterations")
_GRADUAL = {"stable_iterations": 0, "pruning_iterations": 0.45, "tunning_iterations": 0.45, "resume_iteration": -1,
            "pruning_steps": 100, "initial_ratio": 0.15}  # PaddleSlim's, of all batches


def with_gmp_that_ends(strategies: Mapping[str, Mapping[str, Any]], train, train_dataloader) -> (
        Mapping[str, Mapping[str, Any]]):
    """Return the strategies, of which gradual pruning (``gmp``) reaches its ratio in the batches of its step.

    PaddleSlim stops at whatever ratio the last batch found.
    """
    pruning = strategies.get("UnstructurePrune", {})
    if pruning.get("prune_strategy") != "gmp":
        return strategies
    settings = train_config_of(train, train_dataloader)
    batches = _batches_of_step(settings, train_dataloader)
    given = pruning.get("gmp_config")
    config = _gmp_within(batches, given or {key: value * batches if key in _ITERATIONS else value
                                            for key, value in _GRADUAL.items()})
    if given and config != given:
        _log.warning("UnstructurePrune: gmp_config is of %s batches, and its step trains on %d only; %s",
                     sum(given[key] for key in _ITERATIONS), batches, "it prunes at once" if config is None else
                     "; ".join(f"{key}: {config[key]}" for key in config if config[key] != given[key]))
    changed = {"prune_strategy": None} if config is None else {"gmp_config": config}
    return {**strategies, "UnstructurePrune": {**pruning, **changed}}


def _gmp_within(batches: int, config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return ``gmp_config``, shortened in proportion where it takes longer; None where there is no time at all."""
    stable, pruning, tuning = (config[key] for key in _ITERATIONS)
    steps = config["pruning_steps"]
    if stable + pruning + 2 <= batches and pruning > (_LEAST_PERIOD - 1) * steps:
        return config
    share = min(1.0, 0.9 * batches / (stable + pruning + tuning))
    stable, pruning, tuning = int(stable * share), max(int(pruning * share), _LEAST_PERIOD), int(tuning * share)
    if stable + pruning + 2 > batches:
        return None
    return {**config, **dict(zip(_ITERATIONS, (stable, pruning, tuning))),
            "pruning_steps": max(min(steps, pruning // _LEAST_PERIOD), 1)}
