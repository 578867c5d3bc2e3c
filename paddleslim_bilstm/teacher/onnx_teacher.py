"""The teacher that is an ONNX file: ONNX Runtime labels with it, on the CPU."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Callable

import numpy as np
import onnxruntime

from ..cpu import cores_to_use
from ..errors import UserError
from ..storage import checksum
from ..tokens import Framing, Sentences, Tokenizer
from ..tokens.framing import IDS, MASK
from .engine import Engine
from .hints import middle_of
from .onnx_graph import OnnxFile
from .program import Input, read_feeds
from .teacher import Teacher

_log = logging.getLogger(__name__)

_FORMAT = 1  # counts up when the same file would give other logits
_REMEDY = ("export the fine-tuned classifier with input_ids and attention_mask, int64 [batch, length], and logits "
           "[batch, classes]: optimum-cli export onnx --task text-classification --model FOLDER OUTPUT")
_PROBES = ((2, 5), (3, 7))  # rows, tokens: what of an output's shape changes with which
_FEWEST_POSITIONS = 16
_MOST_TRIED = 2048  # tokens: attention over more takes GBs
_ENCODINGS = ("pooler_output", "sentence_embedding", "last_hidden_state", "text_embeds")


class OnnxEngine(Engine):
    """An ONNX model on the CPU.

    Args:
        output: the name of its output that is read.
        threads: CPU threads.
        content: in place of what is in the file.

    Raises:
        UserError: ONNX Runtime can't load it.
    """

    def __init__(self, file: Path, output: str | None = None, threads: int | None = None,
                 content: bytes | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads or cores_to_use(), 1
        options.enable_mem_pattern = False  # or it plans anew for each shape of batch, and keeps the plans
        options.log_severity_level = 4  # its errors come as exceptions
        try:
            self._session = onnxruntime.InferenceSession(content or str(file), options,
                                                           providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes, by what is damaged
            raise UserError(f"{file}: ONNX Runtime can't load it ({_reason(error, file)}); export the model again, "
                            "or with an older opset") from None
        self._file, self._output = file, output
        self._names = [one.name for one in self._session.get_inputs()]

    @property
    def inputs(self) -> list[Input]:
        """What the model takes, in its own order."""
        return [Input(one.name, _DTYPES.get(one.type, one.type),
                      tuple(size if isinstance(size, int) else -1 for size in one.shape))
                for one in self._session.get_inputs()]

    def run(self, *batch: np.ndarray) -> np.ndarray:
        """Return the logits, float32 ``[batch, classes]``; ``batch`` is an array an input, in the model's order.

        Raises:
            UserError: the model can't take the batch.
        """
        return self.outputs(batch, [self._output])[self._output].astype(np.float32, copy=False)

    def outputs(self, batch: tuple[np.ndarray, ...], names: list[str] | None = None) -> dict[str, np.ndarray]:
        """Return what the model makes of ``batch``: the outputs called so, or all, by their names."""
        names = names or [one.name for one in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, dict(zip(self._names, batch)))))
        except Exception as error:
            raise UserError(f"{self._file}: ONNX Runtime can't run it on {list(batch[0].shape)} token ids "
                            f"({_reason(error, self._file)}); {_REMEDY}") from None


class OnnxHintingEngine(OnnxEngine):
    """The same, with the mean of hidden states over a sentence's tokens behind the logits.

    Args:
        states: the name of the hidden states ``[batch, length, hidden]``, any value in the graph.
        framing: tells padding from tokens.

    Raises:
        UserError: its weights are in files beside it, or ONNX Runtime can't load it.
    """

    def __init__(self, model: OnnxFile, output: str, states: str, framing: Framing,
                 threads: int | None = None) -> None:
        content = model.with_output(states)
        if content is None:
            raise UserError(f"{model.path}: is in several files, or too large for one")
        super().__init__(model.path, output, threads, content)
        self._states, self._framing = states, framing

    def run(self, *batch: np.ndarray) -> np.ndarray:
        found = self.outputs(batch, [self._output, self._states])
        inputs = {feed.role: array for feed, array in zip(self._framing.feeds, batch)}
        kept = inputs[MASK] if MASK in inputs else inputs[IDS] != self._framing.pad_id
        shares = kept.astype(np.float32) / kept.sum(axis=1, keepdims=True)
        mean = np.matmul(shares[:, None], found[self._states].astype(np.float32, copy=False))[:, 0]
        return np.hstack([found[self._output].astype(np.float32, copy=False), mean])


_DTYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32", "tensor(bool)": "bool"}


@dataclass(frozen=True)
class OnnxTeacher(Teacher):
    """A classifier that ONNX Runtime runs from its owner's file.

    Attributes:
        file: the ``.onnx`` file.
        output: the name of its logits.
        states: the name of a middle layer's hidden states, if they are known.
    """

    file: Path
    output: str
    states: str | None = None

    @property
    def model_file(self) -> Path:
        return self.file

    @cached_property
    def embeddings(self) -> np.ndarray | None:
        model = OnnxFile(self.file)
        table = model.table_of(self.framing.ids_name)
        return None if table is None else model.array(table)

    @property
    def tells_hints(self) -> bool:
        return self.states is not None

    def _load(self, threads: int, bf16: bool) -> OnnxEngine:
        return OnnxEngine(self.file, self.output, threads)

    def load_hinting(self, threads: int, bf16: bool) -> OnnxEngine:
        return OnnxHintingEngine(OnnxFile(self.file), self.output, self.states, self.framing, threads)


def load_onnx_teacher(file: Path, tokenizer: Tokenizer,
                      label_names_of: Callable[[int], tuple[str, ...] | None], most: int | None) -> OnnxTeacher:
    """Load the classifier in ``file``, with the weights in files beside it, if any.

    What its inputs are for is read off the graph, what its outputs are off what it answers to a few tokens.

    Args:
        label_names_of: the names of so many classes.
        most: how many tokens its configuration says it takes, if it does.

    Raises:
        UserError: it is damaged, or no classifier of token ids.
    """
    model, engine = OnnxFile(file), OnnxEngine(file)
    tables = {one.name: model.table_of(one.name) for one in engine.inputs}
    rows = {name: table.rows for name, table in tables.items() if table}
    feeds, width = read_feeds(file, engine.inputs, rows, _REMEDY)
    framing = Framing.of(tokenizer, feeds, width)
    words = tables[framing.ids_name]
    if words and len(tokenizer.vocab) > words.rows:
        raise UserError(f"{file}: the tokenizer has {len(tokenizer.vocab)} tokens, the model embeds only {words.rows}; "
                        "use the tokenizer files that the teacher was trained with")
    shapes = [_shapes(engine, framing, tokenizer, *probe) for probe in _PROBES]
    output, num_classes = _logits(file, shapes, words.columns if words else None)
    if model.made_by(output) in ("Softmax", "Sigmoid"):
        _log.warning("%s returns probabilities, not logits: the student learns less from them; export it without the "
                     "%s", file, model.made_by(output).lower())
    known = {table.values.name for table in tables.values() if table}
    positions = [table.rows for table in model.tables()
                 if table.rows > _FEWEST_POSITIONS and table.values.name not in known]
    longest = width or _longest(engine, framing, tokenizer, max(positions, default=None), most)
    del engine  # its weights, before another one has them
    return OnnxTeacher(tokenizer, num_classes, label_names_of(num_classes), framing, longest,
                       checksum(_FORMAT, onnxruntime.__version__, output, *model.files), file, output,
                       _states(model, output, num_classes, framing, tokenizer))


def _states(model: OnnxFile, output: str, num_classes: int, framing: Framing, tokenizer: Tokenizer) -> str | None:
    """Return the name of a middle layer's hidden states, if what is found by the graph turns out to be such."""
    states = middle_of(model.normalised())
    if states is None:
        return None
    try:
        engine = OnnxHintingEngine(model, output, states, framing)
        batches = [_batch(framing, tokenizer, *probe) for probe in _PROBES]
        widths = {engine.run(*batch).shape[1] - num_classes for batch in batches}
    except (UserError, ValueError):  # of states in another layout, or that ONNX Runtime can't hand out
        return None
    return states if len(widths) == 1 else None


def _batch(framing: Framing, tokenizer: Tokenizer, rows: int, tokens: int) -> tuple[np.ndarray, ...]:
    """Return rows of unknown words, as wide as ``tokens`` where the model has no width of its own."""
    content = max(min(tokens, framing.width or tokens) - framing.special_tokens(pairs=False), 1)
    return framing.batch(Sentences.from_lists([[tokenizer.unk_id] * content] * rows), np.arange(rows))


def _shapes(engine: OnnxEngine, framing: Framing, tokenizer: Tokenizer, rows: int, tokens: int) -> dict[str, tuple]:
    """Return the shape of each output of numbers; none of others."""
    outputs = engine.outputs(_batch(framing, tokenizer, rows, tokens))
    return {name: value.shape if isinstance(value, np.ndarray) and value.dtype.kind == "f" else ()
            for name, value in outputs.items()}


def _logits(file: Path, shapes: list[dict[str, tuple]], hidden: int | None) -> tuple[str, int]:
    """Return the name of the logits ``[batch, classes]`` among the outputs, and how many classes there are.

    What is as wide as the embeddings, ``hidden``, is an encoder's answer, unless it is called logits.
    """
    first, second = shapes
    fit = [name for name, shape in first.items() if len(shape) == 2 and shape[1] and shape[0] == _PROBES[0][0]
           and second[name] == (_PROBES[1][0], shape[1])]
    logits = [name for name in fit if name == "logits"]
    logits = logits or [name for name in fit if name not in _ENCODINGS and first[name][1] != hidden]
    if len(logits) != 1:
        axes = ("batch", "length")
        shown = ", ".join(f"{name} [{', '.join(_size(*sizes, axes[axis:]) for axis, sizes in enumerate(both))}]"
                          for name, both in ((name, list(zip(shape, second[name]))) for name, shape in first.items()))
        raise UserError(f"{file}: {len(logits) or 'none'} of its outputs ({shown}) could be logits [batch, classes], "
                        f"so it is no classifier of texts; {_REMEDY}")
    return logits[0], first[logits[0]][1]


def _size(one: int, other: int, names: tuple[str, ...]) -> str:
    return str(one) if one == other or not names else names[0]


def _longest(engine: OnnxEngine, framing: Framing, tokenizer: Tokenizer, rows: int | None,
             most: int | None) -> int | None:
    """Return how many tokens the model takes, or None where there is no limit.

    Args:
        rows: of its largest table that isn't one of words or types. Whether it is one of positions, and whether the
            first of them are never used, as in RoBERTa, is tried; a large one is taken for one whose rows all are
            positions.
        most: what its configuration says; it counts where no table ends sooner.
    """
    def takes(tokens: int) -> bool:
        try:
            engine.outputs(_batch(framing, tokenizer, 1, tokens))
        except UserError:
            return False
        return True

    if rows is not None and rows > _MOST_TRIED:
        return min(most or rows, rows)
    if rows is None or takes(rows + 1):
        return most
    return next((tokens for tokens in (rows, rows - 1 - framing.pad_id) if takes(tokens)), most)


def _reason(error: Exception, file: Path) -> str:
    """Return what ONNX Runtime says, in a line that isn't too long and doesn't name the file again."""
    text = " ".join(str(error).replace(str(file), "").split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : |Load model from failed:", "", text)
    return text if len(text) <= 160 else f"{text[:160]}..."
