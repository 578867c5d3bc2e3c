"""BERT to Bi-LSTM distillation as a PaddleSlim strategy.

``import paddleslim_bilstm`` registers the strategy ``bert_to_bilstm``, the data hook ``DataAugmentation`` and the loss
``logit_mse`` with PaddleSlim, and puts the CPU settings that Paddle needs into the environment. It loads neither of
them: that happens when they are first used.
"""

from __future__ import annotations

from .cpu import apply_cpu_settings
from .host.on_import import register_when_imported
from .host.versions import check_versions

__version__ = "0.1.0"
__all__ = ["BiLSTMClassifier", "Predictor", "UserError", "augmentation_hook", "compress", "distillation_loss"]

check_versions()
apply_cpu_settings()
register_when_imported()

_HOMES = {"BiLSTMClassifier": "export.dygraph", "Predictor": "predict", "UserError": "errors",
          "augmentation_hook": "augment", "compress": "pipeline", "distillation_loss": "student.losses"}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
