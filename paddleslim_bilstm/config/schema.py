"""Every setting of ours: its default and what it must be. The comments of ``configs/*.yaml`` explain them at work.

The classes only hold values; :func:`~paddleslim_bilstm.config.load_config` builds and checks them.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ..metrics import CLASS_METRICS, VALUE_METRICS
from .checks import Check, choice, flag, integer, mapping, names, number, optional, path, text, text_column, typed

CLASSIFICATION, REGRESSION = "classification", "regression"


TOKENS, WORDS = "teacher", "words"  # the student's vocabulary


def setting(default: Any, check: Check) -> Any:
    """Return a dataclass field with a default and the check of values that the user writes."""
    if isinstance(default, dict):  # each its own copy: PaddleSlim pops keys from what it is given
        return field(default_factory=lambda: copy.deepcopy(default), metadata={"check": check})
    return field(default=default, metadata={"check": check})


def section(cls: type) -> Any:
    """Return a dataclass field that is a mapping of its own, checked by the fields of ``cls``."""
    return field(default_factory=cls, metadata={"section": cls})


@dataclass(frozen=True)
class GlobalConfig:
    """Where things are (``Global``).

    ``dataset`` names training data that PaddleNLP knows, e.g. ``[glue, sst-2]``, in place of the files.
    ``task`` is classification or regression (labels are numbers, the teacher has one output).
    ``metric`` judges models: it chooses the best checkpoint, guards ``QuantBiLSTM`` and leads the report.
    ``text_column`` names the column of the text, or the two columns of sentence pairs.
    ``max_seq_length`` counts tokens with [CLS] and [SEP]. ``cache_dir`` None is
    ``$PADDLESLIM_BILSTM_CACHE`` or ``~/.cache/paddleslim_bilstm``.
    """

    model_dir: str | None = setting(None, optional(path))
    model_filename: str | None = setting(None, optional(text))
    params_filename: str | None = setting(None, optional(text))
    tokenizer_dir: str | None = setting(None, optional(path))
    train_file: str | None = setting(None, optional(path))
    dev_file: str | None = setting(None, optional(path))
    unlabeled_file: str | None = setting(None, optional(path))
    dataset: tuple[str, ...] | None = setting(None, optional(names))
    text_column: str | tuple[str, str] | None = setting(None, optional(text_column))
    label_column: str | None = setting(None, optional(text))
    task: str = setting(CLASSIFICATION, choice(CLASSIFICATION, REGRESSION))
    metric: str | None = setting(None, optional(choice(*CLASS_METRICS, *VALUE_METRICS)))
    save_dir: str = setting("./output", path)
    cache_dir: str | None = setting(None, optional(path))
    max_seq_length: int = setting(128, integer(3))
    seed: int = setting(0, integer(0, 2**32 - 1))

    @property
    def chosen_metric(self) -> str:
        """``metric``, or the task's default: accuracy, or Pearson's correlation for a regression."""
        return self.metric or {CLASSIFICATION: CLASS_METRICS, REGRESSION: VALUE_METRICS}[self.task][0]


@dataclass(frozen=True)
class StudentConfig:
    """The Bi-LSTM: units per direction, layers, width of the embedding (``bert_to_bilstm.student``).

    ``pooling`` is what the tanh layer sees: the ``last`` states of both directions, or beside them the ``max`` of every
    unit over the sentence.
    ``vocabulary`` is what it reads: the ``teacher``'s tokens, or ``words`` that occur at least ``min_count`` times.
    ``embeddings`` is what the embedding starts from: ``teacher``, ``random``, a file of word vectors, or a name that
    PaddleNLP knows.
    """

    embed_dim: int = setting(300, integer(1))
    hidden_size: int = setting(150, integer(1))
    num_layers: int = setting(1, integer(1))
    pooling: str = setting("max", choice("last", "max"))
    dropout: float = setting(0.0, number(0, 1, below=True))
    vocabulary: str = setting(TOKENS, choice(TOKENS, WORDS))
    min_count: int = setting(2, integer(2))
    embeddings: str = setting("teacher", path)


@dataclass(frozen=True)
class DistillConfig:
    """The strategy (``bert_to_bilstm``): total loss = alpha * cross-entropy + (1 - alpha) * ``loss``.

    ``train_alone`` also trains the same Bi-LSTM on the labels only, for comparison.
    """

    student: StudentConfig = section(StudentConfig)
    loss: str = setting("logit_mse", text)
    alpha: float = setting(0.0, number(0, 1))
    batch_size: int = setting(128, integer(1))
    train_alone: bool = setting(True, flag)


@dataclass(frozen=True)
class HookConfig:
    """An augmentation hook by its registered name, with its parameters."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)


CROSSOVER = "crossover"  # not a default where alpha is above 0: it joins sentences of different labels
DEFAULT_HOOKS = (
    HookConfig("masking", {"p_mask": 0.1}),
    HookConfig("pos_replacement", {"p_pos": 0.1}),
    HookConfig("ngram_sampling", {"p_ng": 0.25, "ngram_range": [2, 6]}),
    HookConfig(CROSSOVER, {"p_cross": 0.5}),
)


def hooks(value: Any) -> tuple[HookConfig, ...]:
    """Check for a list of hooks, each ``masking`` or ``masking: {p_mask: 0.1}``."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list of hooks, - masking: {p_mask: 0.1}")
    return tuple(_hook(item) for item in value)


def _hook(item: Any) -> HookConfig:
    if isinstance(item, str) and item.strip():
        return HookConfig(item)
    if isinstance(item, dict) and len(item) == 1:
        (name, params), = item.items()
        if isinstance(name, str) and (params is None or isinstance(params, dict)):
            return HookConfig(name, mapping(params or {}))
    raise ValueError(f"has an entry that is no hook, {item!r}; write - NAME or - NAME: {{PARAMETER: VALUE}}, "
                     "with the parameters indented under the name")


@dataclass(frozen=True)
class AugmentationConfig:
    """The data hook (``DataAugmentation``): rounds over the training text and what each does to a sentence."""

    n_iter: int = setting(20, integer(0))
    hooks: tuple[HookConfig, ...] = setting(DEFAULT_HOOKS, hooks)


_OPTIMIZER_PARTS = {"optimizer": typed, "grad_clip": typed, "regularizer": typed, "weight_decay": number(0)}


def optimizer_builder(value: Any) -> dict[str, Any]:
    """Check for PaddleSlim's ``optimizer_builder``: optimizer, and optionally weight_decay, regularizer, grad_clip."""
    value = mapping(value)
    if "optimizer" not in value or not value.keys() <= _OPTIMIZER_PARTS.keys():
        raise ValueError("must be {optimizer: {type: NAME, ...}} and, if wanted, weight_decay, regularizer, grad_clip")
    checked = {}
    for part, item in value.items():
        try:
            checked[part] = _OPTIMIZER_PARTS[part](item)
        except ValueError as error:
            raise ValueError(f"has a wrong {part}, which {error}") from None
    return checked


def learning_rate(value: Any) -> float | dict[str, Any]:
    """Check for a number or a schedule of ``paddle.optimizer.lr``, ``{type: PolynomialDecay, ...}``."""
    try:
        return typed(value) if isinstance(value, dict) else number(0, above=True)(value)
    except ValueError:
        raise ValueError("must be a number above 0 or a schedule of paddle.optimizer.lr, {type: NAME, ...}") from None


@dataclass(frozen=True)
class TrainSettings:
    """PaddleSlim's ``TrainConfig``, with its keys and meanings (``paddleslim.auto_compression.TrainConfig``).

    Training ends with ``epochs`` or after ``train_iter`` batches, whichever comes first; with neither, after our
    own number of epochs, and of steps on small data. ``learning_rate`` None is our own default. ``eval_iter`` and
    ``logging_iter`` count batches; ``eval_iter`` None is a tenth of the training, at most 1000.
    """

    epochs: int | None = setting(None, optional(integer(1)))
    train_iter: int | None = setting(None, optional(integer(1)))
    learning_rate: float | dict[str, Any] | None = setting(None, optional(learning_rate))
    optimizer_builder: dict[str, Any] = setting({"optimizer": {"type": "Adam"}}, optimizer_builder)
    eval_iter: int | None = setting(None, optional(integer(1)))
    logging_iter: int = setting(10, integer(1))
    origin_metric: float | None = setting(None, optional(number()))
    target_metric: float | None = setting(None, optional(number()))
    amp_config: dict[str, Any] | None = setting(None, optional(mapping))
    recompute_config: dict[str, Any] | None = setting(None, optional(mapping))
    sharding_config: dict[str, Any] | None = setting(None, optional(mapping))
    sparse_model: bool = setting(False, flag)


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tuning of the teacher (``Finetune``), the tutorial's first step.

    ``model`` is a pretrained BERT or ERNIE, a folder or PaddleNLP's name. The learning rate climbs over the share
    ``warmup`` of all steps and falls linearly to 0; the optimizer is AdamW.
    """

    model: str | None = setting(None, optional(path))
    epochs: int = setting(3, integer(1))
    learning_rate: float = setting(5e-5, number(0, 1, above=True))
    batch_size: int = setting(32, integer(1))
    warmup: float = setting(0.1, number(0, 1, below=True))
    weight_decay: float = setting(0.01, number(0))


@dataclass(frozen=True)
class QuantBiLSTMConfig:
    """The int8 Bi-LSTM (``QuantBiLSTM``): layers stay float where the metric would drop by more."""

    max_accuracy_drop: float = setting(0.005, number(0, 1))


SECTIONS = {"Global": ("global_", GlobalConfig), "bert_to_bilstm": ("distill", DistillConfig),
            "DataAugmentation": ("augmentation", AugmentationConfig), "TrainConfig": ("train", TrainSettings),
            "Finetune": ("finetune", FinetuneConfig)}

PADDLESLIM_STRATEGIES = ("QuantAware", "QuantPost", "Distillation", "UnstructurePrune", "ASPPrune")

CLASS_LOSSES = ("soft_label", "dkd")  # PaddleSlim's, on probabilities of classes

REFUSED_STRATEGIES = {
    "ChannelPrune": "a Bi-LSTM has no channels to prune; use UnstructurePrune",
    "TransformerPrune": "a Bi-LSTM has no attention heads to prune; use UnstructurePrune",
    "HyperParameterOptimization": "it needs smac and pyrfr, which no longer build; use QuantPost and set its algo",
    "MultiTeacherDistillation": "bert_to_bilstm has one teacher, Global.model_dir; remove it",
}


@dataclass(frozen=True)
class Config:
    """A whole configuration.

    ``strategies`` holds the sections of the strategies that follow the distillation, in the order written:
    PaddleSlim's own as written, and ``QuantBiLSTM`` with every key of :class:`QuantBiLSTMConfig`.
    """

    global_: GlobalConfig = field(default_factory=GlobalConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    train: TrainSettings = field(default_factory=TrainSettings)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    strategies: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as its YAML would be written out in full: dicts, lists and single values.

        ``load_config(config.to_dict()) == config``; the result is fit for ``report.json`` and for ``fingerprint``.
        """
        sections = {name: _as_written(getattr(self, attribute)) for name, (attribute, _) in SECTIONS.items()}
        return {**sections, **_as_written(self.strategies)}


def _as_written(value: Any) -> Any:
    if isinstance(value, HookConfig):
        return {value.name: _as_written(value.params)}
    if dataclasses.is_dataclass(value):
        return {item.name: _as_written(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _as_written(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_written(item) for item in value]
    return value
