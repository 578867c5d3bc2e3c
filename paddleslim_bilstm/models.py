"""The run's inference models: exported, passed through PaddleSlim's strategies, written as ONNX, measured."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .config import Config
from .config.schema import BEST_ON_DEV, WORDS
from .cpu import physical_cores
from .errors import UserError
from .export.inference_file import forget_call_stacks, put_in_order
from .export.int8 import put_int8_embedding, quantize_student, round_layers
from .export.onnx_model import write_onnx
from .export.paddle_model import MODEL_NAME, export_paddle_model, read_paddle_model
from .host.chain import chain_dataloader, converted_loader, run_chain
from .host.rehearsal import rehearse
from .host.strategies import chained_strategies
from .predict.runtimes import paddle_logits
from .report.measure import ALONE, DISTILLED, DevSet, ModelRow, measure_model
from .run import RunFolder
from .student.evaluate import metric_of
from .student.spec import WORD_FEEDS, StudentSpec
from .student.text import StudentText
from .student.train import Evaluate, TrainedStudent
from .student.weights import Weights
from .task import task_named
from .teacher import InferenceModel, logits_of
from .tokens import BERT_FEEDS

QUANT_BILSTM = "QuantBiLSTM"
QUANTIZED_BY_PADDLESLIM = ("QuantPost", "QuantAware")


@dataclass(frozen=True)
class PaddleModel:
    """A Paddle model of the run: its name in the report, its folder, and its weights unless PaddleSlim made it."""

    name: str
    folder: Path
    weights: Weights | None = None


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX model of the run: its name in the report, its file, and what to know of it."""

    name: str
    file: Path
    notes: tuple[str, ...] = ()


def export_students(run: RunFolder, spec: StudentSpec, alone: TrainedStudent | None,
                    distilled: TrainedStudent) -> list[PaddleModel]:
    """Write the trained students as inference models, the distilled one last."""
    models = []
    for name, step, trained in ((ALONE, "alone", alone), (DISTILLED, "distilled", distilled)):
        if trained is not None:
            folder = run.step_dir(step)
            export_paddle_model(folder, spec, trained.weights)
            models.append(PaddleModel(name, folder, trained.weights))
    return models


def check_strategies(settings: Config, spec: StudentSpec | None = None) -> None:
    """Refuse strategies of PaddleSlim that can't do what they are set to do, by a rehearsal on a tiny student.

    Args:
        spec: the student; before the text is read it isn't known, so what any kind of student can do is let through.

    Raises:
        UserError: a key or a value can't work; the message names it.
    """
    strategies = chained_strategies(paddleslim_sections(settings))
    if not strategies:
        return
    refusals = []
    for kind in [spec] if spec else _possible_kinds(settings, "node" in strategies.get("Distillation", {})):
        try:
            return rehearse(strategies, settings.train, kind)
        except UserError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _possible_kinds(settings: Config, names_nodes: bool) -> list[StudentSpec]:
    """Return specs of the students that the settings may mean, the likeliest first; their sizes mean nothing.

    The nodes of pairs have other names, so where the settings name some, both kinds are asked.
    """
    student, columns = settings.distill.student, settings.global_.text_column
    labels = task_named(settings.global_.task).some_names
    known = not names_nodes or columns is not None
    return [StudentSpec(1, 1, student.num_layers, labels, 0, 3, pairs, student.vocabulary, student.pooling,
                        WORD_FEEDS if student.vocabulary == WORDS else BERT_FEEDS, encoder=student.encoder)
            for pairs in ([not isinstance(columns, (str, type(None)))] if known else [False, True])]


def run_strategies(settings: Config, run: RunFolder, own: StudentText, spec: StudentSpec, student: PaddleModel,
                   train_dataloader: Any, evaluate: Evaluate | None) -> list[PaddleModel]:
    """Run PaddleSlim's strategies on the distilled student, and return each step's model."""
    strategies, steps = chained_strategies(paddleslim_sections(settings)), []
    if not strategies:
        return steps
    if train_dataloader is None or spec.reads_words:  # the user's loader has the teacher's feeds
        rng = np.random.default_rng([settings.global_.seed, 1])
        train_dataloader = chain_dataloader(own.train, own.vocabulary, spec, settings.distill.batch_size, rng)
    elif "QuantPost" in strategies:
        train_dataloader = converted_loader(train_dataloader, spec)

    def keep(name: str, folder: Path) -> None:
        target = run.step_dir(name)
        shutil.copytree(folder, target, dirs_exist_ok=True)
        forget_call_stacks(target / f"{MODEL_NAME}.pdmodel")
        put_in_order(target / f"{MODEL_NAME}.pdmodel")
        steps.append(PaddleModel(name, target))

    run_chain(student.folder, strategies, settings.train, train_dataloader, evaluate, run.work_dir / "chain", keep)
    return steps


def write_onnx_models(settings: Config, run: RunFolder, spec: StudentSpec, models: list[PaddleModel],
                      dev_set: DevSet) -> tuple[list[PaddleModel], list[OnnxModel], Weights]:
    """Write the student as ONNX and, where the config has ``QuantBiLSTM``, as int8 ONNX and with an int8 embedding.

    They hold the weights of the last step that trained: calibration (``QuantPost``) leaves weights as they were.

    Returns:
        The Paddle model with an int8 embedding, if there is one; the ONNX models for the report; and the weights.
    """
    prefix = next(model.folder for model in reversed(models) if model.name != "QuantPost") / MODEL_NAME
    weights = read_paddle_model(prefix, spec)
    float_model = OnnxModel("ONNX", run.onnx_dir / "model.onnx")
    quantized_inputs = any(model.name == "QuantAware" for model in models)  # then Paddle rounds activations, ONNX not
    write_onnx(float_model.file, weights, spec, reference=None if quantized_inputs else paddle_logits(prefix))
    if QUANT_BILSTM not in settings.strategies:
        return [], [], weights
    truth = dev_set.teacher_predictions if dev_set.labels is None else dev_set.labels
    result = quantize_student(run.onnx_dir / "model.int8.onnx", weights, spec, dev_set.sentences, truth,
                              dev_set.reader, metric=dev_set.metric, **settings.strategies[QUANT_BILSTM])
    kept = (f"Kept in float by max_accuracy_drop: {', '.join(result.float_layers)}.",) if result.float_layers else ()
    notes = (spec.task.quantized_note(result.agreement), *kept)
    int8 = []
    if "embedding" not in result.float_layers:  # the one layer that Paddle runs in int8
        int8 = [_int8_embedding(run.step_dir(QUANT_BILSTM), models[-1], spec, weights)]
    return int8, [float_model, OnnxModel(QUANT_BILSTM, result.path, notes)], weights


def _int8_embedding(folder: Path, last: PaddleModel, spec: StudentSpec, weights: Weights) -> PaddleModel:
    """Write the last model with an int8 embedding; the layers that PaddleSlim has quantized stay so."""
    name, rounded = f"{QUANT_BILSTM}, Paddle", round_layers(weights, spec, ["embedding"])
    if last.name in QUANTIZED_BY_PADDLESLIM:
        put_int8_embedding(last.folder / MODEL_NAME, folder, spec, rounded["embedding"])
        return PaddleModel(name, folder)
    export_paddle_model(folder, spec, rounded)
    return PaddleModel(name, folder, rounded)


def answers(model: PaddleModel, dev_set: DevSet) -> np.ndarray:
    """Return what the model answers to the dev sentences."""
    return dev_set.task.answers_of(_logits(model, dev_set))


def fitted(settings: Config, model: PaddleModel, dev_set: DevSet) -> DevSet:
    """Return the dev set with the thresholds by which the model is served: its best ones, if the settings ask so."""
    if settings.global_.threshold != BEST_ON_DEV:
        return dev_set
    return replace(dev_set, task=dev_set.task.fitted(dev_set.labels, _logits(model, dev_set)))


def _logits(model: PaddleModel, dev_set: DevSet) -> np.ndarray:
    return logits_of(InferenceModel(model.folder / MODEL_NAME, physical_cores()), dev_set.sentences, dev_set.reader)


def measure(model: PaddleModel, run: RunFolder, dev_set: DevSet, eval_callback: Evaluate | None) -> ModelRow:
    """Return the model's row of the report, with the user's own metric where there is an ``eval_callback``."""
    prefix = model.folder / MODEL_NAME
    metric = None if eval_callback is None else metric_of(prefix, eval_callback)
    return measure_model(model.name, prefix, dev_set, str(prefix.relative_to(run.work_dir)), metric)


def paddleslim_sections(settings: Config) -> dict[str, dict[str, Any]]:
    """Return the config's sections that are PaddleSlim's own strategies."""
    return {name: section for name, section in settings.strategies.items() if name != QUANT_BILSTM}
