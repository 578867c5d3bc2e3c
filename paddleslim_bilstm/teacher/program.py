"""What an exported program takes, returns and embeds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ..errors import UserError
from ..inference_file import save_inference_model

_log = logging.getLogger(__name__)

_LOOKUPS = ("lookup_table_v2", "lookup_table")
_SAME_IDS = ("assign", "cast", "reshape2", "squeeze2", "unsqueeze2", "flatten_contiguous_range")
_EXPORT_REMEDY = ('export it with paddle.static.InputSpec([None, None], "int64") for input_ids and token_type_ids '
                  "and the logits as its only output")


@dataclass(frozen=True)
class Signature:
    """An inference model's interface.

    Attributes:
        feeds: names of its inputs, word ids first, then token types where the model takes them.
        reordered: whether the program itself names the token types first.
        num_classes: columns of the logits; 1 for a regression.
        embedding: name of the word embeddings in the parameters.
        vocab_size: rows of the word embeddings.
        max_length: rows of the position embeddings, or None where there are none.
    """

    feeds: tuple[str, ...]
    reordered: bool
    num_classes: int
    embedding: str
    vocab_size: int
    max_length: int | None


def read_signature(model_file: Path) -> Signature:
    """Read the interface of an exported classifier from its ``.pdmodel``.

    Raises:
        UserError: it is damaged, or not a classifier with one or two int64 ``[batch, length]`` feeds.
    """
    try:
        block = paddle.static.deserialize_program(model_file.read_bytes()).global_block()
    except Exception as error:  # Paddle raises ValueError, EnforceNotMet and others
        raise UserError(f"{model_file}: not a Paddle program ({type(error).__name__}); "
                        "export the model again") from None
    feeds = [name for _, name in sorted((op.attr("col"), op.output("Out")[0])
                                        for op in block.ops if op.type == "feed")]
    outputs = [op.input("X")[0] for op in block.ops if op.type == "fetch"]
    _check_feeds(model_file, block, feeds)
    num_classes = _check_outputs(model_file, block, outputs)
    tables = {feed: _embedding_of(block, feed) for feed in feeds}
    known = {feed: block.var(table).shape[0] for feed, table in tables.items() if table}
    if not known:
        raise UserError(f"{model_file}: no input is looked up in word embeddings; {_EXPORT_REMEDY}")
    ordered = sorted(feeds, key=lambda feed: -known.get(feed, 0))  # far more words than token types
    others = {op.input("W")[0] for op in block.ops if op.type in _LOOKUPS} - set(tables.values())
    max_length = max((block.var(table).shape[0] for table in others), default=None)  # ERNIE's task types are few
    return Signature(tuple(ordered), ordered != feeds, num_classes, tables[ordered[0]], known[ordered[0]], max_length)


def save_reordered(prefix: Path, signature: Signature) -> None:
    """Save the model at ``prefix`` again, with its inputs in the order of ``signature.feeds``."""
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor = paddle.static.Executor(paddle.CPUPlace())
        program, _, outputs = paddle.static.load_inference_model(str(prefix), executor)
        feeds = [program.global_block().var(name) for name in signature.feeds]
        save_inference_model(prefix, feeds, outputs, executor, program)


def read_parameter(prefix: Path, name: str) -> np.ndarray:
    """Return one parameter of the inference model at ``prefix`` as float32.

    Raises:
        UserError: the files are damaged.
    """
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        try:
            paddle.static.load_inference_model(str(prefix), paddle.static.Executor(paddle.CPUPlace()))
        except Exception as error:  # EnforceNotMet, RuntimeError, ... by what is damaged
            raise UserError(f"{prefix}.pdiparams: can't be loaded ({type(error).__name__}), it is damaged or belongs "
                            "to another .pdmodel; export the model again") from None
        return np.array(scope.find_var(name).get_tensor()).astype(np.float32)


def _check_feeds(model_file: Path, block: paddle.base.framework.Block, feeds: list[str]) -> None:
    if len(feeds) not in (1, 2):
        raise UserError(f"{model_file}: takes {len(feeds)} inputs ({', '.join(feeds)}); {_EXPORT_REMEDY}: "
                        "the mask follows from the padding")
    for feed in feeds:
        variable = block.var(feed)
        if variable.dtype != paddle.int64 or tuple(variable.shape) != (-1, -1):
            dtype = str(variable.dtype).rsplit(".", 1)[-1].lower()
            raise UserError(f"{model_file}: its input {feed} is {dtype} {list(variable.shape)}, not int64 [-1, -1] "
                            f"(any batch, any length); {_EXPORT_REMEDY}")


def _check_outputs(model_file: Path, block: paddle.base.framework.Block, outputs: list[str]) -> int:
    """Return the number of classes."""
    if len(outputs) != 1:
        raise UserError(f"{model_file}: returns {len(outputs)} outputs ({', '.join(outputs)}); {_EXPORT_REMEDY}")
    shape = list(block.var(outputs[0]).shape)
    if len(shape) != 2 or shape[1] < 1:
        raise UserError(f"{model_file}: its output is {shape}, not logits [batch, classes]; "
                        f"{_EXPORT_REMEDY}")
    if any(op.type == "softmax" and outputs[0] in op.output("Out") for op in block.ops):
        _log.warning("%s returns probabilities, not logits: the student learns less from them; export it without the "
                     "softmax", model_file)
    return shape[1]


def _embedding_of(block: paddle.base.framework.Block, feed: str) -> str | None:
    """Return the name of the table in which the ids of ``feed`` are looked up."""
    same_ids = {feed}
    for op in block.ops:
        if op.type in _LOOKUPS and op.input("Ids")[0] in same_ids:
            return op.input("W")[0]
        if op.type in _SAME_IDS and same_ids & set(op.input("X")):
            same_ids.update(op.output("Out"))
    return None
