"""The one room that touches PaddleSlim's internals (PaddleSlim 2.6 has no plugin interface).

``imports`` registers with PaddleSlim as soon as it is imported, before or after this package; ``register`` adds the
strategy ``bert_to_bilstm``, the data hook ``DataAugmentation`` and the loss ``logit_mse``; ``auto_compression`` puts
them to work in ``AutoCompression``; ``chain`` runs PaddleSlim's own strategies on the student.

PaddleNLP has a door of its own: ``imports`` puts the strategy into ``Trainer.compress``, ``trainer_job`` makes a job of
a trainer.
"""

STRATEGY, DATA_HOOK = "bert_to_bilstm", "DataAugmentation"
