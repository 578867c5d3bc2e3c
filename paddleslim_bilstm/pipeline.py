"""The main job: from a fine-tuned BERT and text to a Bi-LSTM inference model with a report."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import paddle
import paddleslim  # noqa: F401  (registers our strategy, hook and loss)

from .augment import Corpus, TransferSet, build_transfer_set, check_hooks, transfer_set_fingerprint
from .config import Config, load_config
from .config.schema import WORDS
from .cpu import physical_cores
from .errors import UserError
from .finetune.finetune import finetune, teacher_is_missing
from .host.on_paddle3 import old_loader
from .host.optimizer import check_optimizer, make_optimizer_of
from .host.versions import before_paddle, check_newer_paddle
from .models import answers, check_strategies, export_students, measure, run_strategies, write_onnx_models
from .old_programs import old_programs
from .report.measure import DISTILLED, DevSet, measure_onnx, measure_teacher, metric_of_onnx, teacher_parameters
from .report.report import Report
from .report.write import write_report
from .run import RunFolder
from .storage import Need, check_room, checksum, explained_write_errors, make_writable_folder
from .student.checkpoint import CHECKPOINT_STUDENTS
from .student.embeddings import check_embeddings
from .student.encoders import encoder_named
from .student.evaluate import metric_of, metric_on
from .student.losses import check_loss, loss_function
from .student.network import TOKEN_MAP
from .student.recipe import Recipe, first_student
from .student.text import StudentText, student_text
from .student.train import Evaluate, TrainingSet
from .student.weights import Weights, size_bytes
from .task import Task, task_named
from .teacher import LABELS_FORMAT, Labels, Teacher, label, load_teacher, missing_bytes
from .teacher.text import TrainingText, read_training_text
from .verify import verify

_log = logging.getLogger(__name__)

CHINESE = "zh"  # the one language that is told by its letters
_ORIGIN_METRIC_TOLERANCE = 0.05  # PaddleSlim's
_MODEL_COPIES = 11  # in save_dir at most, without strategies: steps, ONNX files, and what is put together for the end


@dataclass(frozen=True)
class CompressionResult:
    """What a run leaves behind.

    Attributes:
        save_dir: the folder with the final inference model (``model.pdmodel``), the report and the steps' models.
        report: every model's figures; ``report.table`` is the table on the screen.
    """

    save_dir: Path
    report: Report

    @property
    def table(self) -> str:
        """The models side by side, for a terminal."""
        return self.report.table


@old_programs()
def prepare(config: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *,
            inside_paddleslim: bool = False, has_loader: bool = False) -> Config:
    """Read a configuration and check all that can be checked before any work starts.

    Raises:
        UserError: a setting is wrong; the message names it.
    """
    settings = load_config(config, overrides, inside_paddleslim=inside_paddleslim, has_loader=has_loader)
    if settings.global_.model_dir is None:
        raise UserError("Global.model_dir: missing; name the folder of the fine-tuned teacher")
    _begin()
    check_hooks(settings.augmentation.hooks)
    encoder_named(settings.distill.student.encoder)
    check_loss(settings.distill.loss, len(task_named(settings.global_.task).some_names))
    check_optimizer(settings.train)
    check_embeddings(settings.distill.student.embeddings)
    check_strategies(settings)
    make_writable_folder(settings.global_.save_dir, "Global.save_dir")
    return settings


def _begin() -> None:
    """Bring Paddle into the state that all of the job needs; doing it again changes nothing."""
    before_paddle()
    check_newer_paddle()
    paddle.enable_static()


@old_programs()
def compress(config: Config | str | Path | Mapping[str, Any], *, overrides: Sequence[str] = (), train: Any = None,
             dev: Any = None, unlabeled: Any = None, train_dataloader: Any = None,
             eval_callback: Evaluate | None = None, fresh: bool = False) -> CompressionResult:
    """Distil a BERT classifier into a Bi-LSTM and compress it further with the strategies that the config names.

    Args:
        config: path of a YAML file, or its content as a dict.
        overrides: ``Section.key=value`` each; they win over the config.
        train, dev: ``[(text, label), ...]`` in place of the files that the config names.
        unlabeled: ``[text, ...]``, joins the transfer set.
        train_dataloader: a PaddleSlim data loader; its token ids are the training text where the config names none, and
            it feeds PaddleSlim's own strategies.
        eval_callback: ``callback(executor, program, feed_names, fetch_targets) -> metric`` as PaddleSlim takes it; it
            decides which student is the best. ``Global.metric`` on the dev set by default.
        fresh: start over: take nothing from the cache, and replace what is there.

    Returns:
        The folder of the inference model, and the report.

    Raises:
        UserError: something that the user can mend; nothing half-written is left behind.
    """
    _begin()
    settings = config if isinstance(config, Config) else prepare(config, overrides)
    if eval_callback is not None and settings.distill.student.vocabulary == WORDS:
        raise UserError("bert_to_bilstm.student.vocabulary: words have feeds of their own, word_ids and lengths, which "
                        "your eval_callback does not feed; leave out one of the two")
    run = RunFolder(settings, fresh)
    with explained_write_errors(run.save_dir, run.cache_dir), run:
        return _compress(settings, run, train, dev, unlabeled, old_loader(train_dataloader), eval_callback)


def _compress(settings: Config, run: RunFolder, train: Any, dev: Any, unlabeled: Any, train_dataloader: Any,
              eval_callback: Evaluate | None) -> CompressionResult:
    task = task_named(settings.global_.task)
    if teacher_is_missing(settings):
        with run.stage("fine-tune teacher"):
            finetune(settings, train=train, dev=dev)
    with run.stage("load teacher"):
        teacher = _load_teacher(settings, run)
    with run.stage("read text"):
        text = read_training_text(settings, teacher, train, dev, unlabeled, train_dataloader)
        teacher = teacher.reading(text.train, text.train_texts).reading(text.dev, text.dev_texts)
    with run.stage("check teacher"):
        dev_set = _dev_set(settings, text, teacher)
        teacher_metric = _check_teacher(settings, teacher, eval_callback, dev_set)
        doubts = _told(task.teacher_doubts(dev_set.labels, dev_set.teacher_predictions, text.label_names))
    with run.stage("augment"):
        corpus, transfer = _augment(settings, text, teacher, run)
        own = student_text(settings, text, corpus, transfer, teacher.framing)
        own_dev_set = replace(dev_set, sentences=own.dev, reader=own.vocabulary)
    evaluate = eval_callback or _metric(own_dev_set)
    spec, first, notes = first_student(settings, text.label_names, own.vocabulary, own.transfer.pairs,
                                       teacher.embeddings)
    check_strategies(settings, spec)
    notes = (*own.notes, *notes, *_size_note(first, teacher_parameters(teacher)))

    def where(sentences: np.ndarray) -> str:  # of the transfer set, in the user's files
        return text.where(transfer.source[sentences])

    with run.stage("label"):
        key = checksum(LABELS_FORMAT, transfer.key, teacher.fingerprint, asdict(teacher.framing))
        _check_room(settings, run, teacher, transfer, key, size_bytes(first))
        labels = label(teacher, transfer.sentences, run.cache("labels"), key, physical_cores(), where)
    cached = eval_callback is None and not settings.train.has_functions
    recipe = _recipe(settings, text, own, evaluate, run, cached)
    alone = None
    if settings.distill.train_alone and text.train_labels is not None:
        with run.stage("train alone"):
            alone = recipe.train_alone(spec, first, own.train, text.train_labels, len(transfer.sentences), text.where)
    with run.stage("distil"):
        hard = text.train_labels[transfer.source] if settings.distill.alpha > 0 else None
        data = TrainingSet(own.transfer, labels.logits, hard, where)
        distilled = recipe.distil(spec, first, data, checksum(labels.key, [] if hard is None else hard))
    with run.stage("export"):
        students = export_students(run, spec, alone, distilled)
        for model in students:
            doubts += _told(task.one_answer(model.name, answers(model, own_dev_set), text.label_names))
    with run.stage("chain"):
        steps = run_strategies(settings, run, own, spec, students[-1], train_dataloader, evaluate)
    with run.stage("onnx"):
        int8, onnx_models, final_weights = write_onnx_models(settings, run, spec, [*students, *steps], own_dev_set)
        models = [*students, *steps, *int8]
    with run.stage("measure"):
        rows = [measure_teacher(teacher, dev_set, teacher_metric)]
        rows += [measure(model, run, own_dev_set, eval_callback) for model in models]
        like = next(row for row in rows if row.name == DISTILLED)
        rows += [measure_onnx(model.name, model.file, own_dev_set, like, model.file.name, model.notes, eval_callback)
                 for model in onnx_models]
    with run.stage("verify"):
        run.assemble(models[-1].folder, spec, final_weights)
        own.vocabulary.save(run.final_dir)
        verify(models, run.final_dir, spec, final_weights, own_dev_set)
    with run.stage("publish"):
        report = write_report(run.final_dir, rows, settings.to_dict(), run.seconds, {**text.counts, **own.counts},
                              transfer.counts, (*text.notes, *notes, *doubts, _precision_note(labels, task)),
                              settings.global_.chosen_metric, _chosen_by(eval_callback, evaluate), spec,
                              CHINESE if corpus.chinese else None)
        run.publish()
        run.clear()
    return CompressionResult(run.save_dir, report)


def _load_teacher(settings: Config, run: RunFolder) -> Teacher:
    global_ = settings.global_
    teacher = load_teacher(global_.model_dir, run.cache("teachers"), global_.model_filename, global_.params_filename,
                           global_.tokenizer_dir)
    if teacher.max_length is not None and global_.max_seq_length > teacher.max_length:
        raise UserError(f"Global.max_seq_length: {global_.max_seq_length}, but the teacher reads at most "
                        f"{teacher.max_length} tokens; set it to {teacher.max_length} or less")
    task_named(global_.task).check_teacher(teacher.num_classes)
    return teacher


def _metric(dev_set: DevSet) -> Evaluate | None:
    if dev_set.labels is None:
        return None
    return metric_on(dev_set.sentences, dev_set.labels, dev_set.reader, dev_set.metric, dev_set.task)


def _dev_set(settings: Config, text: TrainingText, teacher: Teacher) -> DevSet:
    task = task_named(settings.global_.task)
    predictions = task.answers_of(teacher.logits(text.dev))
    return DevSet(text.dev, text.dev_labels, predictions, teacher.num_classes, teacher.framing,
                  settings.global_.chosen_metric, task)


def _check_teacher(settings: Config, teacher: Teacher, eval_callback: Evaluate | None, dev_set: DevSet) -> float | None:
    """Hold the teacher's metric against ``TrainConfig.origin_metric``; return it where it is the user's own."""
    metric = own = None if eval_callback is None else _metric_by(eval_callback, teacher)
    if own is None and dev_set.labels is not None:
        metric = dev_set.task.score(dev_set.metric, dev_set.labels, dev_set.teacher_predictions, dev_set.num_classes)
    expected = settings.train.origin_metric
    if expected is not None and metric is not None and abs(metric - expected) > _ORIGIN_METRIC_TOLERANCE:
        raise UserError(f"TrainConfig.origin_metric: the teacher reaches {metric:.4f}, not {expected:.4f}; check the "
                        "dev data and its labels, or correct the value")
    return own


def _metric_by(eval_callback: Evaluate, teacher: Teacher) -> float | None:
    """Return the teacher's metric by the user's own evaluation, where that can run it."""
    file = teacher.model_file
    if file is None:
        return None
    return metric_of_onnx(file, eval_callback) if file.suffix == ".onnx" else metric_of(file.with_suffix(""),
                                                                                        eval_callback)


def _augment(settings: Config, text: TrainingText, teacher: Teacher, run: RunFolder) -> tuple[Corpus, TransferSet]:
    corpus = Corpus.create(text.train, teacher.tokenizer, text.train_texts)
    limit = settings.global_.max_seq_length - teacher.framing.special_tokens(text.train.pairs)
    options = (corpus, settings.augmentation, settings.global_.seed)
    folder = run.cache("transfer_sets") / transfer_set_fingerprint(*options, limit)
    return corpus, build_transfer_set(*options, folder, limit)


def _check_room(settings: Config, run: RunFolder, teacher: Teacher, transfer: TransferSet, key: str,
                student_bytes: int) -> None:
    """Check that the disk has room for the labels that are missing and for what comes after them."""
    count = len(transfer.sentences)
    missing = missing_bytes(run.cache("labels"), key, count, teacher.num_classes)
    cached = missing + 4 * count * teacher.num_classes + (CHECKPOINT_STUDENTS * student_bytes if missing else 0)
    copies = _MODEL_COPIES + 2 * len(settings.strategies)
    check_room("labelling and training", [Need(run.cache_dir, cached, "Global.cache_dir"),
                                          Need(run.save_dir, copies * student_bytes, "Global.save_dir")])


def _size_note(first: Weights, others: int | None) -> tuple[str, ...]:
    """Warn of a student that has more parameters than its teacher."""
    own = sum(weight.size for name, weight in first.items() if name != TOKEN_MAP)
    if others is None or own <= others:
        return ()
    note = (f"The student has {own:,} parameters, more than its teacher ({others:,}): lower embed_dim or hidden_size "
            "in bert_to_bilstm.student, or raise min_count for a smaller vocabulary of words.")
    _log.warning("%s", note)
    return (note,)


def _recipe(settings: Config, text: TrainingText, own: StudentText, evaluate: Evaluate | None, run: RunFolder,
            cached: bool) -> Recipe:
    """Return the recipe; what code of a script's own made or chose has no fingerprint, so no later run takes it."""
    dev_key = checksum(settings.global_.chosen_metric, *own.dev.content,
                          [] if text.dev_labels is None else text.dev_labels)
    return Recipe(settings, loss_function(settings.distill.loss), make_optimizer_of(settings.train), evaluate,
                  dev_key, run.cache("students") if cached else run.work_dir)


def _chosen_by(eval_callback: Evaluate | None, evaluate: Evaluate | None) -> str | None:
    """Return what chose the best checkpoint, where it was not the run's metric."""
    if eval_callback is not None:
        return f"your eval_callback, `{getattr(eval_callback, '__name__', type(eval_callback).__name__)}`"
    return None if evaluate else "nothing: it is the last one, since no dev labels are known"


def _told(doubts: list[str]) -> list[str]:
    """Log doubts loudly, and return them for the report."""
    for doubt in doubts:
        _log.warning("%s", doubt)
    return doubts


def _precision_note(labels: Labels, task: Task) -> str:
    if labels.precision == "fp32":
        return "The teacher labelled the transfer set in fp32."
    return (f"The teacher labelled the transfer set in {labels.precision}; on a sample its logits differ from fp32 by "
            f"{labels.check['mean_difference']:.4f} on average, {labels.check['max_difference']:.4f} at most"
            f"{task.kept_labels(labels.check['agreement'])}.")
