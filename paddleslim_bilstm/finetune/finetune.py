"""``finetune``: a pretrained BERT or ERNIE becomes the teacher, the tutorial's first step."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import paddle

from ..config import Config, load_config
from ..errors import UserError
from ..files import make_writable_folder, whole_folder, write_json
from ..teacher.checkpoint import quiet_dygraph
from ..text import Dataset, load_dataset
from ..tokens import Tokenizer, load_tokenizer
from .pretrained import load_pretrained, save_classifier
from .training import Labelled, train_classifier

RECORD_FILE = "finetune.json"


def finetune(config: Config | str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Path:
    """Fine-tune ``Finetune.model`` on the data of ``Global`` and return the folder of the classifier.

    The classifier of the best epoch by dev accuracy is written to ``Global.model_dir``, where ``compress`` takes its
    teacher from, as a PaddleNLP checkpoint: ``config.json`` with the label names, ``model.safetensors``, the
    tokenizer files and ``finetune.json`` with the settings and the dev accuracy of each epoch. The folder appears
    whole or not at all; the pretrained model's own folder stays as it is.

    Args:
        config: path of a YAML file, its content as a dict, or what :func:`load_config` made of it.
        overrides: ``Section.key=value`` each; they win over a file or dict.

    Raises:
        UserError: wrong settings or data, a model that can't be loaded, or a ``Global.model_dir`` that holds
            something else.
    """
    config = config if isinstance(config, Config) else load_config(config, overrides)
    settings, folder = config.finetune, _destination(config)
    started = time.perf_counter()
    dataset = load_dataset(config.global_)
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch, quiet_dygraph():
        paddle.seed(config.global_.seed)
        network, tokenizer_folder = load_pretrained(settings.model, len(dataset.label_names), Path(scratch))
        tokenizer = load_tokenizer(tokenizer_folder)
        train, dev = _tokenized(dataset, tokenizer, config.global_.max_seq_length)
        accuracies = train_classifier(
            network, tokenizer, train, dev, epochs=settings.epochs,
            learning_rate=settings.learning_rate, batch_size=settings.batch_size, warmup=settings.warmup,
            weight_decay=settings.weight_decay, rng=np.random.default_rng(config.global_.seed))
        with whole_folder(folder) as partial:
            save_classifier(network, dataset.label_names, tokenizer_folder, partial)
            write_json(partial / RECORD_FILE, {
                "finetune": config.to_dict()["Finetune"], "dev_accuracy_by_epoch": accuracies,
                "seconds": round(time.perf_counter() - started, 1)})
    return folder


def best_dev_accuracy(folder: str | Path) -> float:
    """Return the dev accuracy of a classifier that :func:`finetune` wrote."""
    record = json.loads((Path(folder) / RECORD_FILE).read_text(encoding="utf-8"))
    return max(record["dev_accuracy_by_epoch"])


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
    if folder.resolve() == Path(config.finetune.model).resolve():
        raise UserError(f"Finetune.model: {folder} is also Global.model_dir, where the fine-tuned teacher goes; "
                        "name two folders")
    make_writable_folder(folder.parent, "Global.model_dir")
    return folder


def _tokenized(dataset: Dataset, tokenizer: Tokenizer, max_seq_length: int) -> tuple[Labelled, Labelled]:
    """Return the train and dev sentences as tokens, cut so that [CLS] and [SEP] still fit."""
    def labelled(texts: list[str], labels: np.ndarray) -> Labelled:
        return Labelled(tokenizer.encode(texts).truncate(max_seq_length - 2), labels)

    return labelled(dataset.train_texts, dataset.train_labels), labelled(dataset.dev_texts, dataset.dev_labels)
