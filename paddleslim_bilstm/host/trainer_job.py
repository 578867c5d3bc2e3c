"""A PaddleNLP ``Trainer`` as a job of ours: its model is the teacher, its data sets are the text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np
import paddle
from paddlenlp.trainer.trainer_utils import EvalPrediction, has_length

from ..config import Config
from ..config.schema import BEST_ON_DEV
from ..config.source import read_source
from ..errors import UserError
from ..old_programs import old_programs
from ..pipeline import CompressionResult, prepare
from ..pipeline import compress as run_job
from ..scopes import enter_static_mode, mode_kept
from ..storage import make_writable_folder, whole_folder
from ..student.train import Evaluate
from ..task import MULTI_LABEL, Task, task_of_outputs
from ..teacher.checkpoint import FEED_NAMES, quiet_dygraph
from ..tokens.sentences import plan_batches
from . import STRATEGY

# what may follow our name in PaddleNLP's ``strategy`` -> PaddleSlim's strategy, run on the student
_CHAINED = {"ptq": "QuantPost", "qat": "QuantAware"}
_FROM_TRAINER = ("model_dir", "model_filename", "params_filename", "tokenizer_dir", "train_file", "dev_file",
                 "unlabeled_file", "dataset", "text_column", "label_column", "save_dir")
_USUAL_LENGTH = 128  # in tokens, the default of ``Global.max_seq_length``
_EVAL_BATCH_SIZE = 64
_NO_SCORES = {"loss", "error", "mse", "mae", "rmse", "perplexity", "ppl", "runtime", "second"}  # parts of their names
_LOSSES = (None, "loss", "eval_loss")  # values of ``metric_for_best_model`` that name nothing in ``compute_metrics``


@old_programs()
def distil(trainer: Any, custom_evaluate: None = None,
           config: str | Path | Mapping[str, Any] | None = None) -> CompressionResult:
    """Distil the model of a PaddleNLP ``Trainer`` into a Bi-LSTM, with the trainer's data sets.

    The student and all that belongs to it go to ``output_dir/bert_to_bilstm``, the teacher as a checkpoint to
    ``teacher`` in that folder. The best student by the trainer's ``compute_metrics`` on its ``eval_dataset`` is kept,
    by ``Global.metric`` where it has none. Of the trainer's arguments only ``strategy``, ``output_dir`` and ``seed``
    count: epochs, learning rate and batch sizes are those of the BERT. Paddle is in the mode that it was in afterwards.

    Args:
        config: the settings of the student and its training as everywhere, path of a YAML file or its content, without
            those of ``Global`` that the trainer has; all defaults without it.

    Raises:
        UserError: the trainer's model, data or arguments are none that can be distilled, or a setting is wrong.
    """
    with mode_kept():
        _check(trainer, custom_evaluate)
        save_dir = Path(trainer.args.output_dir) / STRATEGY
        with quiet_dygraph():
            train, dev = read_examples(trainer, "train_dataset"), read_examples(trainer, "eval_dataset")
        task = _task_of(train, dev)
        longest = max(int(examples.lengths.max()) for examples in (train, dev) if examples is not None)
        settings = prepare(config or {}, _overrides(trainer, config, save_dir, longest, task))
        save_teacher(trainer, Path(settings.global_.model_dir))
        enter_static_mode()
        result = run_job(settings, train_dataloader=examples_loader(train, settings),
                         dev=None if dev is None else examples_loader(dev, settings),
                         eval_callback=None if dev is None else evaluation_on(dev, _judge(trainer, settings)))
        trainer.args.width_mult_list = []  # PaddleNLP's scripts go through the widths that were made: none
        return result


def _tokenizer_of(trainer: Any) -> Any:
    """Return the trainer's tokenizer, or its collator's: PaddleNLP's own scripts give that alone."""
    return trainer.tokenizer or getattr(trainer.data_collator, "tokenizer", None)


@dataclass(frozen=True)
class Examples:
    """A data set's rows as the trainer's collator makes them, special tokens included, without padding.

    Attributes:
        input_ids, token_type_ids: int64 ``[length]`` each.
        labels: as ``task`` has them; None where the rows have none.
        pad_id: what a batch is filled up with.
        task: what the number of outputs tells; of several labels a text where the labels are as wide.
    """

    input_ids: list[np.ndarray]
    token_type_ids: list[np.ndarray]
    labels: np.ndarray | None
    pad_id: int
    task: Task

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 ``[n]``."""
        return np.array([len(row) for row in self.input_ids], np.int64)

    def feeds(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rows at ``index`` by the names of the teacher's feeds, int64 ``[len(index), longest]``."""
        batch = [np.full((len(index), max(len(self.input_ids[row]) for row in index)), fill, np.int64)
                 for fill in (self.pad_id, 0)]
        for place, row in enumerate(index):
            for array, rows in zip(batch, (self.input_ids, self.token_type_ids)):
                array[place, :len(rows[row])] = rows[row]
        return dict(zip(FEED_NAMES, batch))


def _check(trainer: Any, custom_evaluate: Any) -> None:
    """Refuse what can't be distilled, before any work."""
    unknown = [part for part in trainer.args.strategy.split("+") if part not in (STRATEGY, *_CHAINED)]
    if unknown:
        raise UserError(f"CompressionArguments.strategy: {unknown[0]!r} can't go with {STRATEGY}; it may be followed "
                        f"by {' or '.join('+' + part for part in _CHAINED)}")
    if custom_evaluate is not None:
        raise UserError("compress(custom_evaluate=...): takes a PaddleNLP network, which the student is not; leave it "
                        "out, and give Trainer(compute_metrics=...)")
    if trainer.args.world_size > 1:
        raise UserError(f"{STRATEGY}: runs in one process, not in {trainer.args.world_size}; start the script without "
                        "paddle.distributed.launch")
    if "ForSequenceClassification" not in type(trainer.model).__name__:
        raise UserError(f"Trainer(model=...): a {type(trainer.model).__name__} can't be distilled; it must be a BERT "
                        "or ERNIE ...ForSequenceClassification of PaddleNLP")
    if _tokenizer_of(trainer) is None:
        raise UserError("Trainer(tokenizer=...): missing; give the model's tokenizer, which the student needs to serve")
    named = trainer.args.metric_for_best_model
    if named not in _LOSSES and (trainer.args.greater_is_better is False or _is_error(named)):
        raise UserError(f"CompressionArguments.metric_for_best_model: {named}, but the best student is the one with "
                        "the highest metric (greater_is_better); name another one")


def _task_of(train: Examples, dev: Examples | None) -> Task:
    """Return what the labels of both data sets tell, or of the one that has some."""
    tasks = {examples.task.name: examples.task for examples in (train, dev)
             if examples is not None and examples.labels is not None}
    if len(tasks) > 1:
        raise UserError("Trainer(eval_dataset=...): its labels are of another kind than those of train_dataset "
                        f"({' and '.join(tasks)}); give both one number each, or both 0 or 1 for each output")
    return next(iter(tasks.values()), train.task)


def _overrides(trainer: Any, config: Any, save_dir: Path, longest: int, task: Task) -> list[str]:
    """Return the settings that the trainer decides, and those that it proposes where ``config`` doesn't name them.

    Args:
        longest: tokens of the longest example.
        task: what the examples' labels tell.
    """
    written = read_source(config or {}).values
    own = written.get("Global") if isinstance(written.get("Global"), dict) else {}
    for name in _FROM_TRAINER:
        if name in own:
            raise UserError(f"Global.{name}: the trainer has model and data, and its output_dir says where to; leave "
                            "it out, or run paddleslim_bilstm.compress(config)")
    if own.get("threshold") == BEST_ON_DEV:
        raise UserError("Global.threshold: dev is chosen on a dev set of text, which a trainer doesn't have; set a "
                        "number, or save the model and run paddleslim_bilstm.compress(config)")
    most = getattr(trainer.model.config, "max_position_embeddings", None) or longest
    proposed = {"seed": trainer.args.seed, "max_seq_length": min(max(longest, _USUAL_LENGTH), most),
                "task": task.name}
    values = {**{name: value for name, value in proposed.items() if name not in own},
              "model_dir": str(save_dir / "teacher"), "save_dir": str(save_dir)}
    chained = [_CHAINED[part] for part in trainer.args.strategy.split("+") if part in _CHAINED]
    missing = [section for section in (STRATEGY, *chained) if section not in written]
    return [*(f"Global.{name}={json.dumps(value, ensure_ascii=False)}" for name, value in values.items()),
            *(f"{section}={{}}" for section in missing)]


def save_teacher(trainer: Any, folder: Path) -> None:
    """Write the trainer's model, as it is now, and its tokenizer into ``folder``, in place of an earlier run's."""
    make_writable_folder(folder.parent, "CompressionArguments.output_dir")
    with quiet_dygraph(), whole_folder(folder) as partial:
        trainer.model.save_pretrained(str(partial), safe_serialization=True)
        _tokenizer_of(trainer).save_pretrained(str(partial))


def read_examples(trainer: Any, name: str) -> Examples | None:
    """Return all rows of a data set, in its order; None where the trainer has no ``eval_dataset``."""
    dataset = getattr(trainer, name)
    if dataset is None and name == "eval_dataset":
        return None
    if isinstance(dataset, Mapping) or not has_length(dataset) or not len(dataset):
        raise UserError(f"Trainer({name}=...): must be a data set with a length and at least one example, not "
                        f"{type(dataset).__name__}")
    pad_id, outputs = _tokenizer_of(trainer).pad_token_id, trainer.model.config.num_labels
    task = task_of_outputs(outputs)
    input_ids, token_type_ids, labels = [], [], []
    for batch in trainer.get_eval_dataloader(dataset):  # it shuffles nothing and leaves nothing out, for either
        if not isinstance(batch, Mapping) or FEED_NAMES[0] not in batch:
            raise UserError(f"Trainer({name}=...): its batches must be dicts with {FEED_NAMES[0]}; tokenize the text "
                            "first, and leave data_collator to PaddleNLP")
        ids = np.asarray(batch[FEED_NAMES[0]])
        types = np.asarray(batch[FEED_NAMES[1]]) if FEED_NAMES[1] in batch else np.zeros_like(ids)
        input_ids += [row[row != pad_id] for row in ids]
        token_type_ids += [row_types[row != pad_id] for row, row_types in zip(ids, types)]
        if trainer.label_names[0] in batch:
            found = np.asarray(batch[trainer.label_names[0]])
            task = MULTI_LABEL if outputs > 1 and found.shape == (len(ids), outputs) else task
            labels.append(task.of_array(found, len(ids), outputs, f"Trainer({name}=...): labels"))
    if not labels and name == "eval_dataset":
        raise UserError(f"Trainer({name}=...): its examples have no {trainer.label_names[0]}; add them, or leave out "
                        f"{name}")
    return Examples(input_ids, token_type_ids, np.concatenate(labels) if labels else None, pad_id, task)


@old_programs()
def examples_loader(examples: Examples, settings: Config) -> paddle.io.DataLoader:
    """Return a loader of the teacher's feeds and the labels, in the one form that ``QuantPost`` takes."""
    rng = np.random.default_rng([settings.global_.seed, 1])
    batches = plan_batches(examples.lengths, settings.distill.batch_size, rng)
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        feeds = [paddle.static.data(name, [-1, -1], "int64") for name in FEED_NAMES]
        if examples.labels is not None:
            feeds.append(paddle.static.data("labels", [-1, *examples.labels.shape[1:]], str(examples.labels.dtype)))
    return paddle.io.DataLoader(_Batches(examples, batches), feed_list=feeds, batch_size=None, return_list=False,
                                places=paddle.framework._current_expected_place())


class _Batches(paddle.io.Dataset):
    """Batch ``i`` as the teacher's two feeds and, where there are any, the labels."""

    def __init__(self, examples: Examples, batches: list[np.ndarray]):
        self._examples, self._batches = examples, batches

    def __getitem__(self, position: int):
        index, labels = self._batches[position], self._examples.labels
        return (*self._examples.feeds(index).values(), *([] if labels is None else [labels[index]]))

    def __len__(self) -> int:
        return len(self._batches)


def evaluation_on(examples: Examples, judge: Callable[[np.ndarray, np.ndarray], float]) -> Evaluate:
    """Return an ``eval_callback`` as PaddleSlim takes it: ``judge`` of the logits and labels, in the set's order."""
    batches = plan_batches(examples.lengths, _EVAL_BATCH_SIZE, np.random.default_rng(0))

    def evaluate(executor, program, feed_names: list[str], fetch_targets: list) -> float:
        logits = [executor.run(program, feed={name: feeds[name] for name in feed_names}, fetch_list=fetch_targets)[0]
                  for feeds in map(examples.feeds, batches)]
        return judge(np.concatenate(logits)[np.argsort(np.concatenate(batches))], examples.labels)

    return evaluate


def _judge(trainer: Any, settings: Config) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the measure of logits against labels: ``metric_for_best_model`` of ``compute_metrics``.

    Without such a name, or with a loss, it is the first score that is no error.

    Raises:
        UserError: when it is called: there is no such score.
    """
    if trainer.compute_metrics is None:
        task, metric = settings.global_.chosen_task, settings.global_.chosen_metric
        return lambda logits, labels: _score_of_known(task, metric, logits, labels)
    wanted = (trainer.args.metric_for_best_model or "").removeprefix("eval_")

    def judge(logits: np.ndarray, labels: np.ndarray) -> float:
        with quiet_dygraph():  # users compute with Paddle's tensors
            if trainer.preprocess_logits_for_metrics is not None:
                logits = _numpified(trainer.preprocess_logits_for_metrics(paddle.to_tensor(logits),
                                                                          paddle.to_tensor(labels)))
            scores = trainer.compute_metrics(EvalPrediction(predictions=logits, label_ids=labels))
        scores = {name.removeprefix("eval_"): score for name, score in scores.items()
                  if np.ndim(score) == 0 and not isinstance(score, (dict, str))}
        named = wanted if wanted and wanted not in _LOSSES else next(
            (name for name in scores if not _is_error(name)), None)
        if named not in scores:
            raise UserError("CompressionArguments.metric_for_best_model: must name one of the scores that "
                            f"compute_metrics gives ({', '.join(scores)}), the higher the better; it is "
                            f"{wanted or 'not set'}")
        return float(scores[named])

    return judge


def _score_of_known(task: Task, metric: str, logits: np.ndarray, labels: np.ndarray) -> float:
    known = task.has_label(labels)
    if not known.any():
        raise UserError("Trainer(eval_dataset=...): its examples are all without a label; add labels, or leave it out")
    return task.score_logits(metric, labels[known], logits[known])


def _is_error(name: str) -> bool:
    """Return whether a score of this name is none of which the higher is the better."""
    return not _NO_SCORES.isdisjoint(name.lower().split("_"))


def _numpified(values: Any) -> Any:
    """Return tensors, or a tuple or list of them, as arrays."""
    return type(values)(map(_numpified, values)) if isinstance(values, (tuple, list)) else np.asarray(values)
