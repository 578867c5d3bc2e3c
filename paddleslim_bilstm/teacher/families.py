"""The families of encoders that we know: what they are, what their configs say, and what their weights are called."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

import numpy as np

from ..errors import UserError

OTHER_WAYS = "give the teacher as an exported inference model or ONNX file, or label with it elsewhere"
_ACTIVATIONS = {"gelu": "gelu", "gelu_python": "gelu", "relu": "relu", "silu": "silu", "swish": "silu", "tanh": "tanh",
                "mish": "mish", "linear": "linear", **dict.fromkeys(
                    ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate"), "gelu_tanh")}
_MOST_LAYERS = 1000
_LARGEST_EPSILON = 0.001  # that Paddle's LayerNorm takes

# A library's names for the parts of an encoder, by ours; {0} is a layer's number, {1} its group, {2} its place there.
_TORCH_BERT = {
    "word": "embeddings.word_embeddings", "position": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings", "task": "embeddings.task_type_embeddings",
    "norm": "embeddings.LayerNorm", "layer": "encoder.layer.{0}", "query": "attention.self.query",
    "key": "attention.self.key", "value": "attention.self.value", "attended": "attention.output.dense",
    "attended_norm": "attention.output.LayerNorm", "inner": "intermediate.dense", "outer": "output.dense",
    "outer_norm": "output.LayerNorm", "pool": "pooler.dense", "classifier": "classifier"}
_PADDLE_BERT = {
    **_TORCH_BERT, "norm": "embeddings.layer_norm", "layer": "encoder.layers.{0}", "query": "self_attn.q_proj",
    "key": "self_attn.k_proj", "value": "self_attn.v_proj", "attended": "self_attn.out_proj", "attended_norm": "norm1",
    "inner": "linear1", "outer": "linear2", "outer_norm": "norm2"}
_OWN_HEAD = {"pool": "classifier.dense", "classifier": "classifier.out_proj"}
_TORCH_DISTILBERT = {
    **_TORCH_BERT, "layer": "transformer.layer.{0}", "query": "attention.q_lin", "key": "attention.k_lin",
    "value": "attention.v_lin", "attended": "attention.out_lin", "attended_norm": "sa_layer_norm", "inner": "ffn.lin1",
    "outer": "ffn.lin2", "outer_norm": "output_layer_norm", "pool": "pre_classifier"}
_TORCH_MPNET = {
    **_TORCH_BERT, **_OWN_HEAD, "query": "attention.attn.q", "key": "attention.attn.k", "value": "attention.attn.v",
    "attended": "attention.attn.o", "attended_norm": "attention.LayerNorm",
    "relative": "encoder.relative_attention_bias"}
_PADDLE_MPNET = {
    **_PADDLE_BERT, "layer": "encoder.layer.{0}", "query": "attention.q", "key": "attention.k", "value": "attention.v",
    "attended": "attention.o", "attended_norm": "attention.layer_norm", "inner": "ffn", "outer": "ffn_output",
    "outer_norm": "layer_norm", "relative": "encoder.relative_attention_bias"}
_TORCH_ALBERT = {
    **_TORCH_BERT, "project": "encoder.embedding_hidden_mapping_in",
    "layer": "encoder.albert_layer_groups.{1}.albert_layers.{2}", "query": "attention.query", "key": "attention.key",
    "value": "attention.value", "attended": "attention.dense", "attended_norm": "attention.LayerNorm", "inner": "ffn",
    "outer": "ffn_output", "outer_norm": "full_layer_layer_norm", "pool": "pooler"}
_PADDLE_ALBERT = {**_TORCH_ALBERT, "norm": "embeddings.layer_norm", "attended_norm": "attention.layer_norm"}
_DEBERTA = {
    **_TORCH_BERT, "query": "attention.self.query_proj", "key": "attention.self.key_proj",
    "value": "attention.self.value_proj", "relative": "encoder.rel_embeddings", "relative_norm": "encoder.LayerNorm"}


@dataclass(frozen=True)
class Family:
    """A kind of encoder with its classifier, whose last layers are a linear one on the first token and one behind it.

    Attributes:
        paddle_class: how PaddleNLP's classes begin.
        torch, paddle: Hugging Face's and PaddleNLP's names; Hugging Face's matrices are ``[out, in]``.
        torch_prefix, paddle_prefix: what stands before the encoder's names in a classifier.
        others: how classes begin of which the networks are the same.
        activation: of the classifier's first layer.
        takes_types: has ``token_type_ids`` as a feed in any case; others where they know more than one type.
        has_types: has an embedding of token types.
        behind_padding: the first token's position is not 0 but the one behind the padding's id.
        relative: how attention depends on distance: ``bias`` (MPNet), ``disentangled`` (DeBERTa) or None.
        outside: how parts begin that a classifier doesn't put under the encoder's prefix.
        head_dropout, pool_dropout: the settings of the dropout before the classifier's last layer, and before its first
            one; None where there is none.
        defaults: what a config may leave out.
    """

    paddle_class: str
    torch: Mapping[str, str]
    paddle: Mapping[str, str]
    torch_prefix: str
    paddle_prefix: str
    others: tuple[str, ...] = ()
    activation: str = "tanh"
    takes_types: bool = True
    has_types: bool = True
    behind_padding: bool = False
    relative: str | None = None
    outside: tuple[str, ...] = ("classifier", "pre_classifier")
    head_dropout: str = "classifier_dropout"
    pool_dropout: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _family(paddle_class: str, torch: Mapping[str, str] = _TORCH_BERT, paddle: Mapping[str, str] = _PADDLE_BERT,
            **settings: Any) -> Family:
    prefix = paddle_class.lower()
    return Family(paddle_class, torch, paddle, settings.pop("torch_prefix", prefix),
                  settings.pop("paddle_prefix", prefix), **settings)


FAMILIES = (
    _family("Bert"),
    _family("Ernie"),
    _family("Roberta", {**_TORCH_BERT, **_OWN_HEAD}, {**_PADDLE_BERT, **_OWN_HEAD}, others=("XLMRoberta", "Camembert"),
            takes_types=False, behind_padding=True, pool_dropout="classifier_dropout"),
    _family("MPNet", _TORCH_MPNET, _PADDLE_MPNET, takes_types=False, has_types=False, behind_padding=True,
            relative="bias", pool_dropout="classifier_dropout",
            defaults={"relative_attention_num_buckets": 32, "layer_norm_eps": 1e-5}),
    _family("DistilBert", _TORCH_DISTILBERT, {**_PADDLE_BERT, "pool": "pre_classifier"}, activation="relu",
            takes_types=False, has_types=False, head_dropout="seq_classif_dropout",
            defaults={"seq_classif_dropout": 0.2}),
    _family("Electra", {**_TORCH_BERT, **_OWN_HEAD, "project": "embeddings_project"},
            {**_PADDLE_BERT, **_OWN_HEAD, "project": "embeddings_project"}, activation="gelu",
            pool_dropout="classifier_dropout"),
    _family("Albert", _TORCH_ALBERT, _PADDLE_ALBERT, paddle_prefix="transformer",
            head_dropout="classifier_dropout_prob",
            defaults={"hidden_act": "gelu_new", "classifier_dropout_prob": 0.1}),
    _family("DebertaV2", _DEBERTA, _DEBERTA, torch_prefix="deberta", paddle_prefix="deberta", activation="gelu",
            takes_types=False, relative="disentangled", outside=("classifier", "pooler"),
            head_dropout="cls_dropout", pool_dropout="pooler_dropout",
            defaults={"layer_norm_eps": 1e-7, "pooler_dropout": 0.0}),
)
# DistilBERT's config has names of its own.
_ALIASES = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim", "hidden_act": "activation", "hidden_dropout_prob": "dropout",
            "attention_probs_dropout_prob": "attention_dropout"}
_DEFAULTS = {"hidden_act": "gelu", "num_hidden_layers": 12, "num_attention_heads": 12, "layer_norm_eps": 1e-12,
             "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02}


_OTHER_HEADS = re.compile("For(TokenClassification|MultipleChoice)")  # whose weights have a classifier's names
_OTHER_FAMILIES_HEADS = ("classifier.", "linear.")  # how they begin; the latter of BigBird and ERNIE-Doc


def family_of(config: Mapping[str, Any]) -> Family | None:
    """Return the family of a checkpoint by its config, or None where we know none."""
    names = config.get("architectures") or config.get("init_class") or config.get("model_type")
    name = names[0] if isinstance(names, list) and names else names
    if not isinstance(name, str):
        return None
    kind = re.sub("(Model|For[A-Z].*|LMHeadModel|PreTrainedModel)$", "", name).replace("-", "").lower()
    return next((family for family in FAMILIES
                 if kind in [one.lower() for one in (family.paddle_class, *family.others)]), None)


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config as today's: PaddleNLP's old ones keep the encoder's settings in the classifier's arguments."""
    inner = config.get("init_args")
    parts = [part for part in inner if isinstance(part, dict)] if isinstance(inner, (list, tuple)) else []
    return {key: value for part in (*map(flat_config, parts), config) for key, value in part.items()
            if key != "init_args"}


def check_classifier(config_file: Path, config: Mapping[str, Any], weights: Iterable[str]) -> None:
    """Refuse a checkpoint that is no classifier of texts, by its config and the names of its weights.

    Of families that aren't ours, whose classifiers have names of their own (RemBERT's is ``dense``), a config that
    names a class for whole texts is believed; PaddleNLP says then what is missing.

    Raises:
        UserError: naming ``config_file``, and what to do.
    """
    config = flat_config(config)
    named = str(config.get("architectures") or config.get("init_class"))
    if head := _OTHER_HEADS.search(named):
        raise UserError(f"{config_file}: is of a model {head[0]}, no classifier of whole texts; name the folder of one")
    family = family_of(config)
    if family is None and "ForSequenceClassification" in named:
        return
    heads = _OTHER_FAMILIES_HEADS if family is None else tuple(
        f"{names['classifier']}.bias" for names in (family.torch, family.paddle))
    prefixes = () if family is None else (f"{family.torch_prefix}.", f"{family.paddle_prefix}.")
    if not any(name.startswith(heads) for name in _without_prefix(weights, prefixes)):
        raise UserError(f"{config_file}: no classifier weights beside it, so this is a pretrained model and no "
                        "fine-tuned classifier; name the folder of one, or this one as Finetune.model, to fine-tune it "
                        "(`paddleslim-bilstm init` without --teacher writes such a YAML)")


def _without_prefix(names: Iterable[str], prefixes: Sequence[str]) -> list[str]:
    return [name[len(next(filter(name.startswith, prefixes), "")):] for name in names]


_FAR = 128  # tokens between two, from where MPNet tells no distances apart


@dataclass(frozen=True)
class EncoderSpec:
    """The sizes and settings of an encoder with its classifier.

    Attributes:
        embedding: units of the embeddings; projected to ``hidden`` where the family does so.
        groups, group_size: layers with weights of their own; each group is gone through ``depth / groups`` times.
        first_position: of the first token.
        types, tasks: rows of the tables of token types and of ERNIE's tasks, of which the model does ``task``.
        distances: rows of the table of distances, 0 where there is none.
        far: from which distance on they count as equally far.
        norm_distances: whether their table is normalised.
        head_dropout, pool_dropout: before the classifier's last and first layer.
        spread: standard deviation of fresh weights.
    """

    family: Family
    vocab: int
    embedding: int
    hidden: int
    inner: int
    heads: int
    depth: int
    groups: int
    group_size: int
    positions: int
    first_position: int
    types: int
    tasks: int
    task: int
    classes: int
    epsilon: float
    activation: str
    head_activation: str
    distances: int
    far: int
    norm_distances: bool
    hidden_dropout: float
    attention_dropout: float
    head_dropout: float
    pool_dropout: float
    spread: float

    @property
    def takes_types(self) -> bool:
        """Whether ``token_type_ids`` are a feed."""
        return self.family.takes_types or self.types > 1

    @property
    def order(self) -> list[int]:
        """The layers in the order in which they are gone through: each once, but for ALBERT's groups."""
        return [place * self.groups // self.depth * self.group_size + inner
                for place in range(self.depth) for inner in range(self.group_size)]

    @property
    def projects(self) -> bool:
        """Whether embeddings are projected to the hidden units."""
        return "project" in self.family.torch and (self.embedding != self.hidden or "{1}" in self.family.torch["layer"])

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each weight by our name, matrices ``[in, out]``."""
        hidden = self.hidden
        tables = {"word": self.vocab, "position": self.positions, "types": self.types, "task": self.tasks}
        shapes = {f"{name}.weight": (rows, self.embedding) for name, rows in tables.items() if rows}
        linear, norms = {"pool": (hidden, hidden), "classifier": (hidden, self.classes)}, {"norm": self.embedding}
        if self.projects:
            linear["project"] = (self.embedding, hidden)
        if self.distances:
            shapes["relative.weight"] = (self.distances, self.heads if self.family.relative == "bias" else hidden)
        if self.norm_distances:
            norms["relative_norm"] = hidden
        for number in range(self.groups * self.group_size):
            layer = f"layers.{number}"
            linear.update({f"{layer}.{name}": (hidden, hidden) for name in ("query", "key", "value", "attended")})
            linear.update({f"{layer}.inner": (hidden, self.inner), f"{layer}.outer": (self.inner, hidden)})
            norms.update({f"{layer}.attended_norm": hidden, f"{layer}.outer_norm": hidden})
        for name, shape in linear.items():
            shapes.update({f"{name}.weight": shape, f"{name}.bias": shape[1:]})
        for name, size in norms.items():
            shapes.update({f"{name}.weight": (size,), f"{name}.bias": (size,)})
        return shapes

    def is_matrix(self, name: str) -> bool:
        """Return whether our ``name`` is a matrix, which Hugging Face keeps as ``[out, in]``."""
        return len(self.shapes[name]) == 2 and name.split(".")[0] not in ("word", "position", "types", "task",
                                                                          "relative")

    def rows_by_distance(self) -> np.ndarray:
        """Return the row of the table of distances for distances from ``-far`` to ``far``, int64.

        MPNet's distance is that of the token attended to behind the one that attends, DeBERTa's the other way round.
        Both count in single tokens up to a middle, then in ever longer steps. Sources: T5's buckets (Raffel et al.
        2020, arXiv 1910.10683), halved for either side; DeBERTa-v2's ``make_log_bucket_position``.
        """
        distance = np.arange(-self.far, self.far + 1)
        size = np.abs(distance).astype(np.float32)
        if self.family.relative == "bias":
            half = self.distances // 2
            exact = half // 2
            far = np.log(np.maximum(size, 1) / np.float32(exact)) / np.float32(math.log(_FAR / exact))
            far = np.minimum(exact + (far * np.float32(half - exact)).astype(np.int64), half - 1)
            return np.where(size < exact, size.astype(np.int64), far) + half * (distance > 0)
        span = self.distances // 2
        if span < self.far:
            middle = span // 2
            steps = np.log(np.maximum(size, 1) / np.float32(middle)) / np.log(np.float32((self.far - 1) / middle))
            far = (np.ceil(steps * np.float32(middle - 1)) + middle) * np.sign(distance)
            distance = np.where(size <= middle, distance, far).astype(np.int64)
        return np.clip(distance + span, 0, 2 * span - 1)

    def config(self, pretrained: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config of a classifier in PaddleNLP's names, made from ``pretrained``."""
        kept = {key: value for key, value in flat_config(pretrained).items()
                if key not in (*_ALIASES.values(), "id2label", "label2id", "num_classes", "init_class", "torch_dtype")}
        name = self.family.paddle_class
        return {**kept, "architectures": [f"{name}ForSequenceClassification"], "num_labels": self.classes,
                "model_type": "deberta-v2" if name == "DebertaV2" else name.lower(), "dtype": "float32",
                "use_cache": False, "vocab_size": self.vocab, "hidden_size": self.hidden,
                "num_hidden_layers": self.depth, "num_attention_heads": self.heads, "intermediate_size": self.inner,
                "hidden_act": {"gelu_tanh": "gelu_new"}.get(self.activation, self.activation),
                "hidden_dropout_prob": self.hidden_dropout, "attention_probs_dropout_prob": self.attention_dropout,
                self.family.head_dropout: self.head_dropout, "layer_norm_eps": self.epsilon,
                "type_vocab_size": self.types,
                **({"max_position_embeddings": self.positions} if self.positions else {}),
                **({"pad_token_id": self.first_position - 1} if self.family.behind_padding else {})}

    def spelled(self, name: str, names: Mapping[str, str], prefix: str = "") -> str:
        """Return our name of a weight in a library's spelling, with the encoder's prefix where the library has it."""
        part, last = name.rsplit(".", 1)
        if part.startswith("layers."):
            _, number, part = part.split(".")
            group, place = divmod(int(number), self.group_size)
            return f"{prefix}{names['layer'].format(number, group, place)}.{names[part]}.{last}"
        return f"{'' if names[part].startswith(self.family.outside) else prefix}{names[part]}.{last}"


def read_encoder(config_file: Path, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], pad_id: int,
                 classes: int | None = None) -> tuple[EncoderSpec, dict[str, np.ndarray]] | None:
    """Return a checkpoint's encoder and its weights by our names, matrices ``[in, out]``; None for unknown families.

    Args:
        pad_id: the padding's id, where the config doesn't name it.
        classes: outputs of the classifier for fine-tuning: what the checkpoint lacks of the two layers of the
            classifier, or has in another size, is left out. Without it they must be there, see `check_classifier`.

    Raises:
        UserError: settings that make no encoder, an encoder with parts that we don't have, or missing weights.
    """
    config = flat_config(config)
    family = family_of(config)
    if family is None:
        return None
    prefixes = (f"{family.torch_prefix}.", f"{family.paddle_prefix}.")
    bare = dict(zip(_without_prefix(weights, prefixes), weights.values()))
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in weights)), "")
    names = max((family.torch, family.paddle), key=lambda names: _found(names, bare))
    spec = _spec(family, _Settings(config_file, config, {**_DEFAULTS, **family.defaults}), bare, names, pad_id, classes)
    inner = bare.get(spec.spelled("layers.0.inner.weight", names))
    transposed = names is family.torch if inner is None or spec.hidden == spec.inner else len(inner) != spec.hidden
    arrays, missing = {}, []
    for name, shape in spec.shapes.items():
        array = bare.get(spec.spelled(name, names))
        if array is not None and transposed and spec.is_matrix(name):
            array = array.T
        if array is not None and array.shape == shape and array.dtype.kind == "f":
            arrays[name] = array
        elif classes is None or not name.startswith(("pool.", "classifier.")):
            missing.append(spec.spelled(name, names, prefix))
    if missing:
        raise UserError(f"{config_file}: the checkpoint lacks {len(missing)} of the model's weights, such as "
                        f"{missing[0]}; copy the checkpoint again, with the config.json that belongs to it")
    return spec, arrays


def _found(names: Mapping[str, str], bare: Mapping[str, np.ndarray]) -> int:
    """Return how many of some telling weights are there under ``names``."""
    layer = names["layer"].format(0, 0, 0)
    parts = [f"{layer}.{names[part]}" for part in ("query", "attended_norm", "inner", "outer_norm")]
    return sum(f"{part}.weight" in bare for part in (*parts, names["norm"], names["pool"]))


def _spec(family: Family, settings: _Settings, bare: Mapping[str, np.ndarray], names: Mapping[str, str], pad_id: int,
          classes: int | None) -> EncoderSpec:
    """Return the encoder that ``settings`` describe; sizes that they leave out are those of the weights."""
    def size(part: str, axis: int) -> int:
        array = bare.get(f"{names[part]}.weight") if part in names else None
        return array.shape[axis] if array is not None and array.ndim == 2 else 0

    def units(part: str) -> int:
        return bare.get(f"{names['layer'].format(0, 0, 0)}.{names[part]}.bias", np.empty(0)).size

    embedding = size("word", 1)
    hidden, heads = settings.count("hidden_size", units("query")), settings.count("num_attention_heads")
    depth = settings.count("num_hidden_layers")
    groups, group_size = depth, 1
    if "{1}" in names["layer"]:
        groups, group_size = settings.count("num_hidden_groups", 1), settings.count("inner_group_num", 1)
    positions = settings.count("max_position_embeddings", size("position", 0), least=0)
    padding = settings.count("pad_token_id", pad_id, least=0) if family.behind_padding else -1
    if family.relative == "bias" and names is family.torch:
        padding = 1  # whatever the padding is: so transformers has it in MPNet's code
    first = padding + 1
    tasks = size("task", 0) if settings.get("use_task_id") else 0
    distances, far = (settings.count("relative_attention_num_buckets"), _FAR) if family.relative == "bias" else (0, 0)
    head_activation = family.activation
    if family.relative == "disentangled":
        kinds = settings.get("pos_att_type")
        kinds = set(kinds.split("|") if isinstance(kinds, str) else kinds if isinstance(kinds, list) else [])
        settings.check("pos_att_type", kinds == {"c2p", "p2c"} and settings.get("relative_attention") is True)
        settings.check("share_att_key", settings.get("share_att_key") is True)
        far = settings.get("max_relative_positions")
        far = far if isinstance(far, int) and far > 0 else settings.count("max_position_embeddings", 512)
        span = settings.get("position_buckets")
        distances = 2 * (span if isinstance(span, int) and span > 0 else far)
        positions = 0 if settings.get("position_biased_input") is False else positions
        head_activation = settings.activation("pooler_hidden_act", family.activation)
    elif settings.get("pool_act") not in (None, "tanh"):  # PaddleNLP's BERT has none but tanh
        head_activation = "linear"
    settings.check("num_attention_heads", hidden % heads == 0)
    settings.check("num_hidden_groups", groups <= depth)
    settings.check("max_position_embeddings", not positions or first < positions)
    settings.check("position_embedding_type", settings.get("position_embedding_type") in (None, "absolute"))
    settings.check("is_decoder", not settings.get("is_decoder"))  # whose tokens see no later ones
    settings.check("layer_norm_eps", settings.number("layer_norm_eps") <= _LARGEST_EPSILON)
    settings.check("conv_kernel_size", settings.get("conv_kernel_size") in (None, 0))
    settings.check("hidden_size", embedding in (0, hidden) or "project" in names)
    outputs = bare.get(f"{names['classifier']}.bias", np.empty(0))
    head_dropout = settings.number(family.head_dropout, settings.number("hidden_dropout_prob"))
    return EncoderSpec(
        family, settings.count("vocab_size", size("word", 0)), embedding, hidden,
        settings.count("intermediate_size", units("inner")), heads, depth, groups, group_size, positions, first,
        settings.count("type_vocab_size", size("types", 0), least=0) if family.has_types else 0, tasks,
        settings.count("task_id", 0, least=0) if tasks else 0, outputs.size if classes is None else classes,
        settings.number("layer_norm_eps"), settings.activation("hidden_act"), head_activation, distances, far,
        distances > 0 and "layer_norm" in str(settings.get("norm_rel_ebd")), settings.number("hidden_dropout_prob"),
        settings.number("attention_probs_dropout_prob"), head_dropout,
        settings.number(family.pool_dropout, head_dropout) if family.pool_dropout else 0.0,
        settings.number("initializer_range"))


@dataclass(frozen=True)
class _Settings:
    """A config's values, each checked when it is asked for."""

    file: Path
    values: Mapping[str, Any]
    defaults: Mapping[str, Any]

    def get(self, name: str) -> Any:
        given = [self.values.get(one) for one in (name, _ALIASES.get(name)) if self.values.get(one) is not None]
        return given[0] if given else self.defaults.get(name)

    def count(self, name: str, default: int | None = None, least: int = 1) -> int:
        value = self.get(name)
        value = default if value is None else value
        self.check(name, type(value) is int and least <= value < (_MOST_LAYERS if "layers" in name else 1 << 31))
        return value

    def number(self, name: str, default: float | None = None) -> float:
        value = self.get(name)
        value = default if value is None else value
        self.check(name, isinstance(value, (int, float)) and 0 <= value < 1)
        return float(value)

    def activation(self, name: str, default: str | None = None) -> str:
        value = self.get(name) or default
        self.check(name, isinstance(value, str) and value in _ACTIVATIONS)
        return _ACTIVATIONS[value]

    def check(self, name: str, holds: bool) -> None:
        if not holds:
            raise UserError(f"{self.file}: {name} is {self.get(name)!r}, with which we know no such encoder; copy the "
                            f"config.json that belongs to the checkpoint, or {OTHER_WAYS}")
