"""``load_config``: from YAML, dict and overrides to a checked :class:`Config`."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, Mapping, Sequence

from ..metrics import CLASS_METRICS, VALUE_METRICS
from .checks import mapping, nearest
from .schema import (
    CLASS_LOSSES,
    CROSSOVER,
    PADDLESLIM_STRATEGIES,
    REFUSED_STRATEGIES,
    REGRESSION,
    SECTIONS,
    Config,
    QuantBiLSTMConfig,
)
from .source import Keys, Source, read_source

_log = logging.getLogger(__name__)

_VALID_SECTIONS = (*SECTIONS, *PADDLESLIM_STRATEGIES, "QuantBiLSTM")


def load_config(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *,
                inside_paddleslim: bool = False) -> Config:
    """Read and check a whole configuration.

    Args:
        source: path of a YAML file, or its content as a dict.
        overrides: ``Section.key=value`` each, the value in YAML: ``bert_to_bilstm.student.hidden_size=150``,
            ``DataAugmentation.hooks=[masking]``; they win over ``source``.
        inside_paddleslim: leave alone what PaddleSlim's ``AutoCompression`` leaves alone: other sections, and
            other keys of ``Global``, where PaddleSlim's scripts keep their own settings. Each is named in a warning.

    Raises:
        UserError: one line naming file and line (or override), key and value, and what is valid there. A
            configuration without ``bert_to_bilstm`` (or ``Finetune``) is none of ours.

    The keys of PaddleSlim's own strategies are not checked here but by PaddleSlim.
    """
    written = read_source(source, overrides)
    sections = {attribute: cls() for attribute, cls in SECTIONS.values()}
    strategies: dict[str, dict[str, Any]] = {}
    for name, value in written.values.items():
        if name in SECTIONS:
            attribute, cls = SECTIONS[name]
            sections[attribute] = _build(cls, value, (name,), written, inside_paddleslim and name == "Global")
        elif name == "QuantBiLSTM":
            strategies[name] = dataclasses.asdict(_build(QuantBiLSTMConfig, value, (name,), written))
        elif name in PADDLESLIM_STRATEGIES:
            strategies[name] = _checked(mapping, {} if value is None else value, (name,), written)
        elif name in REFUSED_STRATEGIES:
            raise written.error((name,), REFUSED_STRATEGIES[name])
        else:
            _unknown((name,), "section", _VALID_SECTIONS, written, inside_paddleslim)
    if not {"bert_to_bilstm", "Finetune"} & written.values.keys():
        raise written.error((), "has no section bert_to_bilstm; add it (\"bert_to_bilstm: {}\" takes the defaults)")
    config = Config(**sections, strategies=strategies)
    _check_task(config, written)
    return config if config.distill.alpha == 0 else _with_labels_kept(config, written)


def _with_labels_kept(config: Config, written: Source) -> Config:
    """Return a config that uses hard labels without `crossover`, which joins sentences of different labels."""
    if "hooks" not in _mapping_or_none(written.values.get("DataAugmentation"), ("DataAugmentation",), written):
        kept = tuple(hook for hook in config.augmentation.hooks if hook.name != CROSSOVER)
        return dataclasses.replace(config, augmentation=dataclasses.replace(config.augmentation, hooks=kept))
    if CROSSOVER in [hook.name for hook in config.augmentation.hooks]:
        raise written.error(("bert_to_bilstm", "alpha"), f"{config.distill.alpha:g} weighs hard labels, which the "
                            f"sentences that {CROSSOVER} joins don't have; set it to 0 or leave {CROSSOVER} out of "
                            "DataAugmentation.hooks")
    return config


def _check_task(config: Config, written: Source) -> None:
    """Refuse a metric or a loss that makes no sense for ``Global.task``."""
    task, metric = config.global_.task, config.global_.metric
    metrics = VALUE_METRICS if task == REGRESSION else CLASS_METRICS
    if metric is not None and metric not in metrics:
        raise written.error(("Global", "metric"), f"{metric} is no metric of a {task}; valid: {', '.join(metrics)}")
    in_chain = config.strategies.get("Distillation", {}).get("loss")
    losses = {("bert_to_bilstm", "loss"): [config.distill.loss],
              ("Distillation", "loss"): in_chain if isinstance(in_chain, list) else [in_chain]}
    for keys, names in losses.items():
        wrong = [name for name in names if name in CLASS_LOSSES]
        if wrong and task == REGRESSION:
            raise written.error(keys, f"{wrong[0]} compares probabilities of classes, which a regression has none of; "
                                      "use logit_mse or l2")


def _build(cls: type, value: Any, keys: Keys, written: Source, others_allowed: bool = False) -> Any:
    """Return ``cls`` from a mapping as written; None means all defaults."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    arguments = {}
    for key, item in _mapping_or_none(value, keys, written).items():
        if key not in fields:
            _unknown((*keys, key), "key", fields, written, others_allowed)
        elif "section" in fields[key].metadata:
            arguments[key] = _build(fields[key].metadata["section"], item, (*keys, key), written)
        else:
            arguments[key] = _checked(fields[key].metadata["check"], item, (*keys, key), written)
    return cls(**arguments)


def _mapping_or_none(value: Any, keys: Keys, written: Source) -> dict[Any, Any]:
    if value is not None and not isinstance(value, dict):
        raise written.error(keys, f"must be a mapping, {{key: value, ...}}, not {_shown(value)}")
    return value or {}


def _checked(check: Any, value: Any, keys: Keys, written: Source) -> Any:
    try:
        return check(value)
    except ValueError as error:
        value_shown = f", not {_shown(value)}" if str(error).startswith("must be ") else ""
        raise written.error(keys, f"{error}{value_shown}") from None


def _unknown(keys: Keys, what: str, valid: Sequence[str], written: Source, allowed: bool) -> None:
    hint = nearest(str(keys[-1]), valid)
    if not allowed:
        raise written.error(keys, f"unknown {what}{hint}")
    _log.warning("%s", written.error(keys, f"{what} not used by bert_to_bilstm{hint if 'mean' in hint else ''}"))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
