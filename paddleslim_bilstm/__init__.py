"""BERT to Bi-LSTM distillation as a PaddleSlim strategy.

``import paddleslim_bilstm`` registers the strategy ``bert_to_bilstm``, the data hook ``DataAugmentation`` and the loss
``logit_mse`` with PaddleSlim. It loads neither Paddle nor PaddleSlim and leaves the environment alone: the versions are
checked when they are first used, and the CPU settings are applied when a job of ours begins.
"""

from __future__ import annotations

import os
import zlib  # noqa: F401  Paddle 2.6 exports zlib's symbols; loaded later, zlib fails in other extensions

from .cpu import AT_IMPORT, SWITCH, apply_cpu_settings
from .host.imports import follow_imports
from .host.versions import before_paddle

__version__ = "0.1.0"
__all__ = ["BiLSTMClassifier", "Predictor", "UserError", "augmentation_hook", "compress", "distillation_loss"]

if os.environ.get(SWITCH) == AT_IMPORT:
    apply_cpu_settings()
follow_imports()

_HOMES = {"BiLSTMClassifier": "export.dygraph", "Predictor": "predict", "UserError": "errors",
          "augmentation_hook": "augment", "compress": "pipeline", "distillation_loss": "student.losses"}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    if name == "compress":
        before_paddle()
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
