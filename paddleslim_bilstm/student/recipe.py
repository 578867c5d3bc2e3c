"""How a run's settings become trained students: the Bi-LSTM alone, and the distilled one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import paddle

from ..config import Config
from ..storage import Need, check_room, checksum
from ..task import task_named, task_of_outputs
from ..text.rows import Where
from ..tokens import Sentences
from .checkpoint import CHECKPOINT_STUDENTS
from .embeddings import TEACHER, first_embedding
from .encoders import encoder_fingerprint
from .losses import loss_fingerprint
from .network import TOKEN_MAP
from .spec import StudentSpec
from .train import Evaluate, MakeOptimizer, StaticLoss, TrainedStudent, TrainingPlan, TrainingSet, train_student
from .vocabulary import TokenVocabulary, WordVocabulary
from .weights import Weights, first_weights, size_bytes

_FORMAT = 1  # of trained students: counts up when the same input would give another one
_WEIGHED_FORMAT = 1  # likewise, of those that learn from labels and logits at once
_LOGGING_ITER = 10  # whatever it is, the student is the same
DEFAULT_EPOCHS = 2
ALONE_EPOCHS = 5
_FEWEST_STEPS = 2000  # small data is gone through more often
_EVALUATIONS, _LONGEST_EVAL_ITER = 10, 1000
_WORD_VECTORS = 2  # sets the random stream of their missing words apart from those of weights and batches


def first_student(settings: Config, label_names: tuple[str, ...], vocabulary: TokenVocabulary | WordVocabulary,
                  pairs: bool, teacher_embeddings: np.ndarray) -> tuple[StudentSpec, Weights, tuple[str, ...]]:
    """Return the untrained student, and notes for the report.

    Args:
        vocabulary: what it reads.
        pairs: whether it reads pairs.
        teacher_embeddings: float32 ``[vocabulary, teacher units]``.

    Raises:
        UserError: the word vectors that the settings name can't be read.
    """
    sizes, task = settings.distill.student, settings.global_.task
    told = task_of_outputs(len(label_names)) is task_named(task)
    spec = StudentSpec(sizes.embed_dim, sizes.hidden_size, sizes.num_layers, label_names, vocabulary.pad_id,
                       settings.global_.max_seq_length, pairs, vocabulary.kind, sizes.pooling, vocabulary.feeds,
                       vocabulary.width, vocabulary.sep_id, vocabulary.separators, sizes.encoder,
                       None if told else task)
    embedding, notes = first_embedding(sizes.embeddings, vocabulary.words, vocabulary.embeddings(teacher_embeddings),
                                       spec.embed_dim, np.random.default_rng([settings.global_.seed, _WORD_VECTORS]))
    first = first_weights(spec, vocabulary.token_map, embedding, np.random.default_rng(settings.global_.seed))
    return spec, first, notes


@dataclass(frozen=True)
class Recipe:
    """What the trainings of a run share.

    Attributes:
        settings: sections ``bert_to_bilstm`` and ``TrainConfig``, and the seed.
        loss: the distillation loss.
        make_optimizer: from the settings.
        evaluate: chooses the best checkpoint.
        dev_key: fingerprint of the dev set and the metric behind ``evaluate``.
        folder: for checkpoints; a student that was trained before is found there and not trained again.
    """

    settings: Config
    loss: StaticLoss
    make_optimizer: MakeOptimizer
    evaluate: Evaluate | None
    dev_key: str
    folder: Path

    def train_alone(self, spec: StudentSpec, first: Weights, train: Sentences, labels: np.ndarray,
                    transfer_sentences: int, where: Where | None = None) -> TrainedStudent:
        """Train the Bi-LSTM on the labelled originals: the tutorial's second step.

        Nothing comes from the teacher: it starts from the word vectors that the settings name, or from random ones.
        On small data it takes as many steps as the distilled student, which has more of it, up to 2,000.
        ``where`` tells where sentences were read, by their indices, for messages.
        """
        rows = np.flatnonzero(spec.task.has_label(labels))
        data = TrainingSet(train.take(rows), None, labels[rows], where and (lambda batch: where(rows[batch])))
        embedding = None if self.settings.distill.student.embeddings == TEACHER else first["embedding"]
        weights = first_weights(spec, first[TOKEN_MAP], embedding, np.random.default_rng(self.settings.global_.seed))
        data_key = checksum(*data.sentences.content, data.labels)
        steps = max(ALONE_EPOCHS * self._epoch_steps(len(rows)), min(_FEWEST_STEPS, self._steps(transfer_sentences)))
        return self._train("alone", spec, weights, data, data_key, None, steps)

    def distil(self, spec: StudentSpec, first: Weights, data: TrainingSet, data_key: str) -> TrainedStudent:
        """Train the student on the teacher's logits; ``data_key`` is the fingerprint of ``data``."""
        return self._train("distilled", spec, first, data, data_key, self.loss, self._steps(len(data.sentences)))

    def _train(self, name: str, spec: StudentSpec, first: Weights, data: TrainingSet, data_key: str,
               loss: StaticLoss | None, steps: int) -> TrainedStudent:
        bias = spec.task.first_bias(data.labels if data.logits is None else data.logits)
        if bias is not None:
            first = {**first, "output.bias": bias}
        plan = self._plan(steps)
        train = {**self.settings.to_dict()["TrainConfig"], "logging_iter": _LOGGING_ITER}
        weighed = [_WEIGHED_FORMAT] if data.logits is not None and plan.alpha > 0 else []
        key = checksum(_FORMAT, *weighed, data_key, self.dev_key, asdict(spec), encoder_fingerprint(spec.encoder),
                       asdict(plan), train, loss_fingerprint(self.settings.distill.loss),
                       *(first[weight] for weight in sorted(first)), paddle.__version__)
        checkpoint = self.folder / f"{name}-{key}.safetensors"
        if not checkpoint.is_file():
            check_room("training", [Need(self.folder, CHECKPOINT_STUDENTS * size_bytes(first), "Global.cache_dir")])
        return train_student(spec, first, data, plan, loss, self.make_optimizer, self.evaluate, checkpoint,
                             f"train {name}", self.settings.train.logging_iter)

    def _steps(self, transfer_sentences: int) -> int:
        """Return the steps of the distillation: what ``TrainConfig`` says, or our default."""
        train, epoch = self.settings.train, self._epoch_steps(transfer_sentences)
        if train.epochs is None:
            return train.train_iter or max(DEFAULT_EPOCHS * epoch, _FEWEST_STEPS)
        return min(train.epochs * epoch, train.train_iter or train.epochs * epoch)

    def _epoch_steps(self, sentences: int) -> int:
        return -(-sentences // self.settings.distill.batch_size)

    def _plan(self, steps: int) -> TrainingPlan:
        distill, train = self.settings.distill, self.settings.train
        eval_iter = train.eval_iter or min(max(steps // _EVALUATIONS, 1), _LONGEST_EVAL_ITER)
        return TrainingPlan(steps, distill.batch_size, distill.alpha, distill.student.dropout, eval_iter,
                            train.target_metric, self.settings.global_.seed)
