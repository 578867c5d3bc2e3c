"""Pretrained encoders with a fresh classifier on top, and their training: warm-up and decay, the best epoch kept."""

from __future__ import annotations

import inspect
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

import numpy as np
import paddle

from .. import ranks
from ..config import FinetuneConfig
from ..cpu import use_all_cores
from ..errors import UserError, reason_in_short
from ..host.versions import need_paddlenlp
from ..progress import progress_bar
from ..storage import write_arrays
from ..student.checkpoint import Progress, checkpoint_of_first, save_checkpoint
from ..task import Task
from ..teacher import batches_by_length
from ..teacher.checkpoint import quiet_dygraph
from ..teacher.encoder import EncoderClassifier, make_encoder
from ..teacher.families import read_encoder
from ..teacher.weights import checkpoint_files, of_pickles, read_config, read_pdparams, read_weights
from ..tokens import Sentences, Tokenizer, copy_tokenizer, has_tokenizer, load_tokenizer
from ..tokens.sentences import plan_batches


def load_pretrained(model: str, num_classes: int, scratch: Path) -> tuple[paddle.nn.Layer, Tokenizer, Path]:
    """Return a classifier with the weights of ``model``, its tokenizer and the folder of the tokenizer's files.

    Args:
        model: a folder with a PaddleNLP or Hugging Face checkpoint, or a model of PaddleNLP's own, by name.
        num_classes: outputs of the classifier; it starts from random weights unless the checkpoint has one
            of this size.
        scratch: an empty folder; PaddleNLP works there on a copy, since it writes into the folder it reads.

    Raises:
        UserError: no such folder or name, no weights or tokenizer files in it, or a model that neither we nor
            PaddleNLP can load.
    """
    folder = Path(model)
    if not folder.is_dir():
        return _download(model, num_classes, scratch)
    files = checkpoint_files(folder)
    if not files:
        raise UserError(f"Finetune.model: {folder} holds no pretrained model; name a folder with config.json and "
                        f"model.safetensors or model_state.pdparams{of_pickles(folder)}")
    if not has_tokenizer(folder):
        raise UserError(f"Finetune.model: {folder} holds no tokenizer files; copy the model's vocab.txt or "
                        "tokenizer.json there")
    tokenizer = load_tokenizer(folder)
    config_file, weight_files = files[0], files[1:]
    config, weights = read_config(config_file), read_weights(weight_files)
    encoder = read_encoder(config_file, config, weights, tokenizer.pad_id, num_classes)
    if encoder is not None:
        network = make_encoder(encoder[0], tokenizer.pad_id, encoder[1])
        network.pretrained_config = config
        return network, tokenizer, folder
    need_paddlenlp(f"{config_file}: is of none of the families that we load ourselves and", "name a BERT's folder")
    weights = {name: value for name, value in weights.items() if not name.endswith("position_ids")}
    classifier = weights.get("classifier.weight")
    if classifier is not None and num_classes not in classifier.shape:
        weights = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    write_arrays(scratch / "model.safetensors", weights, {"format": "np"})
    config = {key: value for key, value in config.items()
              if key not in ("id2label", "label2id", "num_labels", "num_classes", "torch_dtype")}
    (scratch / config_file.name).write_text(json.dumps({**config, "dtype": "float32", "use_cache": False}),
                                            encoding="utf-8")
    from_torch = weight_files[0].suffix != ".pdparams" and any("encoder.layer." in name for name in weights)
    network = _from_pretrained(str(scratch), num_classes, convert_from_torch=from_torch)
    converted = read_pdparams(scratch / "model_state.pdparams") if from_torch else weights
    _check_that_weights_arrived(network, converted, weight_files[0])
    return network, tokenizer, folder


def output_layer(network: paddle.nn.Layer) -> paddle.nn.Linear:
    """Return the layer that gives the logits."""
    return [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.Linear)][-1]


def save_classifier(network: paddle.nn.Layer, label_names: Sequence[str], tokenizer_folder: Path,
                    folder: Path) -> None:
    """Write ``config.json`` with the label names, ``model.safetensors`` and the tokenizer files into ``folder``."""
    if isinstance(network, EncoderClassifier):
        spec, family = network.spec, network.spec.family
        config = spec.config(network.pretrained_config)
        weights = {spec.spelled(name, family.paddle, f"{family.paddle_prefix}."): parameter.numpy()
                   for name, parameter in network.state_dict().items()}
        write_arrays(folder / "model.safetensors", weights, {"format": "np"})
    else:
        with quiet_dygraph():
            network.save_pretrained(str(folder), safe_serialization=True)
        config = read_config(folder / "config.json")
    config.update(num_labels=len(label_names), id2label={str(i): name for i, name in enumerate(label_names)},
                  label2id={name: i for i, name in enumerate(label_names)})
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    copy_tokenizer(tokenizer_folder, folder)


def _download(name: str, num_classes: int, scratch: Path) -> tuple[paddle.nn.Layer, Tokenizer, Path]:
    if "/" in name:  # PaddleNLP would unpickle what a stranger has uploaded under such a name
        raise UserError(f"Finetune.model: there is no folder {name}; download the model and name its folder, whose "
                        "files are read without running anything, or a model of PaddleNLP's own such as "
                        "bert-base-uncased")
    need_paddlenlp(f"Finetune.model: there is no folder {name}, and a model's name",
                   "name the folder of a pretrained model")
    from paddlenlp.transformers import AutoTokenizer

    network = _from_pretrained(name, num_classes)
    with quiet_dygraph():
        AutoTokenizer.from_pretrained(name).save_pretrained(str(scratch))
    return network, load_tokenizer(scratch), scratch


def _from_pretrained(model: str, num_classes: int, **options: bool) -> paddle.nn.Layer:
    from paddlenlp.transformers import AutoModelForSequenceClassification  # slow to import, so only where needed

    try:
        with quiet_dygraph():
            return AutoModelForSequenceClassification.from_pretrained(model, num_classes=num_classes,
                                                                      dtype="float32", **options)
    except Exception as error:  # PaddleNLP raises whatever its many parts raise
        raise UserError(f"Finetune.model: PaddleNLP can't load {model} ({reason_in_short(error)}); name a folder with "
                        "the checkpoint of an encoder, or a model that PaddleNLP knows and can download") from None


def _check_that_weights_arrived(network: paddle.nn.Layer, weights: dict[str, np.ndarray], file: Path) -> None:
    """PaddleNLP only warns about weights that are missing or don't fit, and goes on with random ones.

    Without a pooler (masked language models have none) fine-tuning starts with a fresh one, as with the classifier.
    """
    prefix = network.base_model_prefix + "."
    shapes = {name.removeprefix(prefix): value.shape for name, value in weights.items()}
    missing = [name for name, value in network.state_dict().items()
               if name.startswith(prefix) and ".pooler." not in name
               and shapes.get(name.removeprefix(prefix)) != tuple(value.shape)]
    if missing:
        raise UserError(f"{file}: lacks {len(missing)} of the weights that its config.json asks for, such as "
                        f"{missing[0]}; copy the pretrained model again, with the config.json that belongs to it")


_log = logging.getLogger(__name__)

_MAX_GRADIENT_NORM = 1.0
_CHECKPOINT_S = 60.0  # of training between two checkpoints, and 20 times what writing one takes, if that is more
_WRITING_SHARE = 1 / 20


@dataclass(frozen=True)
class Labelled:
    """Tokenized sentences (without special tokens) and their labels, as the task has them."""

    sentences: Sentences
    labels: np.ndarray


def train_classifier(network: paddle.nn.Layer, tokenizer: Tokenizer, train: Labelled, dev: Labelled,
                     settings: FinetuneConfig, task: Task, metric: str, seed: int, checkpoint: Path,
                     show: Callable[[Progress], None]) -> list[float]:
    """Train ``network`` in place and leave it with the weights of its best epoch by ``metric`` on ``dev``.

    Must run in dynamic mode, in a fresh ``paddle.utils.unique_name.guard()`` that ``network`` was made in.

    Args:
        settings: of its values ``learning_rate`` is the peak: it rises linearly from 0 over the share ``warmup`` of
            all steps and falls linearly to 0. ``weight_decay`` is AdamW's, on all weights but biases and layer
            normalisation.
        task: has the loss and the metric.
        metric: a name of the task's.
        seed: of the batches' order and of dropout, which follow from it and the step: a run that goes on from
            ``checkpoint`` ends, on the same machine, as one that was never interrupted.
        checkpoint: the file where the state is kept on the way; a run that was killed goes on from it.
        show: is told of the progress whenever there is some to show.

    Returns:
        The metric after each epoch.

    Raises:
        UserError: the loss is no longer a finite number.
    """
    use_all_cores()
    epoch_steps = -(-len(train.sentences) // settings.batch_size)
    steps = settings.epochs * epoch_steps
    run = _Run(network, tokenizer, settings, task, steps)
    progress, state, best = checkpoint_of_first(checkpoint) or (Progress(), {}, {})
    if 0 < progress.step < steps:
        run.restore(state, progress.step)
        _log.info("fine-tuning goes on from step %d of %d", progress.step, steps)
    show(progress)
    batches, saved = [], _Clock()
    epoch, position = divmod(progress.step, epoch_steps)
    done = epoch * len(train.sentences) + position * settings.batch_size
    with progress_bar("fine-tune teacher", settings.epochs * len(train.sentences), "sentences") as bar:
        bar.update(done)
        bar.initial = done  # before; the rate is that of this run
        while progress.step < steps:
            epoch, position = divmod(progress.step, epoch_steps)
            if position == 0 or not batches:
                batches = plan_batches(train.sentences.lengths, settings.batch_size,
                                       np.random.default_rng([seed, epoch]))
            random = [seed, progress.step, *([ranks.rank()] if ranks.rank() else [])]
            paddle.seed(int(np.random.SeedSequence(random).generate_state(1)[0]))  # dropout's
            loss = run.step(train, batches[position], progress.step)
            if progress.count_step(loss, steps):
                show(progress)
            bar.update(len(batches[position]))
            if position == epoch_steps - 1:
                answers = predict(network, tokenizer, dev.sentences, task) if ranks.is_first() else None
                score = ranks.of_first(lambda: task.score(metric, dev.labels, answers, run.num_classes))  # noqa: B023
                progress.evaluations.append([progress.step, score])
                show(progress)
                best = _keep_best(progress, run, best)
                bar.set_postfix(**{metric: f"{progress.evaluations[-1][1]:.4f}"}, best=f"{progress.best_metric:.4f}")
                if progress.step == steps and ranks.is_first() and task.all_the_same(answers):
                    _log.warning("the fine-tuned teacher answers the same to every dev sentence; try other values of "
                                 "Finetune.learning_rate and Finetune.epochs")
            if ranks.is_first() and (position == epoch_steps - 1 or saved.due()):
                with saved:
                    save_checkpoint(checkpoint, progress, run.state() if progress.step < steps else {}, best)
    network.set_state_dict(best)
    network.eval()
    return [value for _, value in progress.evaluations]


def predict(network: paddle.nn.Layer, tokenizer: Tokenizer, sentences: Sentences, task: Task) -> np.ndarray:
    """Return the answer to each sentence, as the task has it; must run in dynamic mode."""
    network.eval()
    logits: dict[int, np.ndarray] = {}
    with paddle.no_grad():
        for batch in batches_by_length(sentences.lengths + tokenizer.framing.special_tokens(sentences.pairs)):
            logits.update(zip(batch.tolist(), _logits(network, tokenizer, sentences, batch).numpy()))
    return task.answers_of(np.stack([logits[row] for row in range(len(sentences))]))


def warmup_and_decay(step: int, steps: int, warmup: float) -> float:
    """Return the factor of the learning rate: ``steps=10, warmup=0.2 -> 0, 0.5, 1, 0.875, ..., 0.125, 0``."""
    rising = round(warmup * steps)
    if step < rising:
        return step / rising
    return max(0.0, (steps - step) / max(1, steps - rising))


class _Run:
    """The network and its optimizer: one step, and their state as arrays."""

    def __init__(self, network: paddle.nn.Layer, tokenizer: Tokenizer, settings: FinetuneConfig, task: Task,
                 steps: int):
        self._network, self._tokenizer, self._settings, self._steps = network, tokenizer, settings, steps
        self._task, self.num_classes = task, output_layer(network).weight.shape[1]
        self._schedule = paddle.optimizer.lr.LambdaDecay(
            settings.learning_rate, lambda step: warmup_and_decay(step, steps, settings.warmup))
        decayed = {parameter.name for name, parameter in network.named_parameters()
                   if not name.endswith("bias") and "norm" not in name}
        self._optimizer = paddle.optimizer.AdamW(
            self._schedule, parameters=network.parameters(), weight_decay=settings.weight_decay,
            apply_decay_param_fun=lambda name: name in decayed,
            grad_clip=paddle.nn.ClipGradByGlobalNorm(_MAX_GRADIENT_NORM))

    def step(self, train: Labelled, batch: np.ndarray, number: int) -> float:
        """Take one optimizer step on the sentences at ``batch``, each rank on its part of them, and return the loss."""
        own = np.array_split(batch, ranks.count())[ranks.rank()]
        share, own = len(own) / len(batch), own if len(own) else batch[:1]
        self._network.train()
        logits, labels = _logits(self._network, self._tokenizer, train.sentences, own), train.labels[own]
        loss = self._task.finetune_loss(logits, paddle.to_tensor(labels))
        if ranks.count() > 1:
            loss = loss * share
        loss.backward()
        loss = loss.detach()
        gradients = (parameter.grad for parameter in self._network.parameters())
        ranks.sum_tensors([loss, *(gradient for gradient in gradients if gradient is not None)])
        self._optimizer.step()
        self._optimizer.clear_grad()
        self._schedule.step()
        value = float(loss)
        if not np.isfinite(value):
            raise UserError(f"Finetune.learning_rate: {self._settings.learning_rate:g} is too high, the loss is "
                            f"{value} at step {number + 1} of {self._steps}; lower it")
        return value

    def weights(self) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self._network.state_dict().items()}

    def state(self) -> dict[str, np.ndarray]:
        """Copy everything that training changes but the schedule, which follows from the step."""
        moments = {name: value.numpy() for name, value in self._optimizer.state_dict().items()
                   if name != "LR_Scheduler"}
        return {**{f"network.{name}": value for name, value in self.weights().items()},
                **{f"optimizer.{name}": value for name, value in moments.items()}}

    def restore(self, state: dict[str, np.ndarray], step: int) -> None:
        """Put a copied state back and advance the schedule to ``step``."""
        parts: dict[str, dict[str, np.ndarray]] = {"network": {}, "optimizer": {}}
        for name, value in state.items():
            part, _, name = name.partition(".")
            parts[part][name] = value
        self._network.set_state_dict(parts["network"])
        self._schedule.step(step)
        self._optimizer.set_state_dict({name: paddle.to_tensor(value) for name, value in parts["optimizer"].items()}
                                       | {"LR_Scheduler": self._schedule.state_dict()})


class _Clock:
    """Tells when the next checkpoint is due; a context manager around the writing of one."""

    def __init__(self):
        self._last, self._wait = time.monotonic(), _CHECKPOINT_S

    def due(self) -> bool:
        return time.monotonic() - self._last >= self._wait

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *failure: object) -> None:
        self._last = time.monotonic()
        self._wait = max(_CHECKPOINT_S, (self._last - self._started) / _WRITING_SHARE)


def _keep_best(progress: Progress, run: _Run, best: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights to keep: those now, if the last evaluation is the best (the later of equal ones)."""
    step, value = progress.evaluations[-1]
    if progress.best_metric is not None and value < progress.best_metric:
        return best
    progress.best_metric, progress.best_step = value, step
    return run.weights()


def _logits(network: paddle.nn.Layer, tokenizer: Tokenizer, sentences: Sentences, batch: np.ndarray) -> paddle.Tensor:
    ids, types = tokenizer.framing.batch(sentences, batch)
    feeds = {"input_ids": ids, "token_type_ids": types, "attention_mask": (ids != tokenizer.pad_id).astype(np.int64)}
    takes = inspect.signature(network.forward).parameters
    return network(**{name: paddle.to_tensor(array) for name, array in feeds.items() if name in takes})
