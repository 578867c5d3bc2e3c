"""The parts of a student of sentence pairs as ONNX nodes: splitting the feeds into sides, comparing the sides."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ..student.graph import Graph


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
