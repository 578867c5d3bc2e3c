"""Configuration: frozen pydantic models, read from YAML or a dict, checked once (``schema``, ``reading``)."""

from .reading import load_config
from .schema import (
           AugmentationConfig,
           Config,
           DistillConfig,
           FinetuneConfig,
           GlobalConfig,
           HookConfig,
           QuantBiLSTMConfig,
           StudentConfig,
           TrainSettings,
)

__all__ = ["AugmentationConfig", "Config", "DistillConfig", "FinetuneConfig", "GlobalConfig", "HookConfig",
           "QuantBiLSTMConfig", "StudentConfig", "TrainSettings", "load_config"]
