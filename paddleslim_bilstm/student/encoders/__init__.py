"""What turns a sentence's embeddings into the vector that is classified: one file a kind, found by its name.

A file in this folder is loaded by itself; a kind of your own in a plug-in is registered in the same way.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from importlib import import_module
from typing import TYPE_CHECKING, Callable, Mapping, Sequence

import numpy as np

from ...errors import UserError, nearest
from ...users_code import code_fingerprint
from ..spec import StudentSpec

if TYPE_CHECKING:
    from ..graph import Graph, Weights
    from ..network import EncoderLayer

_KINDS: dict[str, Encoder] = {}


class Encoder(ABC):
    """All that is special about a kind of student; embedding, comparison of pairs and classifier are the same for all.

    Weights are float32 arrays by name. ``units`` stands for ``spec.hidden_size``.

    Attributes:
        bound: what no number of a sentence's vector exceeds in absolute value, if it is known.
    """

    bound: float | None = None

    @abstractmethod
    def features(self, spec: StudentSpec) -> int:
        """Return the length of the vector of a sentence."""

    @abstractmethod
    def shapes(self, spec: StudentSpec) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by its name, in the order in which they are drawn."""

    @abstractmethod
    def draw(self, name: str, shape: tuple[int, ...], spec: StudentSpec, rng: np.random.Generator) -> np.ndarray:
        """Return the first value of the weight ``name``."""

    @abstractmethod
    def layer(self, spec: StudentSpec, dropout: float, training: bool) -> EncoderLayer:
        """Return the Paddle layer, in the form that trains fast or in the one that inference models have."""

    @abstractmethod
    def add_nodes(self, graph: Graph, weights: Weights, spec: StudentSpec, embedded: str, lengths: str) -> str:
        """Add the ONNX nodes from the embeddings to a sentence's vector.

        Args:
            weights: some of them `Int8Array` (see `int8_arrays`), the embedding perhaps a `CodedArray`.
            embedded: name of float32 ``[length, batch, embed_dim]``; with guards behind them (`student.graph`) and of
                an int8 or coded table as integers, steps of its ``scale``, where `rounds_inputs`.
            lengths: name of int32 ``[batch]``, one or more.

        Returns:
            the name of float32 ``[batch, features]``.
        """

    def int8_arrays(self, spec: StudentSpec) -> Mapping[str, Sequence[str]]:
        """Return which weights of which layer can be int8, with a scale a row, in ONNX Runtime; none by default."""
        return {}

    def rounds_inputs(self, weights: Weights) -> bool:
        """Return whether `add_nodes` with ``weights`` rounds the embeddings to 8 bits by their range."""
        return False


def student_encoder(name: str) -> Callable[[type[Encoder]], type[Encoder]]:
    """Register a class as the encoder ``name``: ``student: {encoder: name}`` then works in the YAML.

    A later registration of a name replaces the user's earlier one.

    Raises:
        ValueError: the name is taken.
        TypeError: the class is no `Encoder`, or lacks one of its methods.
    """
    def register(kind: type[Encoder]) -> type[Encoder]:
        if not (isinstance(kind, type) and issubclass(kind, Encoder)):
            raise TypeError(f'student encoder "{name}" must be a class over student.encoders.Encoder')
        if not is_ours(kind):
            _import_ours()
            if name in _KINDS and is_ours(type(_KINDS[name])):
                raise ValueError(f'student encoder "{name}": the name is taken; choose another one')
        _KINDS[name] = kind()
        return kind
    return register


def is_ours(kind: type[Encoder]) -> bool:
    """Return whether a class is one of this folder."""
    return kind.__module__.startswith(f"{__name__}.")


def encoder_names() -> list[str]:
    """Return the names of all encoders; ours, which need Paddle, are those of their files."""
    return sorted({*_KINDS, *(module.name for module in pkgutil.iter_modules(__path__))})


def _import_ours() -> None:
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


def encoder_fingerprint(name: str) -> str:
    """Return what changes with the code of the encoder called ``name``, see `code_fingerprint`."""
    kind = type(encoder_named(name))
    if is_ours(kind):
        return name
    return f"{name} {code_fingerprint(f'bert_to_bilstm.student.encoder: {name}', kind)}"


def encoder_named(name: str) -> Encoder:
    """Return the encoder that is registered as ``name``.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    _import_ours()
    if name not in _KINDS:
        raise UserError(f"bert_to_bilstm.student.encoder: no encoder is called {name!r}"
                        f"{nearest(name, encoder_names())}; import the module that registers one of your own first")
    return _KINDS[name]
