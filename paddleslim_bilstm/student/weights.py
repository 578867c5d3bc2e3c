"""The student's weights as named NumPy arrays: first values, and the way into and out of a Paddle scope."""

from __future__ import annotations

import numpy as np

from .encoders import encoder_named
from .spec import StudentSpec

Weights = dict  # name -> float32 array; "token_map" is int32


def num_features(spec: StudentSpec) -> int:
    """Return what the tanh layer sees: the encoder's vector of a sentence, of a pair those of both sides, compared."""
    return (4 if spec.pairs else 1) * encoder_named(spec.encoder).features(spec)


def weight_shapes(spec: StudentSpec, rows: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every trained weight, by name; the gates of recurrent layers in Paddle's order."""
    hidden, classes = spec.hidden_size, spec.num_classes
    return {"embedding": (rows, spec.embed_dim), **encoder_named(spec.encoder).shapes(spec),
            "hidden.weight": (num_features(spec), hidden), "hidden.bias": (hidden,),
            "output.weight": (hidden, classes), "output.bias": (classes,)}


def first_weights(spec: StudentSpec, token_map: np.ndarray, embedding: np.ndarray | None,
                  rng: np.random.Generator) -> Weights:
    """Draw the weights that training starts from.

    The encoder draws its own; linear layers are uniform as Paddle's own (Xavier); the embedding is ``embedding``
    (float32 ``[rows, embed_dim]``) or, without one, uniform +-0.1 as in the tutorial.
    """
    encoder, weights = encoder_named(spec.encoder), {"token_map": token_map}
    of_encoder = encoder.shapes(spec)
    for name, shape in weight_shapes(spec, int(token_map.max()) + 1).items():
        if name == "embedding":
            value = embedding if embedding is not None else rng.uniform(-0.1, 0.1, shape)
        elif name in of_encoder:
            value = encoder.draw(name, shape, spec, rng)
        elif name.endswith("bias"):
            value = np.zeros(shape)
        else:
            value = rng.uniform(-1, 1, shape) * np.sqrt(6 / sum(shape))
        weights[name] = np.ascontiguousarray(value, np.float32)
    return weights


def size_bytes(weights: Weights) -> int:
    """Return the size of all arrays together."""
    return sum(array.nbytes for array in weights.values())
