"""PaddleSlim's strategies as a Bi-LSTM can use them: their keys checked, their defaults made to fit."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, Mapping

from paddleslim.auto_compression import strategy_config

from ..config import Config
from ..errors import UserError
from ..student.losses import LOSSES

QUANT_BILSTM = "QuantBiLSTM"  # ours, not PaddleSlim's
QUANTIZED_BY_PADDLESLIM = ("QuantPost", "QuantAware")
_NEEDS_DISTILLATION = ("QuantAware", "UnstructurePrune", "ASPPrune")
_CALIBRATION_BATCHES = 32
_OF_RECONSTRUCTION = ("skip_tensor_list", "epochs", "lr", "regions", "region_weights_names",
                      "simulate_activation_quant")  # of QuantPost


class BertToBiLSTM(strategy_config.BaseStrategy):
    """The strategy ``bert_to_bilstm`` as PaddleSlim's config reader makes it: the section's keys, unread."""

    def __init__(self, **section: Any):
        super().__init__("bert_to_bilstm")
        self.section = section


def strategies_of(settings: Config) -> dict[str, dict[str, Any]]:
    """Return the keyword arguments of PaddleSlim's own strategies in a config, in its order, see `chained_strategies`.

    Raises:
        UserError: as `chained_strategies`.
    """
    return chained_strategies({name: one for name, one in settings.strategies.items() if name != QUANT_BILSTM})


def chained_strategies(sections: Mapping[str, Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """Check PaddleSlim's sections and complete them for a Bi-LSTM.

    - Strategies that train (`QuantAware`, `UnstructurePrune`, `ASPPrune`) need PaddleSlim's ``Distillation``; where the
      config has none, the student before the step teaches with ``logit_mse``.
    - ``QuantPost.batch_nums`` becomes 32 batches: PaddleSlim's default calibrates on all training text, for minutes.
    - ``Distillation.alpha`` becomes a float: PaddleSlim fails on ``1``.
    - ``UnstructurePrune.prune_params_type`` becomes None (all weights): PaddleSlim's default, ``conv1x1_only``,
      finds nothing to prune in a Bi-LSTM.

    Returns:
        The keyword arguments of each strategy, in the order of ``sections``.

    Raises:
        UserError: a key doesn't exist, or a value can't work on a Bi-LSTM.
    """
    strategies = {name: dict(section or {}) for name, section in sections.items()}
    for name, section in strategies.items():
        _check_keys(name, section)
    if "QuantPost" in strategies and "QuantAware" in strategies:
        raise UserError("QuantPost: quantizes the layers that QuantAware has quantized, at which PaddleSlim crashes; "
                        "leave out one of the two")
    if "QuantPost" in strategies:
        strategies["QuantPost"].setdefault("batch_nums", _CALIBRATION_BATCHES)
        if strategies["QuantPost"].get("algo") == "avg":
            raise UserError("QuantPost.algo: 'avg' fails in PaddleSlim on the scalars of a Bi-LSTM's program; take "
                            "hist, KL, abs_max or mse")
        idle = [key for key in _OF_RECONSTRUCTION if key in strategies["QuantPost"]]
        if idle and strategies["QuantPost"].get("recon_level") is None:
            raise UserError(f"QuantPost.{idle[0]}: is read by the reconstruction only, and recon_level, which asks for "
                            "it, is not set; leave the key out")
    if strategies.get("ASPPrune", {}).get("prune_params_name") is not None:
        raise UserError("ASPPrune.prune_params_name: of a Bi-LSTM PaddleSlim prunes all linear layers, whatever is "
                        "named; leave the key out")
    if "UnstructurePrune" in strategies:
        kind = strategies["UnstructurePrune"].setdefault("prune_params_type", None)
        if kind is not None:
            raise UserError(f"UnstructurePrune.prune_params_type: {kind!r} is not for a Bi-LSTM, of which PaddleSlim "
                            "prunes all weights; leave the key out")
        _check_ratio(strategies["UnstructurePrune"])
    if "Distillation" in strategies or any(name in strategies for name in _NEEDS_DISTILLATION):
        distillation = strategies.setdefault("Distillation", {})
        distillation.setdefault("loss", "logit_mse")
        _check_loss(distillation["loss"])
        if "alpha" in distillation:
            distillation["alpha"] = _weights_of_loss(distillation["alpha"])
    return strategies


def _check_ratio(pruning: Mapping[str, Any]) -> None:
    """Refuse a ratio that is no share of the weights, where it is read: gradual pruning takes any, and prunes all."""
    ratio = pruning.get("ratio", 0.5)
    if pruning.get("prune_mode", "ratio") == "ratio" and not (
            isinstance(ratio, (int, float)) and not isinstance(ratio, bool) and 0 < ratio < 1):
        raise UserError(f"UnstructurePrune.ratio: {ratio!r}; give a share of the weights, above 0 and below 1")


def _weights_of_loss(alpha: Any) -> float | list[float]:
    """Return ``Distillation.alpha`` as floats; PaddleSlim would take 0 for 1."""
    values = alpha if isinstance(alpha, list) else [alpha]
    if not values or not all(isinstance(value, (int, float)) and value > 0 for value in values):
        raise UserError(f"Distillation.alpha: {alpha!r} is no weight of the loss; give a number above 0, or a list of "
                        "them where loss is a list")
    return [float(value) for value in alpha] if isinstance(alpha, list) else float(alpha)


def _check_loss(loss: Any) -> None:
    """Refuse what is no loss: PaddleSlim runs this text as Python code (``eval``), whatever it says."""
    for name in loss if isinstance(loss, list) and loss else [loss]:
        if name not in LOSSES:
            raise UserError(f"Distillation.loss: {name!r} is none of PaddleSlim's losses; there are "
                            f"{', '.join(LOSSES)}")


def _check_keys(name: str, section: Mapping[str, Any]) -> None:
    known = list(inspect.signature(getattr(strategy_config, name).__init__).parameters)[1:]
    for key in section:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise UserError(f"{name}.{key}: no such key{f' (did you mean {near[0]!r}?)' if near else ''}; "
                            f"PaddleSlim's {name} has {', '.join(known)}")
