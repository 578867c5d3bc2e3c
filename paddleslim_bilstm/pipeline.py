"""The main job: from a fine-tuned BERT and text to a Bi-LSTM inference model with a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Mapping, Sequence

import paddleslim  # noqa: F401  (registers our strategy, hook and loss)

from . import ranks
from .augment import check_hooks
from .config import Config, load_config, refuse_overrides
from .config.schema import BEST_ON_DEV, WORDS
from .curves import check_visualdl
from .errors import UserError, short
from .host.encoder_check import check_encoder
from .host.on_paddle3 import old_loader
from .host.optimizer import check_optimizer
from .host.rehearsal import check_strategies
from .host.versions import before_paddle, check_other_paddle, check_zlib
from .models import Models, export_students, final_logits, measure_models, run_strategies, verify, write_onnx_models
from .old_programs import old_programs
from .predict.predictor import Predictor
from .report.comparison import Comparison, Said
from .report.measure import ALONE, DISTILLED, ModelRow, measure_teacher
from .report.report import Report
from .report.write import write_report
from .run import RunFolder, cache_in_use, cache_root
from .scopes import enter_static_mode, mode_kept
from .stages import (
    Examined,
    Job,
    Origins,
    answered_part,
    examine_teacher,
    examples_of,
    label_transfer_set,
    lesson,
    load_fitting_teacher,
    make_transfer_set,
    read,
    recipe_of,
    start_checked_student,
)
from .storage import explained_write_errors, make_writable_folder
from .student.embeddings import check_embeddings
from .student.losses import check_loss
from .student.recipe import Student
from .student.train import Evaluate, TrainedStudent
from .task import Task, task_named
from .teacher import Labels, Teacher
from .teacher.ensemble import columns_by_name
from .teacher.given import FunctionTeacher, GivenLabels, LogitsOfTexts
from .teacher.spelling import Speller
from .teacher.text import TrainingText
from .teacher.texts_to_label import check_replaceable, write_texts
from .text import Rows

CHINESE = "zh"  # the one language that is told by its letters


@dataclass(frozen=True)
class CompressionResult:
    """What a run leaves behind.

    Attributes:
        save_dir: the folder with the final inference model (``model.pdmodel``), the report and the steps' models.
        report: every model's figures; ``report.table`` is the table on the screen. None in other ranks than the first.
    """

    save_dir: Path
    report: Report | None

    @property
    def table(self) -> str:
        """The models side by side, for a terminal."""
        return self.report.table if self.report else ""


@old_programs()
def prepare(config: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *,
            inside_paddleslim: bool = False, has_loader: bool = False, needs_teacher: bool = True) -> Config:
    """Read a configuration and check all that can be checked before any work starts.

    Args:
        needs_teacher: the configuration must say who teaches.

    Raises:
        UserError: a setting is wrong; the message names it.
    """
    settings = load_config(config, overrides, inside_paddleslim=inside_paddleslim, has_loader=has_loader)
    if needs_teacher:
        check_who_teaches(settings, None)
    check_visualdl(settings)
    _begin()
    check_hooks(settings.augmentation.hooks)
    check_encoder(settings)
    check_loss(settings.distill.loss, len(task_named(settings.global_.task).some_names))
    check_optimizer(settings.train)
    check_embeddings(settings.distill.student.embeddings)
    if ranks.count() == 1:  # else rank 0 does it when they have met: PaddleSlim saves nothing in others
        check_strategies(settings)
    make_writable_folder(settings.global_.save_dir, "Global.save_dir")
    return settings


def check_who_teaches(settings: Config, function: LogitsOfTexts | None) -> None:
    """Refuse a run with no teacher, with a function beside another one, or with what is none."""
    if function is not None and not callable(function):
        raise UserError(f"teacher: must be a function of a list of texts, not {short(repr(function))}; a model's "
                        "folder is Global.model_dir")
    named = settings.global_.model_dir or settings.global_.teacher_labels
    if function is None and not named:
        raise UserError("Global.model_dir: missing; name the folder of the fine-tuned teacher, or as "
                        "Global.teacher_labels its answers to the texts that `paddleslim-bilstm augment` writes")
    if function is not None and named:
        raise UserError("teacher: a function was given, and Global.model_dir or Global.teacher_labels names a teacher, "
                        "too; leave out one of the two (Global.tokenizer_dir names a tokenizer alone)")


def _begin() -> None:
    """Bring Paddle into the state that all of the job needs; doing it again changes nothing."""
    before_paddle()
    check_zlib()
    enter_static_mode()
    check_other_paddle()


@mode_kept()
@old_programs()
def compress(config: Config | str | Path | Mapping[str, Any], *, overrides: Sequence[str] = (), train: Any = None,
             dev: Any = None, unlabeled: Any = None, train_dataloader: Any = None,
             eval_callback: Evaluate | None = None, fresh: bool = False,
             teacher: LogitsOfTexts | None = None) -> CompressionResult:
    """Distil a BERT classifier into a Bi-LSTM and compress it further with the strategies that the config names.

    Args:
        config: path of a YAML file, or its content as a dict.
        overrides: ``Section.key=value`` each; they win over the config.
        train, dev: ``[(text, label), ...]`` in place of the files that the config names. Where ``train_dataloader``
            is the training text, ``dev`` may be a loader, too.
        unlabeled: ``[text, ...]``, joins the transfer set.
        train_dataloader: a PaddleSlim data loader; its token ids are the training text where the config names none, and
            it feeds PaddleSlim's own strategies.
        eval_callback: ``callback(executor, program, feed_names, fetch_targets) -> metric`` as PaddleSlim takes it; it
            decides which student is the best. By default text that is held out does, or ``Global.metric`` on the dev
            set where there is too little.
        fresh: start over: take nothing from the cache, and replace what is there.
        teacher: in place of ``Global.model_dir``, a function of a list of texts, or of pairs of texts, 256 at most,
            that returns their logits ``[n, classes]``. Each call's answers are kept, so that a run that was killed goes
            on behind them; a text in its attribute ``fingerprint`` tells its versions apart, or else the source of its
            module does.

    Under Paddle's launcher all ranks call it alike and share the labelling and the training.

    Returns:
        The folder of the inference model, and the report.

    Raises:
        UserError: something that the user can mend; nothing half-written is left behind.
    """
    _begin()
    if isinstance(config, Config):
        refuse_overrides(overrides)
    settings = config if isinstance(config, Config) else prepare(config, overrides, needs_teacher=teacher is None)
    check_who_teaches(settings, teacher)
    if eval_callback is not None and settings.distill.student.vocabulary == WORDS:
        raise UserError("bert_to_bilstm.student.vocabulary: words have feeds of their own, word_ids and lengths, which "
                        "your eval_callback does not feed; leave out one of the two")
    run = RunFolder(settings, fresh)
    job = Job(settings, train, dev, unlabeled, old_loader(train_dataloader), eval_callback, teacher)
    with ranks.together(), explained_write_errors(run.save_dir, run.cache_dir), cache_in_use(run.cache_dir), run:
        return _compress(replace(job, eval_callback=_as_in_first(eval_callback)), run)


def _as_in_first(eval_callback: Evaluate | None) -> Evaluate | None:
    """Return a callback where rank 0 has one, which alone asks it: PaddleSlim's scripts give it to that rank only."""
    if not ranks.of_first(lambda: eval_callback is not None):
        return None
    return eval_callback or (lambda *_: None)


def _compress(job: Job, run: RunFolder) -> CompressionResult:
    settings, stage = job.settings, run.stage
    if ranks.count() > 1 and ranks.is_first():
        check_strategies(settings)
    teacher, text = read(job, run)
    examined = stage("check teacher", examine_teacher, job, run, teacher, text)
    transfer_set = stage("augment", make_transfer_set, settings, teacher, text, run.cache("transfer_sets"))
    transfer_set, answer_notes = answered_part(teacher, transfer_set, text)
    student = stage("start student", start_checked_student, settings, teacher, text, transfer_set)
    origins, dev_set = Origins(text, transfer_set), examined.dev_set_for(student)
    labels = stage("label", label_transfer_set, settings, run, teacher, transfer_set, student, origins)

    evaluate = job.evaluation_on(dev_set)
    recipe = recipe_of(settings, dev_set, evaluate, run.cache("students") if job.is_repeatable else run.work_dir,
                       user_chooses=job.eval_callback is not None)
    alone = None
    if settings.distill.train_alone and text.train_labels is not None:
        alone = stage("train alone", recipe.train_alone, student, text.train_labels, text.where)
    distilled = stage("distil", recipe.distil, student, lesson(settings, student, labels, origins))
    if not ranks.is_first():  # the rest is not worth sharing
        return CompressionResult(run.save_dir, None)

    exported = stage("export", export_students, run, student.spec, alone, distilled, dev_set)
    steps = stage("chain", run_strategies, settings, run, student, exported[-1], job.train_dataloader, evaluate)
    models = stage("onnx", write_onnx_models, settings, run, student, [*exported, *steps], dev_set)
    rows = stage("measure", _measured, job, run, teacher, examined, models)
    comparison = stage("compare", _compared, teacher, text, examined, models)
    examples = stage("examples", examples_of, settings, teacher, text, transfer_set, labels)
    stage("verify", _assemble_and_verify, run, student, models)
    notes = (*text.notes, *student.notes, *examined.doubts, *models.doubts, *examined.notes, *answer_notes,
             *_precision_note(teacher, labels, dev_set.task), *_hint_note(settings, labels))
    report = stage("publish", _publish, run, rows, config=settings.to_dict(), seconds=run.seconds,
                   data_counts={**text.counts, **student.text.counts}, transfer_set=transfer_set.counts, notes=notes,
                   metric=dev_set.metric, chosen_by=distilled.chosen_by or _chosen_by(job.eval_callback, evaluate),
                   evaluated_by=_evaluated_by(job.eval_callback), spec=models.spec,
                   language=CHINESE if transfer_set.corpus.chinese else None, labels=dev_set.labels,
                   training=_histories(alone, distilled), comparison=comparison, examples=examples)
    return CompressionResult(run.save_dir, report)


@mode_kept()
def augment(config: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = (),
            output: str | Path | None = None, tokens: bool = False) -> Path:
    """Write the texts that a teacher would label, for whoever labels them in its place.

    They are the transfer set that `compress` makes with the same configuration, and the dev set.

    Args:
        config, overrides: as of `compress`; no teacher is needed, and ``Global.teacher_labels`` is not read.
        output: the folder to write, ``augmented`` in ``Global.save_dir`` by default.
        tokens: write the token ids, too, for a labeller with the same tokenizer.

    Returns:
        The folder: JSONL in parts, and README.md, which says what to give back.

    Raises:
        UserError: something that the user can mend; nothing half-written is left behind.
    """
    _begin()
    settings = prepare(config, overrides, needs_teacher=False)
    settings = settings.model_copy(update={"global_": settings.global_.model_copy(update={"teacher_labels": None})})
    run = RunFolder(settings)
    folder = run.save_dir / "augmented" if output is None else Path(output)
    check_replaceable(folder)
    beside = make_writable_folder(folder.resolve().parent, "--output")
    writing = explained_write_errors(run.save_dir, run.cache_dir, beside)
    with ranks.together(), writing, cache_in_use(run.cache_dir), run:
        teacher, text = read(Job(settings), run)
        transfer_set = run.stage("augment", make_transfer_set, settings, teacher, text, run.cache("transfer_sets"))
        if not ranks.is_first():
            return folder
        speller = Speller(teacher.tokenizer).knowing(text.train, text.train_texts).knowing(text.dev, text.dev_texts)
        run.stage("write texts", write_texts, folder, transfer_set, text.dev, speller,
                  task_named(settings.global_.task), text.label_names, tokens, run.given_tokenizer_dir)
        run.clear()
    return folder


@mode_kept()
@old_programs()
def compare(predictor: Predictor, config: Mapping[str, Any], rows: Rows, batch_size: int = 16) -> Comparison:
    """Return what a finished student and its teacher say of texts.

    Args:
        config: the run's section ``Global``, and an empty ``bert_to_bilstm``.
        rows: of the student's kind; ``labels`` are None where there are none.

    Raises:
        UserError: the teacher can't be loaded, or labels and student don't go together.
    """
    _begin()
    settings = load_config(config)
    cache = make_writable_folder(cache_root(settings.global_.cache_dir), "Global.cache_dir")
    with cache_in_use(cache):
        return _compare(predictor, settings, cache, rows, batch_size)


def _compare(predictor: Predictor, settings: Config, cache: Path, rows: Rows, batch_size: int) -> Comparison:
    task, names = predictor.task, predictor.label_names
    teacher = load_fitting_teacher(settings, make_writable_folder(cache / "teachers", "Global.cache_dir"))
    if teacher.num_classes != len(names):
        raise UserError(f"{settings.global_.model_dir}: has {teacher.num_classes} outputs, the student {len(names)}; "
                        "name the student's own teacher with --teacher")
    columns: tuple[int, ...] | None = tuple(range(len(names)))
    if teacher.label_names not in (None, tuple(names)):
        columns = columns_by_name(names, teacher.label_names)
    if columns is None:
        raise UserError(f"{settings.global_.model_dir}: names its classes {', '.join(teacher.label_names)}, and the "
                        f"student {', '.join(names)}; name the student's own teacher with --teacher")
    labels = None if rows.labels is None else task.scheme(None, rows, len(names), names).ids_of(rows.labels)
    sentences = teacher.tokenizer.encode(rows.texts)
    sentences = sentences.truncate(settings.global_.max_seq_length - teacher.framing.special_tokens(sentences.pairs))
    logits = teacher.reading(sentences, rows.texts).logits(sentences)[:, columns]
    own = task if labels is None or settings.global_.threshold != BEST_ON_DEV else task.fitted(labels, logits)
    return Comparison(rows.texts, labels, Said(logits, own), Said(predictor.logits(rows.texts, batch_size), task),
                      sentences.lengths, names, f"texts of {rows.source}")


def _measured(job: Job, run: RunFolder, teacher: Teacher, examined: Examined, models: Models) -> list[ModelRow]:
    known = examined.dev_set.teacher_predictions is not None
    return [*([measure_teacher(teacher, examined.dev_set, examined.metric)] if known else ()),
            *measure_models(job.settings, run, models, job.eval_callback)]


def _compared(teacher: Teacher, text: TrainingText, examined: Examined, models: Models) -> Comparison | None:
    if examined.said is None:
        return None
    texts = Speller(teacher.tokenizer).spell(text.dev) if text.dev_texts is None else text.dev_texts
    return Comparison(texts, text.dev_labels, examined.said, Said(final_logits(models), models.dev_set.task),
                      text.dev.lengths, text.label_names, "dev texts" if text.counts.get("dev") else "training texts")


def _histories(alone: TrainedStudent | None, distilled: TrainedStudent) -> dict[str, dict]:
    """Return how the trainings went, by their models' names in the report."""
    trained = {ALONE: alone, DISTILLED: distilled}
    return {name: {"evaluations": student.evaluations, "chosen": student.step}
            for name, student in trained.items() if student is not None}


def _assemble_and_verify(run: RunFolder, student: Student, models: Models) -> None:
    run.assemble(models.final.folder, models.spec, models.weights)
    student.text.vocabulary.save(run.final_dir)
    verify(models.paddle, run.final_dir, models.spec, models.weights, models.dev_set)


def _publish(run: RunFolder, rows: list[ModelRow], **about: Any) -> Report:
    report = write_report(run.final_dir, rows, **about)
    run.publish()
    run.clear()
    return report


def _chosen_by(eval_callback: Evaluate | None, evaluate: Evaluate | None) -> str | None:
    """Return what chose the best checkpoint, where it was not the run's metric."""
    if eval_callback is not None:
        return f"{_evaluated_by(eval_callback)}, `{getattr(eval_callback, '__name__', type(eval_callback).__name__)}`"
    return None if evaluate else "nothing: it is the last one, since no dev labels are known"


def _evaluated_by(eval_callback: Evaluate | None) -> str | None:
    return None if eval_callback is None else "your eval_callback"


def _hint_note(settings: Config, labels: Labels) -> tuple[str, ...]:
    if labels.hints is None or not settings.distill.learns_hints:
        return ()
    return (f"Beside the logits the student learned hints, {labels.hints.shape[1]} numbers a sentence that tell what a "
            "middle layer of the teacher holds. Losses are shown without them.",)


def _precision_note(teacher: Teacher, labels: Labels, task: Task) -> tuple[str, ...]:
    if isinstance(teacher, GivenLabels):
        return ("The transfer set was labelled elsewhere (Global.teacher_labels).",)
    if isinstance(teacher, FunctionTeacher):
        return ("The transfer set was labelled by a function in Python.",)
    if labels.precision == "fp32":
        return ("The teacher labelled the transfer set in fp32.",)
    return (f"The teacher labelled the transfer set in {labels.precision}; on a sample its logits differ from fp32 by "
            f"{labels.check['mean_difference']:.4f} on average, {labels.check['max_difference']:.4f} at most"
            f"{task.kept_labels(labels.check['agreement'])}.",)
