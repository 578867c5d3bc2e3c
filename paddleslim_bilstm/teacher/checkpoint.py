"""A checkpoint of PaddleNLP or Hugging Face, made into an inference model."""

from __future__ import annotations

import inspect
import json
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import paddle
import safetensors
import safetensors.numpy

from ..errors import UserError
from .pdparams import read_pdparams

FEED_NAMES = ("input_ids", "token_type_ids")
CONFIG_FILES = ("config.json", "model_config.json")
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "model_state.pdparams")
_SAFETENSORS_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32,
                      "U8": np.uint8, "BOOL": np.bool_, "BF16": np.uint16}
_PLAIN_OUTPUT = {"use_cache": False, "return_dict": False, "output_hidden_states": False, "output_attentions": False}


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the config and the weight files of the checkpoint in ``folder``; empty where it holds none.

    Like PaddleNLP, safetensors go before ``model_state.pdparams`` where a folder holds both.
    """
    config = next((folder / name for name in CONFIG_FILES if (folder / name).is_file()), None)
    weights = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if config is None or weights is None:
        return []
    if weights.name.endswith(".index.json"):
        shards = sorted(set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values()))
        return [config, *(folder / Path(shard).name for shard in shards)]
    return [config, weights]


def export_checkpoint(config_file: Path, weight_files: list[Path], pad_id: int, scratch: Path, prefix: Path) -> None:
    """Write the classifier as the inference model ``<prefix>.pdmodel`` and ``<prefix>.pdiparams``.

    Feeds ``input_ids`` and ``token_type_ids``, int64 ``[batch, length]``; fetches logits float32
    ``[batch, classes]``. PaddleNLP builds the network and names its weights; it works on float32 copies in
    ``scratch``, since it writes converted weights into the folder that it reads.

    Raises:
        UserError: damaged files, an architecture that PaddleNLP can't load, or weights without a classifier.
    """
    config = read_config(config_file)
    weights: dict[str, np.ndarray] = {}
    for file in weight_files:
        weights.update(read_pdparams(file) if file.suffix == ".pdparams" else _read_safetensors(file))
    weights = {_modern_name(name): _float32(value) for name, value in weights.items()}
    if not any(name.startswith("classifier.") for name in weights):
        raise UserError(f"{weight_files[0]}: no classifier weights, so this is not a fine-tuned classifier; "
                        "fine-tune it on the task first, or name the folder of the fine-tuned checkpoint")
    scratch.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(weights, str(scratch / "model.safetensors"), {"format": "np"})
    own_config = {**config, **_PLAIN_OUTPUT, "pad_token_id": pad_id, "dtype": "float32", "torch_dtype": "float32"}
    (scratch / config_file.name).write_text(json.dumps(own_config), encoding="utf-8")
    from_torch = any(".encoder.layer." in name for name in weights)
    with _quiet_dygraph():
        _save(_load(scratch, config_file, from_torch), prefix)


def read_config(path: Path) -> dict[str, Any]:
    """Return the model's configuration.

    Raises:
        UserError: it is not a JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); copy the file from the teacher again") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a model configuration; copy the file from the teacher again")
    return config


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(path.read_bytes())
    except Exception as error:  # safetensors raises its own class and others, by version
        raise UserError(f"{path}: can't be read ({error}); copy the checkpoint again") from None
    weights = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in _SAFETENSORS_TYPES:
            raise UserError(f"{path}: {name} has the type {tensor['dtype']}; save the checkpoint in float32 or float16")
        dtype = _SAFETENSORS_TYPES[tensor["dtype"]]
        weights[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    return weights


def _float32(array: np.ndarray) -> np.ndarray:
    """Return floats as float32; uint16 is how Paddle and we hold bfloat16, which NumPy does not know."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _modern_name(name: str) -> str:
    """Early BERT checkpoints call the LayerNorm's weight and bias gamma and beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _load(folder: Path, config_file: Path, from_torch: bool) -> paddle.nn.Layer:
    from paddlenlp.transformers import AutoModelForSequenceClassification  # slow to import, so only where needed

    try:
        model = AutoModelForSequenceClassification.from_pretrained(str(folder), convert_from_torch=from_torch,
                                                                   dtype="float32")
    except Exception as error:  # PaddleNLP raises whatever its many parts raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{config_file}: PaddleNLP can't load this model ({type(error).__name__}: {reason}); BERT and "
                        "ERNIE classifiers are supported, others as an exported inference model") from None
    loaded = folder / ("model_state.pdparams" if from_torch else "model.safetensors")
    weights = read_pdparams(loaded) if from_torch else safetensors.numpy.load_file(str(loaded))
    missing = [name for name, value in model.state_dict().items()
               if name not in weights or tuple(value.shape) != weights[name].shape]
    if missing:
        raise UserError(f"{config_file}: the checkpoint lacks {len(missing)} of the model's weights, such as "
                        f"{missing[0]}; copy the checkpoint again, with the config.json that belongs to it")
    return model


def _save(model: paddle.nn.Layer, prefix: Path) -> None:
    """Build the network a second time in static mode, with the weights of ``model``, and save it."""
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    paddle.enable_static()
    program, startup, executor = paddle.static.Program(), paddle.static.Program(), paddle.static.Executor()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard(), \
            paddle.static.scope_guard(paddle.static.Scope()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        feeds = [paddle.static.data(name, [-1, -1], "int64") for name in FEED_NAMES]
        network = type(model)(model.config)
        network.eval()
        takes_types = "token_type_ids" in inspect.signature(network.forward).parameters
        logits = network(feeds[0], token_type_ids=feeds[1]) if takes_types else network(feeds[0])
        if not any(feeds[1].name in op.input_arg_names for op in program.global_block().ops):
            logits = logits + paddle.cast(feeds[1][:, :1] * 0, logits.dtype)  # Paddle drops a feed that nothing uses
        executor.run(startup)
        paddle.static.set_program_state(program, {parameter.name: arrays[name]
                                                  for name, parameter in network.state_dict().items()})
        paddle.static.save_inference_model(str(prefix), feeds, [logits], executor, program=program)


@contextmanager
def _quiet_dygraph() -> Iterator[None]:
    """Dynamic mode, as PaddleNLP's loader needs, without its chatter; static mode again afterwards."""
    from paddlenlp.utils.log import logger

    level = logger.logger.level
    logger.logger.setLevel("ERROR")
    paddle.disable_static()
    try:
        yield
    finally:
        logger.logger.setLevel(level)
        paddle.enable_static()
