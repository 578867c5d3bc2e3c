"""What an ONNX file holds, read without running it: files, weights, and the tables that inputs are looked up in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..errors import UserError

_SAME_IDS = ("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
_SAME_TABLE = ("Cast", "Identity")
_EMBED_LAYER_NORM = "EmbedLayerNormalization"  # ONNX Runtime's own: ids, types, and tables of words, positions, types
_NORMALISATIONS = ("LayerNormalization", _EMBED_LAYER_NORM, "SkipLayerNormalization")
_MOST_BYTES = 2 ** 31  # of a model in one piece
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_BYTES = (TensorProto.INT8, TensorProto.UINT8)


@dataclass(frozen=True)
class Table:
    """A matrix whose rows are looked up.

    Attributes:
        values: float, or int8 or uint8, ``[rows, columns]``.
        quantization: the node that says how its integers become numbers, ``DequantizeLinear``; None of floats.
    """

    values: TensorProto
    quantization: onnx.NodeProto | None = None

    @property
    def rows(self) -> int:
        return self.values.dims[0]

    @property
    def columns(self) -> int:
        return self.values.dims[1]


class OnnxFile:
    """A model in a ``.onnx`` file; weights that lie in files beside it are read when they are asked for.

    Raises:
        UserError: it is damaged, or names weights that are not in a file beside it.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf raises its own class, and others by what is damaged
            raise UserError(f"{path}: not an ONNX model ({type(error).__name__}); export the model again") from None
        self._graph = self._model.graph
        self.files = [path, *self._weight_files()]

    def _weight_files(self) -> list[Path]:
        """Return the files of weights beside the model; what folders it puts before their names is not followed."""
        names = {entry.value for tensor in _tensors(self._graph) if tensor.data_location == TensorProto.EXTERNAL
                 for entry in tensor.external_data if entry.key == "location"}
        for name in sorted(names):
            if name != Path(name).name or not (self.path.parent / name).is_file():
                raise UserError(f"{self.path}: its weights are in {name!r}, which is no file beside it; copy that "
                                "there, or export the model again")
        return [self.path.parent / name for name in sorted(names)]

    def table_of(self, feed: str) -> Table | None:
        """Return the table in which the ids of an input are looked up, if it is found."""
        same_ids = {feed}
        for node in self._graph.node:
            name = _looked_up(node, same_ids)
            if name and (table := self._table(name, node)):
                return table
            if node.op_type in _SAME_IDS and node.input and node.input[0] in same_ids:
                same_ids.update(node.output)
        return None

    def tables(self) -> list[Table]:
        """Return every table in which anything is looked up."""
        found = []
        for node in self._graph.node:
            names = node.input[2:5] if node.op_type == _EMBED_LAYER_NORM else node.input[:1]
            if node.op_type in (_EMBED_LAYER_NORM, "Gather"):
                found += filter(None, (self._table(name, node) for name in names))
        return found

    def array(self, table: Table) -> np.ndarray | None:
        """Return a table as float32 ``[rows, columns]``; None where its integers are scaled in an unknown way.

        Raises:
            UserError: it is damaged.
        """
        values = self._array(table.values)
        if table.values.data_type in _FLOATS:
            return values.astype(np.float32)
        if table.quantization is None:
            return None
        scale, zero = ([self._constants.get(name) for name in table.quantization.input[1:3]] + [None])[:2]
        axis = next((one.i for one in table.quantization.attribute if one.name == "axis"), 1)
        if scale is None or any(one.name == "block_size" and one.i for one in table.quantization.attribute):
            return None
        scale = self._array(scale).astype(np.float32).reshape(-1)
        zero = np.zeros(1) if zero is None else self._array(zero).reshape(-1)
        shape = [-1, 1] if axis in (0, -2) else [1, -1]
        if len(scale) not in (1, values.shape[axis]) or len(zero) not in (1, len(scale)):
            return None
        return (values.astype(np.float32) - zero.astype(np.float32).reshape(shape)) * scale.reshape(shape)

    def parameters(self) -> int:
        """Return how many weights the model holds, float or int8, without single numbers and scales."""
        first = {"QuantizeLinear": 1, "DequantizeLinear": 1, "MatMulInteger": 2, "ConvInteger": 2}
        scales = {name for node in self._graph.node if node.op_type in first
                  for name in node.input[first[node.op_type]:]}
        return sum(_size(tensor) for name, tensor in self._constants.items()
                   if tensor.data_type in (*_FLOATS, *_BYTES) and _size(tensor) > 1 and name not in scales)

    def normalised(self) -> list[str]:
        """Return the names of what layer normalisations return, in order, where they stand as one node or as several.
        """
        found = [node.output[0] for node in self._graph.node
                 if node.op_type in _NORMALISATIONS or node.op_type == "Add" and self._ends_normalisation(node)]
        return [name for name in found if name]

    def _ends_normalisation(self, add: onnx.NodeProto) -> bool:
        """Return whether ``add`` is the last of what exporters write out: ``Div``, then times and plus a vector."""
        scaled = self._beside_vector(add)
        divided = self._beside_vector(scaled) if scaled is not None and scaled.op_type == "Mul" else None
        return divided is not None and divided.op_type == "Div"

    def _beside_vector(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return what makes the input of ``node`` whose other input is a constant vector, if it is so."""
        vectors = [name in self._constants and len(self._constants[name].dims) == 1 for name in node.input]
        return self._maker.get(node.input[vectors.index(False)]) if sorted(vectors) == [False, True] else None

    def with_output(self, name: str) -> bytes | None:
        """Return the model with another output, whatever its shape; None where its weights are in files beside it."""
        if len(self.files) > 1:
            return None
        outputs = self._graph.output
        if name in [output.name for output in outputs]:
            return self._model.SerializeToString()
        outputs.append(onnx.ValueInfoProto(name=name))
        try:
            return self._model.SerializeToString() if self._model.ByteSize() < _MOST_BYTES else None
        finally:
            del outputs[-1]

    def made_by(self, output: str) -> str | None:
        """Return the operator whose result an output is."""
        return next((node.op_type for node in self._graph.node if output in node.output), None)

    @cached_property
    def _constants(self) -> dict[str, TensorProto]:
        constants = {tensor.name: tensor for tensor in self._graph.initializer}
        for node in self._graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                constants[node.output[0]] = node.attribute[0].t
        return constants

    @cached_property
    def _maker(self) -> dict[str, onnx.NodeProto]:
        return {output: node for node in self._graph.node for output in node.output}

    def _table(self, name: str, lookup: onnx.NodeProto) -> Table | None:
        quantization = None
        while name not in self._constants:
            node = self._maker.get(name)
            if node is None or node.op_type not in (*_SAME_TABLE, "DequantizeLinear"):
                return None
            quantization = node if node.op_type == "DequantizeLinear" else quantization
            name = node.input[0]
        values = self._constants[name]
        if len(values.dims) != 2 or values.data_type not in (*_FLOATS, *_BYTES):
            return None
        if quantization is None and values.data_type in _BYTES:  # then what is looked up becomes numbers
            quantization = next((node for node in self._graph.node if node.op_type == "DequantizeLinear"
                                 and node.input[0] == lookup.output[0]), None)
        return Table(values, quantization)

    def _array(self, tensor: TensorProto) -> np.ndarray:
        try:
            return numpy_helper.to_array(tensor, str(self.path.parent))
        except Exception as error:  # ValueError, TypeError, checker's own, by what is damaged
            raise UserError(f"{self.path}: its weights {tensor.name} are damaged ({type(error).__name__}); export the "
                            "model again") from None


def _looked_up(node: onnx.NodeProto, ids: set[str]) -> str | None:
    """Return what is looked up by ``ids`` in ``node``, if anything is."""
    if node.op_type == "Gather" and len(node.input) == 2 and node.input[1] in ids:
        return node.input[0]
    if node.op_type == _EMBED_LAYER_NORM and len(node.input) >= 5:
        return node.input[2] if node.input[0] in ids else node.input[4] if node.input[1] in ids else None
    return None


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Yield every tensor that a model holds, those of the branches and loops in it, too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    yield from _tensors(inner)


def _size(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))
