"""The three registrations: the strategy, the data hook and the loss."""

from __future__ import annotations

from paddleslim.auto_compression import AutoCompression, config_helpers, strategy_config

from .auto_compression import extend
from .losses import register_losses
from .strategies import BertToBiLSTM

STRATEGY = "bert_to_bilstm"


def register() -> None:
    """Make PaddleSlim know the strategy, the data hook and the loss; doing it again changes nothing.

    PaddleSlim reads its sections with ``eval`` of the name in ``config_helpers`` after a look into
    ``SUPPORTED_CONFIG``. The class `AutoCompression` itself is extended, so that code which imported it before works.
    """
    if STRATEGY not in strategy_config.SUPPORTED_CONFIG:
        strategy_config.SUPPORTED_CONFIG.append(STRATEGY)
    for module in (strategy_config, config_helpers):
        setattr(module, STRATEGY, BertToBiLSTM)
    register_losses()
    extend(AutoCompression)
