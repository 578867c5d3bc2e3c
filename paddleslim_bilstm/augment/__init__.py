"""Augmentation hooks and the transfer set that they make (Tang et al. 2019, section 3.3)."""

from . import hooks  # noqa: F401  (registers the built-in hooks)
from .corpus import Corpus
from .registry import Check, LengthRange, Probability, augmentation_hook, check_hooks, hook_names
from .speech import ChineseTagger, EnglishTagger, Tagger
from .transfer_set import TransferSet, build_transfer_set, hook_samples, load_transfer_set, transfer_set_fingerprint
from .words import word_spans

__all__ = ["Check", "ChineseTagger", "Corpus", "EnglishTagger", "LengthRange", "Probability", "Tagger", "TransferSet",
           "augmentation_hook", "build_transfer_set", "check_hooks", "hook_names", "hook_samples", "load_transfer_set",
           "transfer_set_fingerprint", "word_spans"]
