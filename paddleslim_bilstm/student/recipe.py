"""How settings become students: what a student is, the weights it starts from and its text; then its training."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import paddle

from .. import ranks
from ..augment import TransferSet
from ..config import Config
from ..config.schema import WORDS
from ..curves import curves
from ..errors import UserError
from ..storage import Need, check_room, checksum
from ..task import task_code, task_named, task_of_outputs
from ..teacher import Teacher
from ..teacher.text import TrainingText
from ..text.rows import Where
from ..tokens import Sentences
from .checkpoint import CHECKPOINT_STUDENTS
from .embeddings import TEACHER, first_embedding
from .encoders import encoder_fingerprint
from .losses import loss_fingerprint
from .network import TOKEN_MAP
from .spec import StudentSpec, can_match
from .train import (
    Evaluate,
    MakeOptimizer,
    StaticLoss,
    TrainedStudent,
    TrainingPlan,
    TrainingSet,
    closeness_to,
    train_student,
)
from .vocabulary import TokenVocabulary, WordVocabulary, build_word_vocabulary, cut_vocabulary, token_counts
from .weights import Weights, first_weights, size_bytes

_log = logging.getLogger(__name__)

_WORD_VECTORS = 2  # sets the random stream of their missing words apart from those of weights and batches


@dataclass(frozen=True)
class StudentText:
    """Sentences as the student reads them, row by row those of the run: the teacher's tokens, or words.

    Attributes:
        vocabulary: what the student reads; feeds them to it.
        train: the originals.
        transfer: the transfer set.
        dev: the sentences on which models are compared.
        counts, notes: for the report.
    """

    vocabulary: TokenVocabulary | WordVocabulary
    train: Sentences
    transfer: Sentences
    dev: Sentences
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def row_counts(self) -> np.ndarray:
        """How often the originals have each embedding row, float64 ``[rows]``."""
        token_map = self.vocabulary.token_map
        return np.bincount(token_map, token_counts(self.train, len(token_map)))


@dataclass(frozen=True)
class Student:
    """An untrained student.

    Attributes:
        spec: what it is.
        first: the weights that it starts from.
        text: what it reads.
        base: what its embedding is a projection of while it learns from the teacher, float32 ``[rows, units]``.
        notes: for the report.
    """

    spec: StudentSpec
    first: Weights
    text: StudentText
    base: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def start_student(settings: Config, teacher: Teacher, text: TrainingText, transfer_set: TransferSet) -> Student:
    """Return the student that the settings ask for, with the teacher's embeddings or those that they name.

    Raises:
        UserError: words of sentence pairs, no word occurs often enough, or the word vectors can't be read.
    """
    sizes, seed = settings.distill.student, settings.student_seed
    own = student_text(settings, teacher, text, transfer_set)
    vocabulary = own.vocabulary
    told = task_of_outputs(len(text.label_names)) is task_named(settings.global_.task)
    spec = StudentSpec(sizes.embed_dim, sizes.hidden_size, sizes.num_layers, text.label_names, vocabulary.pad_id,
                       settings.global_.max_seq_length, own.transfer.pairs, vocabulary.kind, sizes.pooling,
                       vocabulary.feeds, vocabulary.width, vocabulary.sep_id, vocabulary.separators, sizes.encoder,
                       None if told else settings.global_.task,
                       matches=can_match(own.transfer.pairs, sizes.embed_dim))
    of_rows = None if teacher.embeddings is None else vocabulary.embeddings(teacher.embeddings)
    embedding = first_embedding(sizes.embeddings, vocabulary.words, of_rows, spec.table_units,
                                np.random.default_rng([seed, _WORD_VECTORS]))
    first = first_weights(spec, vocabulary.token_map, embedding.values, np.random.default_rng(seed))
    return Student(spec, first, own, embedding.base, (*own.notes, *embedding.notes))


def student_text(settings: Config, teacher: Teacher, text: TrainingText, transfer_set: TransferSet) -> StudentText:
    """Return the text of the run as the student reads it.

    Raises:
        UserError: words of sentence pairs, or no word occurs often enough.
    """
    corpus = transfer_set.corpus
    if settings.distill.student.vocabulary != WORDS:
        sizes = settings.distill.student
        projected = sizes.embeddings == TEACHER and teacher.embeddings is not None
        token_map = cut_vocabulary(corpus.tokenizer, transfer_set.sentences, sizes.unseen_tokens if projected else 0)
        return StudentText(TokenVocabulary(corpus.tokenizer, teacher.framing, token_map), text.train,
                           transfer_set.sentences, text.dev, {})
    if corpus.pairs:
        raise UserError("bert_to_bilstm.student.vocabulary: words is for single sentences, and these are pairs; leave "
                        "it out")
    words = build_word_vocabulary(corpus.sentences, corpus.tokenizer, corpus.chinese,
                                  settings.distill.student.min_count)
    train, dev = words.rows_of_words(corpus.sentences), words.rows_of(text.dev, text.dev_texts)
    unknown = float((dev.tokens == 0).mean()) if len(dev.tokens) else 0.0
    note = (f"The student reads {len(words.words):,} words of its own (words.txt); {100 * unknown:.1f} % of the words "
            "of the dev set are not among them.")
    _log.info("%s", note)
    return StudentText(words, train, words.rows_of_words(transfer_set.sentences), dev,
                       {"student_words": len(words.words)}, (note,))


_FORMAT = 2  # of trained students: counts up when the same input would give another one
_WEIGHED_FORMAT = 1  # likewise, of those that learn from labels and logits at once
_LOGGING_ITER = 10  # whatever it is, the student is the same
_NOT_LEARNED = ("thresholds",)  # of a spec
DEFAULT_EPOCHS = 4
ALONE_EPOCHS = 5
_FEWEST_STEPS = 2000  # small data is gone through more often
_EVALUATIONS, _LONGEST_EVAL_ITER = 10, 1000
_ONE_HELD_OUT_OF, _FEWEST_HELD_OUT, _MOST_HELD_OUT = 50, 200, 4096  # sentences of the transfer set
_HELD_OUT = 3  # sets the random stream of what is held out apart


@dataclass(frozen=True)
class Recipe:
    """What the trainings of a run share.

    Attributes:
        settings: sections ``bert_to_bilstm`` and ``TrainConfig``, and the seed.
        loss: the distillation loss.
        make_optimizer: from the settings.
        evaluate: measures checkpoints on the dev set, and chooses the best one where nothing better does.
        user_chooses: ``evaluate`` is the user's own and always chooses.
        dev_key: fingerprint of the dev set and the metric behind ``evaluate``.
        folder: for checkpoints; a student that was trained before is found there and not trained again.
    """

    settings: Config
    loss: StaticLoss
    make_optimizer: MakeOptimizer
    evaluate: Evaluate | None
    dev_key: str
    folder: Path
    user_chooses: bool = False

    def train_alone(self, student: Student, labels: np.ndarray, where: Where | None = None) -> TrainedStudent:
        """Train the Bi-LSTM on the labelled originals: the tutorial's second step.

        Nothing comes from the teacher: it starts from the word vectors that the settings name, or from random ones.
        It takes five epochs; on small data as many steps as the distilled student, which has more of it, up to 2,000;
        and ``train_iter`` steps at most.
        ``where`` tells where sentences were read, by their indices, for messages.
        """
        spec, text = student.spec, student.text
        rows = np.flatnonzero(spec.task.has_label(labels))
        sentences, known = text.train.take(rows), labels[rows]
        data = TrainingSet(sentences, None, known, where and (lambda batch: where(rows[batch])),
                           checksum(*sentences.content, known))
        embedding = None if self.settings.distill.student.embeddings == TEACHER else student.first["embedding"]
        weights = first_weights(spec, student.first[TOKEN_MAP], embedding,
                                np.random.default_rng(self.settings.student_seed))
        steps = max(ALONE_EPOCHS * self._epoch_steps(len(rows)),
                    min(_FEWEST_STEPS, self._steps(len(text.transfer))))
        steps = min(steps, self.settings.train.train_iter or steps)
        return self._train("alone", spec, weights, data, None, steps)

    def distil(self, student: Student, data: TrainingSet) -> TrainedStudent:
        """Train the student on the teacher's logits.

        Where it learns nothing but them, the best checkpoint is the closest to them on sentences that are held out:
        all that were made of some originals. So the dev set only measures.
        """
        data = replace(data, held_out=self._held_out(data))
        steps = self._steps(len(data.sentences) - len(data.held_out))
        if not len(data.held_out):
            return self._train("distilled", student.spec, student.first, data, self.loss, steps, base=student.base)
        apart = data.sentences.take(data.held_out)
        choose = closeness_to(data.logits[data.held_out], apart, student.text.vocabulary)
        trained = self._train("distilled", student.spec, student.first, data, self.loss, steps, choose, student.base)
        return replace(trained, chosen_by="the squared error to the teacher's logits on "
                                          f"{len(apart):,} sentences of the transfer set that it did not learn from")

    def _held_out(self, data: TrainingSet) -> np.ndarray:
        """Return which sentences are held out: none where they would be few, or are not what should choose."""
        most = min(len(data.sentences) // _ONE_HELD_OUT_OF, _MOST_HELD_OUT)
        learns_logits_alone = self.settings.distill.alpha == 0 and self.settings.distill.has_squared_error
        if self.user_chooses or data.source is None or not learns_logits_alone or most < _FEWEST_HELD_OUT:
            return np.empty(0, np.int64)
        count = np.bincount(data.source)
        originals = np.random.default_rng([self.settings.global_.seed, _HELD_OUT]).permutation(len(count))
        return np.flatnonzero(np.isin(data.source, originals[np.cumsum(count[originals]) <= most]))

    def _train(self, name: str, spec: StudentSpec, first: Weights, data: TrainingSet, loss: StaticLoss | None,
               steps: int, choose: Evaluate | None = None, base: np.ndarray | None = None) -> TrainedStudent:
        task = spec.task
        bias = task.first_bias(data.labels) if data.logits is None else task.first_bias_for(data.logits)
        if bias is not None:
            first = {**first, "output.bias": bias}
        scale = task.first_scale(data.labels if data.logits is None else data.logits)
        if scale != 1:
            first = {**first, "output.weight": first["output.weight"] * np.float32(scale)}
        plan = self._plan(steps, data)
        checkpoint = self.folder / f"{name}-{self._key(spec, first, data, plan, base)}.safetensors"
        if ranks.is_first() and not checkpoint.is_file():
            check_room("training", [Need(self.folder, CHECKPOINT_STUDENTS * size_bytes(first), "Global.cache_dir")])
        with curves(self.settings, name) as show:
            return train_student(spec, first, data, plan, loss, self.make_optimizer, self.evaluate, checkpoint,
                                 f"train {name}", self.settings.train.logging_iter, show, choose, base)

    def _key(self, spec: StudentSpec, first: Weights, data: TrainingSet, plan: TrainingPlan,
             base: np.ndarray | None) -> str:
        """Return what changes with all that a trained student depends on."""
        formats = [_FORMAT, _WEIGHED_FORMAT] if data.logits is not None and plan.alpha > 0 else [_FORMAT]
        learns = {name: value for name, value in asdict(spec).items() if name not in _NOT_LEARNED}
        train = {**self.settings.to_dict()["TrainConfig"], "logging_iter": _LOGGING_ITER}
        held_out = [data.held_out] if len(data.held_out) else []
        encoder, *others = ranks.of_first(lambda: (encoder_fingerprint(spec.encoder), loss_fingerprint(
            self.settings.distill.loss), *task_code(spec.task_name)))
        return checksum(*formats, data.key, *held_out, self.dev_key, learns, encoder, asdict(plan), train, *others,
                        *(first[weight] for weight in sorted(first)), *([] if base is None else [base]),
                        paddle.__version__)

    def _steps(self, transfer_sentences: int) -> int:
        """Return the steps of the distillation: what ``TrainConfig`` says, or our default."""
        train, epoch = self.settings.train, self._epoch_steps(transfer_sentences)
        if train.epochs is None:
            return train.train_iter or max(DEFAULT_EPOCHS * epoch, _FEWEST_STEPS)
        return min(train.epochs * epoch, train.train_iter or train.epochs * epoch)

    def _epoch_steps(self, sentences: int) -> int:
        return -(-sentences // self.settings.distill.batch_size)

    def _plan(self, steps: int, data: TrainingSet) -> TrainingPlan:
        distill, train = self.settings.distill, self.settings.train
        eval_iter = train.eval_iter or min(max(steps // _EVALUATIONS, 1), _LONGEST_EVAL_ITER)
        return TrainingPlan(steps, distill.batch_size, distill.alpha, distill.student.dropout, eval_iter,
                            train.target_metric, self.settings.student_seed,
                            0.0 if data.hints is None else distill.hint_weight * float(data.logits.var(axis=0).mean()))
