"""``load_config``: from YAML, dict and overrides to a checked :class:`Config`, and its plug-ins."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
import types
from pathlib import Path
from typing import Any, Mapping, Sequence

from pydantic import ValidationError

from ..errors import UserError, nearest
from ..storage import checksum
from ..student.encoders import encoder_names
from ..student.losses import LOSSES
from ..task import TASKS, metrics_by_name, task_named
from .schema import (
    CROSSOVER,
    OPTIMIZER_PARTS,
    PADDLESLIM_STRATEGIES,
    REFUSED_STRATEGIES,
    SECTIONS,
    TOKENS,
    Config,
    DistillConfig,
    FinetuneConfig,
    GlobalConfig,
    QuantBiLSTMConfig,
    Section,
    StudentConfig,
    TrainSettings,
    mapping,
    names,
)
from .source import Keys, Source, check_overrides, read_source

_log = logging.getLogger(__name__)

_SLIP = 0.8  # how alike two names are, one of which is written by mistake for the other
_VALID_SECTIONS = (*SECTIONS, *PADDLESLIM_STRATEGIES, "QuantBiLSTM")


def load_config(source: str | Path | Mapping[str, Any] | Source, overrides: Sequence[str] = (), *,
                inside_paddleslim: bool = False, has_loader: bool = False) -> Config:
    """Read and check a whole configuration, after importing its plug-ins.

    Args:
        source: path of a YAML file, or its content as a dict or as `read_source` returns it.
        overrides: ``Section.key=value`` each, the value in YAML: ``bert_to_bilstm.student.hidden_size=150``,
            ``DataAugmentation.hooks=[masking]``; they win over ``source``.
        inside_paddleslim: leave alone what PaddleSlim's ``AutoCompression`` leaves alone, where PaddleSlim's scripts
            keep their own settings: other sections, other keys of ``Global`` and of ``TrainConfig.optimizer_builder``.
            One warning names them all.
        has_loader: with ``inside_paddleslim``, a ``train_dataloader`` was handed over. It is the training text, so
            ``Global.dataset`` is the script's own, and so are a ``Global.task`` and a ``Global.metric`` that say
            nothing to us, such as ``sst-2``: ours are the defaults.

    Raises:
        UserError: one line naming file and line (or override), key and value, and what is valid there. A
            configuration without ``bert_to_bilstm`` (or ``Finetune``) is none of ours.

    The keys of PaddleSlim's own strategies are not checked here but by PaddleSlim.
    """
    written = read_source(source, overrides)
    import_plugins(written)
    if inside_paddleslim:
        _leave_to_the_script(written, has_loader)
    sections = {attribute: cls() for attribute, cls in SECTIONS.values()}
    strategies: dict[str, dict[str, Any]] = {}
    for name, value in written.values.items():
        if name in SECTIONS:
            attribute, cls = SECTIONS[name]
            sections[attribute] = _build(cls, value, (name,), written)
        elif name == "QuantBiLSTM":
            strategies[name] = _build(QuantBiLSTMConfig, value, (name,), written).model_dump()
        elif name in PADDLESLIM_STRATEGIES:
            strategies[name] = _strategy(value, (name,), written)
        elif name in REFUSED_STRATEGIES:
            raise written.error((name,), REFUSED_STRATEGIES[name])
        else:
            raise written.error((name,), f"unknown section{nearest(str(name), _VALID_SECTIONS)}")
    if not {"bert_to_bilstm", "Finetune"} & written.values.keys():
        raise written.error((), "has no section bert_to_bilstm; add it (\"bert_to_bilstm: {}\" takes the defaults)")
    config = Config(**sections, strategies=strategies)
    if config.global_.model_dir is not None and config.global_.teacher_labels is not None:
        raise written.error(("Global", "teacher_labels"), "stands in place of Global.model_dir; leave out one "
                            "of the two")
    _check_task(config, written)
    _check_teachers(config, written)
    _check_losses(config, written)
    _check_encoder(config, written)
    _check_use(config, written)
    return config if config.distill.alpha == 0 else _with_labels_kept(config, written)


def refuse_overrides(overrides: Sequence[str]) -> None:
    """Refuse overrides of a `Config`, which is checked already.

    Raises:
        UserError: there are some.
    """
    check_overrides(overrides)
    if overrides:
        raise UserError(f"overrides: {overrides[0]} comes too late for a Config; give it to load_config, or give the "
                        "file or the dict here")


def import_plugins(written: Source) -> None:
    """Import what ``Global.plugins`` names, and put in its place what imports the same from the working directory.

    A name is a .py file, or else a module: ``my_hooks.py`` beside the YAML (in the working directory for a dict or an
    override), or one that Python finds. Files that were run last are not run again, as long as they stay the same.

    Raises:
        UserError: there is no such plug-in, or it fails; the message names its line and its error.
    """
    keys, section = ("Global", "plugins"), written.values.get("Global")
    if not isinstance(section, dict) or section.get("plugins") is None:
        return
    folder = Path() if written.place(keys).startswith("-o ") else written.folder
    try:
        wanted = names(section["plugins"])
        files = [file.absolute() for name in wanted if (file := _plugin_file(name, folder)).is_file()]
        contents = [(file, checksum(file)) for file in files]
        again = contents != _run_last  # what a file registers takes the place of what another one has
        if again:
            _run_last.clear()
        section["plugins"] = [_import_plugin(name, folder, again) for name in wanted]
        _run_last[:] = contents
        written.folder = Path()
    except ValueError as error:
        raise written.error(keys, str(error)) from None


_run_last: list[tuple[Path, str]] = []  # the files of the last configuration's plug-ins, and their checksums


def _plugin_file(name: str, folder: Path) -> Path:
    return folder / os.path.expanduser(name if name.endswith(".py") else f"{name}.py")


def _import_plugin(name: str, folder: Path, run_files: bool) -> str:
    """Import a plug-in and return the name under which the working directory knows it, or raise ValueError.

    A file is run where ``run_files``, else it was before.
    """
    file = _plugin_file(name, folder)
    is_file = file.is_file()
    missing = f"{name} is no installed module and {file} no file; name a module, or a file beside the configuration"
    if name.endswith(".py") and not is_file:
        raise ValueError(missing)
    try:
        if is_file and run_files:
            _run_file(file.absolute())
        elif not is_file:
            importlib.import_module(name)
    except (Exception, SystemExit) as error:  # somebody's own code: anything can come out
        if isinstance(error, ModuleNotFoundError) and not is_file and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(missing) from None
        raise ValueError(f"{name} can't be imported: {_line_of(error)}{type(error).__name__}: {error} (a plug-in is "
                         "Python code, run as it stands; mend it, or take it out)") from None
    return str(file) if is_file else name


def _line_of(error: BaseException) -> str:
    """Return "FILE:LINE: " of what a plug-in did last before ``error``, in the first file that isn't the import's."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: "
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen ")]
    lines = [frame.lineno for frame in frames if frame.filename == frames[0].filename]
    return f"{frames[0].filename}:{lines[-1]}: " if frames else ""


def _run_file(file: Path) -> None:
    """Run a .py file as a module of its own."""
    content = file.read_bytes()
    name = f"{file.stem}_{checksum(str(file), content.hex())}"
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = str(file)
    try:
        exec(compile(content, str(file), "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[name]
        raise


def _leave_to_the_script(written: Source, has_loader: bool) -> None:
    """Take out of ``written`` what is a PaddleSlim script's own, and name it in one warning.

    Raises:
        UserError: ``Global.task`` or ``Global.metric`` looks like a slip for one of ours.
    """
    left = []

    def leave(section: Any, keys: Keys, valid: Sequence[str]) -> None:
        for key in [key for key in section if key not in valid] if isinstance(section, dict) else ():
            del section[key]
            hint = nearest(str(key), valid, _SLIP)  # else task_name looks like a slip for task
            left.append(".".join(map(str, (*keys, key))) + (f" ({hint[2:]})" if "did you mean" in hint else ""))

    global_, train = written.values.get("Global"), written.values.get("TrainConfig")
    ours = [key for key in GlobalConfig.model_fields if key != "dataset" or not has_loader]
    leave(written.values, (), (*_VALID_SECTIONS, *REFUSED_STRATEGIES))
    leave(global_, ("Global",), ours)
    for key, valid in (("task", TASKS), ("metric", metrics_by_name())) if has_loader else ():
        value = global_.get(key) if isinstance(global_, dict) else None
        if value is None or isinstance(value, str) and value in valid:
            continue
        hint = nearest(str(value), valid, _SLIP)
        if "did you mean" in hint:
            raise written.error(("Global", key), f"{_shown(value)} is none of ours{hint}")
        left.append(f"Global.{key} ({_shown(value)}{hint})")
        del global_[key]
    if isinstance(train, dict) and isinstance(train.get("optimizer_builder"), dict):
        builder = train["optimizer_builder"]
        used = [part for part in OPTIMIZER_PARTS if part != "weight_decay" or "regularizer" not in builder]
        leave(builder, ("TrainConfig", "optimizer_builder"), used)
    if left:
        _log.warning("%s: bert_to_bilstm does not use %s", written.place(()), ", ".join(left))


def _build(cls: type[Section], value: Any, keys: Keys, written: Source) -> Any:
    """Return ``cls`` from a mapping as written; None means all defaults."""
    try:
        return cls.model_validate({} if value is None else value)
    except ValidationError as error:
        raise _first_error(cls, error, keys, written) from None


def _first_error(cls: type[Section], error: ValidationError, keys: Keys, written: Source) -> UserError:
    first = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    place, message = (*keys, *first["loc"]), first["msg"].replace("Input should be", "must be")
    if first["type"] == "extra_forbidden":
        fields = cls.model_fields if len(first["loc"]) == 1 else StudentConfig.model_fields
        return written.error(place, f"unknown key{nearest(str(place[-1]), fields)}")
    if first["type"] in ("model_type", "dict_type"):
        message = "must be a mapping, {key: value, ...}"
    elif "error" in first.get("ctx", {}):
        message = str(first["ctx"]["error"])
    return written.error(place, message + (f", not {_shown(first['input'])}" if message.startswith("must be ") else ""))


def _strategy(value: Any, keys: Keys, written: Source) -> dict[str, Any]:
    try:
        return mapping({} if value is None else value)
    except ValueError as error:
        shown = f", not {_shown(value)}" if str(error).startswith("must be ") else ""
        raise written.error(keys, f"{error}{shown}") from None


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes out
        text = "a huge number"
    return text if len(text) <= 80 else text[:77] + "..."


def _check_task(config: Config, written: Source) -> None:
    """Refuse a metric or a threshold that makes no sense for ``Global.task``."""
    task, metric = config.global_.task, config.global_.metric
    metrics = [one.name for one in task_named(task).metrics]
    if metric is not None and metric not in metrics:
        raise written.error(("Global", "metric"), f"{metric} is no metric of a {task}; valid: {', '.join(metrics)}")
    if config.global_.threshold != GlobalConfig().threshold and not task_named(task).thresholds:
        raise written.error(("Global", "threshold"), f"a {task} has none; remove it, or set Global.task to multi_label")


def _check_teachers(config: Config, written: Source) -> None:
    """Refuse with several teachers what is meant for one."""
    if len(config.global_.teachers) < 2:
        return
    for key in ("model_filename", "params_filename"):
        if getattr(config.global_, key) is not None:
            raise written.error(("Global", key), "is of one teacher, and model_dir names several; leave it out: "
                                "model_dir itself may name .onnx files")
    if config.finetune.model is not None:
        raise written.error(("Finetune", "model"), "makes one teacher, and Global.model_dir names several; name one")


def _check_encoder(config: Config, written: Source) -> None:
    name = config.distill.student.encoder
    if name not in encoder_names():
        raise written.error(("bert_to_bilstm", "student", "encoder"),
                            f"no encoder is called {_shown(name)}{nearest(name, encoder_names())} (one of your own "
                            "stands in a module that Global.plugins names)")


def _check_losses(config: Config, written: Source) -> None:
    """Refuse losses that nobody has registered, and those that make no sense for ``Global.task``."""
    in_chain = config.strategies.get("Distillation", {}).get("loss", "logit_mse")
    losses = {("bert_to_bilstm", "loss"): [config.distill.loss],
              ("Distillation", "loss"): in_chain if isinstance(in_chain, list) else [in_chain]}
    for keys, wanted in losses.items():
        if not wanted:
            raise written.error(keys, "must name a loss, or several in a list")
        for name in wanted:
            if not isinstance(name, str) or name not in LOSSES:
                raise written.error(keys, f"no loss is called {_shown(name)}{nearest(str(name), LOSSES)} (one of your "
                                          "own stands in a module that Global.plugins names)")
            if LOSSES[name].needs_classes and not task_named(config.global_.task).has_classes:
                fit = ", ".join(loss.name for loss in LOSSES.values() if not loss.needs_classes)
                raise written.error(keys, f"{name} compares probabilities of classes, which a {config.global_.task} "
                                          f"has none of; valid: {fit}")


def _check_use(config: Config, written: Source) -> None:
    """Refuse settings that would do nothing, or that contradict one another."""
    global_, student = config.global_, config.distill.student
    if config.finetune.model is not None:
        for key in ("model_filename", "params_filename"):
            if getattr(global_, key) is not None:
                raise written.error(("Global", key), "names a file of an exported model, and Finetune makes a "
                                    "checkpoint; leave it out")
        if global_.model_dir and Path(global_.model_dir).resolve() in Path(global_.save_dir).resolve().parents:
            raise written.error(("Global", "save_dir"), f"lies in Global.model_dir, {global_.model_dir}, which a "
                                "fine-tuned teacher takes the place of as a whole; name a folder beside it")
    else:
        for key, value in config.finetune:
            if value != getattr(FinetuneConfig(), key):
                raise written.error(("Finetune", key), "Finetune.model: missing, so nothing is fine-tuned; name a "
                                    "pretrained model, or remove the section (-o Finetune=)")
    if isinstance(global_.text_column, tuple) and student.vocabulary != TOKENS:
        raise written.error(("bert_to_bilstm", "student", "vocabulary"), f"{student.vocabulary} is for single "
                            "sentences, and Global.text_column names a pair; leave it out")
    if student.vocabulary == TOKENS and student.min_count != StudentConfig().min_count and (
            global_.model_dir or global_.tokenizer_dir):
        raise written.error(("bert_to_bilstm", "student", "min_count"), "is of a vocabulary of words, and this student "
                            "reads the teacher's tokens; remove it, or set vocabulary: words")
    if student.unseen_tokens != StudentConfig().unseen_tokens and (
            student.vocabulary != TOKENS or student.embeddings != StudentConfig().embeddings):
        raise written.error(("bert_to_bilstm", "student", "unseen_tokens"), "is of tokens that start from the "
                            "teacher's embeddings, and this student has none such; remove it")
    distill = config.distill
    if distill.alpha == 1 and distill.loss != DistillConfig().loss:
        raise written.error(("bert_to_bilstm", "loss"), "has no weight at alpha 1; remove it, or lower alpha")
    if distill.wants_hints and not distill.learns_hints:
        raise written.error(("bert_to_bilstm", "hint_weight"), "joins the squared error between logits, and this "
                            "student learns by another loss; remove it, or set loss: logit_mse and an alpha below 1")
    train, defaults = config.train, TrainSettings()
    reasons = dict.fromkeys(("amp_config", "recompute_config", "sharding_config"), "a Bi-LSTM is small, so it is "
                            "trained in float32 on one device; remove it")
    reasons["sparse_model"] = ("it keeps the zeros of 1x1 convolutions, which a Bi-LSTM has none of; remove it, and "
                               "prune with UnstructurePrune")
    for key, reason in reasons.items():
        if getattr(train, key) != getattr(defaults, key):
            raise written.error(("TrainConfig", key), reason)
    if {"regularizer", "weight_decay"} <= train.optimizer_builder.keys():
        raise written.error(("TrainConfig", "optimizer_builder"), "has both a regularizer and a weight_decay, and "
                            "PaddleSlim uses the regularizer alone; remove one")


def _with_labels_kept(config: Config, written: Source) -> Config:
    """Return a config that uses hard labels without `crossover`, which joins sentences of different labels."""
    hooks = config.augmentation.hooks
    if "hooks" not in config.augmentation.model_fields_set:
        kept = tuple(hook for hook in hooks if hook.name != CROSSOVER)
        return config.model_copy(update={"augmentation": config.augmentation.model_copy(update={"hooks": kept})})
    if CROSSOVER in [hook.name for hook in hooks]:
        raise written.error(("bert_to_bilstm", "alpha"), f"{config.distill.alpha:g} weighs hard labels, which the "
                            f"sentences that {CROSSOVER} joins don't have; set it to 0 or leave {CROSSOVER} out of "
                            "DataAugmentation.hooks")
    return config
