"""Configuration: frozen dataclasses, read from YAML or a dict, checked once."""

from .load import load_config
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
