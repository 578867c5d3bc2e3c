"""PaddleSlim's strategies rehearsed on a tiny student: what they can't do is refused before any work."""

from __future__ import annotations

import io
import logging
import random
import tempfile
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator, Mapping

import numpy as np
import paddle
from paddle.incubate.asp.supported_layer_list import supported_layers_and_prune_func_map

from ..config import Config
from ..config.schema import WORDS
from ..errors import UserError
from ..export.paddle_model import export_paddle_model, read_paddle_model, student_logits
from ..old_programs import old_programs
from ..scopes import own_scope
from ..student.spec import MODEL_NAME, WORD_FEEDS, StudentSpec, can_match
from ..student.weights import first_weights
from ..task import task_named
from ..tokens import BERT_FEEDS, Framing, Sentences
from .chain import StepFailed, feeds_loader, reason_of, run_steps
from .strategies import QUANTIZED_BY_PADDLESLIM, strategies_of

_log = logging.getLogger(__name__)

_UNITS, _TOKENS, _LENGTH, _SENTENCES = 8, 16, 6, 4
_TOLERANCE = 0.5  # of the largest logit: an untrained student's, its activations rounded by the scale of a batch
_passed: set[str] = set()  # rehearsals of this process that went well
Strategies = Mapping[str, Mapping[str, Any]]


def check_strategies(settings: Config, spec: StudentSpec | None = None) -> None:
    """Refuse strategies of PaddleSlim that can't do what they are set to do, by a rehearsal on a tiny student.

    Args:
        spec: the student; before the text is read it isn't known, so what any kind of student can do is let through.

    Raises:
        UserError: a key or a value can't work; the message names it.
    """
    strategies = strategies_of(settings)
    if not strategies:
        return
    refusals = []
    for kind in [spec] if spec else _possible_kinds(settings, "node" in strategies.get("Distillation", {})):
        try:
            return rehearse(strategies, settings.train, kind)
        except UserError as refusal:
            refusals.append(refusal)
    other = _other_teacher(strategies)
    if spec is None and other and Path(other).is_dir():
        return  # which may have as many classes as the student will: that is rehearsed once they are known
    raise refusals[0]


def _other_teacher(strategies: Strategies) -> str | None:
    """Return the folder of the user's own teacher of the steps behind the student, if there is one."""
    return strategies.get("Distillation", {}).get("teacher_model_dir")


def _possible_kinds(settings: Config, names_nodes: bool) -> list[StudentSpec]:
    """Return specs of the students that the settings may mean, the likeliest first; their sizes mean nothing.

    The nodes of pairs have other names, so where the settings name some, both kinds are asked.
    """
    student, columns = settings.distill.student, settings.global_.text_column
    labels = task_named(settings.global_.task).some_names
    known = not names_nodes or columns is not None
    return [StudentSpec(1, 1, student.num_layers, labels, 0, 3, pairs, student.vocabulary, student.pooling,
                        WORD_FEEDS if student.vocabulary == WORDS else BERT_FEEDS, encoder=student.encoder,
                        matches=can_match(pairs, student.embed_dim))
            for pairs in ([not isinstance(columns, (str, type(None)))] if known else [False, True])]


@old_programs()
def rehearse(strategies: Strategies, train: Any, kind: StudentSpec) -> None:
    """Run the chain on an untrained student of 8 units, a batch a step, as silently as if it had not been.

    Args:
        strategies: keyword arguments by strategy, from `strategies.chained_strategies`.
        train: the ``TrainConfig`` section.
        kind: what the student is; its sizes don't matter, nor, without another teacher, how many classes it has. One
            that went well before is not run again.

    Raises:
        UserError: a step fails; the message names the section, the key if it is one key's value, and PaddleSlim's
            reason.
    """
    kind = replace(kind, embed_dim=_UNITS, hidden_size=_UNITS, pad_id=0, sep_id=_TOKENS - 1, max_seq_length=_LENGTH,
                   label_names=kind.label_names if _other_teacher(strategies) else kind.task.some_names)
    key = repr((strategies, vars(train), kind))
    if key in _passed:
        return
    useless: list[str] = []
    with _unnoticed():
        failed = _failure(strategies, train, kind, useless)
    if failed is None:
        for step in useless:
            _log.warning("%s: makes no weight of a Bi-LSTM int8, and rounds activations only; let quantize_op_types "
                         "have matmul_v2, or leave it out", step)
        return _passed.add(key)
    with _unnoticed():
        reason = reason_of(failed.__cause__)
        for section, key, value, others in _without_each(strategies, train, failed.step):
            if _failure(*others, kind) is None:
                raise UserError(f"{section}.{key}: {value!r} can't be used on a Bi-LSTM ({reason}); take another "
                                "value, or leave the key out") from failed.__cause__
    if isinstance(failed.__cause__, (OSError, MemoryError)):
        raise failed.__cause__
    raise UserError(f"{failed.step or ', '.join(strategies)}: can't be run on a Bi-LSTM with these values ({reason}); "
                    "correct the section, or leave it out") from failed.__cause__


def _failure(strategies: Strategies, train: Any, spec: StudentSpec, useless: list[str] | None = None) -> (
        StepFailed | None):
    """Return how the chain fails on an untrained student, if it does; ``useless`` gets the steps that quantize nothing.
    """
    weights = first_weights(spec, np.arange(_TOKENS, dtype=np.int32), None, np.random.default_rng(0))
    batch = _batch(spec)
    train = SimpleNamespace(**{**vars(train), "epochs": 1, "train_iter": 1, "eval_iter": 1, "target_metric": None})

    def check(step: str, folder: Path) -> None:
        found = _logits(folder / MODEL_NAME, batch)
        trained = read_paddle_model(folder / MODEL_NAME, spec)
        if step != "QuantPost":  # whose weights are not read back
            expected = student_logits(spec, trained, *batch.values())
            if not np.abs(found - expected).max() <= _TOLERANCE * max(1.0, np.abs(expected).max()):
                raise ValueError("its weights can't be read back")
        if step in QUANTIZED_BY_PADDLESLIM and useless is not None and not _holds_whole_numbers(folder / MODEL_NAME):
            useless.append(step)
        if _must_prune(step, strategies) and all(value.all() for value in trained.values() if value.ndim == 2):
            raise ValueError("it prunes nothing")

    with tempfile.TemporaryDirectory() as folder:
        student = Path(folder) / "student"
        student.mkdir()
        export_paddle_model(student, spec, weights)
        loader = feeds_loader(_Batch(tuple(batch.values())), spec)
        try:
            run_steps(student, strategies, train, loader, lambda *_: 1.0, Path(folder) / "chain", check)
        except StepFailed as failed:
            return failed
    return None


def _must_prune(step: str, strategies: Strategies) -> bool:
    """Return whether ``step`` leaves zeros after a single batch: gradual pruning, or one by a threshold, needn't."""
    section = strategies.get(step, {})
    return step == "ASPPrune" or (step == "UnstructurePrune" and section.get("prune_strategy") is None
                                  and section.get("prune_mode", "ratio") == "ratio")


def _logits(prefix: Path, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    executor = paddle.static.Executor(paddle.framework._current_expected_place())
    with paddle.static.scope_guard(paddle.static.Scope()):  # no own_scope, see `chain`
        program, feed_names, outputs = paddle.static.load_inference_model(str(prefix), executor)
        return executor.run(program, feed={name: batch[name] for name in feed_names}, fetch_list=outputs)[0]


def _holds_whole_numbers(prefix: Path) -> bool:
    """Return whether a matrix of the model has become integers, as quantized weights are, whatever their type."""
    executor = paddle.static.Executor(paddle.CPUPlace())
    with own_scope() as scope:
        program = paddle.static.load_inference_model(str(prefix), executor)[0]
        matrices = [np.array(scope.find_var(var.name).get_tensor()) for var in program.list_vars()
                    if var.persistable and var.name not in ("feed", "fetch") and len(var.shape) == 2]
    return any(matrix.any() and (matrix == np.rint(matrix)).all() for matrix in matrices)


class _Batch(paddle.io.Dataset):
    """A data set of one batch."""

    def __init__(self, batch: tuple[np.ndarray, ...]):
        self._batch = batch

    def __getitem__(self, position: int):
        return self._batch

    def __len__(self) -> int:
        return 1


def _batch(spec: StudentSpec) -> dict[str, np.ndarray]:
    """Return four sentences (or pairs) of a few tokens as the student's feeds."""
    rng = np.random.default_rng(0)
    names = [feed.name for feed in spec.feeds]
    if spec.reads_words:
        return dict(zip(names, (rng.integers(1, _TOKENS, (_SENTENCES, _LENGTH)), np.full(_SENTENCES, _LENGTH))))
    cls_id, sep_id = _TOKENS - 2, _TOKENS - 1
    sides = Sentences.from_lists(rng.integers(1, cls_id, (2 * _SENTENCES, _LENGTH // 2)).tolist())
    sentences = Sentences.from_sides(sides) if spec.pairs else sides.take(np.arange(_SENTENCES))
    framing = Framing(spec.feeds, spec.pad_id, cls_id, sep_id, spec.width, spec.separators)
    return dict(zip(names, framing.batch(sentences, np.arange(_SENTENCES))))


def _without_each(strategies: Strategies, train: Any, step: str | None) -> Iterator[tuple[str, str, Any, tuple]]:
    """Yield section, key, its value, and ``(strategies, train)`` without it, for each key that was set.

    The keys of the step that failed come first, then those of ``Distillation``, which all steps share; of a section
    the last first, since a key such as ``threshold`` follows the mode that reads it.
    """
    for section in sorted(strategies, key=lambda name: (name != step, name != "Distillation")):
        for key, value in reversed(list(strategies[section].items())):
            others = {name: one for name, one in strategies[section].items() if name != key}
            yield section, key, value, ({**strategies, section: others}, train)
    defaults = vars(type(train)())
    for key, value in vars(train).items():
        if value != defaults[key]:
            yield "TrainConfig", key, value, (strategies, SimpleNamespace(**{**vars(train), key: defaults[key]}))


@contextmanager
def _unnoticed() -> Iterator[None]:
    """Keep what happens inside from the screen, the logs, and the process's programs, names and random numbers."""
    states = random.getstate(), np.random.get_state(), paddle.get_rng_state()
    disabled, sink = logging.root.manager.disable, io.StringIO()
    prunable = dict(supported_layers_and_prune_func_map)
    logging.disable(logging.CRITICAL)
    try:
        with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()), \
                paddle.utils.unique_name.guard(), warnings.catch_warnings(), redirect_stdout(sink), \
                redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        random.setstate(states[0])
        np.random.set_state(states[1])
        paddle.set_rng_state(states[2])
        supported_layers_and_prune_func_map.clear()
        supported_layers_and_prune_func_map.update(prunable)
