"""What an exported program takes, returns and embeds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence

import numpy as np
import paddle

from ..errors import UserError
from ..export.file_names import NEW_PROGRAM, program_file
from ..export.inference_file import save_inference_model
from ..old_programs import old_programs
from ..scopes import own_scope, static_mode
from ..tokens.framing import DTYPES, IDS, MASK, TYPES, Feed
from .new_program import NewProgram

_log = logging.getLogger(__name__)

_MOST_TYPES = 16  # rows of a table of token types; ERNIE's tasks are few, too, and positions many
_LOOKUPS = ("lookup_table_v2", "lookup_table")
_SAME_IDS = ("assign", "cast", "reshape2", "squeeze2", "unsqueeze2", "flatten_contiguous_range")
_NO_PADDING = 5  # an id that pads in no family
_EXPORT_REMEDY = ('export it with paddle.static.InputSpec([None, None], "int64") for input_ids and token_type_ids '
                  "and the logits as its only output (X2Paddle's tracing keeps the batch of its example: call "
                  "paddle.jit.save yourself on the code that it writes)")


class Input(NamedTuple):
    """An input as a model declares it: its name, its type of numbers, and its shape with -1 for any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def read_feeds(model_file: Path, inputs: Sequence[Input], rows: Mapping[str, int],
               remedy: str) -> tuple[tuple[Feed, ...], int | None]:
    """Return what each input of a classifier is for, and the length of every batch where it is fixed.

    Args:
        rows: of the tables in which inputs are looked up, as far as that can be told. The largest one embeds words;
            without it the inputs' names decide.
        remedy: how to export the model, for messages.

    Raises:
        UserError: an input isn't ``[batch, length]`` numbers, or what it is for can't be told.
    """
    width = _width(model_file, inputs, remedy)
    ids = _ids(model_file, [one.name for one in inputs], rows, remedy)
    roles = {one.name: IDS if one.name == ids else _role(model_file, one.name, rows.get(one.name), remedy)
             for one in inputs}
    if len(set(roles.values())) < len(roles):
        raise UserError(f"{model_file}: takes {', '.join(roles)}, of which two seem to be the same "
                        f"({', '.join(roles.values())}); {remedy}")
    return tuple(Feed(one.name, roles[one.name], one.dtype) for one in inputs), width


def _width(model_file: Path, inputs: Sequence[Input], remedy: str) -> int | None:
    """Return the fixed length of the inputs, or None where they may have any."""
    for name, dtype, shape in inputs:
        if dtype not in DTYPES or len(shape) != 2 or shape[0] != -1:
            raise UserError(f"{model_file}: its input {name} is {dtype} {list(shape)}, not int64 [-1, -1] (any batch, "
                            f"any length) or [-1, LENGTH]; {remedy}")
    widths = {one.shape[1] for one in inputs}
    if len(widths) != 1:
        raise UserError(f"{model_file}: its inputs {', '.join(one.name for one in inputs)} have different lengths "
                        f"({', '.join(map(str, sorted(widths)))}); {remedy}")
    width = widths.pop()
    return None if width == -1 else width


def _ids(model_file: Path, names: Sequence[str], rows: Mapping[str, int], remedy: str) -> str:
    """Return the name of the input that takes the token ids."""
    words = {name: count for name, count in rows.items() if count > _MOST_TYPES and "position" not in name}
    if words:
        return max(words, key=words.get)  # far more words than token types
    others = [name for name in names if not any(part in name for part in ("mask", "type", "segment", "position"))]
    named = [name for name in others if "ids" in name] or others
    if len(named) != 1:
        raise UserError(f"{model_file}: takes {', '.join(names) or 'nothing'}, of which none is known to be the token "
                        f"ids; {remedy}")
    return named[0]


def _role(model_file: Path, name: str, rows: int | None, remedy: str) -> str:
    """Return what an input is for that isn't the token ids; ``rows`` of the table in which it is looked up, if any."""
    if "mask" in name or (rows is None and not any(part in name for part in ("type", "segment", "position"))):
        return MASK
    if "type" in name or "segment" in name or (rows or _MOST_TYPES + 1) <= _MOST_TYPES:
        return TYPES
    table = f"is looked up in a table of {rows} rows" if rows else "seems to take positions"
    raise UserError(f"{model_file}: its input {name} {table}, so it is neither token types nor a mask; {remedy}: "
                    "positions follow from the ids")


@dataclass(frozen=True)
class Signature:
    """An inference model's interface.

    Attributes:
        feeds: its inputs in its own order: token ids, and where it takes them token types and attention mask.
        width: the length of every batch, where it is fixed.
        logits: name of the output ``[batch, classes]``; of a ``.json``, whose outputs have no names, its number.
        plain: whether the logits are its only output.
        num_classes: columns of the logits; 1 for a regression.
        embedding: name of the word embeddings in the parameters.
        vocab_size: rows of the word embeddings.
        max_length: tokens that it reads at most: ``width``, or the rows of the position embeddings from that of the
            first token on (RoBERTa's has some before it); None where there are neither.
    """

    feeds: tuple[Feed, ...]
    width: int | None
    logits: str
    plain: bool
    num_classes: int
    embedding: str
    vocab_size: int
    max_length: int | None


@static_mode()
@old_programs()
def read_signature(model_file: Path) -> Signature:
    """Read the interface of an exported classifier from its ``.pdmodel``, or its ``.json`` beside its ``.pdiparams``.

    Raises:
        UserError: it is damaged, or not a classifier of ``[batch, length]`` token ids.
    """
    if model_file.suffix == NEW_PROGRAM:
        return _read_new_signature(model_file)
    try:
        program = paddle.static.deserialize_program(model_file.read_bytes())
        block = program.global_block()
    except Exception as error:  # Paddle raises ValueError, EnforceNotMet and others
        raise UserError(f"{model_file}: not a Paddle program ({type(error).__name__}); "
                        "export the model again") from None
    names = [name for _, name in sorted((op.attr("col"), op.output("Out")[0])
                                        for op in block.ops if op.type == "feed")]
    outputs = [op.input("X")[0] for op in block.ops if op.type == "fetch"]
    inputs = [Input(name, _dtype(block.var(name)), tuple(block.var(name).shape)) for name in names]
    logits = _logits_of(model_file, {name: list(block.var(name).shape) for name in outputs})
    if any(op.type == "softmax" and logits in op.output("Out") for op in block.ops):
        _warn_of_probabilities(model_file)
    tables = {name: _embedding_of(block, name) for name in names}
    rows = {name: block.var(table).shape[0] for name, table in tables.items() if table}
    if not rows:
        raise UserError(f"{model_file}: no input is looked up in word embeddings; {_EXPORT_REMEDY}")
    feeds, width = read_feeds(model_file, inputs, rows, _EXPORT_REMEDY)
    ids = next(feed.name for feed in feeds if feed.role == IDS)
    others = {op.input("Ids")[0]: block.var(op.input("W")[0]).shape[0] for op in block.ops
              if op.type in _LOOKUPS and op.input("W")[0] not in tables.values()}
    positions = max(others, key=others.get, default=None)  # ERNIE's task types and MPNet's distances are few
    longest = None if positions is None else others[positions] - _first_position(program, positions, feeds, width)
    return Signature(feeds, width, logits, len(outputs) == 1, block.var(logits).shape[1], tables[ids], rows[ids],
                     min((size for size in (width, longest) if size), default=None))


@old_programs()
def save_logits_only(prefix: Path, signature: Signature) -> None:
    """Save the model at ``prefix`` again, with the logits as its only output."""
    if program_file(prefix).suffix == NEW_PROGRAM:
        with NewProgram(prefix) as program:
            return program.save_with([program.outputs[int(signature.logits)]])
    with own_scope():
        executor = paddle.static.Executor(paddle.CPUPlace())
        program, names, outputs = paddle.static.load_inference_model(str(prefix), executor)
        feeds = [program.global_block().var(name) for name in names]
        logits = [output for output in outputs if output.name == signature.logits]
        save_inference_model(prefix, feeds, logits, executor, program)


@static_mode()
@old_programs()
def read_parameter(prefix: Path, name: str) -> np.ndarray:
    """Return one parameter of the inference model at ``prefix`` as float32.

    Raises:
        UserError: the files are damaged.
    """
    if program_file(prefix).suffix == NEW_PROGRAM:
        with NewProgram(prefix) as program:
            return program.parameter(name)
    with own_scope() as scope:
        try:
            paddle.static.load_inference_model(str(prefix), paddle.static.Executor(paddle.CPUPlace()))
        except Exception as error:  # EnforceNotMet, RuntimeError, ... by what is damaged
            raise UserError(f"{prefix}.pdiparams: can't be loaded ({type(error).__name__}), it is damaged or belongs "
                            "to another .pdmodel; export the model again") from None
        return np.array(scope.find_var(name).get_tensor()).astype(np.float32)


def _first_position(program: paddle.static.Program, positions: str, feeds: Sequence[Feed], width: int | None) -> int:
    """Return the row in which the first token's position is looked up, given the name of those rows: run and see."""
    batch = {feed.name: array for feed, array in zip(feeds, _some_text(feeds, width))}
    try:
        with own_scope():
            rows = paddle.static.Executor(paddle.CPUPlace()).run(program, feed=batch, fetch_list=[positions],
                                                                 use_prune=True)[0]
    except Exception:  # they come from a parameter, which is not here, so they are no count from the padding on
        return 0
    return max(int(np.min(rows)), 0) if np.size(rows) else 0


def _dtype(variable: paddle.base.framework.Variable) -> str:
    return str(variable.dtype).rsplit(".", 1)[-1].lower().replace("fp", "float")


def _read_new_signature(model_file: Path) -> Signature:
    with NewProgram(model_file.with_suffix("")) as program:
        return _signature_of(program, model_file)


def _signature_of(program: NewProgram, model_file: Path) -> Signature:
    inputs, tables = [Input(*one) for one in program.inputs()], program.tables()
    shapes = {str(number): list(output.shape) for number, output in enumerate(program.outputs)}
    logits = _logits_of(model_file, shapes)
    if program.is_probabilities(program.outputs[int(logits)]):
        _warn_of_probabilities(model_file)
    if not tables:
        raise UserError(f"{model_file}: no input is looked up in word embeddings; {_EXPORT_REMEDY}")
    feeds, width = read_feeds(model_file, inputs, {name: rows for name, (_, rows) in tables.items()}, _EXPORT_REMEDY)
    embedding, vocab_size = tables[next(feed.name for feed in feeds if feed.role == IDS)]
    positions = program.positions(feeds, _some_text(feeds, width))
    longest = positions and positions[0] - positions[1]
    return Signature(feeds, width, logits, len(shapes) == 1, shapes[logits][1], embedding, vocab_size,
                     min((size for size in (width, longest) if size), default=None))


def _some_text(feeds: Sequence[Feed], width: int | None) -> list[np.ndarray]:
    some = {IDS: _NO_PADDING, MASK: 1}
    return [np.full((1, width or 2), some.get(feed.role, 0), feed.dtype) for feed in feeds]


def _logits_of(model_file: Path, shapes: Mapping[str, Sequence[int]]) -> str:
    """Return the name of the only output ``[batch, classes]``; a checkpoint with ``use_cache`` has others beside it."""
    found = [name for name, shape in shapes.items() if len(shape) == 2 and shape[1] >= 1]
    if len(found) != 1:
        shown = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:4])
        raise UserError(f"{model_file}: {len(found) or 'none'} of its {len(shapes)} outputs ({shown}"
                        f"{', ...' if len(shapes) > 4 else ''}) could be logits [batch, classes]; {_EXPORT_REMEDY}")
    return found[0]


def _warn_of_probabilities(model_file: Path) -> None:
    _log.warning("%s returns probabilities, not logits: the student learns less from them; export it without the "
                 "softmax", model_file)


def _embedding_of(block: paddle.base.framework.Block, feed: str) -> str | None:
    """Return the name of the table in which the ids of ``feed`` are looked up."""
    same_ids = {feed}
    for op in block.ops:
        if op.type in _LOOKUPS and op.input("Ids")[0] in same_ids:
            return op.input("W")[0]
        if op.type in _SAME_IDS and same_ids & set(op.input("X")):
            same_ids.update(op.output("Out"))
    return None
