"""A checkpoint's classifier as an inference model: of our own families, or of others through PaddleNLP."""

from __future__ import annotations

import inspect
import json
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Mapping, Sequence

import numpy as np
import paddle
import safetensors.numpy

from ..errors import UserError, reason_in_short
from ..export.inference_file import save_inference_model
from ..host.versions import need_paddlenlp
from ..old_programs import old_programs
from ..scopes import dynamic_mode, own_scope
from ..storage import is_write_error
from .encoder import EncoderClassifier
from .families import OTHER_WAYS, check_classifier, read_encoder
from .weights import read_config, read_pdparams, read_weights

FEED_NAMES = ("input_ids", "token_type_ids")
_PLAIN_OUTPUT = {"use_cache": False, "return_dict": False, "output_hidden_states": False, "output_attentions": False}


@old_programs()
def export_checkpoint(config_file: Path, weight_files: list[Path], pad_id: int, scratch: Path, prefix: Path) -> None:
    """Write the classifier as the inference model ``<prefix>.pdmodel`` and ``<prefix>.pdiparams``.

    Feeds ``input_ids`` and, where the family has more than one type of tokens, ``token_type_ids``, int64
    ``[batch, length]``; fetches logits float32 ``[batch, classes]``. The mask is made from the padding. Encoders of
    our own `families` are built here; PaddleNLP builds others and names their weights, on float32 copies in
    ``scratch``, since it writes converted weights into the folder that it reads.

    Raises:
        UserError: damaged files, an architecture that neither can load, or weights without a classifier.
    """
    config = read_config(config_file)
    weights = read_weights(weight_files)
    check_classifier(config_file, config, weights)
    scratch.mkdir(parents=True, exist_ok=True)
    encoder = read_encoder(config_file, config, weights, pad_id)
    if encoder is not None:
        spec, arrays = encoder
        _save(lambda: EncoderClassifier(spec, pad_id), arrays, FEED_NAMES[:1 + spec.takes_types], prefix)
        return
    need_paddlenlp(f"{config_file}: is of none of the families that we load ourselves and", OTHER_WAYS)
    (scratch / "model.safetensors").write_bytes(safetensors.numpy.save(weights, {"format": "np"}))
    own_config = {**config, **_PLAIN_OUTPUT, "pad_token_id": pad_id, "dtype": "float32", "torch_dtype": "float32"}
    (scratch / config_file.name).write_text(json.dumps(own_config), encoding="utf-8")
    from_torch = weight_files[0].suffix != ".pdparams" and any(".encoder.layer." in name for name in weights)
    with quiet_dygraph():
        model = _load(scratch, config_file, from_torch)
        arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    try:
        _save(lambda: type(model)(model.config), arrays, FEED_NAMES, prefix)
    except Exception as error:  # of networks that PaddleNLP builds in dynamic mode only
        if is_write_error(error):
            raise
        raise UserError(f"{config_file}: PaddleNLP's {type(model).__name__} can't be built as a static program "
                        f"({reason_in_short(error)}); {OTHER_WAYS}") from None


def _load(folder: Path, config_file: Path, from_torch: bool) -> paddle.nn.Layer:
    try:
        from paddlenlp.transformers import AutoModelForSequenceClassification  # slow to import, so only where needed

        model = AutoModelForSequenceClassification.from_pretrained(str(folder), convert_from_torch=from_torch,
                                                                   dtype="float32")
    except Exception as error:  # PaddleNLP raises whatever its many parts raise
        if is_write_error(error):  # it writes converted weights
            raise
        raise UserError(f"{config_file}: none of the families that we load ourselves, and PaddleNLP can't load this "
                        f"model ({reason_in_short(error)}); {OTHER_WAYS}") from None
    loaded = folder / ("model_state.pdparams" if from_torch else "model.safetensors")
    weights = read_pdparams(loaded) if from_torch else safetensors.numpy.load_file(str(loaded))
    missing = [name for name, value in model.state_dict().items()
               if name not in weights or tuple(value.shape) != weights[name].shape]
    if missing:
        raise UserError(f"{config_file}: the checkpoint lacks {len(missing)} of the model's weights, such as "
                        f"{missing[0]}; copy the checkpoint again, with the config.json that belongs to it")
    return model


def _save(build: Callable[[], paddle.nn.Layer], arrays: Mapping[str, np.ndarray], feed_names: Sequence[str],
          prefix: Path) -> None:
    """Build the network in static mode, with the weights ``arrays``, and save it."""
    program, startup, executor = paddle.static.Program(), paddle.static.Program(), paddle.static.Executor()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard(), \
            own_scope() as scope, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle's own operators warn of Paddle's plans
        feeds = [paddle.static.data(name, [-1, -1], "int64") for name in feed_names]
        network = build()
        network.eval()
        takes = inspect.signature(network.forward).parameters
        logits = network(**{name: feed for name, feed in zip(feed_names, feeds) if name in takes})
        for feed in feeds[1:]:
            if not any(feed.name in op.input_arg_names for op in program.global_block().ops):
                logits = logits + paddle.cast(feed[:, :1] * 0, logits.dtype)  # Paddle drops a feed that nothing uses
        for name, parameter in network.state_dict().items():  # the startup program would draw them all first
            scope.var(parameter.name).get_tensor().set(arrays[name], paddle.CPUPlace())
        save_inference_model(prefix, feeds, [logits], executor, program)


@contextmanager
def quiet_dygraph() -> Iterator[None]:
    """Dynamic mode, as PaddleNLP needs it, without its chatter."""
    from paddlenlp.utils.log import logger

    level = logger.logger.level
    logger.logger.setLevel("ERROR")
    try:
        with dynamic_mode():
            yield
    finally:
        logger.logger.setLevel(level)
