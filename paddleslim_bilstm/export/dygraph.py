"""The student as an ordinary Paddle layer, for those who train, quantize or serve it themselves in dygraph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ..errors import UserError
from ..old_programs import old_programs
from ..scopes import static_mode
from ..storage import copy_whole
from ..student.network import TOKEN_MAP, StudentNetwork, rows_of_feeds
from ..student.spec import READING_FILES, StudentSpec
from ..student.weights import Weights, first_weights, load_student, save_student
from ..tokens import has_tokenizer
from ..tokens.framing import IDS, LENGTHS, MASK, TYPES
from .onnx_model import write_onnx
from .paddle_model import export_paddle_model


class BiLSTMClassifier(nn.Layer):
    """A Bi-LSTM that is called like the BERT classifier it replaces, in dygraph.

    It trains under ``paddleslim.dygraph.dist.Distill``, QAT, PTQ and ``paddle.Model``; its answers are those
    of the inference model with the same weights.

    Args:
        spec: its sizes, classes and feeds.
        token_map: the embedding row of each token id, int32 ``[vocabulary]``; ``np.arange(vocabulary)`` gives each
            token a row of its own. A student of words has ``np.arange(rows)``.
        dropout: share of the embedding's units that are dropped in training.
        weights: float32 arrays by the names of ``student.weights.weight_shapes``; drawn at random without.
        rng: draws them.

    Raises:
        UserError: Paddle is in static mode.

    Example:
        >>> student = BiLSTMClassifier.from_pretrained("output/sst2")
        >>> logits = student(input_ids, token_type_ids)      # int64 [batch, length] -> float32 [batch, classes]
    """

    def __init__(self, spec: StudentSpec, token_map: np.ndarray, dropout: float = 0.0, weights: Weights | None = None,
                 rng: np.random.Generator | None = None):
        if not paddle.in_dynamic_mode():
            raise UserError("BiLSTMClassifier: Paddle is in static mode, and this is a dygraph layer; call "
                            "paddle.disable_static() first")
        super().__init__()
        token_map = np.asarray(token_map, np.int32)
        weights = weights or first_weights(spec, token_map, None, rng or np.random.default_rng())
        self.spec, self._dropout = spec, dropout
        self._tokenizer_dir: Path | None = None
        self.network = StudentNetwork(spec, len(weights["embedding"]), dropout)
        self.register_buffer(TOKEN_MAP, paddle.to_tensor(token_map))
        for name, parameter in self._parameters_by_weight().items():
            parameter.set_value(weights[name])

    @classmethod
    def from_pretrained(cls, folder: str | Path, dropout: float = 0.0) -> BiLSTMClassifier:
        """Load the float student of an output folder of ``compress``, or one that `save_pretrained` has written.

        Raises:
            UserError: a file is missing or damaged, or Paddle is in static mode.
        """
        weights, spec = load_student(folder)
        layer = cls(spec, weights[TOKEN_MAP], dropout, weights)
        layer._tokenizer_dir = Path(folder)
        return layer

    def forward(self, input_ids, token_type_ids=None, attention_mask=None, lengths=None):
        """Return the logits, float32 ``[batch, classes]``.

        Args:
            input_ids: int64 ``[batch, length]``, ``[CLS] tokens [SEP]`` padded; the word ids of a student of words.
            token_type_ids: ``[batch, length]``; needed for pairs, unless the student was made without: then not read.
            attention_mask: ``[batch, length]``, 0 for padding; what is not ``spec.pad_id`` counts without one.
            lengths: ``[batch]``, words of each row; of a student of words, which needs it.

        Raises:
            UserError: an input that the student needs is missing.
        """
        value = {IDS: input_ids, TYPES: token_type_ids, MASK: attention_mask, LENGTHS: lengths}
        value = {role: tensor for role, tensor in value.items() if tensor is not None}
        roles = [feed.role for feed in self.spec.feeds]
        if TYPES not in roles:  # such as RoBERTa's, whose tokenizer gives zeros to both sides of a pair
            value.pop(TYPES, None)
        for role, name, needed in ((TYPES, "token_type_ids", self.spec.pairs), (LENGTHS, "lengths", True)):
            if needed and role in roles and role not in value:
                raise UserError(f"BiLSTMClassifier: {name} is missing; this student "
                                f"{'reads pairs' if role == TYPES else 'reads words'}, so give it")
        rows, lengths = rows_of_feeds(self.spec, getattr(self, TOKEN_MAP), value)
        kept = None
        if self.training and self._dropout:
            draws = paddle.rand(self.network.embedded_shape(*rows.shape))
            kept = paddle.cast(draws >= self._dropout, "uint8")
        return self.network(rows, lengths, kept)

    def weights(self) -> Weights:
        """Return a copy of the weights by name, float32, and the token map, int32."""
        arrays = {name: parameter.numpy() for name, parameter in self._parameters_by_weight().items()}
        return {**arrays, TOKEN_MAP: getattr(self, TOKEN_MAP).numpy()}

    @old_programs()
    def save_pretrained(self, folder: str | Path) -> None:
        """Write the student as ``compress`` does: for Paddle Inference, for ONNX Runtime, and in float for this class.

        A student that was loaded brings its tokenizer's files along, so that ``Predictor`` runs it. An int8 model that
        is there is of other weights and goes.
        """
        folder, weights = Path(folder), self.weights()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.int8.onnx").unlink(missing_ok=True)
        was_training = self.training
        try:
            with static_mode():
                export_paddle_model(folder, self.spec, weights)
        finally:
            self.training = was_training
        write_onnx(folder / "model.onnx", weights, self.spec)
        save_student(folder, weights, self.spec)
        if self._tokenizer_dir and self._tokenizer_dir.resolve() != folder.resolve() and has_tokenizer(
                self._tokenizer_dir):
            for name in READING_FILES:
                if (self._tokenizer_dir / name).is_file():
                    copy_whole(self._tokenizer_dir / name, folder / name)
                else:
                    (folder / name).unlink(missing_ok=True)

    def save_for_paddle(self, prefix: str | Path) -> None:
        """Write the student in the installed Paddle's own format, with the feeds of the inference model.

        That is ``<prefix>.json`` on Paddle 3 and ``<prefix>.pdmodel`` on Paddle 2, beside ``<prefix>.pdiparams``;
        `save_pretrained` writes a ``.pdmodel`` on both. Paddle runs it with ``Config(program, parameters)``.
        """
        was_training = self.training
        self.eval()
        feeds = [paddle.static.InputSpec([None] if feed.role == LENGTHS else [None, self.spec.width], feed.dtype,
                                         feed.name) for feed in self.spec.feeds]
        Path(prefix).parent.mkdir(parents=True, exist_ok=True)
        try:
            paddle.jit.save(paddle.jit.to_static(_Served(self), [feeds], full_graph=True), str(prefix))
        finally:
            if was_training:
                self.train()

    def _parameters_by_weight(self) -> dict[str, paddle.Tensor]:
        by_name = {parameter.name: parameter for parameter in self.network.parameters()}
        return {name: by_name[parameter] for name, parameter in self.network.weight_names().items()}


class _Served(nn.Layer):
    """A student that takes its feeds in the order of the inference model's."""

    def __init__(self, student: BiLSTMClassifier):
        super().__init__()
        self.student = student

    def forward(self, feeds):
        spec, token_map = self.student.spec, getattr(self.student, TOKEN_MAP)
        value = {one.role: feed for one, feed in zip(spec.feeds, feeds)}
        return self.student.network(*rows_of_feeds(spec, token_map, value))
