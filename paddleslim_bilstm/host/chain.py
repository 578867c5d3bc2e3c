"""PaddleSlim's own strategies run on the exported student, one after another, and the loaders that feed them."""

from __future__ import annotations

import copy
import logging
import re
import shutil
import traceback
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np
import paddle
from paddleslim.auto_compression import AutoCompression
from paddleslim.auto_compression.compressor import _logger as host_log
from paddleslim.prune.unstructured_pruner import GMPUnstructuredPruner

from ..cpu import use_all_cores
from ..errors import UserError
from ..old_programs import old_programs
from ..student.network import student_feeds
from ..student.spec import StudentSpec
from ..tokens import Feed, Reader, Sentences
from ..tokens.sentences import plan_batches
from .data_hook import loader_batches
from .on_paddle3 import paddleslim_at_work, tell_ranges
from .optimizer import DEFAULT_LEARNING_RATE, missing_length

_LONGEST = 200
_SUMMARY = "Error Message Summary:"  # in Paddle's errors, behind a C++ traceback
_IN_USER_CODE = "In user code:"  # in errors of an operator, before the Python stack that has made it
_NAMED_ERROR = re.compile(r"^\s*(\w+Error: .*)", re.MULTILINE)


def reason_of(error: BaseException) -> str:
    """Return the reason in one line.

    Examples: ``AssertionError("dtype can only be int8")`` -> ``"dtype can only be int8"``; an assertion without a
    message, of which PaddleSlim has many -> ``"AssertionError in _parse_distill_loss"``.
    """
    said = str(error).rpartition(_SUMMARY)[2]
    if _IN_USER_CODE in said and (named := _NAMED_ERROR.findall(said)):
        said = named[-1]
    lines = [line.strip() for line in said.splitlines()]
    text = next((" ".join(line.split()) for line in lines if line.strip("- ")), "")
    if not text:
        frames = traceback.extract_tb(error.__traceback__)
        return type(error).__name__ + (f" in {frames[-1].name}" if frames else "")
    if isinstance(error, (KeyError, UnboundLocalError, IndexError, AttributeError)):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


# PaddleSlim's internal strategy names -> what the report calls the step
_STEP_NAMES = {"quant_post": "QuantPost", "qat_dis": "QuantAware", "unstructure_prune_dis": "UnstructurePrune",
               "asp_prune_dis": "ASPPrune", "single_teacher_dis": "Distillation"}
_EVAL_ITER = 1000  # PaddleSlim's default
OnStep = Callable[[str, Path], None]


class StepFailed(Exception):
    """PaddleSlim raised ``__cause__`` in ``step``, one of its sections; None where it hadn't begun with any."""

    def __init__(self, step: str | None):
        super().__init__(step)
        self.step = step


def run_chain(student: Path, strategies: Mapping[str, Mapping[str, Any]], train, train_dataloader, eval_callback,
              work_dir: Path, on_step: OnStep) -> None:
    """Compress the student further with PaddleSlim's `AutoCompression`.

    Args:
        student: folder of the student's inference model; it is copied, since PaddleSlim rewrites its input.
        strategies: keyword arguments by strategy, from `strategies.chained_strategies`.
        train: the ``TrainConfig`` section. The steps only train on what is trained, so each takes a tenth of its epochs
            (one at least), iterations and learning rate: PaddleSlim's own rule for quantization behind pruning. Its
            ``origin_metric`` is the teacher's, so PaddleSlim does not hold the student against it.
        train_dataloader: a ``paddle.io.DataLoader`` with ``feed_list`` and ``return_list=False``.
        eval_callback: ``callback(executor, program, feed_names, fetch_targets) -> metric``.
        work_dir: for PaddleSlim's files; emptied before and after.
        on_step: called as ``on_step(name, folder)`` after each step, with the folder of the step's inference model.

    Raises:
        UserError: a step fails; the message names it and says why.
    """
    use_all_cores()
    try:
        run_steps(student, strategies, train, train_dataloader, eval_callback, work_dir, on_step)
    except StepFailed as failed:
        if isinstance(failed.__cause__, (OSError, MemoryError, UserError)):  # of the machine, or explained already
            raise failed.__cause__ from None
        step, reason = failed.step or ", ".join(strategies), reason_of(failed.__cause__)
        raise UserError(f"{step}: failed in PaddleSlim ({reason}); the trained students are kept: mend or remove the "
                        "section, and the same command goes on from them") from failed.__cause__


@paddleslim_at_work()
def run_steps(student: Path, strategies: Mapping[str, Mapping[str, Any]], train, train_dataloader, eval_callback,
              work_dir: Path, on_step: OnStep) -> None:
    """Do the work of `run_chain`.

    Raises:
        StepFailed: whatever PaddleSlim raised is its ``__cause__``.
    """
    shutil.rmtree(work_dir, ignore_errors=True)
    shutil.copytree(student, work_dir / "student")
    config = {name: dict(section) for name, section in strategies.items()}
    config["TrainConfig"] = _train_config(train, train_dataloader)
    chain = None
    # names made from here on differ from those in the student's program: a step whose output were called like its
    # input is a cycle to PaddleSlim's graph passes, about every other time
    # no own_scope: on Paddle 3.3 something of PaddleSlim's still runs in it afterwards
    with paddle.static.scope_guard(paddle.static.Scope()), paddle.utils.unique_name.guard("chain_"):
        host_log.addFilter(_not_closing)  # the closing lines are for the end of the run, and its folder
        try:
            chain = _Chain(on_step, model_dir=str(work_dir / "student"), model_filename="model.pdmodel",
                           params_filename="model.pdiparams", save_dir=str(work_dir / "output"), config=config,
                           train_dataloader=train_dataloader, eval_callback=eval_callback)
            chain.compress()
        except Exception as error:  # PaddleSlim and Paddle raise what they like
            raise StepFailed(chain and chain.step) from error
        finally:
            host_log.removeFilter(_not_closing)
    shutil.rmtree(work_dir, ignore_errors=True)


def _not_closing(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("==> ")


class _Chain(AutoCompression):
    """`AutoCompression` that hands over each step's model.

    It also mends faults of PaddleSlim 2.6: behind another strategy, ``QuantPost`` quantizes the model from before it;
    the optimizer's last step leaves pruned weights not quite zero, unless an evaluation follows; and the best
    checkpoint of gradual pruning (``gmp``) is one from before it was done.
    """

    def __init__(self, on_step: OnStep, **arguments: Any):
        self._on_step = on_step
        self.step: str | None = None  # that is running
        super().__init__(**arguments)

    def _get_final_train_config(self, train_config, strategy_config, model_type):
        return [copy.deepcopy(train_config) for _ in self._strategy]

    def _start_train(self, train_program_info, test_program_info, strategy, train_config):
        trained = super()._start_train(train_program_info, test_program_info, strategy, train_config)
        if strategy == "unstructure_prune_dis":
            self._pruner.update_params()
            if isinstance(self._pruner, GMPUnstructuredPruner):
                for file in Path(self.tmp_dir).glob("best_model.*"):
                    file.unlink()
        return trained

    def single_strategy_compress(self, strategy, config, strategy_idx, train_config):
        self.step = _STEP_NAMES.get(strategy, strategy)
        if strategy_idx > 0:
            self.updated_model_dir = str(Path(self.tmp_dir) / f"strategy_{strategy_idx}")
        super().single_strategy_compress(strategy, config, strategy_idx, train_config)
        made = Path(self.tmp_dir) / f"strategy_{strategy_idx + 1}"
        tell_ranges(made / self.model_filename)
        self._on_step(self.step, made)


def chain_dataloader(sentences: Sentences, reader: Reader, spec: StudentSpec, batch_size: int,
                     rng: np.random.Generator) -> paddle.io.DataLoader:
    """Return a loader of the student's feeds over ``sentences``, in the one form that ``QuantPost`` takes."""
    batches = plan_batches(sentences.lengths, batch_size, rng)
    return feeds_loader(_Batches(sentences, reader, batches), spec)


def converted_loader(loader: Any, spec: StudentSpec) -> paddle.io.DataLoader:
    """Return the user's loader in the one form that all of PaddleSlim's strategies take; as it is, if it has it.

    Args:
        loader: whatever `loader_batches` reads. What is no feed, such as labels, is left out.
    """
    if isinstance(loader, paddle.io.DataLoader) and loader.feed_list and not loader.return_list:
        return loader
    return feeds_loader(_UsersBatches(loader, spec.feeds), spec)


@old_programs()
def feeds_loader(batches: paddle.io.Dataset, spec: StudentSpec) -> paddle.io.DataLoader:
    """Return a loader of ``batches``, each the student's feeds as arrays."""
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        feeds = student_feeds(spec)
    return paddle.io.DataLoader(batches, feed_list=feeds, batch_size=None, return_list=False,
                                places=paddle.framework._current_expected_place())


class _Batches(paddle.io.Dataset):
    """Batch ``i`` as the student's feeds, such as ``input_ids`` and ``token_type_ids``."""

    def __init__(self, sentences: Sentences, reader: Reader, batches: list[np.ndarray]):
        self._sentences, self._reader, self._batches = sentences, reader, batches

    def __getitem__(self, position: int):
        return self._reader.batch(self._sentences, self._batches[position])

    def __len__(self) -> int:
        return len(self._batches)


class _UsersBatches(paddle.io.IterableDataset):
    """The batches of a user's loader, each as a tuple of the student's feeds."""

    def __init__(self, loader: Any, feeds: tuple[Feed, ...]):
        self._loader, self._feeds = loader, feeds

    def __iter__(self):
        for batch in loader_batches(self._loader, self._feeds):
            yield tuple(batch[feed.name] for feed in self._feeds)


def _train_config(train, train_dataloader) -> dict[str, Any]:
    """Return PaddleSlim's ``TrainConfig`` of a step behind the distillation."""
    settings = copy.deepcopy(dict(vars(train)))
    settings["origin_metric"] = None
    settings["eval_iter"] = settings["eval_iter"] or _EVAL_ITER
    if settings["train_iter"] is not None:
        settings["train_iter"] = max(settings["train_iter"] // 10, 1)
    if settings["epochs"] is not None or settings["train_iter"] is None:
        settings["epochs"] = max((settings["epochs"] or 1) // 10, 1)
    settings["learning_rate"] = rate = _tenth_of_rate(settings["learning_rate"])
    if isinstance(rate, dict) and (length := missing_length(rate)):
        steps = np.inf if settings["epochs"] is None else settings["epochs"] * sum(1 for _ in train_dataloader())
        rate[length] = int(min(steps, settings["train_iter"] or np.inf))
    return settings


_RATES = ("learning_rate", "max_learning_rate", "base_learning_rate", "start_lr", "end_lr", "end_learning_rate",
          "eta_min")

_DEFAULT_RATES = {"NoamDecay": {"learning_rate": 1.0}, "PolynomialDecay": {"end_lr": 1e-4},
                  "OneCycleLR": {"end_learning_rate": 1e-4}}  # Paddle's own, which must become a tenth, too


def _tenth_of_rate(rate: float | dict[str, Any] | None) -> float | dict[str, Any]:
    """Return a tenth of a number, or of all rates in a schedule of ``paddle.optimizer.lr``, and of its warm-up."""
    if not isinstance(rate, dict):
        return float(DEFAULT_LEARNING_RATE if rate is None else rate) / 10
    scaled = dict(rate)
    scaled = {**_DEFAULT_RATES.get(scaled.get("type"), {}), **scaled}
    for name in _RATES:
        if isinstance(scaled.get(name), (int, float)):
            scaled[name] = scaled[name] / 10
    if "warmup_steps" in scaled and scaled.get("type") == "LinearWarmup":
        scaled["warmup_steps"] = max(int(scaled["warmup_steps"]) // 10, 1)
    if "values" in scaled:
        scaled["values"] = [value / 10 for value in scaled["values"]]
    return scaled
