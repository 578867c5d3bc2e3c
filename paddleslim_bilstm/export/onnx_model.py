"""The student as an ONNX model, in float or with int8 parts, checked against Paddle's answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..predict.runtimes import Logits, onnx_logits
from ..storage import whole_file
from ..student.encoders import encoder_named
from ..student.graph import RUNTIME_DOMAIN, Graph, Weights, add_embedding, add_linear
from ..student.spec import StudentSpec
from ..tokens import Framing, Sentences
from ..tokens.framing import IDS, LENGTHS, MASK, TYPES


def add_sides(graph: Graph, ids: str, types: str | None, used: str, one: str, sep_id: int | None,
              separators: int) -> tuple[str, str]:
    """Split ``[CLS] first [SEP] second [SEP] padding`` as `student.network.rows_of_feeds` does.

    Args:
        ids, types: int64 ``[batch, length]``; without types the first ``sep_id`` tells where.
        used: int32 ``[batch, length]``, 1 where a token isn't padding.

    Returns:
        the names of the tokens ``[2 * batch, longest side]``, all first sides before all second sides, with anything
        behind a side's end, and of the lengths, int32 ``[2 * batch]``, 0 (or less) for an empty side.
    """
    zero = graph.constant("zero", np.array(0, np.int64))
    single = graph.constant("single", np.array(1, np.int64))
    count = graph.add("ReduceSum", "used_tokens", [used, one], keepdims=0)
    between = graph.constant("separators", np.array(separators, np.int32))
    if types is None:
        separator = graph.add("Equal", "separator", [ids, graph.constant("sep_id", np.array(sep_id, np.int64))])
        place = graph.add("ArgMax", "first_separator", [graph.add("Cast", "separator_int32", [separator],
                                                                  to=TensorProto.INT32)], axis=1, keepdims=0)
        place = graph.add("Cast", "first_separator_int32", [place], to=TensorProto.INT32)
        second_start = graph.add("Add", "second_start", [place, between])
    else:
        second_type = graph.add("Not", "not_first", [graph.add("Equal", "first_type", [types, zero])])
        second_type = graph.add("Cast", "second_type", [second_type], to=TensorProto.INT32)
        in_second = graph.add("Mul", "in_second", [used, second_type])
        of_second = graph.add("ReduceSum", "second_tokens", [in_second, one], keepdims=0)
        second_start = graph.add("Sub", "second_start", [count, of_second])
    behind_cls = graph.constant("before_first", np.array(1 + separators, np.int32))
    ends = graph.add("Add", "before_end", [second_start, graph.constant("last_separator", np.array(1, np.int32))])
    inner = [graph.add("Sub", "first_length", [second_start, behind_cls]),
             graph.add("Sub", "second_length", [count, ends])]
    lengths = graph.add("Concat", "side_lengths", inner, axis=0)

    longest = graph.add("Cast", "longest_int64", [graph.add("ReduceMax", "longest", [lengths], keepdims=0)],
                        to=TensorProto.INT64)
    steps = graph.add("Range", "steps", [zero, graph.add("Max", "least_longest", [longest, single]), single])
    second_place = graph.add("Cast", "second_place", [second_start], to=TensorProto.INT64)
    first_place = graph.add("Expand", "first_place", [one, graph.add("Shape", "batch", [second_place])])
    starts = graph.add("Unsqueeze", "side_starts",
                       [graph.add("Concat", "side_start", [first_place, second_place], axis=0), one])
    end = graph.add("Sub", "last_place", [graph.add("Shape", "length", [ids], start=1), one])
    places = graph.add("Min", "places", [graph.add("Add", "places_open", [starts, steps]), end])
    both = graph.add("Concat", "both", [ids, ids], axis=0)
    return graph.add("GatherElements", "side_tokens", [both, places], axis=1), lengths


def add_matches(graph: Graph, rows: str, lengths: str) -> str:
    """Tell which tokens of a side the other side has, too, as `student.network.mark_matches` does.

    Args:
        rows: name of int32 ``[length, 2 * batch]``, all first sides before all second sides.
        lengths: name of int32 ``[2 * batch]``, 0 (or less) for an empty side.

    Returns:
        the name of float32 ``[length, 2 * batch, 1]``, 1 or 0.
    """
    def swapped(name: str, array: str, axis: int) -> str:
        graph.add("Split", f"split_{name}", [array], [f"{name}_first", f"{name}_second"], axis=axis)
        return graph.add("Concat", f"other_{name}", [f"{name}_second", f"{name}_first"], axis=axis)

    others, of_others = swapped("rows", rows, 1), swapped("lengths", lengths, 0)
    place = graph.add("Unsqueeze", "match_place", [graph.places("match", rows), graph.axes(1)])
    within = graph.add("Less", "other_within", [place, of_others])
    no_row = graph.constant("no_row", np.array(-1, np.int32))
    others = graph.add("Where", "other_tokens", [within, others, no_row])
    same = graph.add("Equal", "same_tokens", [graph.add("Unsqueeze", "own_rows", [rows, graph.axes(1)]),
                                              graph.add("Unsqueeze", "their_rows", [others, graph.axes(0)])])
    same = graph.add("Cast", "same_float", [same], to=TensorProto.FLOAT)
    found = graph.add("ReduceMax", "matched_places", [same], axes=[1], keepdims=0)
    return graph.add("Unsqueeze", "matched", [found, graph.axes(2)])


def add_comparison(graph: Graph, states: str, lengths: str, one: str) -> str:
    """Compare the sides' pooled states ``[2 * batch, units]``, those of empty sides being zero.

    Returns:
        the name of ``[first, second, |first - second|, first * second]``, ``[batch, 4 * units]``.
    """
    some = graph.add("Greater", "some", [lengths, graph.constant("none", np.array(0, np.int32))])
    factor = graph.add("Unsqueeze", "not_empty", [graph.add("Cast", "some_float", [some], to=TensorProto.FLOAT), one])
    states = graph.add("Mul", "side_states", [states, factor])
    first, second = "first_states", "second_states"
    graph.add("Split", "split_states", [states], [first, second], axis=0)
    difference = graph.add("Abs", "distance", [graph.add("Sub", "difference", [first, second])])
    product = graph.add("Mul", "product", [first, second])
    return graph.add("Concat", "compared", [first, second, difference, product], axis=1)


_OPSET = 17
_IR_VERSION = 8
_LONGEST_PROBE_TOKENS = 128
_TOLERANCE = 1e-4  # of the largest logit, where that is above 1


def write_onnx(path: str | Path, weights: Weights, spec: StudentSpec, reference: Logits | None = None) -> None:
    """Write the student to ``path``.

    The graph takes ``spec.feeds``, ``[batch, length]``, any batch and length (or the teacher's fixed one), and gives
    ``logits``, float32 ``[batch, classes]``. It reads ``[CLS] tokens [SEP] padding`` as the Paddle student does:
    ``[CLS]`` is skipped, then follow as many tokens as aren't padding, less two, at least one. A single sentence has
    no use for token types; they are an input so that the student can take the teacher's place. A student of pairs
    splits ``[CLS] first [SEP] second [SEP] padding`` by them, see `add_sides`. A student of words takes ``word_ids``
    ``[batch, length]`` and ``lengths`` ``[batch]`` instead.

    Args:
        weights: as `student.weights.load_student` returns them; arrays may be `Int8Array`s, the embedding a
            `CodedArray`.
        reference: the same student elsewhere, an array a feed to logits, such as Paddle Inference. If given, both
            answer a padded batch of lengths 1 to 128 before the file is put in place.

    Raises:
        RuntimeError: the logits differ from the reference by more than 1e-4; no file is left.
    """
    model = build_onnx(weights, spec)
    with whole_file(path) as partial:
        onnx.save(model, str(partial))
        if reference is not None:
            fault = difference(onnx_logits(partial), reference, *probe(len(weights["token_map"]), spec))
            if fault:
                raise RuntimeError(f"{path}: {fault}; nothing was written")


def build_onnx(weights: Weights, spec: StudentSpec) -> onnx.ModelProto:
    """Return the checked model of `write_onnx`."""
    graph = Graph()
    one = graph.constant("one", np.array([1], np.int64))
    rows, lengths = _add_words(graph) if spec.reads_words else _add_tokens(graph, weights["token_map"], spec, one)
    steps = graph.add("Max", "sequence_lens", [lengths, graph.constant("least_length", np.array(1, np.int32))])

    encoder = encoder_named(spec.encoder)
    matched = add_matches(graph, rows, lengths) if spec.matches else None
    embedded = add_embedding(graph, weights["embedding"], rows, encoder.rounds_inputs(weights), matched)
    summary, bound = encoder.add_nodes(graph, weights, spec, embedded, steps), encoder.bound
    if spec.pairs:
        summary = add_comparison(graph, summary, lengths, one)
        bound = bound and max(2 * bound, bound ** 2)  # a difference, a product
    hidden = add_linear(graph, weights, "hidden", summary, "hidden", bound)
    add_linear(graph, weights, "output", graph.add("Tanh", "hidden_tanh", [hidden]), "logits")

    feeds = [helper.make_tensor_value_info(
        feed.name, helper.np_dtype_to_tensor_dtype(np.dtype(feed.dtype)),
        ["batch"] if feed.role == LENGTHS else ["batch", spec.width or "length"]) for feed in spec.feeds]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", spec.num_classes])
    opsets = [helper.make_opsetid("", _OPSET)]
    if any(node.domain == RUNTIME_DOMAIN for node in graph.nodes):
        opsets.append(helper.make_opsetid(RUNTIME_DOMAIN, 1))
    model = helper.make_model(helper.make_graph(graph.nodes, "bilstm", feeds, [logits], graph.used_initializers),
                              opset_imports=opsets, ir_version=_IR_VERSION, producer_name="paddleslim_bilstm")
    onnx.checker.check_model(model, full_check=True)
    return model


def probe(vocabulary: int, spec: StudentSpec) -> tuple[np.ndarray, ...]:
    """Return a padded batch of random tokens, an array a feed: one row of each length from 1 to 128 (or what fits).

    Of pairs the second side begins anywhere; empty sides are among them.
    """
    rng = np.random.default_rng(0)
    if spec.reads_words:
        lengths = np.arange(1, _LONGEST_PROBE_TOKENS + 1)
        return rng.integers(0, vocabulary, (len(lengths), len(lengths))), lengths
    special = [spec.pad_id] if spec.sep_id is None else [spec.pad_id, spec.sep_id]
    content = np.setdiff1d(np.arange(vocabulary), special)
    some = int(content[0])
    framing = Framing(spec.feeds, spec.pad_id, some, some if spec.sep_id is None else spec.sep_id, spec.width,
                      spec.separators)
    longest = min(_LONGEST_PROBE_TOKENS, (spec.width or np.inf) - framing.special_tokens(spec.pairs))
    lengths = np.arange(1, longest + 1)
    sentences = Sentences.from_lists([rng.choice(content, length).tolist() for length in lengths])
    if spec.pairs:
        sentences = replace(sentences, split=rng.integers(0, lengths, endpoint=True))
    return framing.batch(sentences, np.arange(len(sentences)))


def _add_words(graph: Graph) -> tuple[str, str]:
    """Return the rows ``[length, batch]`` and the lengths, int32 ``[batch]``, of a student of words."""
    lengths = graph.add("Cast", "lengths_int32", ["lengths"], to=TensorProto.INT32)
    return graph.add("Transpose", "rows", ["word_ids"], perm=[1, 0]), lengths


def _add_tokens(graph: Graph, token_map: np.ndarray, spec: StudentSpec, one: str) -> tuple[str, str]:
    """Return the rows ``[length, batch]`` and the lengths, int32 ``[batch]``, of a student of the teacher's tokens."""
    name = {feed.role: feed.name for feed in spec.feeds}
    dtype = {feed.role: feed.dtype for feed in spec.feeds}
    ids = name[IDS] if dtype[IDS] == "int64" else graph.add("Cast", "ids_int64", [name[IDS]], to=TensorProto.INT64)
    if MASK in name:
        not_padding = graph.add("Cast", "not_padding", [name[MASK]], to=TensorProto.BOOL)
    else:
        padding = graph.add("Equal", "padding", [ids, graph.constant("pad_id", np.array(spec.pad_id, np.int64))])
        not_padding = graph.add("Not", "not_padding", [padding])
    used = graph.add("Cast", "used", [not_padding], to=TensorProto.INT32)
    if spec.pairs:
        types = name.get(TYPES)
        if types and dtype[TYPES] != "int64":
            types = graph.add("Cast", "types_int64", [types], to=TensorProto.INT64)
        tokens, lengths = add_sides(graph, ids, types, used, one, spec.sep_id, spec.separators)
    else:
        tokens, lengths = _add_sentence(graph, ids, used, one)
    tokens = graph.add("Transpose", "time_major", [tokens], perm=[1, 0])
    kind = np.uint16 if token_map.max() <= np.iinfo(np.uint16).max else np.int32
    rows = graph.add("Gather", "rows", [graph.constant("token_map", token_map.astype(kind)), tokens])
    return graph.add("Cast", "rows_int32", [rows], to=TensorProto.INT32), lengths


def _add_sentence(graph: Graph, ids: str, used: str, one: str) -> tuple[str, str]:
    """Return the tokens behind ``[CLS]``, ``[batch, length - 1]``, and the sentences' lengths, int32 ``[batch]``."""
    last = graph.constant("end", np.array([np.iinfo(np.int64).max]))
    tokens = graph.add("Slice", "after_cls", [ids, one, last, one])
    count = graph.add("ReduceSum", "used_tokens", [used, one], keepdims=0)
    return tokens, graph.add("Sub", "inner_tokens", [count, graph.constant("ends", np.array(2, np.int32))])


def difference(ours: Logits, reference: Logits, *feeds: np.ndarray) -> str | None:
    """Say by how much the answers of an ONNX student differ from others where that is too much, or None."""
    expected = reference(*feeds)
    largest, allowed = np.abs(ours(*feeds) - expected).max(), _TOLERANCE * max(1.0, np.abs(expected).max())
    if largest <= allowed:
        return None
    return f"the ONNX student's logits differ from the reference by {largest:.2g}, more than {allowed:.2g}"
