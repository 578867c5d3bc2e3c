"""Static programs as Paddle 2 has them, on Paddle 3 too, which makes others (PIR) unless it is told.

What a ``.pdmodel`` holds is an old program, and PaddleSlim knows no others. Here is also what functions of Paddle that
know no old programs since 3.2 do of them. On Paddle 2.6 nothing here does anything.
"""

from __future__ import annotations

import functools
import sys
from contextlib import ExitStack, contextmanager
from threading import RLock
from typing import Any, Callable, Iterator, Mapping, Sequence

import paddle
from paddle.base.data_feeder import convert_dtype
from paddle.base.framework import Variable
from paddle.base.layer_helper import LayerHelper

HAS_NEW_PROGRAMS = not paddle.__version__.startswith("2.")
_PIR_FLAG = "FLAGS_enable_pir_api"
_CPP_FUNCTIONS = "paddle.base.dygraph.generated_tensor_methods_patch"  # since 3.2
_HOMES = ("paddle._C_ops", "paddle.base.libpaddle", _CPP_FUNCTIONS)
_OTHER_NAMES = {"input": "x", "other": "y", "dim": "axis"}  # that the C++ functions know, too
_lock = RLock()
_open = 0  # how many `old_programs` are, in all threads
_way_back = ExitStack()


@contextmanager
def old_programs() -> Iterator[None]:
    """While it is open, Paddle builds, loads, runs and saves old programs; then all is as it was.

    Dynamic mode works as ever meanwhile, and so do programs that others have made. It may be open several times.
    """
    global _open
    with _lock:
        _open += 1
        if _open == 1:
            _switch()
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if not _open:
                _way_back.close()


def _switch() -> None:
    if paddle.get_flags([_PIR_FLAG])[_PIR_FLAG]:
        _way_back.enter_context(paddle.pir_utils.DygraphOldIrGuard())
    wrappers = {id(function): _either(FUNCTIONS[name], function) for name, function in _cpp_functions()}
    if wrappers:
        _replace(wrappers)
        _way_back.callback(_replace, {id(both): both.of_tensors for both in wrappers.values()})


def _cpp_functions() -> Iterator[tuple[str, Callable]]:
    """Yield the functions that know no old programs, with their names: in C++, and as Paddle hands them out."""
    handed_out = sys.modules.get(_CPP_FUNCTIONS)
    for name in FUNCTIONS if handed_out else ():
        for module, attribute in ((paddle._C_ops, name), (handed_out, f"_{name}")):
            if hasattr(module, attribute):
                yield name, getattr(module, attribute)


def _either(of_programs: Callable, of_tensors: Callable) -> Callable:
    """Return a function that does one or the other, by the mode that Paddle is in."""
    @functools.wraps(of_programs)
    def both(*args: Any, **kwargs: Any) -> Any:
        if paddle.base.framework.in_dynamic_or_pir_mode():
            return of_tensors(*args, **kwargs)
        return of_programs(*args, **{_OTHER_NAMES.get(name, name): value for name, value in kwargs.items()})

    both.of_tensors = of_tensors
    return both


def _replace(others: dict[int, Callable]) -> None:
    """Put others in place of functions, known by their ids, wherever a module has them and in `Variable`."""
    modules = [module for name, module in list(sys.modules.items())
               if hasattr(module, "__dict__") and not name.startswith(_HOMES)]
    for holder in (Variable, *modules):
        for name, value in list(vars(holder).items()):
            other = others.get(id(value))
            if other is not None:
                setattr(holder, name, other)


Axis = Any  # int, a list of them, or None for all

_SAME_NAME = ("acos", "acosh", "asin", "atanh", "ceil", "cos", "cosh", "exp", "expm1", "floor", "log", "log10", "log1p",
              "log2", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tanh", "abs")


def _append(kind: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any] | None = None, dtype: Any = None,
            layer: str | None = None, output: str = "Out"):
    """Append an operator to the current program and return its output, named after ``layer`` or the operator.

    ``dtype`` is what the output has where the operator does not take it over from its first input.
    """
    helper = LayerHelper(layer or kind)
    out = helper.create_variable_for_type_inference(dtype or next(iter(inputs.values())).dtype)
    helper.append_op(type=kind, inputs=dict(inputs), outputs={output: [out]}, attrs=dict(attributes or {}))
    return out


def _unary(kind: str, dtype: str | None = None) -> Callable:
    def function(x, name=None):
        return _append(kind, {"X": x}, dtype=dtype)
    return function


def _elementwise(kind: str) -> Callable:
    def function(x, y, name=None):
        return _append(kind, {"X": x, "Y": y}, {"axis": -1})
    return function


def _logical(kind: str) -> Callable:
    def function(x, y, out=None, name=None):
        return _append(kind, {"X": x, "Y": y}, dtype="bool")
    return function


def _of_all(axis: Axis, x: Any) -> dict[str, Any]:
    """Return the attributes of an operator over axes: which, and whether that is all."""
    axes = [] if axis is None else list(axis) if isinstance(axis, Sequence) else [axis]
    return {"dim": axes or list(range(len(x.shape))), "reduce_all": not axes or len(axes) == len(x.shape)}


def _reduction(kind: str, layer: str, dtype: str | None = None) -> Callable:
    def function(x, axis=None, keepdim=False, name=None):
        return _append(kind, {"X": x}, {**_of_all(axis, x), "keep_dim": keepdim}, dtype, layer)
    return function


def _arg_extreme(kind: str, layer: str) -> Callable:
    def function(x, axis=None, keepdim=False, dtype="int64", name=None):
        number = paddle.base.framework.convert_np_dtype_to_dtype_(dtype)
        out = _append(kind, {"X": x}, {"axis": 0 if axis is None else axis, "keepdims": keepdim,
                                         "flatten": axis is None, "dtype": number}, number, layer)
        out.stop_gradient = True
        return out
    return function


def _triangle(layer: str) -> Callable:
    def function(x, diagonal=0, name=None):
        return _append("tril_triu", {"X": x}, {"diagonal": diagonal, "lower": layer == "tril"}, layer=layer)
    return function


def _sum(x, axis=None, dtype=None, keepdim=False, name=None):
    attributes = {**_of_all(axis, x), "keep_dim": keepdim}
    if dtype is not None:
        dtype = paddle.base.framework.convert_np_dtype_to_dtype_(dtype)
        attributes.update(in_dtype=x.dtype, out_dtype=dtype)
    elif convert_dtype(x.dtype) in ("bool", "int32"):  # whose sum is int64
        dtype = "int64"
    return _append("reduce_sum", {"X": x}, attributes, dtype, "sum")


def _logsumexp(x, axis=None, keepdim=False, name=None):
    over = _of_all(axis, x)
    return _append("logsumexp", {"X": x}, {"axis": over["dim"], "reduce_all": over["reduce_all"], "keepdim": keepdim})


def _matmul(x, y, transpose_x=False, transpose_y=False, name=None):
    return _append("matmul_v2", {"X": x, "Y": y}, {"trans_x": transpose_x, "trans_y": transpose_y})


def _plain_product(kind: str) -> Callable:
    def function(x, y, name=None):
        return _append(kind, {"X": x, "Y": y})
    return function


def _greater_than(x, y, name=None):
    out = _append("greater_than", {"X": x, "Y": y}, dtype="bool")
    out.stop_gradient = True
    return out


def _logical_not(x, out=None, name=None):
    return _append("logical_not", {"X": x}, dtype="bool")


def _isclose(x, y, rtol=1e-5, atol=1e-8, equal_nan=False, name=None):
    return _append("isclose", {"Input": x, "Other": y},
                   {"rtol": str(rtol), "atol": str(atol), "equal_nan": equal_nan}, "bool")


def _expand_as(x, y, name=None):
    return _append("expand_as_v2", {"X": x, "Y": y}, {"target_shape": list(y.shape)}, layer="expand_as")


def _diagonal(x, offset=0, axis1=0, axis2=1, name=None):
    return _append("diagonal", {"Input": x}, {"offset": offset, "axis1": axis1, "axis2": axis2})


def _roll(x, shifts, axis=None, name=None):
    shifts, axes = ([value] if isinstance(value, int) else list(value or []) for value in (shifts, axis))
    return _append("roll", {"X": x}, {"shifts": shifts, "axis": axes})


def _gelu(x, approximate=False, name=None):
    return _append("gelu", {"X": x}, {"approximate": approximate in (True, "tanh")})


def _softplus(x, beta=1.0, threshold=20.0, name=None):
    return _append("softplus", {"X": x}, {"beta": float(beta), "threshold": float(threshold)})


def _index_put(x, indices, value, accumulate=False, name=None):
    return _append("index_put", {"x": x, "indices": list(indices), "value": value}, {"accumulate": accumulate},
                   output="out")


FUNCTIONS: dict[str, Callable] = {
    **{name: _unary(name) for name in _SAME_NAME},
    **{name: _unary(f"{name}_v2", "bool") for name in ("isfinite", "isinf", "isnan")},
    **{name: _logical(name) for name in ("logical_and", "logical_or", "logical_xor")},
    **{name: _triangle(name) for name in ("tril", "triu")},
    **{name: _plain_product(name) for name in ("bmm", "dot")},
    "multiply": _elementwise("elementwise_mul"), "maximum": _elementwise("elementwise_max"),
    "minimum": _elementwise("elementwise_min"), "greater_than": _greater_than, "logical_not": _logical_not,
    "amax": _reduction("reduce_amax", "amax"), "amin": _reduction("reduce_amin", "amin"),
    "all": _reduction("reduce_all", "all", "bool"), "any": _reduction("reduce_any", "any", "bool"),
    "sum": _sum, "logsumexp": _logsumexp, "argmax": _arg_extreme("arg_max", "argmax"),
    "argmin": _arg_extreme("arg_min", "argmin"), "matmul": _matmul, "isclose": _isclose, "expand_as": _expand_as,
    "diagonal": _diagonal, "roll": _roll, "gelu": _gelu, "softplus": _softplus, "index_put": _index_put,
}
