"""``paddleslim.auto_compression.AutoCompression`` with our strategy and data hook in it."""

from __future__ import annotations

import functools
import inspect
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddleslim.auto_compression.compressor import _logger as host_log
from paddleslim.common.dataloader import wrap_dataloader

from ..config.reading import import_plugins
from ..config.source import Source, names_in, read_sections, read_source
from ..errors import UserError
from ..ranks import is_first, of_first
from ..report.report import score_of
from ..run import published_name
from ..storage import copy_whole
from ..student.spec import ONNX_FILES
from . import DATA_HOOK, STRATEGY
from .on_paddle3 import old_loader, paddleslim_at_work

if TYPE_CHECKING:
    from ..teacher.given import LogitsOfTexts

_log = logging.getLogger(__name__)

_GLOBAL_ARGUMENTS = ("model_dir", "model_filename", "params_filename", "save_dir")
_CALIBRATING = ("quant_post", "ptq_hpo")  # PaddleSlim's names of the steps that train nothing
_REFUSED_ARGUMENTS = {
    "input_shapes": "the student takes batches of any width, at no loss of speed",
    "target_speedup": "PaddleSlim chooses strategies by it where the config names none, and this one names them",
}


def extend(cls: type) -> None:
    """Teach the class ``AutoCompression`` our sections, in place.

    With ``bert_to_bilstm`` in its config, the constructor checks the config and ``compress()`` runs our engine; the
    result is in ``.result``, and ``.final_metric`` and ``export_onnx()`` are what they are in PaddleSlim. A function
    as ``teacher=`` takes the place of ``model_dir``, see `pipeline.compress`. With ``DataAugmentation`` alone, the
    batches of ``train_dataloader`` are augmented on the way into PaddleSlim's own strategies. Every other config goes
    to PaddleSlim untouched.
    """
    if getattr(cls.__init__, "knows_bert_to_bilstm", False):
        return
    original_init, original_compress, original_step = cls.__init__, cls.compress, cls.single_strategy_compress
    original_export = cls.export_onnx
    signature = inspect.signature(original_init)

    @functools.wraps(original_init)
    def __init__(self, *args, teacher=None, **kwargs):
        if teacher is not None and not args and "model_dir" not in kwargs:
            kwargs["model_dir"] = None
        arguments = signature.bind(self, *args, **kwargs).arguments
        for name in ("train_dataloader", "eval_dataloader"):
            if name in arguments:
                arguments[name] = old_loader(arguments[name])
        written = _written(arguments.get("config"))
        if DATA_HOOK in written.values and isinstance(arguments["config"], os.PathLike):
            arguments["config"] = os.fspath(arguments["config"])  # PaddleSlim would take it for no config
        self._distillation = None
        if STRATEGY in written.values:
            self._distillation = distillation = _Distillation(written, arguments, teacher)
            self.final_dir = distillation.settings.global_.save_dir
            self.model_filename, self.params_filename = distillation.file_names
            try:
                self.deploy_hardware = arguments.get("deploy_hardware", "gpu")  # checked by PaddleSlim's own setter
            except AssertionError as error:
                raise UserError(f"deploy_hardware: {error}") from None
            return
        if teacher is not None:
            raise UserError(f"teacher: only {STRATEGY} learns from a function, and the config has no such section")
        self._plain_dataloader = None
        if DATA_HOOK not in written.values:
            with paddleslim_at_work():
                return original_init(**arguments)
        from .data_hook import augmented_loader, static_loader  # Paddle's program is read, so only where it is needed
        plain = arguments["train_dataloader"] = static_loader(arguments.get("train_dataloader"))
        with paddleslim_at_work():
            original_init(**{**arguments, "train_dataloader": augmented_loader(written, arguments)})
            self._plain_dataloader = wrap_dataloader(plain, self.feed_vars)
            if arguments.get("eval_dataloader") is None:  # PaddleSlim measures on training batches then
                self.eval_dataloader = self._get_eval_dataloader(self._plain_dataloader)

    @functools.wraps(original_compress)
    def compress(self):
        if self._distillation is None:
            with paddleslim_at_work():
                return original_compress(self)
        self.result = self._distillation.run()
        self.final_metric = self._distillation.final_metric(self.result)
        if self._distillation.has_eval_callback:
            host_log.info("==> The metric of final model is %.4f", self.final_metric)
        host_log.info("==> The ACT compression has been completed and the final model is saved in `%s`", self.final_dir)
        return None

    @functools.wraps(original_step)
    def single_strategy_compress(self, strategy, *args, **kwargs):
        if strategy not in _CALIBRATING or self._plain_dataloader is None:  # calibration sees the loader's own batches
            return original_step(self, strategy, *args, **kwargs)
        augmented, self.train_dataloader = self.train_dataloader, self._plain_dataloader
        try:
            return original_step(self, strategy, *args, **kwargs)
        finally:
            self.train_dataloader = augmented

    @functools.wraps(original_export)
    def export_onnx(self, model_name="quant_model.onnx", deploy_backend="tensorrt"):
        if self._distillation is None:
            with paddleslim_at_work():
                return original_export(self, model_name, deploy_backend)
        return _export_onnx(Path(self.final_dir), model_name)

    __init__.knows_bert_to_bilstm = True
    cls.__init__, cls.compress, cls.export_onnx = __init__, compress, export_onnx
    cls.single_strategy_compress = single_strategy_compress


def _export_onnx(folder: Path, model_name: str) -> None:
    """Put the student's ONNX file, the int8 one if there is one, where PaddleSlim's ``export_onnx`` puts its own.

    It is one for ONNX Runtime, whatever backend the caller names.

    Raises:
        UserError: there is none; ``compress()`` has not run.
    """
    found = next((file for name in ONNX_FILES if (file := folder / name).is_file()), None)
    if found is None:
        raise UserError(f"export_onnx: {folder} holds no model.onnx; call compress() first")
    (folder / "ONNX").mkdir(exist_ok=True)
    copy_whole(found, folder / "ONNX" / model_name)
    host_log.info("Convert model to ONNX: %s", folder / "ONNX" / model_name)


class _Distillation:
    """A run of our engine with what the caller gave to ``AutoCompression``."""

    def __init__(self, written: Source, arguments: dict[str, Any], teacher: LogitsOfTexts | None):
        from ..pipeline import check_who_teaches, prepare  # the pipeline imports this room
        if callable(arguments.get("model_dir")):
            raise UserError("model_dir: is a function; give it as teacher=")
        for name in _REFUSED_ARGUMENTS:
            if arguments.get(name) is not None:
                raise UserError(f"{name}: {_REFUSED_ARGUMENTS[name]}; leave it out")
        given = {name: arguments[name] for name in _GLOBAL_ARGUMENTS if arguments.get(name) is not None}
        self.settings = prepare(written.with_values("Global", given, "AutoCompression"), inside_paddleslim=True,
                                has_loader=arguments.get("train_dataloader") is not None,
                                needs_teacher=teacher is None)
        check_who_teaches(self.settings, teacher)
        if inspect.isgenerator(arguments.get("train_dataloader")):
            raise UserError("train_dataloader: is a generator, which can be gone through only once; give the generator "
                            "function, a data loader or a list of batches")
        self._teacher = teacher
        self._train_dataloader = arguments.get("train_dataloader")
        self._eval_callback = arguments.get("eval_callback")
        known = self._eval_callback or self.settings.global_.dev_file
        if arguments.get("eval_dataloader") is not None and not known and is_first():
            _log.warning("eval_dataloader: is not read; name a dev set as Global.dev_file, or give an eval_callback: "
                         "models are compared on training text now")

    @property
    def has_eval_callback(self) -> bool:
        return self._eval_callback is not None

    @property
    def file_names(self) -> tuple[str, str]:
        """What the final model's two files are called."""
        name = published_name(self.settings.global_.model_filename)
        return f"{name}.pdmodel", f"{name}.pdiparams"

    def final_metric(self, result) -> float:
        """Return the metric of the final Paddle model: the caller's own, or else the run's; -1.0 where there is none,
        as in PaddleSlim."""
        return of_first(lambda: self._measured(result))

    def _measured(self, result) -> float:
        final = [row for row in result.report.models if not (row.file or "").endswith(".onnx")][-1]
        metric = final.metric if self.has_eval_callback else score_of(final, result.report.metric)
        return -1.0 if metric is None else metric

    def run(self):
        from ..pipeline import compress
        return compress(self.settings, train_dataloader=self._train_dataloader, eval_callback=self._eval_callback,
                        teacher=self._teacher)


def _written(config: Any) -> Source:
    """Return the sections of a config as PaddleSlim takes it: a YAML file, a dict, or a list of strategy names.

    A file without sections of ours is left to PaddleSlim, whatever it holds: of it only the names are returned. So are
    those of the other sections beside ``DataAugmentation`` alone. With a section of ours, plug-ins are imported.
    """
    names = names_in(config)
    if isinstance(config, (str, os.PathLike)) and names:
        if STRATEGY in names:
            return _with_plugins(read_source(config))
        return _with_plugins(read_sections(config, ("Global", DATA_HOOK) if DATA_HOOK in names else ()))
    if isinstance(config, dict) and {STRATEGY, DATA_HOOK} & config.keys():
        return _with_plugins(read_source(config))
    return Source(dict.fromkeys(names), {(): "config"})


def _with_plugins(written: Source) -> Source:
    import_plugins(written)
    return written
