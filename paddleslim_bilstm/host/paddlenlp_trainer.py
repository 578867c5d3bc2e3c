"""``paddlenlp.trainer.Trainer.compress`` with the strategy ``bert_to_bilstm`` in it."""

from __future__ import annotations

import functools

STRATEGY = "bert_to_bilstm"


def register() -> None:
    """Teach the class ``Trainer`` our strategy, in place; doing it again changes nothing.

    Every strategy without our name goes to PaddleNLP untouched.
    """
    from paddlenlp.trainer.trainer import Trainer

    original = Trainer.compress
    if getattr(original, "knows_bert_to_bilstm", False):
        return

    @functools.wraps(original)
    def compress(self, *args, **kwargs):
        if STRATEGY not in (getattr(self.args, "strategy", None) or ""):
            return original(self, *args, **kwargs)
        from .trainer_job import distil  # the pipeline loads PaddleSlim, so only where it is needed
        return distil(self, *args, **kwargs)

    compress.knows_bert_to_bilstm = True
    Trainer.compress = compress
