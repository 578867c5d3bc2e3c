"""Where the time of an ONNX student goes: one text on one thread, part by part of its graph.

    python benchmarks/student_parts.py output/sst2/model.int8.onnx [--tokens 10 22 64] [--batch 1] [--runs 2000]

A runtime's own profile counts whole microseconds and adds one or two to each node, more than most nodes take. So the
graph is cut behind each part, and the cuts run in turn; a part takes what it adds to the cut before. The table holds
differences of the cuts' fifth percentiles, in microseconds: what another process on the machine costs is not in them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

_WARM_UP = 20
_LOW = 5  # per cent


def main(arguments: list[str] | None = None) -> None:
    """Time the cuts and print the table."""
    options = _parser().parse_args(arguments)
    model = onnx.load(str(options.model))
    columns = {tokens: measure(model, tokens, options.batch, options.runs) for tokens in options.tokens}
    names = list(next(iter(columns.values())))
    lines = ["| part | " + " | ".join(f"{tokens} tokens" for tokens in columns) + " |",
             "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(f"{column[name]:.1f}" for column in columns.values()) + " |"
              for name in names]
    print("\n".join([*lines, "| all | " + " | ".join(f"{sum(column.values()):.1f}" for column in columns.values())
                     + " |"]))


def cuts(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Return what is known once each part has run, the names of tensors by the part's name, in order."""
    nodes = {node.name: node for node in model.graph.node}
    layers = [node for name, node in nodes.items() if name.split(".")[0] in ("lstm", "gru") and name.count(".") == 1]
    classifier = next(node for node in model.graph.node
                      if node.name in ("hidden", "hidden.rounded", "hidden.size"))
    return {"the call itself": [], "lengths, rows, embeddings": [layers[0].input[0], layers[0].input[4]],
            f"{layers[0].op_type}": list(layers[-1].output), "pooling": [classifier.input[0]],
            "hidden layer, logits": ["logits"]}


def measure(model: onnx.ModelProto, tokens: int, batch: int, runs: int) -> dict[str, float]:
    """Return the microseconds of each part."""
    rng = np.random.default_rng(0)
    known = next(one.dims[0] for one in model.graph.initializer if one.name == "token_map")
    ids = rng.integers(known // 2, known, (batch, tokens))  # none of them is padding
    kinds = {feed.name: helper.tensor_dtype_to_np_dtype(feed.type.tensor_type.elem_type)
             for feed in model.graph.input}
    feeds = {name: (np.ones_like(ids) if "mask" in name else ids if number == 0 else ids * 0).astype(kind)
             for number, (name, kind) in enumerate(kinds.items())}
    sessions = {part: _session(model, outputs) for part, outputs in cuts(model).items()}
    seconds: dict[str, list[float]] = {part: [] for part in sessions}
    for run in range(_WARM_UP + runs):
        for part, session in sessions.items():
            begin = time.perf_counter()
            session.run(None, feeds)
            if run >= _WARM_UP:
                seconds[part].append(time.perf_counter() - begin)
    until = {part: 1e6 * float(np.percentile(taken, _LOW)) for part, taken in seconds.items()}
    return dict(zip(until, np.diff([0.0, *until.values()])))


def _session(model: onnx.ModelProto, outputs: list[str]) -> onnxruntime.InferenceSession:
    """Load the graph as far as ``outputs`` need it; without any, one that does nothing with the same feeds."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.output[:], cut.graph.node[:]
    needed = set(outputs)
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            cut.graph.node.insert(0, node)
    if not outputs:
        cut.graph.node.append(helper.make_node("Identity", [cut.graph.input[0].name], ["same"]))
        outputs = ["same"]
    inferred = onnx.shape_inference.infer_shapes(cut).graph.value_info
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred}
    kinds["same"] = cut.graph.input[0].type.tensor_type.elem_type
    for name in outputs:
        cut.graph.output.append(helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model.onnx or model.int8.onnx of a student of its teacher's tokens")
    parser.add_argument("--tokens", type=int, nargs="+", default=[10, 22, 64], help="[CLS] and [SEP] included")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=2000)
    return parser


if __name__ == "__main__":
    main()
