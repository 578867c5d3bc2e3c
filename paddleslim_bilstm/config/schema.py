"""Every setting of ours: its default, what it must be, and what it means; and the JSON schema of it all.

The models only hold and check values; :func:`~paddleslim_bilstm.config.load_config` reads them from YAML and says where
a wrong one stands. A validator's ValueError says what the value must be ("must be ..."), or what is wrong with it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, Dict, Iterable, Literal, Mapping, Optional, Tuple, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema

from ..storage import checksum
from ..task import CLASSIFICATION, TASKS, Task, metrics_by_name, task_named
from ..thresholds import HALF
from ..users_code import source_of
from .source import EXPONENT_NUMBER

TOKENS, WORDS = "teacher", "words"  # the student's vocabulary
BEST_ON_DEV = "dev"  # the thresholds


def as_number(value: Any) -> Any:
    """Return text such as ``1e-3`` as a float and everything else as it is."""
    return float(value) if isinstance(value, str) and EXPONENT_NUMBER.match(value) else value


def _as_whole(value: Any) -> Any:
    value = as_number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value  # 1e5


def text(value: Any) -> str:
    """Return text that is not empty."""
    if isinstance(value, (bool, int, float)):
        raise ValueError("must be text in quotes")
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("must be text")
    return value


def _path(value: Any) -> str:
    """Return the path of a file or folder; a leading ``~`` becomes the home folder."""
    return os.path.expanduser(text(os.fspath(value) if isinstance(value, os.PathLike) else value))


def _places(value: Any) -> Union[None, str, Tuple[str, ...]]:
    """Return a path, or several different ones as a tuple."""
    if value is None or not isinstance(value, (list, tuple)):
        return value if value is None else _path(value)
    places = tuple(_path(one) for one in value)
    if len(set(places)) != len(value) or len(places) < 2:
        raise ValueError("must be a path, or a list of two or more different ones")
    return places


def names(value: Any) -> Optional[Tuple[str, ...]]:
    """Return a name or a list of names as a tuple."""
    if value is None:
        return None
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("must be a name or a list of names")
    return tuple(text(name) for name in value)


def _paths(value: Any) -> Optional[Tuple[str, ...]]:
    """Return a path or a list of paths as a tuple."""
    if value is None:
        return None
    value = value if isinstance(value, (list, tuple)) else [value]
    if not value:
        raise ValueError("must be a path or a list of paths")
    return tuple(map(_path, value))


def _text_column(value: Any) -> Union[None, str, Tuple[str, str]]:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        return text(value)
    if len(value) != 2 or value[0] == value[1]:
        raise ValueError("must be a column, or the two columns of sentence pairs, [FIRST, SECOND]")
    return text(value[0]), text(value[1])


def mapping(value: Any) -> Dict[str, Any]:
    """Return free keys and values, rebuilt; ``1e-3`` inside becomes a number."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping, {key: value, ...}")
    return _plain(value)


def _plain(value: Any, with_functions: bool = False) -> Any:
    """Return ``value`` rebuilt from dicts with text keys, lists and single values, exponent numbers as floats.

    A single value is text, a number, true, false or nothing: what JSON and so the report can hold; or, if asked for,
    a function of a script's dict.
    """
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            raise ValueError(f"has the key {wrong!r}, which must be text")
        return {key: _plain(item, with_functions) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, with_functions) for item in value]
    if with_functions and callable(value):
        return value
    if value is not None and not isinstance(value, (str, bool, int, float)):
        raise ValueError(f"holds the {type(value).__name__} {value!r}; put it in quotes if it is text")
    return as_number(value)


def _typed(value: Any) -> Dict[str, Any]:
    """Return a class of Paddle by name with its arguments: ``{type: Adam, beta1: 0.9}``.

    Among them may be functions, as PaddleSlim's scripts put them in: AdamW's ``apply_decay_param_fun``.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        raise ValueError("must be a mapping with the name of a class, {type: NAME, ...}")
    return _plain(value, with_functions=True)


def _weight_decay(value: Any) -> Any:
    """Return a number, or what a script has made of ``paddle.regularizer``."""
    if callable(value):
        return value
    value = as_number(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
        raise ValueError("must be a number from 0")
    return float(value)


OPTIMIZER_PARTS = {"optimizer": _typed, "grad_clip": _typed, "regularizer": _typed, "weight_decay": _weight_decay}


def _optimizer_builder(value: Any) -> Dict[str, Any]:
    if not isinstance(value, Mapping) or "optimizer" not in value or not value.keys() <= OPTIMIZER_PARTS.keys():
        raise ValueError("must be {optimizer: {type: NAME, ...}} and, if wanted, weight_decay, regularizer, grad_clip")
    checked = {}
    for part, item in value.items():
        try:
            checked[part] = OPTIMIZER_PARTS[part](item)
        except ValueError as error:
            raise ValueError(f"has a wrong {part}, which {error}") from None
    return checked


def _learning_rate(value: Any) -> Union[None, float, Dict[str, Any]]:
    if value is None:
        return None
    number = as_number(value)
    if not isinstance(number, bool) and isinstance(number, (int, float)) and 0 < number <= sys.float_info.max:
        return float(number)
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        return _typed(value)
    raise ValueError("must be a number above 0 or a schedule of paddle.optimizer.lr, {type: NAME, ...}")


def _threshold(value: Any) -> Union[float, str]:
    number = as_number(value)
    if value == BEST_ON_DEV or isinstance(number, float) and 0 < number < 1:
        return number
    raise ValueError(f"must be a number between 0 and 1, or {BEST_ON_DEV}")


@dataclass(frozen=True)
class HookConfig:
    """An augmentation hook by its registered name, with its parameters."""

    name: str
    params: Dict[str, Any] = field(default_factory=dict)


def _one_of(value: Any, valid: Iterable[str]) -> str:
    *others, last = map(repr, valid)
    if not isinstance(value, str) or value not in valid:
        raise ValueError(f"must be {', '.join(others)} or {last}")
    return value


def _hooks(value: Any) -> Tuple[HookConfig, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list of hooks, - masking: {p_mask: 0.1}")
    return tuple(_hook(item) for item in value)


def _hook(item: Any) -> HookConfig:
    if isinstance(item, HookConfig) or isinstance(item, str) and item.strip():
        return item if isinstance(item, HookConfig) else HookConfig(item)
    if isinstance(item, dict) and len(item) == 1:
        (name, params), = item.items()
        if isinstance(name, str) and (params is None or isinstance(params, dict)):
            return HookConfig(name, mapping(params or {}))
    raise ValueError(f"has an entry that is no hook, {item!r}; write - NAME or - NAME: {{PARAMETER: VALUE}}, "
                     "with the parameters indented under the name")


def _schema(**keywords: Any) -> WithJsonSchema:
    return WithJsonSchema({name.rstrip("_"): value for name, value in keywords.items()})


_CLASS = {"type": "object", "required": ["type"], "properties": {
    "type": {"type": "string", "description": "Name of the class; the other keys are its arguments."}}}
_NAMES = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_SEVERAL_NAMES = _schema(anyOf=[{"type": "string"}, _NAMES, {"type": "null"}])

Text = Annotated[str, BeforeValidator(text)]
FilePath = Annotated[str, BeforeValidator(_path)]
Names = Annotated[Optional[Tuple[str, ...]], PlainValidator(names), _SEVERAL_NAMES]
FilePaths = Annotated[Optional[Tuple[str, ...]], PlainValidator(_paths), _SEVERAL_NAMES]
TextColumn = Annotated[Any, PlainValidator(_text_column), _schema(
    anyOf=[{"type": "string"}, {**_NAMES, "minItems": 2, "maxItems": 2}, {"type": "null"}])]
Places = Annotated[Any, PlainValidator(_places), _schema(
    anyOf=[{"type": "string"}, {**_NAMES, "minItems": 2, "uniqueItems": True}, {"type": "null"}])]
Free = Annotated[Dict[str, Any], PlainValidator(mapping), _schema(type="object")]
OptimizerBuilder = Annotated[Dict[str, Any], PlainValidator(_optimizer_builder), _schema(
    type="object", required=["optimizer"], additionalProperties=False,
    properties={"optimizer": {**_CLASS, "description": "Of paddle.optimizer."},
                "grad_clip": {**_CLASS, "description": "Of paddle.nn, such as ClipGradByNorm."},
                "regularizer": {**_CLASS, "description": "Of paddle.regularizer, in place of weight_decay."},
                "weight_decay": {"type": "number", "minimum": 0, "description": "Of all weights."}})]
LearningRate = Annotated[Any, PlainValidator(_learning_rate), _schema(
    anyOf=[{"type": "number", "exclusiveMinimum": 0}, _CLASS, {"type": "null"}])]
Hooks = Annotated[Tuple[HookConfig, ...], PlainValidator(_hooks), _schema(type="array", items={"anyOf": [
    {"type": "string"},
    {"type": "object", "minProperties": 1, "maxProperties": 1,
     "additionalProperties": {"type": ["object", "null"]}}]}),
    PlainSerializer(lambda hooks: [{hook.name: hook.params} for hook in hooks])]
Whole = BeforeValidator(_as_whole)
Count = Annotated[int, Field(ge=1), Whole]
Number = Annotated[float, BeforeValidator(as_number)]
Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(as_number)]
ShareBelow1 = Annotated[float, Field(ge=0, lt=1), BeforeValidator(as_number)]
TaskName = Annotated[str, PlainValidator(lambda value: _one_of(value, TASKS)), _schema(
    enum=list(TASKS), type="string")]
Threshold = Annotated[Any, PlainValidator(_threshold), _schema(
    anyOf=[{"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, {"const": BEST_ON_DEV}])]
MetricName = Annotated[str, PlainValidator(lambda value: _one_of(value, metrics_by_name())), _schema(
    enum=list(metrics_by_name()), type="string")]


class Section(BaseModel):
    """A mapping in the YAML whose keys are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False,
                              use_attribute_docstrings=True)


class GlobalConfig(Section):
    """Where things are, and what the task is."""

    model_dir: Places = None
    """Folder of the fine-tuned teacher: a PaddleNLP or Hugging Face checkpoint, an inference model or an ONNX file; or
    the .onnx file itself. A list of several: teachers whose logits are averaged."""
    model_filename: Optional[Text] = None
    """File of an inference model's program, or ONNX file, in model_dir, where it has no usual name."""
    params_filename: Optional[Text] = None
    """File of an inference model's weights in model_dir, where it has no usual name."""
    teacher_labels: FilePaths = None
    """In place of model_dir: answers to the texts that `augment` writes, a file, a folder or several."""
    tokenizer_dir: Optional[FilePath] = None
    """Folder of the (first) teacher's tokenizer files, where they are not in model_dir; without one, the
    student's. The texts of teacher_labels may bring theirs."""
    train_file: Optional[FilePath] = None
    """Training text with labels: .tsv, .csv or .jsonl."""
    dev_file: Optional[FilePath] = None
    """Text with labels that the report measures on."""
    unlabeled_file: Optional[FilePath] = None
    """Texts without labels, one a line; they join the transfer set, and the teacher labels them."""
    dataset: Names = None
    """Training data that PaddleNLP knows, [glue, sst-2], in place of the files."""
    text_column: TextColumn = None
    """The column of the text, or the two columns of sentence pairs, where they have no usual names."""
    label_column: Optional[Text] = None
    """The column of the label, where it has no usual name."""
    task: TaskName = CLASSIFICATION.name
    """A regression's labels are numbers, and its teacher has one output. With multi_label a text has any number of
    labels, and its teacher a sigmoid at each output."""
    metric: Optional[MetricName] = None
    """Measures checkpoints, guards QuantBiLSTM, leads the report; accuracy, pearson or micro_f1 if unset."""
    threshold: Threshold = HALF
    """Of multi_label: the probability above which a label is answered; dev takes each label's best on the dev set."""
    save_dir: FilePath = "./output"
    """Folder of the result."""
    cache_dir: Optional[FilePath] = None
    """Folder of what later runs take up; $PADDLESLIM_BILSTM_CACHE or ~/.cache/paddleslim_bilstm if unset."""
    max_seq_length: Annotated[int, Field(ge=3), Whole] = 128
    """Tokens of the longest input, [CLS] and [SEP] counted."""
    seed: Annotated[int, Field(ge=0, lt=2**32), Whole] = 0
    """Of everything that is drawn, but for what bert_to_bilstm.seed is set for."""
    visualdl: bool = False
    """Write the curves of the trainings for VisualDL, while they go on, to the folder visualdl in save_dir."""
    plugins: Names = None
    """Python code of your own with hooks, losses and encoders: modules, or .py files beside this file. It is run."""

    @property
    def teachers(self) -> Tuple[str, ...]:
        """The places of ``model_dir``: none, one or several."""
        return (self.model_dir,) if isinstance(self.model_dir, str) else self.model_dir or ()

    @property
    def teacher_folders(self) -> Tuple[str, ...]:
        """Their folders, which hold their tokenizers."""
        return tuple(os.path.dirname(place) or "." if place.endswith(".onnx") and not os.path.isdir(place) else place
                     for place in self.teachers)

    @property
    def chosen_metric(self) -> str:
        """``metric``, or the task's default."""
        return self.metric or task_named(self.task).metrics[0].name

    @property
    def chosen_task(self) -> Task:
        """``task``, with the ``threshold`` that every model of the run begins with."""
        return task_named(self.task).with_thresholds([HALF if self.threshold == BEST_ON_DEV else self.threshold])


class StudentConfig(Section):
    """The Bi-LSTM."""

    embed_dim: Count = 64
    """Width of the embedding."""
    encoder: Text = "bilstm"
    """The kind of student: bilstm, bigru, or one of a plug-in."""
    hidden_size: Count = 94
    """Units of the encoder in each direction."""
    num_layers: Count = 1
    """Stacked bidirectional layers."""
    pooling: Literal["last", "max", "attention"] = "max"
    """What the tanh layer sees: the last states of both directions; with max each unit's largest beside them, with
    attention a weighted mean of all states."""
    dropout: ShareBelow1 = 0.0
    """Share of the embedding dropped in training."""
    vocabulary: Literal["teacher", "words"] = TOKENS
    """What it reads: the teacher's tokens in the teacher's feeds, or words in feeds of their own."""
    min_count: Annotated[int, Field(ge=2), Whole] = 2
    """Of words: those that occur less often share the row [UNK]."""
    embeddings: FilePath = "teacher"
    """What the embedding starts from: teacher, random, a file of word vectors, or a name that PaddleNLP knows."""
    unseen_tokens: Annotated[int, Field(ge=0), Whole] = 20_000
    """How many of the teacher's tokens that the transfer set does not have keep an embedding of their own, projected
    from the teacher's; the first of its vocabulary. Fewer make a smaller student, which knows fewer words."""


SQUARED_ERRORS = ("logit_mse", "l2")  # of the distillation losses


class DistillConfig(Section):
    """The strategy: total loss = alpha * hard-label loss + (1 - alpha) * distillation loss."""

    student: Annotated[StudentConfig, BeforeValidator(lambda value: {} if value is None else value)] = StudentConfig()
    """Sizes and vocabulary of the Bi-LSTM."""
    loss: Text = "logit_mse"
    """Distillation loss: logit_mse, PaddleSlim's l2, soft_label, dkd, skd, or one of a plug-in."""
    alpha: Share = 0.0
    """Weight of the hard-label loss; 0 learns from the teacher alone."""
    hint_weight: Annotated[float, Field(ge=0), BeforeValidator(as_number)] = 0.5
    """With logit_mse or l2: weight of what the teacher's hidden states tell (FitNets' hints), in parts of its logits'
    variance; 0 learns from its logits alone, as in the paper."""
    batch_size: Count = 128
    """Sentences of a batch."""
    train_alone: bool = True
    """Also train the same Bi-LSTM on the labels only, for comparison."""
    seed: Optional[Annotated[int, Field(ge=0, lt=2**32), Whole]] = None
    """Of the student's first weights and the order of its batches; Global.seed if unset. Another one makes another
    student from the same transfer set, which is not labelled again."""

    @property
    def has_squared_error(self) -> bool:
        """Whether the distillation loss is the squared error of the logits."""
        return self.loss in SQUARED_ERRORS

    @property
    def learns_hints(self) -> bool:
        """Whether the teacher's hints join the loss, if it has any."""
        return self.hint_weight > 0 and self.alpha < 1 and self.has_squared_error

    @property
    def wants_hints(self) -> bool:
        """Whether it was said how much they are to weigh."""
        return self.hint_weight not in (0, DistillConfig().hint_weight)


CROSSOVER = "crossover"  # not a default where alpha is above 0: it joins sentences of different labels
DEFAULT_HOOKS = (
    HookConfig("masking", {"p_mask": 0.1}),
    HookConfig("pos_replacement", {"p_pos": 0.1}),
    HookConfig("ngram_sampling", {"p_ng": 0.25, "ngram_range": [2, 6]}),
    HookConfig(CROSSOVER, {"p_cross": 0.5}),
)


class AugmentationConfig(Section):
    """The data hook: rounds over the training text, and what each does to a sentence."""

    n_iter: Optional[Annotated[int, Field(ge=0), Whole]] = None
    """Rounds over the training text; duplicates are dropped. Left out: as many as make some 18 million tokens, 100
    at most."""
    hooks: Hooks = DEFAULT_HOOKS
    """What a round does, in this order: masking, pos_replacement, ngram_sampling, crossover, or hooks of a plug-in."""


class TrainSettings(Section):
    """PaddleSlim's TrainConfig. Training ends with epochs or after train_iter batches, whichever comes first."""

    epochs: Optional[Count] = None
    """Passes over the transfer set; 4, and more on small data, where neither this nor train_iter is set."""
    train_iter: Optional[Count] = None
    """Batches."""
    learning_rate: LearningRate = None
    """A number (constant), or a schedule of paddle.optimizer.lr by its class; from 0.004 down to 0 if unset."""
    optimizer_builder: OptimizerBuilder = Field(default_factory=lambda: {"optimizer": {"type": "Adam"}})
    """Class of paddle.optimizer with its arguments, and, if wanted, weight_decay, regularizer, grad_clip."""
    eval_iter: Optional[Count] = None
    """Batches between two looks at the dev set; a tenth of the training, at most 1000, if unset."""
    logging_iter: Optional[Count] = None
    """Batches between two log lines of a training; if unset, none of the student's, 10 of the strategies behind it."""
    origin_metric: Optional[Number] = None
    """The teacher's metric as you know it; another one stops the run before any work."""
    target_metric: Optional[Number] = None
    """Training ends once the metric exceeds it."""
    amp_config: Optional[Free] = None
    """Of mixed precision; refused."""
    recompute_config: Optional[Free] = None
    """Of distributed training; refused."""
    sharding_config: Optional[Free] = None
    """Of distributed training; refused."""
    sparse_model: bool = False
    """Keeps the zeros of 1x1 convolutions, which a Bi-LSTM has none of; true is refused."""

    @property
    def has_functions(self) -> bool:
        """Whether a script has put functions of its own in, of which nothing says what they do."""
        return _holds_function([self.optimizer_builder, self.learning_rate])


class FinetuneConfig(Section):
    """Fine-tuning of the teacher with AdamW, the tutorial's first step."""

    model: Optional[FilePath] = None
    """A pretrained encoder, such as BERT, ERNIE or RoBERTa: a folder, or PaddleNLP's name for it."""
    epochs: Count = 3
    """Passes over the training text."""
    learning_rate: Annotated[float, Field(gt=0, le=1), BeforeValidator(as_number)] = 5e-5
    """The highest; it climbs there over the warmup and falls linearly to 0."""
    batch_size: Count = 32
    """Sentences of a batch."""
    warmup: ShareBelow1 = 0.1
    """Share of all steps in which the learning rate climbs."""
    weight_decay: Annotated[float, Field(ge=0), BeforeValidator(as_number)] = 0.01
    """Of the matrices."""


class QuantBiLSTMConfig(Section):
    """The int8 Bi-LSTM for ONNX Runtime, model.int8.onnx."""

    max_accuracy_drop: Share = 0.005
    """Where the metric would fall by more, fewer units share a byte, and layers stay float."""
    units_per_byte: Annotated[int, Field(ge=1, le=8), Whole] = 3
    """Of the embedding: one of 256 vectors stands for so many units; 1: int8."""


SECTIONS = {"Global": ("global_", GlobalConfig), "bert_to_bilstm": ("distill", DistillConfig),
            "DataAugmentation": ("augmentation", AugmentationConfig), "TrainConfig": ("train", TrainSettings),
            "Finetune": ("finetune", FinetuneConfig)}

_QUANTIZED = {"quantize_op_types": "types of the operators to quantize", "weight_bits": "bits of a weight",
              "activation_bits": "bits of an activation", "is_full_quantize": "quantize every operator that can be",
              "weight_quantize_type": "how the scale of weights is found",
              "activation_quantize_type": "how the scale of activations is found",
              "onnx_format": "write QuantizeLinear and DequantizeLinear operators"}
# PaddleSlim's strategies that can follow the student, and their keys
PADDLESLIM_STRATEGIES = {
    "QuantAware": ("quantization-aware training of the linear layers", {
        **_QUANTIZED, "not_quant_pattern": "name scopes that are not quantized",
        "use_pact": "learn where activations are clipped", "dtype": "type of quantized values",
        "window_size": "batches that range_abs_max looks at", "moving_rate": "decay of moving_average_abs_max",
        "for_tensorrt": "quantize what TensorRT can"}),
    "QuantPost": ("post-training quantization of the linear layers", {
        **_QUANTIZED, "batch_size": "unused with a data loader", "batch_nums": "batches to calibrate on; 32 if unset",
        "epochs": "of the reconstruction", "lr": "learning rate of the reconstruction",
        "algo": "how scales are found: hist, KL, abs_max, mse", "hist_percent": "percentile of hist",
        "regions": "of the reconstruction", "region_weights_names": "weights of the regions",
        "recon_level": "layer-wise or region-wise reconstruction", "bias_correction": "correct the weights' mean",
        "simulate_activation_quant": "of the reconstruction",
        "skip_tensor_list": "of the reconstruction: tensors to leave in float"}),
    "Distillation": ("the student as it was teaches while it is quantized or pruned", {
        "loss": "logit_mse, l2, soft_label, dkd, skd or one of a plug-in, or a list with one for each list of nodes",
        "node": "names of variables to compare, or a list of such lists; the logits if unset",
        "alpha": "weight of the loss, or one for each", "teacher_model_dir": "another teacher's inference model",
        "teacher_model_filename": "its program", "teacher_params_filename": "its weights"}),
    "UnstructurePrune": ("the smallest weights become zero", {
        "prune_strategy": "gmp prunes step by step; at once if unset", "prune_mode": "ratio or threshold",
        "threshold": "of prune_mode threshold", "ratio": "share of the weights", "gmp_config": "the steps of gmp",
        "prune_params_type": "leave it out: all weights", "local_sparsity": "the same share of each matrix"}),
    "ASPPrune": ("two of every four weights become zero", {
        "prune_params_name": "leave it out: the linear layers"}),
}

REFUSED_STRATEGIES = {
    "ChannelPrune": "a Bi-LSTM has no channels to prune; use UnstructurePrune",
    "TransformerPrune": "a Bi-LSTM has no attention heads to prune; use UnstructurePrune",
    "HyperParameterOptimization": "it needs smac and pyrfr, which no longer build; use QuantPost and set its algo",
    "MultiTeacherDistillation": "name the teachers as Global.model_dir: [ONE, OTHER], whose logits bert_to_bilstm "
                                "averages; remove it",
}


class Config(BaseModel):
    """A whole configuration.

    ``strategies`` holds the sections of the strategies that follow the distillation, in the order written:
    PaddleSlim's own as written, and ``QuantBiLSTM`` with every key of :class:`QuantBiLSTMConfig`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    global_: GlobalConfig = GlobalConfig()
    distill: DistillConfig = DistillConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    train: TrainSettings = Field(default_factory=TrainSettings)
    finetune: FinetuneConfig = FinetuneConfig()
    strategies: Dict[str, Dict[str, Any]] = Field(default_factory=dict)

    @property
    def student_seed(self) -> int:
        """Of the student's first weights and the order of its batches."""
        return self.global_.seed if self.distill.seed is None else self.distill.seed

    def to_dict(self) -> Dict[str, Any]:
        """Return the configuration as its YAML would be written out in full: dicts, lists and single values.

        ``load_config(config.to_dict()) == config``, but for functions, which become their name and their code's
        checksum; the result is fit for ``report.json`` and for ``fingerprint``.
        """
        sections = {name: getattr(self, attribute).model_dump() for name, (attribute, _) in SECTIONS.items()}
        return _listed({**sections, **self.strategies})


def _holds_function(value: Any) -> bool:
    if isinstance(value, (dict, list)):
        return any(map(_holds_function, value.values() if isinstance(value, dict) else value))
    return callable(value)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if callable(value):
        return f"{getattr(value, '__qualname__', type(value).__qualname__)} {checksum(source_of(value))}"
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def json_schema() -> Dict[str, Any]:
    """Return the JSON schema (draft 7) of a whole YAML file; PaddleSlim's own sections are open in it."""
    definitions, sections = {}, {}
    for name, cls in [*((name, cls) for name, (_, cls) in SECTIONS.items()), ("QuantBiLSTM", QuantBiLSTMConfig)]:
        schema = cls.model_json_schema(schema_generator=_Untitled)
        definitions.update(schema.pop("$defs", {}))
        sections[name] = {**schema, "type": ["object", "null"]}
    sections["DataAugmentation"]["properties"]["hooks"]["default"] = [
        {hook.name: dict(hook.params)} for hook in DEFAULT_HOOKS]
    student = sections["bert_to_bilstm"]["properties"]["student"]
    student["anyOf"] = [{"$ref": student.pop("$ref")}, {"type": "null"}]
    for name, (what, keys) in PADDLESLIM_STRATEGIES.items():
        sections[name] = {"description": f"PaddleSlim's own: {what}.", "type": ["object", "null"],
                          "properties": {key: {"description": f"{text[0].upper()}{text[1:]}."}
                                         for key, text in keys.items()}}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "paddleslim_bilstm",
            "description": "A configuration of paddleslim-bilstm compress and finetune.", "type": "object",
            "properties": sections, "additionalProperties": False,
            "anyOf": [{"required": ["bert_to_bilstm"]}, {"required": ["Finetune"]}], "$defs": definitions}


class _Untitled(GenerateJsonSchema):
    """Leaves out titles that only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
