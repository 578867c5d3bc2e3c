"""PaddleSlim's own strategies, run one after another on the student."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np
import paddle
from paddleslim.auto_compression import AutoCompression
from paddleslim.prune.unstructured_pruner import GMPUnstructuredPruner

from ..cpu import use_all_cores
from ..student.batches import plan_batches
from ..student.network import student_feeds
from ..student.spec import StudentSpec
from ..tokens import Reader, Sentences
from .optimizer import DEFAULT_LEARNING_RATE

# PaddleSlim's internal strategy names -> what the report calls the step
_STEP_NAMES = {"quant_post": "QuantPost", "qat_dis": "QuantAware", "unstructure_prune_dis": "UnstructurePrune",
               "asp_prune_dis": "ASPPrune", "single_teacher_dis": "Distillation"}
_EVAL_ITER = 1000  # PaddleSlim's default
OnStep = Callable[[str, Path], None]


def run_chain(student: Path, strategies: Mapping[str, Mapping[str, Any]], train, train_dataloader, eval_callback,
              work_dir: Path, on_step: OnStep) -> None:
    """Compress the student further with PaddleSlim's `AutoCompression`.

    Args:
        student: folder of the student's inference model; it is copied, since PaddleSlim rewrites its input.
        strategies: keyword arguments by strategy, from `strategies.chained_strategies`.
        train: the ``TrainConfig`` section. The steps only train on what is trained, so each takes a tenth of its epochs
            (one at least), iterations and learning rate: PaddleSlim's own rule for quantization behind pruning.
        train_dataloader: a ``paddle.io.DataLoader`` with ``feed_list`` and ``return_list=False``.
        eval_callback: ``callback(executor, program, feed_names, fetch_targets) -> metric``.
        work_dir: for PaddleSlim's files; emptied before and after.
        on_step: called as ``on_step(name, folder)`` after each step, with the folder of the step's inference model.
    """
    use_all_cores()
    shutil.rmtree(work_dir, ignore_errors=True)
    shutil.copytree(student, work_dir / "student")
    config = {name: dict(section) for name, section in strategies.items()}
    config["TrainConfig"] = _train_config(train)
    # names made from here on differ from those in the student's program: a step whose output were called like its
    # input is a cycle to PaddleSlim's graph passes, about every other time
    with paddle.static.scope_guard(paddle.static.Scope()), paddle.utils.unique_name.guard("chain_"):
        _Chain(on_step, model_dir=str(work_dir / "student"), model_filename="model.pdmodel",
               params_filename="model.pdiparams", save_dir=str(work_dir / "output"), config=config,
               train_dataloader=train_dataloader, eval_callback=eval_callback).compress()
    shutil.rmtree(work_dir, ignore_errors=True)


class _Chain(AutoCompression):
    """`AutoCompression` that hands over each step's model.

    It also mends faults of PaddleSlim 2.6: behind another strategy, ``QuantPost`` quantizes the model from before it;
    the optimizer's last step leaves pruned weights not quite zero, unless an evaluation follows; and the best
    checkpoint of gradual pruning (``gmp``) is one from before it was done.
    """

    def __init__(self, on_step: OnStep, **arguments: Any):
        self._on_step = on_step
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
        if strategy_idx > 0:
            self.updated_model_dir = str(Path(self.tmp_dir) / f"strategy_{strategy_idx}")
        super().single_strategy_compress(strategy, config, strategy_idx, train_config)
        self._on_step(_STEP_NAMES.get(strategy, strategy), Path(self.tmp_dir) / f"strategy_{strategy_idx + 1}")


def chain_dataloader(sentences: Sentences, reader: Reader, spec: StudentSpec, batch_size: int,
                     rng: np.random.Generator) -> paddle.io.DataLoader:
    """Return a loader of the student's feeds over ``sentences``, in the one form that ``QuantPost`` takes."""
    batches = plan_batches(sentences.lengths, batch_size, rng)
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        feeds = student_feeds(spec)
    return paddle.io.DataLoader(_Batches(sentences, reader, batches), feed_list=feeds, batch_size=None,
                                return_list=False, places=paddle.framework._current_expected_place())


class _Batches(paddle.io.Dataset):
    """Batch ``i`` as the student's feeds, such as ``input_ids`` and ``token_type_ids``."""

    def __init__(self, sentences: Sentences, reader: Reader, batches: list[np.ndarray]):
        self._sentences, self._reader, self._batches = sentences, reader, batches

    def __getitem__(self, position: int):
        return self._reader.batch(self._sentences, self._batches[position])

    def __len__(self) -> int:
        return len(self._batches)


def _train_config(train) -> dict[str, Any]:
    """Return PaddleSlim's ``TrainConfig`` of a step behind the distillation."""
    settings = train.model_dump()
    settings["eval_iter"] = settings["eval_iter"] or _EVAL_ITER
    settings["learning_rate"] = _tenth_of_rate(settings["learning_rate"])
    if settings["train_iter"] is not None:
        settings["train_iter"] = max(settings["train_iter"] // 10, 1)
    if settings["epochs"] is not None or settings["train_iter"] is None:
        settings["epochs"] = max((settings["epochs"] or 1) // 10, 1)
    return settings


def _tenth_of_rate(rate: float | dict[str, Any] | None) -> float | dict[str, Any]:
    """Return a tenth of a number, or of the numbers that a schedule of ``paddle.optimizer.lr`` starts from."""
    if not isinstance(rate, dict):
        return float(DEFAULT_LEARNING_RATE if rate is None else rate) / 10
    scaled = dict(rate)
    for name in ("learning_rate", "max_learning_rate"):
        if isinstance(scaled.get(name), (int, float)):
            scaled[name] = scaled[name] / 10
    if "values" in scaled:
        scaled["values"] = [value / 10 for value in scaled["values"]]
    return scaled
