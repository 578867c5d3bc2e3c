"""What happens in a run up to the trained students: each stage takes objects and returns one."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .augment import Corpus, TransferSet, build_transfer_set, transfer_set_fingerprint
from .config import Config
from .config.schema import BEST_ON_DEV
from .cpu import physical_cores
from .errors import UserError
from .host.optimizer import make_optimizer_of
from .host.rehearsal import check_strategies
from .report.measure import DevSet, metric_of_onnx, teacher_parameters
from .run import RunFolder
from .storage import Need, check_room, checksum
from .student.checkpoint import CHECKPOINT_STUDENTS
from .student.evaluate import metric_of, metric_on
from .student.losses import loss_function
from .student.network import TOKEN_MAP
from .student.recipe import Recipe
from .student.start import Student, start_student
from .student.train import Evaluate, TrainingSet
from .student.weights import size_bytes
from .task import task_named
from .teacher import LABELS_FORMAT, Labels, Teacher, label, load_teacher, missing_bytes
from .teacher.text import TrainingText, read_training_text
from .thresholds import HALF

_log = logging.getLogger(__name__)

_ORIGIN_METRIC_TOLERANCE = 0.05  # PaddleSlim's
_MODEL_COPIES = 11  # in save_dir at most, without strategies: steps, ONNX files, and what is put together for the end


@dataclass(frozen=True)
class Job:
    """What a run is to do: the settings, and what the caller handed over beside them, see `pipeline.compress`."""

    settings: Config
    train: Any = None
    dev: Any = None
    unlabeled: Any = None
    train_dataloader: Any = None
    eval_callback: Evaluate | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether the settings tell all that students depend on: code of a script's own has no fingerprint."""
        return self.eval_callback is None and not self.settings.train.has_functions

    def read_text(self, teacher: Teacher) -> TrainingText:
        """See `read_training_text`."""
        return read_training_text(self.settings, teacher, self.train, self.dev, self.unlabeled, self.train_dataloader)

    def evaluation_on(self, dev_set: DevSet) -> Evaluate | None:
        """Return what chooses the best checkpoint; None where nothing can."""
        if self.eval_callback is not None or dev_set.labels is None:
            return self.eval_callback
        return metric_on(dev_set.sentences, dev_set.labels, dev_set.reader, dev_set.metric, dev_set.task)


@dataclass(frozen=True)
class Examined:
    """What is known of the teacher.

    Attributes:
        dev_set: as it reads it, with its answers.
        metric: the result of the user's own evaluation.
        doubts: for the report.
    """

    dev_set: DevSet
    metric: float | None
    doubts: tuple[str, ...]

    def dev_set_for(self, student: Student) -> DevSet:
        """Return the dev set as a student reads it."""
        return replace(self.dev_set, sentences=student.text.dev, reader=student.text.vocabulary)


@dataclass(frozen=True)
class Origins:
    """Where the sentences of a transfer set were read."""

    text: TrainingText
    transfer_set: TransferSet

    def where(self, sentences: np.ndarray) -> str:
        """Return the places, in the user's files, of what sentences (their indices) were made of."""
        return self.text.where(self.transfer_set.source[sentences])


def load_fitting_teacher(settings: Config, cache: Path) -> Teacher:
    """Return the teacher that the settings name.

    Raises:
        UserError: it can't be loaded, or does not fit the other settings.
    """
    global_ = settings.global_
    teacher = load_teacher(global_.model_dir, cache, global_.model_filename, global_.params_filename,
                           global_.tokenizer_dir)
    if teacher.max_length is not None and global_.max_seq_length > teacher.max_length:
        raise UserError(f"Global.max_seq_length: {global_.max_seq_length}, but the teacher reads at most "
                        f"{teacher.max_length} tokens; set it to {teacher.max_length} or less")
    task_named(global_.task).check_teacher(teacher.num_classes)
    return teacher


def examine_teacher(job: Job, teacher: Teacher, text: TrainingText) -> Examined:
    """Ask the teacher about the dev set.

    Raises:
        UserError: its metric is not ``TrainConfig.origin_metric``.
    """
    dev_set = _answered(job.settings, teacher, text)
    metric = own = None if job.eval_callback is None else _metric_by(job.eval_callback, teacher)
    if own is None and dev_set.labels is not None:
        metric = dev_set.task.score(dev_set.metric, dev_set.labels, dev_set.teacher_predictions, dev_set.num_classes)
    expected = job.settings.train.origin_metric
    if expected is not None and metric is not None and abs(metric - expected) > _ORIGIN_METRIC_TOLERANCE:
        raise UserError(f"TrainConfig.origin_metric: the teacher reaches {metric:.4f}, not {expected:.4f}; check the "
                        "dev data and its labels, or correct the value")
    doubts = dev_set.task.teacher_doubts(dev_set.labels, dev_set.teacher_predictions, text.label_names)
    for doubt in doubts:
        _log.warning("%s", doubt)
    return Examined(dev_set, own, tuple(doubts))


def _answered(settings: Config, teacher: Teacher, text: TrainingText) -> DevSet:
    """Return the dev set with the teacher's answers, by thresholds of its own where the settings ask for them."""
    task, logits = settings.global_.chosen_task, teacher.logits(text.dev)
    own = task
    if settings.global_.threshold == BEST_ON_DEV:
        if text.dev_labels is None:
            raise UserError("Global.threshold: dev, but no labelled dev set is known; name one with Global.dev_file, "
                            "or a number between 0 and 1")
        own = task.fitted(text.dev_labels, logits)
    return DevSet(text.dev, text.dev_labels, own.answers_of(logits), teacher.num_classes, teacher.framing,
                  settings.global_.chosen_metric, task)


def _metric_by(eval_callback: Evaluate, teacher: Teacher) -> float | None:
    """Return the teacher's metric by the user's own evaluation, where that can run it."""
    file = teacher.model_file
    if file is None:
        return None
    return metric_of_onnx(file, eval_callback) if file.suffix == ".onnx" else metric_of(file.with_suffix(""),
                                                                                        eval_callback)


def augment(settings: Config, teacher: Teacher, text: TrainingText, cache: Path) -> TransferSet:
    """Return the transfer set of the training text, from ``cache`` where it was made before."""
    corpus = Corpus.create(text.train, teacher.tokenizer, text.train_texts)
    limit = settings.global_.max_seq_length - teacher.framing.special_tokens(text.train.pairs)
    options = (corpus, settings.augmentation, settings.global_.seed)
    return build_transfer_set(*options, cache / transfer_set_fingerprint(*options, limit), limit)


def start_checked_student(settings: Config, teacher: Teacher, text: TrainingText, transfer_set: TransferSet) -> Student:
    """Return the untrained student, after a rehearsal of the strategies that are to follow.

    Raises:
        UserError: there is no such student, or a strategy can't do what it is set to do.
    """
    student = start_student(settings, teacher, text, transfer_set)
    check_strategies(settings, student.spec)
    own = sum(weight.size for name, weight in student.first.items() if name != TOKEN_MAP)
    others = teacher_parameters(teacher)
    if others is None or own <= others:
        return student
    note = (f"The student has {own:,} parameters, more than its teacher ({others:,}): lower embed_dim or hidden_size "
            "in bert_to_bilstm.student, or raise min_count for a smaller vocabulary of words.")
    _log.warning("%s", note)
    return replace(student, notes=(*student.notes, note))


def label_transfer_set(settings: Config, run: RunFolder, teacher: Teacher, transfer_set: TransferSet,
                       student: Student, origins: Origins) -> Labels:
    """Return the teacher's logits, after a look at whether the disk has room for them and for what comes after them.

    Raises:
        UserError: it has not, or a logit is no finite number.
    """
    key = checksum(LABELS_FORMAT, transfer_set.key, teacher.fingerprint, asdict(teacher.framing))
    count, cache, student_bytes = len(transfer_set.sentences), run.cache("labels"), size_bytes(student.first)
    missing = missing_bytes(cache, key, count, teacher.num_classes)
    cached = missing + 4 * count * teacher.num_classes + (CHECKPOINT_STUDENTS * student_bytes if missing else 0)
    copies = _MODEL_COPIES + 2 * len(settings.strategies)
    check_room("labelling and training", [Need(run.cache_dir, cached, "Global.cache_dir"),
                                          Need(run.save_dir, copies * student_bytes, "Global.save_dir")])
    return label(teacher, transfer_set.sentences, cache, key, physical_cores(), origins.where,
                 settings.global_.chosen_task)


def recipe_of(settings: Config, dev_set: DevSet, evaluate: Evaluate | None, folder: Path) -> Recipe:
    """Return how the students are trained; they are kept in ``folder``."""
    thresholds = [one for one in settings.global_.chosen_task.thresholds if one != HALF]
    dev_key = checksum(dev_set.metric, *thresholds, *dev_set.sentences.content,
                       [] if dev_set.labels is None else dev_set.labels)
    return Recipe(settings, loss_function(settings.distill.loss), make_optimizer_of(settings.train), evaluate, dev_key,
                  folder)


def lesson(settings: Config, student: Student, labels: Labels, origins: Origins) -> TrainingSet:
    """Return what the student learns from: the teacher's logits, and where they have a weight the gold labels."""
    hard = origins.text.train_labels[origins.transfer_set.source] if settings.distill.alpha > 0 else None
    return TrainingSet(student.text.transfer, labels.logits, hard, origins.where,
                       checksum(labels.key, [] if hard is None else hard))
