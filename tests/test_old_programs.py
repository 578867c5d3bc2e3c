"""Old programs on every Paddle: what is built in one answers as dygraph does, and nothing stays changed."""

from __future__ import annotations

import sys

import numpy as np
import paddle
import pytest

from paddleslim_bilstm.old_programs import FUNCTIONS, old_programs

_REAL = np.random.default_rng(0).uniform(0.1, 0.9, (2, 3, 4)).astype(np.float32)
_ABOVE_ONE = _REAL + 1
_MATRICES = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
_WHOLE = np.array([[3, 1, 2], [0, 5, 5]], np.int32)
_TRUTH = np.array([[True, False, True], [True, True, True]])
_ODD = np.array([1, np.inf, -np.inf, np.nan], np.float32)

# name -> calls of it: arrays, and what else is given
_CALLS = {
    "acosh": [((_ABOVE_ONE,), {})],
    **{name: [((_ODD,), {})] for name in ("isfinite", "isinf", "isnan")},
    **{name: [((_TRUTH, ~_TRUTH), {})] for name in ("logical_and", "logical_or", "logical_xor")},
    "logical_not": [((_TRUTH,), {})],
    **{name: [((_REAL,), {}), ((_REAL,), {"diagonal": 1})] for name in ("tril", "triu")},
    "bmm": [((_REAL, _MATRICES), {})], "dot": [((_REAL[0, 0], _REAL[0, 1]), {})],
    **{name: [((_REAL, _REAL[:, ::-1]), {}), ((_REAL, _REAL[0]), {})] for name in ("multiply", "maximum", "minimum")},
    "greater_than": [((_WHOLE, _WHOLE[::-1]), {})],
    **{name: [((_REAL,), {}), ((_REAL,), {"axis": 1}), ((_REAL,), {"axis": [0, -1], "keepdim": True})]
       for name in ("amax", "amin", "logsumexp")},
    **{name: [((_TRUTH,), {}), ((_TRUTH,), {"axis": 0}), ((_TRUTH,), {"axis": [-1], "keepdim": True})]
       for name in ("all", "any")},
    "sum": [((_REAL,), {}), ((_REAL,), {"axis": -1}), ((_REAL,), {"axis": [0, 2], "keepdim": True}), ((_WHOLE,), {}),
            ((_WHOLE,), {"axis": 1, "dtype": "int32"}), ((_TRUTH,), {}), ((_WHOLE,), {"dtype": "float32"})],
    **{name: [((_REAL,), {}), ((_REAL,), {"axis": 1, "keepdim": True}), ((_WHOLE,), {"axis": 1, "dtype": "int32"})]
       for name in ("argmax", "argmin")},
    "matmul": [((_REAL, _MATRICES), {}), ((_REAL, _MATRICES[0]), {}), ((_REAL, _REAL), {"transpose_y": True}),
               ((_REAL, _REAL), {"transpose_x": True})],
    "isclose": [((_REAL, _REAL + np.float32(1e-7)), {}), ((_ODD, _ODD), {"equal_nan": True}),
                ((_REAL, _REAL + np.float32(0.1)), {"rtol": 0.1, "atol": 0.05})],
    "expand_as": [((_REAL[:, :1], _REAL), {})],
    "diagonal": [((_REAL,), {}), ((_REAL,), {"offset": 1, "axis1": 1, "axis2": 2})],
    "roll": [((_REAL,), {"shifts": 1}), ((_REAL,), {"shifts": [1, 2], "axis": [0, 2]})],
    "gelu": [((_REAL,), {}), ((_REAL,), {"approximate": True})],
    "softplus": [((_REAL,), {}), ((_REAL,), {"beta": 2.0, "threshold": 1.0})],
    "index_put": [((_REAL[0], (np.array([0, 2]), np.array([1, 3])), np.array([7, 8], np.float32)), {}),
                  ((_REAL[0], (np.array([0, 0]), np.array([1, 1])), np.array([7, 8], np.float32)),
                   {"accumulate": True})],
}


def _tree(convert, value):
    return tuple(convert(one) for one in value) if isinstance(value, tuple) else convert(value)


def _function(name: str):
    return getattr(paddle, name, None) or getattr(paddle.nn.functional, name)


@pytest.fixture
def dynamic_mode():
    """A user's process: in dynamic mode before and after."""
    paddle.disable_static()
    yield
    assert paddle.in_dynamic_mode()


def _answer_of_program(function, arrays, others) -> np.ndarray:
    """Run ``function`` in an old program, its arrays fed, their first dimension unknown to it."""
    feed = {}

    def data(array):
        name = f"x{len(feed)}"
        feed[name] = array
        return paddle.static.data(name, [-1, *array.shape[1:]], str(array.dtype))

    with old_programs():
        paddle.enable_static()
        try:
            with paddle.static.program_guard(paddle.static.Program()):
                out = function(*[_tree(data, array) for array in arrays], **others)
                return paddle.static.Executor().run(feed=feed, fetch_list=[out])[0]
        finally:
            paddle.disable_static()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_in_a_program_answers_as_in_dygraph(name, dynamic_mode):
    for arrays, others in _CALLS.get(name, [((_REAL,), {})]):
        expected = _function(name)(*(_tree(paddle.to_tensor, array) for array in arrays), **others).numpy()
        found = _answer_of_program(lambda *given, **more: _function(name)(*given, **more), arrays, others)
        assert found.shape == expected.shape and found.dtype == expected.dtype, others
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=str(others))


def test_methods_and_gradients_of_an_old_program(dynamic_mode):
    with old_programs():
        paddle.enable_static()
        try:
            with paddle.static.program_guard(paddle.static.Program()):
                x = paddle.static.data("x", [-1, 4], "float32")
                x.stop_gradient = False
                slope, = paddle.static.gradients([x.tanh().sum()], [x])
                found, = paddle.static.Executor().run(feed={"x": _REAL[0]}, fetch_list=[slope])
        finally:
            paddle.disable_static()
    np.testing.assert_allclose(found, 1 - np.tanh(_REAL[0]) ** 2, rtol=1e-5)


def test_dygraph_works_while_it_is_open(dynamic_mode):
    layer, x = paddle.nn.Linear(4, 2), paddle.to_tensor(_REAL)
    before = paddle.matmul(x, layer.weight)
    with old_programs():
        within = paddle.matmul(x, layer.weight)
        loss = paddle.tanh(layer(x)).sum()
        loss.backward()
        fresh = paddle.nn.Linear(4, 2)
        assert fresh(x).shape == [2, 3, 2] and layer.weight.grad is not None
    np.testing.assert_array_equal(before.numpy(), within.numpy())


def _state() -> dict:
    """Return what another part of the process may look at."""
    return {**{f"{name}.{attribute}": id(value) for name, module in list(sys.modules.items())
               if name.startswith("paddle") and hasattr(module, "__dict__")
               for attribute, value in list(vars(module).items()) if callable(value)},
            **{f"Variable.{name}": id(value) for name, value in vars(paddle.base.framework.Variable).items()},
            "flag": paddle.get_flags(["FLAGS_enable_pir_api"]), "float32": paddle.float32,
            "in_executor": paddle.get_flags(["FLAGS_enable_pir_in_executor"])}


def test_nothing_stays_changed(dynamic_mode):
    with old_programs():
        pass  # whatever is imported on the way is
    before = _state()
    with pytest.raises(KeyError), old_programs():
        with old_programs():
            raise KeyError
    assert _state() == before


def test_the_inner_of_two_does_not_end_the_outer(dynamic_mode):
    with old_programs():
        with old_programs():
            pass
        assert type(paddle.static.Program()) is paddle.base.framework.Program
        assert not paddle.get_flags(["FLAGS_enable_pir_api"])["FLAGS_enable_pir_api"]


def test_paddleslim_finds_numpys_product_only_while_it_works(monkeypatch):
    from paddleslim_bilstm.host.on_paddle3 import paddleslim_at_work
    monkeypatch.delattr(np, "product", raising=False)  # as on NumPy 2
    with paddleslim_at_work(), paddleslim_at_work():
        assert np.product([2, 3]) == 6
    assert not hasattr(np, "product")
