"""The student's weights as named NumPy arrays: first values, and the way into and out of a Paddle scope."""

from __future__ import annotations

import numpy as np

from .spec import StudentSpec

Weights = dict  # name -> float32 array; "token_map" is int32

DIRECTIONS = ("forward", "backward")
LSTM_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def weight_shapes(spec: StudentSpec, rows: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every trained weight, by name; the LSTM's gates in Paddle's order i, f, c, o."""
    hidden, shapes = spec.hidden_size, {"embedding": (rows, spec.embed_dim)}
    for layer in range(spec.num_layers):
        inputs = spec.embed_dim if layer == 0 else 2 * hidden
        for direction in DIRECTIONS:
            part_shapes = ((4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,))
            for part, shape in zip(LSTM_PARTS, part_shapes):
                shapes[f"lstm.{layer}.{direction}.{part}"] = shape
    shapes["hidden.weight"], shapes["hidden.bias"] = (spec.num_features, hidden), (hidden,)
    shapes["output.weight"], shapes["output.bias"] = (hidden, spec.num_classes), (spec.num_classes,)
    return shapes


def first_weights(spec: StudentSpec, token_map: np.ndarray, embedding: np.ndarray | None,
                  rng: np.random.Generator) -> Weights:
    """Draw the weights that training starts from.

    LSTM and linear layers are uniform as in Paddle's own layers (LSTM: +-1/sqrt(hidden); linear: Xavier);
    the embedding is ``embedding`` (float32 ``[rows, embed_dim]``) or, without one, uniform +-0.1 as in the tutorial.
    """
    weights: Weights = {"token_map": token_map}
    for name, shape in weight_shapes(spec, int(token_map.max()) + 1).items():
        if name == "embedding":
            value = embedding if embedding is not None else rng.uniform(-0.1, 0.1, shape)
        elif name.startswith("lstm"):
            value = rng.uniform(-1, 1, shape) / np.sqrt(spec.hidden_size)
        elif name.endswith("bias"):
            value = np.zeros(shape)
        else:
            value = rng.uniform(-1, 1, shape) * np.sqrt(6 / sum(shape))
        weights[name] = np.ascontiguousarray(value, np.float32)
    return weights


def size_bytes(weights: Weights) -> int:
    """Return the size of all arrays together."""
    return sum(array.nbytes for array in weights.values())
