"""``finetune``: a pretrained encoder becomes the teacher, the tutorial's first step."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import paddle

from .. import ranks
from ..config import Config, load_config, refuse_overrides
from ..curves import check_visualdl, curves
from ..errors import UserError
from ..host.versions import before_paddle, check_zlib
from ..run import cache_in_use, cache_root
from ..scopes import dynamic_mode
from ..storage import checksum, explained_write_errors, make_writable_folder, whole_folder, write_json
from ..task import task_code
from ..teacher.encoder import EncoderClassifier
from ..teacher.families import EncoderSpec
from ..teacher.load import label_names_in
from ..teacher.weights import read_config
from ..text import Dataset, load_dataset
from ..thresholds import in_keys
from ..tokens import Tokenizer
from .training import Labelled, load_pretrained, output_layer, save_classifier, train_classifier

RECORD_FILE = "finetune.json"
_FORMAT = 3  # of a state on the way: counts up when the same input would give another one

_log = logging.getLogger(__name__)


def finetune(config: Config | str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, train: Any = None,
             dev: Any = None, cache: Path | None = None) -> Path:
    """Fine-tune ``Finetune.model`` on the data of ``Global`` and return the folder of the classifier.

    The classifier of the best epoch by ``Global.metric`` on the dev set is written to ``Global.model_dir``, where
    ``compress`` takes its teacher from, as a PaddleNLP checkpoint: ``config.json`` with the label names,
    ``model.safetensors``, the tokenizer files and ``finetune.json`` with the settings and the metric of each epoch.
    The folder appears whole or not at all; the pretrained model's own folder stays as it is. On the way the state is
    kept in ``Global.cache_dir``: a run that was killed goes on there when it is called again. Under Paddle's launcher
    all ranks call it alike; each works through its part of every batch, and the first one writes.

    Args:
        config: path of a YAML file, its content as a dict, or what :func:`load_config` made of it.
        overrides: ``Section.key=value`` each; they win over a file or dict.
        train, dev: ``[(text, label), ...]`` in place of the files that the config names.
        cache: the folder for the state on the way; that in ``Global.cache_dir`` by default.

    Raises:
        UserError: wrong settings or data, a model that can't be loaded, or a ``Global.model_dir`` that holds
            something else.
    """
    before_paddle()
    check_zlib()
    if isinstance(config, Config):
        refuse_overrides(overrides)
    config = config if isinstance(config, Config) else load_config(config, overrides)
    check_visualdl(config)
    with ranks.together():
        return _finetune(config, train, dev, cache)


def _finetune(config: Config, train: Any, dev: Any, cache: Path | None) -> Path:
    global_, folder = config.global_, _destination(config)
    started = time.perf_counter()
    dataset = _in_checkpoints_order(config, load_dataset(global_, train=train, dev=dev), train, dev)
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch, dynamic_mode(), paddle.utils.unique_name.guard():
        paddle.seed(global_.seed)
        network, tokenizer, tokenizer_folder = load_pretrained(config.finetune.model, len(dataset.label_names),
                                                               Path(scratch))
        if isinstance(network, EncoderClassifier):
            _check_size(network.spec, tokenizer, global_.max_seq_length, config.finetune.model)
        labelled = _tokenized(dataset, tokenizer, global_.max_seq_length)
        task = global_.chosen_task
        bias = task.first_bias(labelled[0].labels, np.float32)
        if bias is not None and not output_layer(network).bias.numpy().any():  # a fresh one
            output_layer(network).bias.set_value(bias)
        special_ids = tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id
        checkpoint = _checkpoint(config, network, labelled, special_ids, cache)
        ranks.check_agreement("what is to be fine-tuned, or on what,", checkpoint.name)
        disks = folder.parent, checkpoint.parent
        root = checkpoint.parent.parent  # of all caches
        with explained_write_errors(*disks), cache_in_use(root), curves(config, "finetune") as show:
            scores = train_classifier(network, tokenizer, *labelled, config.finetune, task, global_.chosen_metric,
                                      global_.seed, checkpoint, show)
        if ranks.keeper_of(folder.parent) != ranks.rank():
            return folder
        with explained_write_errors(*disks), whole_folder(folder) as partial:
            save_classifier(network, dataset.label_names, tokenizer_folder, partial)
            write_json(partial / RECORD_FILE, {
                "finetune": config.to_dict()["Finetune"], "metric": global_.chosen_metric,
                "dev_metric_by_epoch": scores, "seconds": round(time.perf_counter() - started, 1)})
    checkpoint.unlink(missing_ok=True)
    return folder


def _check_size(spec: EncoderSpec, tokenizer: Tokenizer, max_seq_length: int, model: str) -> None:
    """Refuse what would fail in mid-training, or in `compress` afterwards."""
    most = spec.positions - spec.first_position
    if spec.positions and max_seq_length > most:
        raise UserError(f"Global.max_seq_length: {max_seq_length}, but {model} reads at most {most} tokens; set it to "
                        f"{most} or less")
    if len(tokenizer.vocab) > spec.vocab:
        raise UserError(f"Finetune.model: the tokenizer of {model} has {len(tokenizer.vocab)} tokens, its network "
                        f"embeds {spec.vocab}; use the tokenizer files that belong to it")


def best_dev_metric(folder: str | Path) -> float:
    """Return the dev metric of a classifier that :func:`finetune` wrote."""
    record = json.loads((Path(folder) / RECORD_FILE).read_text(encoding="utf-8"))
    return max(record["dev_metric_by_epoch"])


def teacher_is_missing(config: Config) -> bool:
    """Return whether ``compress`` must fine-tune first: ``Finetune`` names a model, and no teacher is there yet.

    A teacher that is there is kept; where it was fine-tuned with other settings, a warning says so.
    """
    if config.finetune.model is None or config.global_.model_dir is None:
        return False
    folder = Path(config.global_.model_dir)
    if folder.suffix == ".onnx" and not folder.is_dir():
        _log.info("the teacher %s is taken as it is; nothing to fine-tune", folder)
        return False
    if not folder.is_dir() or not any(folder.iterdir()):
        _log.info("%s holds no teacher yet: %s is fine-tuned first", folder, config.finetune.model)
        return True
    record = folder / RECORD_FILE
    if record.is_file() and read_config(record).get("finetune") != config.to_dict()["Finetune"]:
        _log.warning("the teacher in %s was fine-tuned with other settings than those of Finetune; remove the folder "
                     "to fine-tune again", folder)
    else:
        _log.info("the teacher in %s is taken as it is; nothing to fine-tune", folder)
    return False


def _checkpoint(config: Config, network: paddle.nn.Layer, labelled: tuple[Labelled, Labelled],
                special_ids: Sequence[int | None], cache: Path | None) -> Path:
    """Return the file for the state on the way, named after all that the result depends on."""
    arrays = [array for part in labelled for array in (*part.sentences.content, part.labels)]
    weights = network.state_dict()
    key = checksum(_FORMAT, config.to_dict()["Finetune"], config.global_.chosen_metric,
                   *in_keys(config.global_.chosen_task.thresholds), config.global_.seed,
                   *task_code(config.global_.task), paddle.__version__, *arrays, special_ids,
                   asdict(network.spec) if isinstance(network, EncoderClassifier) else None,
                   *(weights[name].numpy() for name in sorted(weights)))
    folder = make_writable_folder(cache or cache_root(config.global_.cache_dir) / "finetune", "Global.cache_dir")
    return folder / f"{key}.safetensors"


def _destination(config: Config) -> Path:
    """Return ``Global.model_dir`` after a check that nothing of the user's would be lost there."""
    if config.finetune.model is None:
        raise UserError("Finetune.model: missing; name a pretrained model to fine-tune, by its folder or for PaddleNLP")
    if config.global_.model_dir is None:
        raise UserError("Global.model_dir: missing; name the folder that the fine-tuned teacher goes to")
    folder = Path(config.global_.model_dir)
    taken = folder.exists() and not folder.is_dir() or folder.is_dir() and any(folder.iterdir())
    if taken and not (folder / RECORD_FILE).is_file():
        raise UserError(f"Global.model_dir: {folder} exists and was not written by finetune; "
                        "name a new folder for the fine-tuned teacher")
    strange = sorted(entry.name for entry in folder.iterdir() if not _may_be_ours(entry)) if taken else []
    if strange:
        raise UserError(f"Global.model_dir: {folder} holds {strange[0]} beside a teacher of finetune's, and the new "
                        "one takes the place of the folder; move it away, or name another folder")
    if folder.resolve() == Path(config.finetune.model).resolve():
        raise UserError(f"Finetune.model: {folder} is also Global.model_dir, where the fine-tuned teacher goes; "
                        "name two folders")
    make_writable_folder(folder.parent, "Global.model_dir")
    return folder


def _may_be_ours(entry: Path) -> bool:
    return entry.is_file() and entry.suffix in (".json", ".txt", ".model", ".safetensors", ".pdparams")


def _in_checkpoints_order(config: Config, dataset: Dataset, train: Any, dev: Any) -> Dataset:
    """Return the data with the labels in the order in which a classifier that is trained on has them."""
    folder, names = Path(config.finetune.model), None
    if folder.is_dir():
        names = label_names_in(folder, len(dataset.label_names))
    if names is None or list(names) == list(dataset.label_names) or {*names} != {*dataset.label_names}:
        return dataset
    return load_dataset(config.global_, len(names), names, train=train, dev=dev)


def _tokenized(dataset: Dataset, tokenizer: Tokenizer, max_seq_length: int) -> tuple[Labelled, Labelled]:
    """Return the train and dev sentences (or pairs) as tokens, cut so that [CLS] and [SEP] still fit."""
    def labelled(texts: list[str], labels: np.ndarray) -> Labelled:
        sentences = tokenizer.encode(texts)
        return Labelled(sentences.truncate(max_seq_length - tokenizer.framing.special_tokens(sentences.pairs)), labels)

    return labelled(dataset.train_texts, dataset.train_labels), labelled(dataset.dev_texts, dataset.dev_labels)
