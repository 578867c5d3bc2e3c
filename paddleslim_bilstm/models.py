"""What becomes of the trained students: exported, passed through PaddleSlim's strategies, written as ONNX, measured."""

from __future__ import annotations

import filecmp
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from .config import Config
from .config.schema import BEST_ON_DEV
from .cpu import cores_to_use
from .errors import UserError
from .export.inference_file import ends_whole, forget_call_stacks, put_in_order
from .export.int8 import put_int8_embedding, quantize_student, round_layers
from .export.onnx_model import write_onnx
from .export.paddle_model import export_paddle_model, read_paddle_model, student_logits
from .host.chain import chain_dataloader, converted_loader, run_chain
from .host.strategies import QUANT_BILSTM, QUANTIZED_BY_PADDLESLIM, strategies_of
from .predict.runtimes import Logits, batch_logits, onnx_logits, paddle_logits
from .report.measure import ALONE, BATCH_SIZE, DISTILLED, DevSet, ModelRow, measure_model, measure_onnx
from .run import RunFolder
from .student.recipe import Student
from .student.spec import MODEL_NAME, StudentSpec
from .student.train import Evaluate, TrainedStudent, metric_of
from .student.weights import WEIGHTS_FILE, Weights, load_student
from .teacher import InferenceModel, logits_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PaddleModel:
    """A Paddle model of the run.

    Attributes:
        name: in the report.
        folder: its own.
        weights: None where PaddleSlim made it.
        doubts: for the report.
    """

    name: str
    folder: Path
    weights: Weights | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX model of the run: its name in the report, its file, and what to know of it."""

    name: str
    file: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Models:
    """All models of a run.

    Attributes:
        paddle: in the order in which they were made, the final one last.
        onnx: those for the report.
        spec: the final student's.
        weights: likewise, before any of them was made int8.
        dev_set: with the thresholds by which the final student is served.
    """

    paddle: tuple[PaddleModel, ...]
    onnx: tuple[OnnxModel, ...]
    spec: StudentSpec
    weights: Weights
    dev_set: DevSet

    @property
    def final(self) -> PaddleModel:
        return self.paddle[-1]

    @property
    def doubts(self) -> tuple[str, ...]:
        return tuple(doubt for model in self.paddle for doubt in model.doubts)


def export_students(run: RunFolder, spec: StudentSpec, alone: TrainedStudent | None, distilled: TrainedStudent,
                    dev_set: DevSet) -> list[PaddleModel]:
    """Write the trained students as inference models, the distilled one last, and look at their answers."""
    models = []
    for name, step, trained in ((ALONE, "alone", alone), (DISTILLED, "distilled", distilled)):
        if trained is not None:
            folder = run.step_dir(step)
            export_paddle_model(folder, spec, trained.weights)
            model = PaddleModel(name, folder, trained.weights)
            answers = dev_set.task.answers_of(_logits(model, dev_set))
            doubts = dev_set.task.one_answer(name, answers, spec.label_names, dev_set.called)
            models.append(replace(model, doubts=tuple(doubts)))
            for doubt in models[-1].doubts:
                _log.warning("%s", doubt)
    return models


def run_strategies(settings: Config, run: RunFolder, student: Student, exported: PaddleModel, train_dataloader: Any,
                   evaluate: Evaluate | None) -> list[PaddleModel]:
    """Run PaddleSlim's strategies on the exported student, and return each step's model."""
    strategies, steps = strategies_of(settings), []
    if not strategies:
        return steps
    spec, text = student.spec, student.text
    if train_dataloader is None or spec.reads_words:  # the user's loader has the teacher's feeds
        rng = np.random.default_rng([settings.global_.seed, 1])
        train_dataloader = chain_dataloader(text.train, text.vocabulary, spec, settings.distill.batch_size, rng)
    else:
        train_dataloader = converted_loader(train_dataloader, spec)

    def keep(name: str, folder: Path) -> None:
        target = run.step_dir(name)
        shutil.copytree(folder, target, dirs_exist_ok=True)
        forget_call_stacks(target / f"{MODEL_NAME}.pdmodel")
        put_in_order(target / f"{MODEL_NAME}.pdmodel")
        steps.append(PaddleModel(name, target))

    run_chain(exported.folder, strategies, settings.train, train_dataloader, evaluate, run.work_dir / "chain", keep)
    return steps


def write_onnx_models(settings: Config, run: RunFolder, student: Student, models: list[PaddleModel],
                      dev_set: DevSet) -> Models:
    """Write the student as ONNX and, where the config has ``QuantBiLSTM``, as int8 ONNX and with an int8 embedding.

    They hold the weights of the last step that trained: calibration (``QuantPost``) leaves weights as they were.
    """
    dev_set = _fitted(settings, models[-1], dev_set)
    spec = replace(student.spec, thresholds=_of_each(dev_set.task.thresholds, student.spec.num_classes))
    prefix = next(model.folder for model in reversed(models) if model.name != "QuantPost") / MODEL_NAME
    weights = read_paddle_model(prefix, spec)
    float_model = OnnxModel("ONNX", run.onnx_dir / "model.onnx")
    quantized_inputs = any(model.name == "QuantAware" for model in models)  # then Paddle rounds activations, ONNX not
    write_onnx(float_model.file, weights, spec, reference=None if quantized_inputs else paddle_logits(prefix))
    if QUANT_BILSTM not in settings.strategies:
        return Models(tuple(models), (), spec, weights, dev_set)
    truth = dev_set.teacher_predictions if dev_set.labels is None else dev_set.labels
    result = quantize_student(run.onnx_dir / "model.int8.onnx", weights, spec, dev_set.sentences, truth,
                              dev_set.reader, metric=dev_set.metric, row_counts=student.text.row_counts,
                              **settings.strategies[QUANT_BILSTM])
    kept = (f"Kept in float by max_accuracy_drop: {', '.join(result.float_layers)}.",) if result.float_layers else ()
    notes = (spec.task.quantized_note(result.agreement, dev_set.called),
             *([result.coding] if result.coding else ()), *kept)
    int8 = []
    if "embedding" not in result.float_layers:  # the one layer that Paddle runs in int8
        int8 = [_int8_embedding(run.step_dir(QUANT_BILSTM), models[-1], spec, weights)]
    onnx = float_model, OnnxModel(QUANT_BILSTM, result.path, notes)
    return Models((*models, *int8), onnx, spec, weights, dev_set)


def _int8_embedding(folder: Path, last: PaddleModel, spec: StudentSpec, weights: Weights) -> PaddleModel:
    """Write the last model with an int8 embedding; the layers that PaddleSlim has quantized stay so."""
    name, rounded = f"{QUANT_BILSTM}, Paddle", round_layers(weights, spec, ["embedding"])
    if last.name in QUANTIZED_BY_PADDLESLIM:
        put_int8_embedding(last.folder / MODEL_NAME, folder, spec, rounded["embedding"])
        return PaddleModel(name, folder)
    export_paddle_model(folder, spec, rounded)
    return PaddleModel(name, folder, rounded)


def measure_models(settings: Config, run: RunFolder, models: Models, eval_callback: Evaluate | None) -> list[ModelRow]:
    """Return the models' rows of the report, with the user's own metric where there is an ``eval_callback``."""
    rows = []
    for model in models.paddle:
        prefix = model.folder / MODEL_NAME
        metric = None if eval_callback is None else metric_of(prefix, eval_callback)
        dev_set = _fitted(settings, model, models.dev_set) if model.name == ALONE else models.dev_set
        rows.append(measure_model(model.name, prefix, dev_set, str(prefix.relative_to(run.work_dir)), metric))
    like = next(row for row in rows if row.name == DISTILLED)
    return rows + [measure_onnx(model.name, model.file, models.dev_set, like, model.file.name, model.notes,
                                eval_callback) for model in models.onnx]


def final_logits(models: Models) -> np.ndarray:
    """Return what the last model of the report says of the dev set, float32 ``[n, outputs]``."""
    dev_set = models.dev_set
    if not models.onnx:
        return _logits(models.final, dev_set)
    return batch_logits(onnx_logits(models.onnx[-1].file), dev_set.sentences, dev_set.reader, BATCH_SIZE)


def _fitted(settings: Config, model: PaddleModel, dev_set: DevSet) -> DevSet:
    """Return the dev set with the thresholds by which the model is served: its best ones, if the settings ask so."""
    if settings.global_.threshold != BEST_ON_DEV:
        return dev_set
    return replace(dev_set, task=dev_set.task.fitted(dev_set.labels, _logits(model, dev_set)))


def _of_each(thresholds: tuple[float, ...], outputs: int) -> tuple[float, ...]:
    return thresholds * outputs if len(thresholds) == 1 else thresholds


def _logits(model: PaddleModel, dev_set: DevSet) -> np.ndarray:
    return logits_of(InferenceModel(model.folder / MODEL_NAME, cores_to_use()), dev_set.sentences, dev_set.reader)


_PROBE_SENTENCES = 8
_TOLERANCE = 1e-4  # of the largest logit


def verify(models: Sequence[PaddleModel], final_dir: Path, spec: StudentSpec, weights: Mapping[str, np.ndarray],
           dev_set: DevSet) -> None:
    """Ask every model for the logits of a few dev sentences, from the shortest to the longest, padded to one batch.

    Exported models must answer as the network does that was trained, with the weights that it was trained to; what
    PaddleSlim has written, as the network does with the weights found in the file. Models that PaddleSlim has
    quantized, and the int8 ONNX model, need only answer: the report shows what quantization costs.

    Args:
        models: the Paddle models, the last of them the final one: ``name``, ``folder``, and ``weights`` or None.
        final_dir: what is about to be published: the final model, ONNX files, the float student.
        weights: the float student's.

    Raises:
        UserError: a file is damaged or answers something else; the message names it.
    """
    order = np.argsort(dev_set.sentences.lengths, kind="stable")
    rows = order[np.unique(np.linspace(0, len(order) - 1, _PROBE_SENTENCES).astype(np.int64))]
    batch = dev_set.reader.batch(dev_set.sentences, rows)

    quantized = False
    for model in models:
        prefix = model.folder / MODEL_NAME
        if not ends_whole(prefix.with_suffix(".pdiparams")):
            raise _refusal(prefix.with_suffix(".pdiparams"), "is cut")
        quantized = quantized or model.name in QUANTIZED_BY_PADDLESLIM
        found = _answers(paddle_logits, prefix, batch)
        if model.weights is not None or not quantized:
            own = read_paddle_model(prefix, spec) if model.weights is None else model.weights
            _compare(prefix, found, student_logits(spec, own, *batch))
    for file in models[-1].folder.iterdir():
        copy, = final_dir.glob(f"*{file.suffix}")
        if not filecmp.cmp(file, copy, shallow=False):
            raise _refusal(copy, "is not what was copied there")
    for file in final_dir.glob("*.onnx"):
        found = _answers(onnx_logits, file, batch)
        if file.name == "model.onnx":
            _compare(file, found, student_logits(spec, weights, *batch))
    read, read_spec = load_student(final_dir)
    if read_spec != spec or any(not np.array_equal(read[name], weights[name]) for name in weights):
        raise _refusal(final_dir / WEIGHTS_FILE, "does not hold the trained weights")


def _answers(load: Callable[[Path], Logits], file: Path, batch: tuple[np.ndarray, ...]) -> np.ndarray:
    try:
        logits = load(file)(*batch)
    except Exception as error:  # Paddle and ONNX Runtime raise what they like on a damaged file
        raise _refusal(file, f"can't be run ({type(error).__name__})") from error
    if not np.isfinite(logits).all():
        raise _refusal(file, f"answers {logits[~np.isfinite(logits)][0]}")
    return logits


def _compare(file: Path, found: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(found - expected).max() if found.shape == expected.shape else np.inf
    if not difference <= _TOLERANCE * max(1.0, np.abs(expected).max()):
        raise _refusal(file, f"answers dev sentences other than the trained student does, by {difference:.2g}")


def _refusal(file: Path, what: str) -> UserError:
    return UserError(f"{file}: {what}, so nothing is published; give the same command again, and with --fresh if that "
                     "does not help")
