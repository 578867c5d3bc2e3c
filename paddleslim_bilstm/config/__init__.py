"""Configuration: frozen pydantic models, read from YAML or a dict, checked once (``schema``, ``reading``).

They come when they are asked for: ``source`` alone needs no pydantic.
"""

from importlib import import_module

_READING = ("load_config", "refuse_overrides")
_SCHEMA = ("AugmentationConfig", "Config", "DistillConfig", "FinetuneConfig", "GlobalConfig", "HookConfig",
           "QuantBiLSTMConfig", "StudentConfig", "TrainSettings")
__all__ = [*_SCHEMA, *_READING]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".reading" if name in _READING else ".schema", __name__), name)
