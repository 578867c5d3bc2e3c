"""The main job: from a fine-tuned BERT and text to a Bi-LSTM inference model with a report."""

from __future__ import annotations

import logging
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import paddle
import paddleslim  # noqa: F401  (registers our strategy, hook and loss)

from .augment import Corpus, TransferSet, build_transfer_set, check_hooks, transfer_set_fingerprint
from .config import Config, load_config
from .cpu import physical_cores
from .errors import UserError
from .export.onnx_model import write_onnx
from .export.paddle_model import MODEL_NAME, export_paddle_model, read_paddle_model
from .export.student_file import save_student
from .files import fingerprint, make_writable_folder
from .host.chain import chain_dataloader, run_chain
from .host.losses import static_logit_loss
from .host.optimizer import check_optimizer, make_optimizer_of
from .host.strategies import chained_strategies
from .predict.runtimes import paddle_logits
from .quantize.student import quantize_student
from .report.rows import ALONE, DISTILLED, TEACHER, DevSet, ModelRow, measure_model, measure_onnx
from .report.write import Report, write_report
from .student.embeddings import project_embeddings
from .student.evaluate import accuracy_on, metric_of
from .student.network import TOKEN_MAP
from .student.spec import StudentSpec
from .student.train import NO_LABEL, Evaluate, TrainedStudent, TrainingPlan, TrainingSet, train_student
from .student.vocabulary import cut_vocabulary, kept_tokens
from .student.weights import Weights, first_weights
from .teacher import InferenceModel, Labels, Teacher, label, load_teacher, logits_of, teacher_embeddings
from .tokens import TOKENIZER_FILES
from .training_text import TrainingText, read_training_text

_log = logging.getLogger(__name__)

DEFAULT_EPOCHS = 2
ALONE_EPOCHS = 5
QUANT_BILSTM = "QuantBiLSTM"
_ORIGIN_METRIC_TOLERANCE = 0.05  # PaddleSlim's
_CACHE_VARIABLE = "PADDLESLIM_BILSTM_CACHE"


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


def prepare(config: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *,
            inside_paddleslim: bool = False) -> Config:
    """Read a configuration and check all that can be checked before any work starts.

    Raises:
        UserError: a setting is wrong; the message names it.
    """
    settings = load_config(config, overrides, inside_paddleslim=inside_paddleslim)
    if settings.global_.model_dir is None:
        raise UserError("Global.model_dir: missing; name the folder of the fine-tuned teacher")
    paddle.enable_static()
    check_hooks(settings.augmentation.hooks)
    static_logit_loss(settings.distill.loss)
    check_optimizer(settings.train)
    chained_strategies(_paddleslim_sections(settings))
    make_writable_folder(settings.global_.save_dir, "Global.save_dir")
    return settings


def compress(config: Config | str | Path | Mapping[str, Any], *, overrides: Sequence[str] = (), train: Any = None,
             dev: Any = None, unlabeled: Any = None, train_dataloader: Any = None,
             eval_callback: Evaluate | None = None) -> CompressionResult:
    """Distil a BERT classifier into a Bi-LSTM and compress it further with the strategies that the config names.

    Args:
        config: path of a YAML file, or its content as a dict.
        overrides: ``Section.key=value`` each; they win over the config.
        train, dev: ``[(text, label), ...]`` in place of the files that the config names.
        unlabeled: ``[text, ...]``, joins the transfer set.
        train_dataloader: a PaddleSlim data loader; its token ids are the training text where the config names none, and
            it feeds PaddleSlim's own strategies.
        eval_callback: ``callback(executor, program, feed_names, fetch_targets) -> metric`` as PaddleSlim takes it; it
            decides which student is the best. Accuracy on the dev set by default.

    Returns:
        The folder of the inference model, and the report.

    Raises:
        UserError: something that the user can mend; nothing half-written is left behind.
    """
    settings = config if isinstance(config, Config) else prepare(config, overrides)
    run = _Run(settings)
    with run.stage("load teacher"):
        teacher = load_teacher(settings.global_.model_dir, run.cache("teachers"), settings.global_.model_filename,
                               settings.global_.params_filename, settings.global_.tokenizer_dir)
    _check_length(settings, teacher)
    with run.stage("read text"):
        text = read_training_text(settings, teacher, train, dev, unlabeled, train_dataloader)
    evaluate = eval_callback or _accuracy(text, teacher)
    with run.stage("check teacher"):
        dev_set = _dev_set(text, teacher)
        teacher_metric = _check_teacher(settings, teacher, eval_callback, dev_set)
    with run.stage("augment"):
        transfer_set, key = _augment(settings, text, teacher, run)
    with run.stage("label"):
        key = fingerprint(key, teacher.fingerprint)
        labels = label(teacher, transfer_set.sentences, run.cache("labels"), key, physical_cores())
    spec, first = _first_student(settings, text, teacher, transfer_set)
    # what a user's own eval_callback chose can't be told by a fingerprint, so it stays with this run
    students = run.cache("students") if eval_callback is None else run.work_dir
    alone = None
    if settings.distill.train_alone and text.train_labels is not None:
        with run.stage("train alone"):
            alone = _train_alone(settings, spec, first, text, evaluate, students)
    with run.stage("distil"):
        distilled = _distil(settings, spec, first, text, transfer_set, labels, evaluate, students, key)
    with run.stage("export"):
        models = _export(run, spec, alone, distilled)
    with run.stage("chain"):
        _chain(settings, run, text, teacher, models, train_dataloader, evaluate)
    with run.stage("onnx"):
        onnx_models, final_weights = _onnx(settings, run, spec, models, dev_set)
    with run.stage("measure"):
        rows = [measure_model(TEACHER, teacher.prefix, dev_set, metric=teacher_metric,
                              predictions=dev_set.teacher_predictions)]
        rows += [_measure(model, run, dev_set, eval_callback) for model in models]
        rows += [measure_onnx(name, file, dev_set, spec.max_seq_length, rows[-1], file.name, model_notes)
                 for name, file, model_notes in onnx_models]
    notes = (*text.notes, _precision_note(labels))
    run.publish(models[-1].folder, spec, final_weights)
    report = write_report(run.save_dir, rows, settings.to_dict(), run.seconds, text.counts, transfer_set.counts, notes)
    shutil.rmtree(run.work_dir, ignore_errors=True)
    return CompressionResult(run.save_dir, report)


@dataclass(frozen=True)
class _Model:
    """An exported model of the run: its name in the report and its folder."""

    name: str
    folder: Path


@dataclass
class _Run:
    """Where a run keeps its files, and how long its stages took."""

    settings: Config
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        self.save_dir = make_writable_folder(self.settings.global_.save_dir, "Global.save_dir").resolve()
        self.work_dir = make_writable_folder(self.save_dir / "work", "Global.save_dir")
        cache = (self.settings.global_.cache_dir or os.environ.get(_CACHE_VARIABLE)
                 or Path.home() / ".cache" / "paddleslim_bilstm")
        self._cache_dir = make_writable_folder(cache, "Global.cache_dir").resolve()

    def cache(self, name: str) -> Path:
        """Return the folder of one kind of cached files."""
        return make_writable_folder(self._cache_dir / name, "Global.cache_dir")

    @contextmanager
    def stage(self, name: str):
        """Log and time a stage."""
        _log.info("%s ...", name)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)

    def step_dir(self, name: str) -> Path:
        """Return the folder of a step's model, ``steps/<name>``."""
        return self.save_dir / "steps" / name

    @property
    def onnx_dir(self) -> Path:
        """Return the folder where ONNX files wait to be published."""
        return make_writable_folder(self.work_dir / "onnx", "Global.save_dir")

    def publish(self, final: Path, spec: StudentSpec, weights: Weights) -> None:
        """Put the final model, its ONNX files, the float student and the tokenizer files into ``save_dir``."""
        for file in (*final.iterdir(), *self.onnx_dir.iterdir()):
            shutil.copy2(file, self.save_dir / file.name)
        tokenizer_dir = Path(self.settings.global_.tokenizer_dir or self.settings.global_.model_dir)
        for name in TOKENIZER_FILES:
            if (tokenizer_dir / name).is_file():
                shutil.copyfile(tokenizer_dir / name, self.save_dir / name)
        save_student(self.save_dir, weights, spec)


def _check_length(settings: Config, teacher: Teacher) -> None:
    length = settings.global_.max_seq_length
    if teacher.max_length is not None and length > teacher.max_length:
        raise UserError(f"Global.max_seq_length: {length}, but the teacher reads at most {teacher.max_length} tokens; "
                        f"set it to {teacher.max_length} or less")


def _accuracy(text: TrainingText, teacher: Teacher) -> Evaluate | None:
    if text.dev_labels is None:
        return None
    return accuracy_on(text.dev, text.dev_labels, teacher.tokenizer)


def _dev_set(text: TrainingText, teacher: Teacher) -> DevSet:
    logits = logits_of(InferenceModel(teacher.prefix, physical_cores()), text.dev, teacher.tokenizer)
    return DevSet(text.dev, text.dev_labels, logits.argmax(-1), teacher.num_classes, teacher.tokenizer)


def _check_teacher(settings: Config, teacher: Teacher, eval_callback: Evaluate | None, dev_set: DevSet) -> float | None:
    """Hold the teacher's metric against ``TrainConfig.origin_metric``; return it where it is the user's own."""
    accuracy = None if dev_set.labels is None else float((dev_set.teacher_predictions == dev_set.labels).mean())
    own = None if eval_callback is None else metric_of(teacher.prefix, eval_callback)
    metric, expected = accuracy if own is None else own, settings.train.origin_metric
    if expected is not None and metric is not None and abs(metric - expected) > _ORIGIN_METRIC_TOLERANCE:
        raise UserError(f"TrainConfig.origin_metric: the teacher reaches {metric:.4f}, not {expected:.4f}; check the "
                        "dev data and its labels, or correct the value")
    if accuracy is not None and len(dev_set.labels) >= 50:
        chance = float(np.bincount(dev_set.labels).max() / len(dev_set.labels))
        if accuracy < chance:
            _log.warning("the teacher's accuracy on the dev set is %.1f %%, less than always answering the commonest "
                         "class (%.1f %%): are the labels swapped, or is it another task's teacher?",
                         100 * accuracy, 100 * chance)
    return own


def _augment(settings: Config, text: TrainingText, teacher: Teacher, run: _Run) -> tuple[TransferSet, str]:
    corpus = Corpus.create(text.train, teacher.tokenizer, text.train_texts)
    options = (corpus, settings.augmentation, settings.global_.seed)
    limit = settings.global_.max_seq_length - 2
    key = transfer_set_fingerprint(*options, limit)
    return build_transfer_set(*options, run.cache("transfer_sets") / key, limit), key


def _first_student(settings: Config, text: TrainingText, teacher: Teacher, transfer_set: TransferSet):
    sizes = settings.distill.student
    spec = StudentSpec(sizes.embed_dim, sizes.hidden_size, sizes.num_layers, text.label_names,
                       teacher.tokenizer.pad_id, settings.global_.max_seq_length)
    token_map = cut_vocabulary(teacher.tokenizer, transfer_set.sentences)
    kept = kept_tokens(token_map, teacher.tokenizer.unk_id)
    embedding = project_embeddings(teacher_embeddings(teacher)[kept], spec.embed_dim)
    rng = np.random.default_rng(settings.global_.seed)
    return spec, first_weights(spec, token_map, embedding, rng)


def _train_alone(settings: Config, spec: StudentSpec, first: Weights, text: TrainingText, evaluate: Evaluate | None,
                 students: Path) -> TrainedStudent:
    """Train the same Bi-LSTM on the labels, from random embeddings: the tutorial's second step."""
    labelled = text.train_labels != NO_LABEL
    data = TrainingSet(text.train.take(labelled), None, text.train_labels[labelled])
    plan = _plan(settings, data, ALONE_EPOCHS)
    weights = first_weights(spec, first[TOKEN_MAP], None, np.random.default_rng(settings.global_.seed))
    key = fingerprint(data.sentences.tokens, data.labels, _student_parts(settings, spec, plan, text, weights))
    return train_student(spec, weights, data, plan, None, make_optimizer_of(settings.train), evaluate,
                         students / f"alone-{key}.safetensors", "train Bi-LSTM alone")


def _distil(settings: Config, spec: StudentSpec, first: Weights, text: TrainingText, transfer_set: TransferSet,
            labels: Labels, evaluate: Evaluate | None, students: Path, labels_key: str) -> TrainedStudent:
    hard = text.train_labels[transfer_set.source] if settings.distill.alpha > 0 else None
    data = TrainingSet(transfer_set.sentences, labels.logits, hard)
    plan = _plan(settings, data, settings.train.epochs or DEFAULT_EPOCHS, settings.train.train_iter)
    key = fingerprint(labels_key, labels.precision, [] if hard is None else hard, settings.distill.loss,
                      _student_parts(settings, spec, plan, text, first))
    return train_student(spec, first, data, plan, static_logit_loss(settings.distill.loss),
                         make_optimizer_of(settings.train), evaluate, students / f"distilled-{key}.safetensors",
                         "distil student")


def _student_parts(settings: Config, spec: StudentSpec, plan: TrainingPlan, text: TrainingText, first: Weights) -> str:
    """Fingerprint what any student depends on beside its training set; the dev set chooses the best checkpoint."""
    dev = [text.dev.tokens, text.dev.offsets, [] if text.dev_labels is None else text.dev_labels]
    return fingerprint(asdict(spec), asdict(plan), settings.to_dict()["TrainConfig"], *dev,
                       *(first[name] for name in sorted(first)), paddle.__version__)


def _plan(settings: Config, data: TrainingSet, epochs: int, train_iter: int | None = None) -> TrainingPlan:
    size = settings.distill.batch_size
    steps = epochs * -(-len(data.sentences) // size)
    if train_iter is not None:
        steps = train_iter if settings.train.epochs is None else min(steps, train_iter)
    return TrainingPlan(steps, size, settings.distill.alpha, settings.distill.student.dropout,
                        settings.train.eval_iter, settings.train.target_metric, settings.global_.seed)


def _export(run: _Run, spec: StudentSpec, alone: TrainedStudent | None, distilled: TrainedStudent) -> list[_Model]:
    models = []
    for name, step, trained in ((ALONE, "alone", alone), (DISTILLED, "distilled", distilled)):
        if trained is not None:
            folder = run.step_dir(step)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            export_paddle_model(folder, spec, trained.weights)
            models.append(_Model(name, folder))
    return models


def _chain(settings: Config, run: _Run, text: TrainingText, teacher: Teacher, models: list[_Model], train_dataloader,
           evaluate) -> None:
    """Run PaddleSlim's strategies on the distilled student, and add each step's model to ``models``."""
    strategies = chained_strategies(_paddleslim_sections(settings))
    if not strategies:
        return
    if train_dataloader is None:
        rng = np.random.default_rng([settings.global_.seed, 1])
        train_dataloader = chain_dataloader(text.train, teacher.tokenizer, rng)

    def keep(name: str, folder: Path) -> None:
        target = run.step_dir(name)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
        models.append(_Model(name, target))

    run_chain(models[-1].folder, strategies, settings.train, train_dataloader, evaluate, run.work_dir / "chain", keep)


def _onnx(settings: Config, run: _Run, spec: StudentSpec, models: list[_Model], dev_set: DevSet):
    """Write the student as ONNX and, where the config has ``QuantBiLSTM``, as int8 ONNX.

    They hold the weights of the last step that trained: calibration (``QuantPost``) leaves weights as they were.

    Returns:
        ``(name, file, notes)`` of each ONNX model for the report, and the weights.
    """
    prefix = next(model.folder for model in reversed(models) if model.name != "QuantPost") / MODEL_NAME
    weights = read_paddle_model(prefix, spec)
    float_file = run.onnx_dir / "model.onnx"
    write_onnx(float_file, weights, spec, reference=paddle_logits(prefix))
    if QUANT_BILSTM not in settings.strategies:
        return [], weights
    truth = dev_set.teacher_predictions if dev_set.labels is None else dev_set.labels
    result = quantize_student(run.onnx_dir / "model.int8.onnx", weights, spec, dev_set.sentences, truth,
                              dev_set.tokenizer, **settings.strategies[QUANT_BILSTM])
    kept = (f"Kept in float by max_accuracy_drop: {', '.join(result.float_layers)}.",) if result.float_layers else ()
    notes = (f"Agrees with the float student on {100 * result.agreement:.1f} % of the dev sentences.", *kept)
    return [("ONNX", float_file, ()), (QUANT_BILSTM, result.path, notes)], weights


def _measure(model: _Model, run: _Run, dev_set: DevSet, eval_callback: Evaluate | None) -> ModelRow:
    prefix = model.folder / MODEL_NAME
    metric = None if eval_callback is None else metric_of(prefix, eval_callback)
    return measure_model(model.name, prefix, dev_set, str(prefix.relative_to(run.save_dir)), metric)


def _paddleslim_sections(settings: Config) -> dict[str, dict[str, Any]]:
    return {name: section for name, section in settings.strategies.items() if name != QUANT_BILSTM}


def _precision_note(labels: Labels) -> str:
    if labels.precision == "fp32":
        return "The teacher labelled the transfer set in fp32."
    return (f"The teacher labelled the transfer set in {labels.precision}; on a sample its logits differ from fp32 by "
            f"{labels.check['mean_difference']:.4f} on average, {labels.check['max_difference']:.4f} at most, and "
            f"{100 * labels.check['agreement']:.2f} % of the labels agree.")
