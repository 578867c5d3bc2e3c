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
from .data_hook import loader_batches, reading, static_loader
from .on_paddle3 import paddleslim_at_work, tell_ranges
from .step_settings import train_config_of, with_gmp_that_ends

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
_PRUNING = ("unstructure_prune_dis", "asp_prune_dis")
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
        run_steps(student, with_gmp_that_ends(strategies, train, train_dataloader), train, train_dataloader,
                  eval_callback, work_dir, on_step)
    except StepFailed as failed:
        if isinstance(failed.__cause__, (OSError, MemoryError, UserError)):  # of the machine, or explained already
            raise failed.__cause__ from failed.__cause__.__cause__
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
    config["TrainConfig"] = train_config_of(train, train_dataloader)
    chain = None

    def failure() -> UserError | None:
        return getattr(getattr(train_dataloader, "dataset", None), "failure", None)

    def keep(step: str, folder: Path) -> None:
        if failure():  # it ended an epoch before its time
            raise failure()
        on_step(step, folder)

    # names made from here on differ from those in the student's program: a step whose output were called like its
    # input is a cycle to PaddleSlim's graph passes, about every other time
    # no own_scope: on Paddle 3.3 something of PaddleSlim's still runs in it afterwards
    with paddle.static.scope_guard(paddle.static.Scope()), paddle.utils.unique_name.guard("chain_"):
        host_log.addFilter(_not_closing)  # the closing lines are for the end of the run, and its folder
        try:
            chain = _Chain(keep, model_dir=str(work_dir / "student"), model_filename="model.pdmodel",
                           params_filename="model.pdiparams", save_dir=str(work_dir / "output"), config=config,
                           train_dataloader=train_dataloader, eval_callback=eval_callback)
            chain.compress()
        except Exception as error:  # PaddleSlim and Paddle raise what they like
            raise StepFailed(chain and chain.step) from (failure() or error)
        finally:
            host_log.removeFilter(_not_closing)
    shutil.rmtree(work_dir, ignore_errors=True)


def _not_closing(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("==> ")


class _Chain(AutoCompression):
    """`AutoCompression` that hands over each step's model.

    It also mends faults of PaddleSlim 2.6: behind another strategy, ``QuantPost`` quantizes the model from before it;
    the optimizer's last step leaves pruned weights not quite zero, unless an evaluation follows; the best checkpoint
    of gradual pruning (``gmp``) is one from before it was done; and what trains behind pruning fills its zeros again.
    """

    def __init__(self, on_step: OnStep, **arguments: Any):
        self._on_step = on_step
        self.step: str | None = None  # that is running
        self._pruned = False
        super().__init__(**arguments)

    def _get_final_train_config(self, train_config, strategy_config, model_type):
        return [copy.deepcopy(train_config) for _ in self._strategy]

    def _compiled_program(self, program_info, strategy):
        if self._pruned:
            _keep_zeros(program_info.program)
        return super()._compiled_program(program_info, strategy)

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
        self._pruned |= strategy in _PRUNING
        made = Path(self.tmp_dir) / f"strategy_{strategy_idx + 1}"
        tell_ranges(made / self.model_filename)
        self._on_step(self.step, made)


def _keep_zeros(program: paddle.static.Program) -> None:
    """Let what trains in ``program`` leave the zeros of matrices zero: each is multiplied by its mask after each step.
    """
    block, scope = program.global_block(), paddle.static.global_scope()
    trained = dict.fromkeys(op.input("Param")[0] for op in block.ops if "Param" in op.input_names)
    for name in trained:
        tensor = scope.find_var(name).get_tensor()
        values = np.array(tensor)
        if values.ndim != 2 or values.all():
            continue
        parameter = block.var(name)
        mask = block.create_var(name=paddle.utils.unique_name.generate(f"{name}_kept"), shape=parameter.shape,
                                dtype=parameter.dtype, persistable=True, stop_gradient=True)
        scope.var(mask.name).get_tensor().set((values != 0).astype(values.dtype),
                                              paddle.framework._current_expected_place())
        block.append_op(type="elementwise_mul", inputs={"X": parameter, "Y": mask}, outputs={"Out": parameter},
                        attrs={"axis": -1, _OP_ROLE: _OPTIMIZES})


_OP_ROLE = paddle.base.core.op_proto_and_checker_maker.kOpRoleAttrName()
_OPTIMIZES = int(paddle.base.core.op_proto_and_checker_maker.OpRole.Optimize)


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
    return feeds_loader(_UsersBatches(static_loader(loader), spec.feeds), spec)


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
    """The batches of a user's loader, each as a tuple of the student's feeds.

    Attributes:
        failure: of the loader, with which an epoch ended. Raised in the thread in which Paddle reads, it would leave
            PaddleSlim waiting for a batch for ever.
    """

    def __init__(self, loader: Any, feeds: tuple[Feed, ...]):
        self._loader, self._feeds = loader, feeds
        self.failure: UserError | None = None

    def __iter__(self):
        try:
            for batch in loader_batches(self._loader, self._feeds):
                yield _in_order(batch, self._feeds)
        except UserError as error:
            self.failure = self.failure or error
        except Exception as error:  # of the user's code
            if self.failure is None:
                self.failure = UserError(f"train_dataloader: fails ({reason_of(error)}); the trained students are "
                                         "kept: mend it, and the same command goes on from them")
                self.failure.__cause__ = error


def check_loader(loader: Any, feeds: tuple[Feed, ...]) -> None:
    """Look at the first batch of a user's loader.

    Raises:
        UserError: it lacks what `converted_loader` hands over: token ids or another feed.
    """
    with reading(loader, feeds) as batches:
        _in_order(next(batches), feeds)


def _in_order(batch: Mapping[str, np.ndarray], feeds: tuple[Feed, ...]) -> tuple[np.ndarray, ...]:
    missing = [feed.name for feed in feeds if feed.name not in batch]
    if missing:
        raise UserError(f"train_dataloader: a batch has {', '.join(batch)}, but no {', '.join(missing)}, which "
                        "PaddleSlim's strategies feed to the student as to the teacher; yield it, too")
    return tuple(batch[feed.name] for feed in feeds)
