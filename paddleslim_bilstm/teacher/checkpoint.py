"""The last layer of a BERT classifier, computed where it is read: at the first token."""

from __future__ import annotations

import inspect
import json
import types
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import numpy as np
import paddle
import safetensors.numpy
from paddle import nn

from ..errors import UserError
from ..export.inference_file import save_inference_model
from ..old_programs import old_programs
from ..storage import is_write_error
from .weights import read_config, read_pdparams, read_weights

_READ_THE_FIRST_TOKEN = ("BertForSequenceClassification", "ErnieForSequenceClassification")


def keep_first_token(network: nn.Layer) -> None:
    """Have the last Transformer layer of ``network`` answer for the first token alone, ``[batch, 1, hidden]``.

    BERT's and ERNIE's classifiers read nothing else of it, so their logits stay as they are, and of that layer only
    keys and values are still computed for every token. Other classifiers are left alone.
    """
    encoders = [layer for layer in network.sublayers() if isinstance(layer, nn.TransformerEncoder)]
    if type(network).__name__ in _READ_THE_FIRST_TOKEN and len(encoders) == 1:
        last = encoders[0].layers[-1]
        last.forward = types.MethodType(_answer_for_first_token, last)


def _answer_for_first_token(self: nn.TransformerEncoderLayer, src, src_mask=None, cache=None, output_attentions=False):
    """``paddle.nn.TransformerEncoderLayer.forward`` with the first token as the only query, without dropout."""
    read = self.norm1(src) if self.normalize_before else src
    first = src[:, :1] + self.self_attn(read[:, :1], read, read, src_mask)
    if not self.normalize_before:
        first = self.norm1(first)
    hidden = self.norm2(first) if self.normalize_before else first
    answer = first + self.linear2(self.activation(self.linear1(hidden)))
    return answer if self.normalize_before else self.norm2(answer)


FEED_NAMES = ("input_ids", "token_type_ids")
_PLAIN_OUTPUT = {"use_cache": False, "return_dict": False, "output_hidden_states": False, "output_attentions": False}


@old_programs()
def export_checkpoint(config_file: Path, weight_files: list[Path], pad_id: int, scratch: Path, prefix: Path) -> None:
    """Write the classifier as the inference model ``<prefix>.pdmodel`` and ``<prefix>.pdiparams``.

    Feeds ``input_ids`` and ``token_type_ids``, int64 ``[batch, length]``; fetches logits float32
    ``[batch, classes]``. PaddleNLP builds the network and names its weights; it works on float32 copies in
    ``scratch``, since it writes converted weights into the folder that it reads.

    Raises:
        UserError: damaged files, an architecture that PaddleNLP can't load, or weights without a classifier.
    """
    config = read_config(config_file)
    weights = read_weights(weight_files)
    if not any(name.startswith("classifier.") for name in weights):
        raise UserError(f"{weight_files[0]}: no classifier weights, so this is not a fine-tuned classifier; "
                        "fine-tune it on the task first, or name the folder of the fine-tuned checkpoint")
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "model.safetensors").write_bytes(safetensors.numpy.save(weights, {"format": "np"}))
    own_config = {**config, **_PLAIN_OUTPUT, "pad_token_id": pad_id, "dtype": "float32", "torch_dtype": "float32"}
    (scratch / config_file.name).write_text(json.dumps(own_config), encoding="utf-8")
    from_torch = any(".encoder.layer." in name for name in weights)
    with quiet_dygraph():
        model = _load(scratch, config_file, from_torch)
        arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    _save(model, arrays, prefix)


def _load(folder: Path, config_file: Path, from_torch: bool) -> paddle.nn.Layer:
    from paddlenlp.transformers import AutoModelForSequenceClassification  # slow to import, so only where needed

    try:
        model = AutoModelForSequenceClassification.from_pretrained(str(folder), convert_from_torch=from_torch,
                                                                   dtype="float32")
    except Exception as error:  # PaddleNLP raises whatever its many parts raise
        if is_write_error(error):  # it writes converted weights
            raise
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


def _save(model: paddle.nn.Layer, arrays: dict[str, np.ndarray], prefix: Path) -> None:
    """Build the network of ``model`` a second time in static mode, with the weights ``arrays``, and save it."""
    paddle.enable_static()
    program, startup, executor = paddle.static.Program(), paddle.static.Program(), paddle.static.Executor()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard(), \
            paddle.static.scope_guard(paddle.static.Scope()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        feeds = [paddle.static.data(name, [-1, -1], "int64") for name in FEED_NAMES]
        network = type(model)(model.config)
        network.eval()
        keep_first_token(network)
        takes_types = "token_type_ids" in inspect.signature(network.forward).parameters
        logits = network(feeds[0], token_type_ids=feeds[1]) if takes_types else network(feeds[0])
        if not any(feeds[1].name in op.input_arg_names for op in program.global_block().ops):
            logits = logits + paddle.cast(feeds[1][:, :1] * 0, logits.dtype)  # Paddle drops a feed that nothing uses
        executor.run(startup)
        paddle.static.set_program_state(program, {parameter.name: arrays[name]
                                                  for name, parameter in network.state_dict().items()})
        save_inference_model(prefix, feeds, [logits], executor, program)


@contextmanager
def quiet_dygraph() -> Iterator[None]:
    """Dynamic mode, as PaddleNLP needs it, without its chatter; the mode that was on before comes back afterwards."""
    from paddlenlp.utils.log import logger

    level, was_dynamic = logger.logger.level, paddle.in_dynamic_mode()
    logger.logger.setLevel("ERROR")
    paddle.disable_static()
    try:
        yield
    finally:
        logger.logger.setLevel(level)
        if not was_dynamic:
            paddle.enable_static()
