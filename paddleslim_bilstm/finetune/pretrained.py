"""Pretrained encoders, from a folder or by name, with a fresh classifier on top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Sequence

import numpy as np
import paddle
import safetensors.numpy

from ..errors import UserError
from ..host.versions import need_paddlenlp
from ..teacher.checkpoint import quiet_dygraph
from ..teacher.encoder import EncoderClassifier, make_encoder
from ..teacher.families import read_encoder
from ..teacher.weights import checkpoint_files, read_config, read_pdparams, read_weights
from ..tokens import Tokenizer, copy_tokenizer, has_tokenizer, load_tokenizer


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
                        "model.safetensors or model_state.pdparams")
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
    safetensors.numpy.save_file(weights, str(scratch / "model.safetensors"), {"format": "np"})
    config = {key: value for key, value in config.items()
              if key not in ("id2label", "label2id", "num_labels", "num_classes", "torch_dtype")}
    (scratch / config_file.name).write_text(json.dumps({**config, "dtype": "float32", "use_cache": False}),
                                            encoding="utf-8")
    from_torch = any("encoder.layer." in name for name in weights)
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
        safetensors.numpy.save_file(weights, str(folder / "model.safetensors"), {"format": "np"})
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
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"Finetune.model: PaddleNLP can't load {model} ({reason}); name a folder with the checkpoint "
                        "of an encoder, or a model that PaddleNLP knows and can download") from None


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
