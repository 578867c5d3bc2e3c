"""Tiny classifiers in ONNX, put together from operators, and the same by the book in NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from teachers import VOCABULARY

HIDDEN = 24
_OPSET = 17


class OnnxClassifier:
    """The masked mean of word (and position) embeddings, a tanh layer, an output layer.

    Args:
        positions: rows of a table of position embeddings; 0 for none.
    """

    def __init__(self, classes: int = 2, seed: int = 0, positions: int = 0):
        rng = np.random.default_rng(seed)
        self.words = rng.standard_normal((len(VOCABULARY), HIDDEN)).astype(np.float16).astype(np.float32)
        self.positions = 0.1 * rng.standard_normal((positions, HIDDEN)).astype(np.float32)
        self.hidden = 0.3 * rng.standard_normal((HIDDEN, HIDDEN)).astype(np.float32)
        self.output = rng.standard_normal((HIDDEN, classes)).astype(np.float32)

    def answer(self, ids: Sequence[int]) -> np.ndarray:
        """Return the logits of one sentence in its special tokens."""
        embedded = self.words[list(ids)]
        if len(self.positions):
            embedded = embedded + self.positions[:len(ids)]
        return np.tanh(embedded.mean(axis=0) @ self.hidden) @ self.output

    def model(self, feeds: Sequence[str] = ("input_ids", "attention_mask"), dtype: int = TensorProto.INT64,
              shape: Sequence[object] = ("batch", "length"), outputs: Sequence[str] = ("logits",),
              half: bool = False) -> onnx.ModelProto:
        """Return the model.

        Args:
            feeds: the mask is the second; what else there is is added to no effect.
            outputs: some of logits, probabilities, last_hidden_state and pooler_output.
            half: store the word embeddings in float16.
        """
        ids, mask, *others = feeds
        nodes, weights = [], {"words": self.words.astype(np.float16 if half else np.float32), "hidden": self.hidden,
                              "output": self.output, "first": np.array([1], np.int64), "last": np.array([2], np.int64)}

        def add(operator: str, name: str, *inputs: str, **attributes: object) -> str:
            nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
            return name

        table = add("Cast", "words.float", "words", to=TensorProto.FLOAT) if half else "words"
        embedded = add("Gather", "embedded", table, add("Cast", "ids", ids, to=TensorProto.INT64))
        if len(self.positions):
            weights.update(positions=self.positions, zero=np.array(0, np.int64), one=np.array(1, np.int64),
                           scalar=np.empty(0, np.int64))
            length = add("Reshape", "length", add("Shape", "lengths", ids, start=1), "scalar")
            places = add("Gather", "places", "positions", add("Range", "steps", "zero", length, "one"))
            embedded = add("Add", "placed", embedded, places)
        for other in others:
            number = add("ReduceMax", f"{other}.max", add("Cast", f"{other}.float", other, to=TensorProto.FLOAT))
            weights["nothing"] = np.array(0, np.float32)
            embedded = add("Add", f"with.{other}", embedded, add("Mul", f"{other}.zero", number, "nothing"))
        embedded = add("Identity", "last_hidden_state", embedded)
        kept = add("Unsqueeze", "kept", add("Cast", "mask", mask, to=TensorProto.FLOAT), "last")
        total = add("ReduceSum", "total", add("Mul", "masked", embedded, kept), "first", keepdims=0)
        mean = add("Div", "mean", total, add("ReduceSum", "count", kept, "first", keepdims=0))
        pooled = add("Tanh", "pooler_output", add("MatMul", "product", mean, "hidden"))
        add("Softmax", "probabilities", add("MatMul", "logits", pooled, "output"))

        sizes = {"logits": self.output.shape[1], "probabilities": self.output.shape[1], "pooler_output": HIDDEN}
        declared = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", sizes[name]] if name in sizes
                                                  else ["batch", "length", HIDDEN]) for name in outputs]
        graph = helper.make_graph(nodes, "classifier", [helper.make_tensor_value_info(name, dtype, shape)
                                                        for name in feeds], declared,
                                  [numpy_helper.from_array(array, name) for name, array in weights.items()])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def with_int8_words(model: onnx.ModelProto, dtype: type = np.int8, behind: bool = True,
                    by_row: bool = False) -> onnx.ModelProto:
    """Store a model's word embeddings in int8 or uint8, as onnxruntime's ``quantize_dynamic`` does.

    Args:
        behind: what is looked up becomes numbers; else the whole table does before.
        by_row: a scale for each row, of a table that becomes numbers before.
    """
    graph = model.graph
    words = next(one for one in graph.initializer if one.name == "words")
    table = numpy_helper.to_array(words)
    scale = np.float32(np.abs(table).max(axis=1) if by_row else np.abs(table).max()) / np.float32(127)
    zero = np.full(scale.shape, 128 if dtype == np.uint8 else 0, dtype)
    rounded = (np.round(table / np.reshape(scale, (-1, 1))) + np.reshape(zero, (-1, 1)).astype(int)).astype(dtype)
    graph.initializer.remove(words)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in
                             (("words_quantized", rounded), ("words_scale", scale), ("words_zero_point", zero)))
    lookup = next(node for node in graph.node if node.op_type == "Gather" and node.input[0] == "words")
    source, target = ("embedded_quantized", "embedded") if behind else ("words_quantized", "words")
    node = helper.make_node("DequantizeLinear", [source, "words_scale", "words_zero_point"], [target], axis=0)
    if behind:
        lookup.input[0], lookup.output[0] = "words_quantized", source
    graph.node.insert(list(graph.node).index(lookup) + behind, node)
    return model


def put_onnx_teacher(folder: Path, model: onnx.ModelProto, name: str = "model.onnx",
                     label_names: Sequence[str] | None = None, vocabulary: Sequence[str] = VOCABULARY,
                     mask_token: str = "[MASK]", **save: object) -> Path:
    """Write a model, its tokenizer and, with ``label_names``, its config.json into ``folder``, and return that."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / name), **save)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "mask_token": mask_token}),
                                                  encoding="utf-8")
    if label_names:
        config = {"id2label": dict(enumerate(label_names))}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
