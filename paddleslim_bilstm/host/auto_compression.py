"""``paddleslim.auto_compression.AutoCompression`` with our strategy and data hook in it."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

from paddleslim.common.dataloader import wrap_dataloader

from ..config.reading import import_plugins
from ..config.source import Source, read_section, read_source, section_names

_STRATEGY, _DATA_HOOK = "bert_to_bilstm", "DataAugmentation"


def extend(cls: type) -> None:
    """Teach the class ``AutoCompression`` our sections, in place.

    With ``bert_to_bilstm`` in its config, the constructor checks the config and ``compress()`` runs our engine; the
    result is in ``.result``. With ``DataAugmentation`` alone, the batches of ``train_dataloader`` are augmented on
    the way into PaddleSlim's own strategies. Every other config goes to PaddleSlim untouched.
    """
    if getattr(cls.__init__, "knows_bert_to_bilstm", False):
        return
    original_init, original_compress, original_step = cls.__init__, cls.compress, cls.single_strategy_compress
    signature = inspect.signature(original_init)

    @functools.wraps(original_init)
    def __init__(self, *args, **kwargs):
        arguments = signature.bind(self, *args, **kwargs).arguments
        sections = _sections(arguments.get("config"))
        self._distillation = None
        if _STRATEGY in sections:
            self._distillation = _Distillation(sections, arguments)
            self.final_dir = self._distillation.settings.global_.save_dir
            return
        self._plain_dataloader = None
        if _DATA_HOOK not in sections:
            return original_init(**arguments)
        from .data_hook import augmented_loader  # Paddle's program is read, so only where it is needed
        plain = arguments.get("train_dataloader")
        original_init(**{**arguments, "train_dataloader": augmented_loader(sections, arguments)})
        self._plain_dataloader = wrap_dataloader(plain, self.feed_vars)

    @functools.wraps(original_compress)
    def compress(self):
        if self._distillation is None:
            return original_compress(self)
        self.result = self._distillation.run()
        return None

    @functools.wraps(original_step)
    def single_strategy_compress(self, strategy, *args, **kwargs):
        if strategy != "quant_post" or self._plain_dataloader is None:  # calibration sees the loader's own batches
            return original_step(self, strategy, *args, **kwargs)
        augmented, self.train_dataloader = self.train_dataloader, self._plain_dataloader
        try:
            return original_step(self, strategy, *args, **kwargs)
        finally:
            self.train_dataloader = augmented

    __init__.knows_bert_to_bilstm = True
    cls.__init__, cls.compress, cls.single_strategy_compress = __init__, compress, single_strategy_compress


class _Distillation:
    """A run of our engine with what the caller gave to ``AutoCompression``."""

    def __init__(self, sections: dict[str, Any], arguments: dict[str, Any]):
        from ..pipeline import prepare  # the pipeline imports this room
        sections = {name: dict(value) if isinstance(value, dict) else value for name, value in sections.items()}
        global_ = dict(sections.get("Global") or {})
        for name in ("model_dir", "model_filename", "params_filename", "save_dir"):
            if arguments.get(name) is not None:
                global_[name] = arguments[name]
        sections["Global"] = global_
        self.settings = prepare(sections, inside_paddleslim=True,
                                has_loader=arguments.get("train_dataloader") is not None)
        self._train_dataloader = arguments.get("train_dataloader")
        self._eval_callback = arguments.get("eval_callback")

    def run(self):
        from ..pipeline import compress
        return compress(self.settings, train_dataloader=self._train_dataloader, eval_callback=self._eval_callback)


def _sections(config: Any) -> dict[str, Any]:
    """Return the sections of a config as PaddleSlim takes it: a YAML file, a dict, or a list of strategy names.

    A file without sections of ours is left to PaddleSlim, whatever it holds: of it only the names are returned. So are
    those of the other sections beside ``DataAugmentation`` alone. With a section of ours, plug-ins are imported.
    """
    if isinstance(config, str) and Path(config).is_file():
        names = section_names(config)
        if _STRATEGY in names:
            return _with_plugins(read_source(config))
        sections = dict.fromkeys(names)
        for name in ("Global", _DATA_HOOK) if _DATA_HOOK in names else ():
            sections[name] = read_section(config, name)
        return _with_plugins(Source(sections, {(): config}, Path(config).parent)) if _DATA_HOOK in names else sections
    if isinstance(config, (list, tuple, set)):
        return dict.fromkeys(config)
    if not isinstance(config, dict):
        return {}
    return _with_plugins(read_source(config)) if {_STRATEGY, _DATA_HOOK} & config.keys() else dict(config)


def _with_plugins(written: Source) -> dict[str, Any]:
    import_plugins(written)
    return written.values
