"""What happens in a run up to the trained students: each stage takes objects and returns one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from . import ranks
from .augment import Corpus, TransferSet, build_transfer_set, hook_samples, transfer_set_fingerprint
from .augment.words import row_hashes
from .config import Config
from .config.schema import BEST_ON_DEV, WORDS
from .cpu import cores_to_use
from .errors import UserError
from .finetune.finetune import finetune, teacher_is_missing
from .host.chain import check_loader
from .host.optimizer import make_optimizer_of
from .host.rehearsal import check_strategies
from .host.strategies import strategies_of
from .progress import progress_bar
from .report.comparison import Said
from .report.costs import teacher_parameters
from .report.measure import DevSet, metric_of_onnx
from .report.page import Variant
from .run import RunFolder
from .storage import Need, check_room, checksum
from .student.checkpoint import CHECKPOINT_STUDENTS
from .student.losses import loss_function
from .student.network import TOKEN_MAP
from .student.recipe import Recipe, Student, start_student
from .student.train import Evaluate, TrainingSet, metric_of, metric_on
from .student.weights import size_bytes
from .task import Task, task_named
from .teacher import Labels, OnnxTeacher, Teacher, bytes_of_answers, label, load_teachers, missing_bytes
from .teacher.given import FunctionTeacher, GivenLabels, LogitsOfTexts, tokenizer_of
from .teacher.label_files import GivenAnswers, read_answers
from .teacher.spelling import Speller
from .teacher.text import TrainingText, read_rows, read_training_text, tokenized
from .thresholds import in_keys
from .tokens import Sentences
from .users_code import content_of

_log = logging.getLogger(__name__)

_ORIGIN_METRIC_TOLERANCE = 0.05  # PaddleSlim's
_EXAMPLES, _EXAMPLE_VARIANTS, _EXAMPLE_TOKENS = 4, 3, 14  # how many, with so many sentences of the transfer set each
_SEEN_BY_HOOKS = 200  # sentences, which for a look are enough
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
    teacher: LogitsOfTexts | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether the settings tell all that students depend on: code of a script's own has no fingerprint."""
        return self.eval_callback is None and not self.settings.train.has_functions

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
        said: of the dev set; None where some answers are missing.
        metric: the result of the user's own evaluation.
        doubts, notes: for the report.
    """

    dev_set: DevSet
    said: Said | None
    metric: float | None
    doubts: tuple[str, ...]
    notes: tuple[str, ...]

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


def read(job: Job, run: RunFolder) -> tuple[Teacher, TrainingText]:
    """Load the teacher, fine-tuned first where it is missing, and read the text in its tokens.

    Raises:
        UserError: the teacher can't be loaded or does not fit the other settings, or something is wrong with the text.
    """
    settings = job.settings
    if settings.global_.model_dir is not None:
        if ranks.of_first(lambda: teacher_is_missing(settings)):
            run.stage("fine-tune teacher", finetune, settings, train=job.train, dev=job.dev,
                      cache=run.cache("finetune"))
        teacher = run.stage("load teacher", ranks.keepers_then_others, load_fitting_teacher, settings,
                            run.cache("teachers"))
        text = run.stage("read text", read_training_text, settings, teacher, job.train, job.dev, job.unlabeled,
                         job.train_dataloader)
    else:
        answers = None
        if job.teacher is None and settings.global_.teacher_labels is not None:
            answers = run.stage("read labels", read_answers, settings.global_.teacher_labels,
                                task_named(settings.global_.task))
        teacher, text = run.stage("read text", ranks.keepers_then_others, _read_without_model, job, answers, run)
    if settings.distill.wants_hints and not teacher.tells_hints:
        raise UserError("bert_to_bilstm.hint_weight: this teacher tells nothing but its answers (hidden states are "
                        "read of checkpoints, inference models and ONNX files with layer normalisation); remove it")
    sizes = settings.distill.student
    if job.train_dataloader is not None and sizes.vocabulary != WORDS and strategies_of(settings):
        check_loader(job.train_dataloader, teacher.framing.feeds)
    if sizes.unseen_tokens not in (0, type(sizes)().unseen_tokens) and teacher.embeddings is None:
        raise UserError("bert_to_bilstm.student.unseen_tokens: is of tokens that start from the teacher's embeddings, "
                        "and this teacher's can't be had; remove it")
    return teacher.reading(text.train, text.train_texts).reading(text.dev, text.dev_texts), text


def load_fitting_teacher(settings: Config, cache: Path) -> Teacher:
    """Return the teacher that the settings name.

    Raises:
        UserError: it can't be loaded, or does not fit the other settings.
    """
    global_ = settings.global_
    teacher = load_teachers(global_.teachers, cache, global_.model_filename, global_.params_filename,
                            global_.tokenizer_dir, global_.max_seq_length)
    if teacher.max_length is not None and global_.max_seq_length > teacher.max_length:
        raise UserError(f"Global.max_seq_length: {global_.max_seq_length}, but the teacher reads at most "
                        f"{teacher.max_length} tokens; set it to {teacher.max_length} or less")
    task_named(global_.task).check_teacher(teacher.num_classes)
    return teacher


def _read_without_model(job: Job, answers: GivenAnswers | None, run: RunFolder) -> tuple[Teacher, TrainingText]:
    """Read the text, and make the teacher that is a function or labels from elsewhere, or one that answers nothing."""
    names = getattr(job.teacher if job.teacher is not None else answers, "label_names", None)
    data = read_rows(job.settings, None if names is None else len(names), names, job.train, job.dev, job.unlabeled)
    if answers is not None and data.train_rows[0].labels is not None:
        answers.check_classes(data.train_rows[0].labels)
    tokenizer = tokenizer_of(job.settings, data, run.given_tokenizer_dir, run.tokenizer_dir)
    if job.teacher is not None:
        teacher: Teacher = FunctionTeacher.of(job.teacher, tokenizer, data.label_names)
    elif answers is not None:
        teacher = GivenLabels.of(answers, tokenizer, data.label_names)
    else:
        teacher = Teacher(tokenizer, len(data.label_names), tuple(data.label_names), tokenizer.framing, None, "")
    return teacher, tokenized(job.settings, teacher, data)


def examine_teacher(job: Job, run: RunFolder, teacher: Teacher, text: TrainingText) -> Examined:
    """Ask the teacher about the dev set.

    Raises:
        UserError: its metric is not ``TrainConfig.origin_metric``.
    """
    dev_set, said, notes = _answered(job.settings, run, teacher, text)
    by_callback = job.eval_callback is not None
    metric = own = _metric_by(job.eval_callback, teacher) if by_callback and ranks.is_first() else None
    if not by_callback and dev_set.labels is not None and dev_set.teacher_predictions is not None:
        metric = dev_set.task.score(dev_set.metric, dev_set.labels, dev_set.teacher_predictions, dev_set.num_classes)
    expected = job.settings.train.origin_metric
    if job.settings.train.target_metric is not None and not by_callback and dev_set.labels is None and ranks.is_first():
        _log.warning("TrainConfig.target_metric: no labelled dev set is known, so it is never reached")
    if expected is not None and metric is None and ranks.is_first():
        _log.warning("TrainConfig.origin_metric: nothing tells what the teacher reaches, so it isn't compared")
    if expected is not None and metric is not None and abs(metric - expected) > _ORIGIN_METRIC_TOLERANCE:
        raise UserError(f"TrainConfig.origin_metric: the teacher reaches {metric:.4f}, not {expected:.4f}; check the "
                        "dev data and its labels, or correct the value")
    doubts = _doubts(teacher, dev_set, text.label_names)
    for doubt in (*doubts, *notes):
        _log.warning("%s", doubt)
    return Examined(dev_set, said, own, tuple(doubts), notes)


def _answered(settings: Config, run: RunFolder, teacher: Teacher,
              text: TrainingText) -> tuple[DevSet, Said | None, tuple[str, ...]]:
    """Return the dev set with the teacher's answers, and what it said, unless some are missing, and then a note.

    They are judged by thresholds of the teacher's own where the settings ask for them.
    """
    task = own = settings.global_.chosen_task
    each, notes = [member.logits(text.dev) for member in teacher.members], ()
    if each:
        logits = np.mean(each, axis=0, dtype=np.float32)
    elif teacher.chunk_sentences is None:
        with progress_bar("check teacher", len(text.dev), "sentences") as bar:
            logits = teacher.logits(text.dev, bar.update)
    else:
        key = checksum(*text.dev.content, text.dev_texts, teacher.tokenizer.vocab)
        logits = label(teacher, text.dev, run.cache("labels"), key, cores_to_use()).logits
    missing = int(np.isnan(logits).any(axis=1).sum())
    if missing:
        notes = (f"{missing:,} of the {len(text.dev):,} dev texts have no answer among Global.teacher_labels, so there "
                 "is no row of the teacher and no agreement with it.",)
    if settings.global_.threshold == BEST_ON_DEV:
        if text.dev_labels is None:
            raise UserError("Global.threshold: dev, but no labelled dev set is known; name one with Global.dev_file, "
                            "or a number between 0 and 1")
        own = task if missing else task.fitted(text.dev_labels, logits)
    return DevSet(text.dev, text.dev_labels, None if missing else own.answers_of(logits), teacher.num_classes,
                  teacher.framing, settings.global_.chosen_metric, task, tuple(map(own.answers_of, each)),
                  text.compared_on), \
        None if missing else Said(logits, own), notes


def _doubts(teacher: Teacher, dev_set: DevSet, label_names: tuple[str, ...]) -> list[str]:
    """Return doubts about the teacher, and about each of several."""
    if dev_set.teacher_predictions is None:
        return []
    doubts = dev_set.task.teacher_doubts(dev_set.labels, dev_set.teacher_predictions, label_names, dev_set.called)
    for member, answers in zip(teacher.members, dev_set.member_predictions):
        own = dev_set.task.teacher_doubts(dev_set.labels, answers, label_names, dev_set.called)
        doubts += [f"{member.name}: {doubt}" for doubt in own]
    return doubts


def _metric_by(eval_callback: Evaluate, teacher: Teacher) -> float | None:
    """Return the teacher's metric by the user's own evaluation, where that can run it."""
    file = teacher.model_file
    if file is None:
        return None
    if isinstance(teacher, OnnxTeacher):
        return metric_of_onnx(file, eval_callback, teacher.output)
    return metric_of(file.with_suffix(""), eval_callback)


def make_transfer_set(settings: Config, teacher: Teacher, text: TrainingText, cache: Path) -> TransferSet:
    """Return the transfer set of the training text, from ``cache`` where it was made before."""
    corpus = Corpus.create(text.train, teacher.tokenizer, text.train_texts)
    limit = settings.global_.max_seq_length - teacher.framing.special_tokens(text.train.pairs)
    options = (corpus, settings.augmentation, settings.global_.seed)
    identity = transfer_set_fingerprint(*options, limit)
    ranks.check_agreement("the training text, or how it is augmented,", identity)
    return ranks.keepers_then_others(build_transfer_set, *options, cache / identity, limit)


def answered_part(teacher: Teacher, transfer_set: TransferSet,
                  text: TrainingText) -> tuple[TransferSet, tuple[str, ...]]:
    """Return what of the transfer set the teacher has answers to, which is all where it is at hand, and notes.

    Raises:
        UserError: see `GivenLabels.answered`.
    """
    return teacher.answered(transfer_set, text.dev) if isinstance(teacher, GivenLabels) else (transfer_set, ())


def examples_of(settings: Config, teacher: Teacher, text: TrainingText, transfer_set: TransferSet,
                labels: Labels) -> list[list[Variant]]:
    """Return a few originals, each with what every hook by itself makes of it, and with some of the transfer set's."""
    hooks, seen = settings.augmentation.hooks, np.arange(min(_SEEN_BY_HOOKS, len(text.train)))
    if not hooks or settings.augmentation.n_iter == 0:
        return []
    sentences, texts = text.train.take(seen), None if text.train_texts is None else text.train_texts[:len(seen)]
    speller = Speller(teacher.tokenizer).knowing(sentences, texts)
    by_hook = hook_samples(Corpus.create(sentences, teacher.tokenizer, texts), hooks, settings.global_.seed,
                           int(text.train.lengths.max()))
    made_of = {}
    for row in np.argsort(abs(sentences.lengths - _EXAMPLE_TOKENS), kind="stable"):
        made = np.flatnonzero(transfer_set.source == row)[:1 + _EXAMPLE_VARIANTS]
        if len(made):  # else the same text stands above
            made_of[row] = made
        if len(made_of) == _EXAMPLES:
            break
    if not made_of:
        return []
    changed = Sentences.concatenate([samples.take(np.array([row])) for row in made_of for _, samples in by_hook])
    answers = teacher.logits(changed) if teacher.answers_anything else [None] * len(changed)
    teacher.release()
    by_itself = map(Variant, [name for name, _ in by_hook] * len(made_of), speller.spell(changed), answers)
    examples = []
    for made in made_of.values():
        original, *others = zip(speller.spell(transfer_set.sentences.take(made)), labels.logits[made])
        examples.append([Variant("original", *original), *islice(by_itself, len(by_hook)),
                         *(Variant("all hooks", *one) for one in others)])
    return examples


def start_checked_student(settings: Config, teacher: Teacher, text: TrainingText, transfer_set: TransferSet) -> Student:
    """Return the untrained student, after a rehearsal of the strategies that are to follow.

    Raises:
        UserError: there is no such student, or a strategy can't do what it is set to do.
    """
    student = start_student(settings, teacher, text, transfer_set)
    if ranks.is_first():
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
    sentences, cache, student_bytes = transfer_set.sentences, run.cache("labels"), size_bytes(student.first)
    missing = missing_bytes(teacher, sentences, cache, transfer_set.key)
    mapped = len(sentences) * sum(map(bytes_of_answers, (teacher, *(member.teacher for member in teacher.members))))
    cached = missing + mapped + (CHECKPOINT_STUDENTS * student_bytes if missing else 0)
    copies = _MODEL_COPIES + 2 * len(settings.strategies)
    if ranks.keeps_cache():
        check_room("labelling and training", [Need(run.cache_dir, cached, "Global.cache_dir"),
                                              Need(run.save_dir, copies * student_bytes, "Global.save_dir")])
    return label(teacher, sentences, cache, transfer_set.key, cores_to_use(), origins.where,
                 settings.global_.chosen_task)


def recipe_of(settings: Config, dev_set: DevSet, evaluate: Evaluate | None, folder: Path,
              user_chooses: bool = False) -> Recipe:
    """Return how the students are trained; they are kept in ``folder``."""
    dev_key = checksum(dev_set.metric, *in_keys(settings.global_.chosen_task.thresholds), *dev_set.sentences.content,
                       [] if dev_set.labels is None else dev_set.labels)
    if user_chooses:
        dev_key = ranks.of_first(lambda: checksum(dev_key, *content_of(evaluate)[0]))
    return Recipe(settings, loss_function(settings.distill.loss), make_optimizer_of(settings.train), evaluate, dev_key,
                  folder, user_chooses)


def lesson(settings: Config, student: Student, labels: Labels, origins: Origins) -> TrainingSet:
    """Return what the student learns from: the teacher's logits, its hints, where they have a weight the gold labels.
    """
    hard = None
    if settings.distill.alpha > 0:
        hard = labels_of_texts(origins.text, task_named(settings.global_.task))[origins.transfer_set.source]
    hints = labels.hints if settings.distill.learns_hints else None
    return TrainingSet(student.text.transfer, labels.logits, hard, origins.where,
                       checksum(labels.key, [] if hard is None else hard), origins.transfer_set.source, hints)


def labels_of_texts(text: TrainingText, task: Task) -> np.ndarray:
    """Return the labels of the training text, the same for all rows that one text stands in, see `Task.one_label`.

    The transfer set has such a text once.
    """
    labels = text.train_labels.copy()
    _, texts, rows_of_text = np.unique(row_hashes(text.train), return_inverse=True, return_counts=True)
    again = np.flatnonzero(rows_of_text[texts] > 1)
    again = again[np.argsort(texts[again], kind="stable")]
    for rows in np.split(again, np.flatnonzero(np.diff(texts[again])) + 1):
        known = rows[task.has_label(labels[rows])]
        if len(known):
            labels[rows] = task.one_label(labels[known])
    return labels
