"""Configuration: YAML, dict and overrides become checked dataclasses; what is wrong is told in one line."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest

from paddleslim_bilstm.config import HookConfig, load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.weights import weight_shapes

YAML = """\
Global:
  model_dir: teachers/sst2
  train_file: train.tsv
  dataset:
bert_to_bilstm:
  student: {embed_dim: 200, dropout: 1e-1}
  alpha: 0.5
DataAugmentation:
  n_iter: 3
  hooks:
    - masking: {p_mask: 1e-1}
    - ngram_sampling
TrainConfig:
  epochs: 6
  learning_rate: {type: PolynomialDecay, learning_rate: 1e-3, decay_steps: 100}
  optimizer_builder: {optimizer: {type: AdamW, beta1: 0.9}, weight_decay: 1e-2}
UnstructurePrune: {ratio: 0.5}
QuantPost:
QuantBiLSTM: {max_accuracy_drop: 0.01}
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str | bytes, name: str = "run.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path
    return write


def error_of(source, overrides=()) -> str:
    with pytest.raises(UserError) as caught:
        load_config(source, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def changed(old: str, new: str) -> str:
    assert old in YAML
    return YAML.replace(old, new)


def test_yaml_is_read_with_defaults_for_the_rest(written):
    config = load_config(written(YAML))
    assert config.global_.model_dir == "teachers/sst2" and config.global_.max_seq_length == 128
    assert (config.distill.student.embed_dim, config.distill.student.hidden_size) == (200, 150)
    assert config.distill.student.dropout == 0.1 and config.distill.alpha == 0.5 and config.distill.loss == "logit_mse"
    assert config.augmentation.hooks == (HookConfig("masking", {"p_mask": 0.1}), HookConfig("ngram_sampling"))
    assert config.train.learning_rate == {"type": "PolynomialDecay", "learning_rate": 0.001, "decay_steps": 100}
    assert config.train.optimizer_builder["weight_decay"] == 0.01 and config.train.eval_iter is None
    assert list(config.strategies.items()) == [
        ("UnstructurePrune", {"ratio": 0.5}), ("QuantPost", {}), ("QuantBiLSTM", {"max_accuracy_drop": 0.01})]


def test_an_empty_section_takes_the_defaults():
    config = load_config({"bert_to_bilstm": None, "DataAugmentation": None, "QuantAware": None})
    assert config.distill.student.num_layers == 1 and config.distill.train_alone is True
    assert [hook.name for hook in config.augmentation.hooks] == ["masking", "pos_replacement", "ngram_sampling",
                                                             "crossover"]
    assert config.train.learning_rate is None and config.strategies == {"QuantAware": {}}


def test_to_dict_is_json_and_reads_back_as_the_same_config(written):
    config = load_config(written(YAML), ["Global.dataset=[glue, sst-2]"])
    assert load_config(json.loads(json.dumps(config.to_dict()))) == config


def test_a_dict_is_not_changed_and_defaults_are_not_shared():
    source = {"bert_to_bilstm": {}, "TrainConfig": {"learning_rate": {"type": "StepDecay", "learning_rate": "1e-3"}}}
    first = load_config(source, ["Global.seed=1"])
    first.train.learning_rate.pop("type")  # as PaddleSlim does
    first.train.optimizer_builder["optimizer"].pop("type")
    assert "Global" not in source and source["TrainConfig"]["learning_rate"]["type"] == "StepDecay"
    assert load_config(source).train.optimizer_builder == {"optimizer": {"type": "Adam"}}


def test_overrides_win_and_are_read_as_yaml(written):
    config = load_config(written(YAML), [
        "Global.save_dir=out", "bert_to_bilstm.student.hidden_size=150",
        "DataAugmentation.hooks=[masking: {p_mask: 0}]", "TrainConfig.learning_rate=1e-4",
        "QuantPost.algo=hist", "QuantAware={}", "Global.train_file=a=b.tsv"])
    assert config.global_.save_dir == "out" and config.distill.student.hidden_size == 150
    assert config.distill.student.embed_dim == 200
    assert config.augmentation.hooks == (HookConfig("masking", {"p_mask": 0}),)
    assert config.train.learning_rate == 1e-4 and config.global_.train_file == "a=b.tsv"
    assert config.strategies["QuantPost"] == {"algo": "hist"} and config.strategies["QuantAware"] == {}


def test_home_folder_and_exponents_are_understood():
    config = load_config({"bert_to_bilstm": {"batch_size": "1e2", "alpha": "5e-1"}, "Global": {"save_dir": "~/out"}})
    assert config.distill.batch_size == 100 and config.distill.alpha == 0.5
    assert config.global_.save_dir == str(Path.home() / "out")


@pytest.mark.parametrize("old, new, line, parts", [
    ("alpha:", "alhpa:", 7, ["bert_to_bilstm.alhpa", "did you mean alpha?"]),
    ("DataAugmentation:", "DataAugmentaton:", 8, ["DataAugmentaton", "did you mean DataAugmentation?"]),
    ("embed_dim:", "embeddim:", 6, ["bert_to_bilstm.student.embeddim", "did you mean embed_dim?"]),
    ("model_dir: teachers", "zzz: teachers", 2, ["Global.zzz", "valid: model_dir, "]),
    ("embed_dim: 200", "embed_dim: wide", 6, ["student.embed_dim", "whole number", "'wide'"]),
    ("embed_dim: 200", "embed_dim: true", 6, ["student.embed_dim", "True"]),
    ("dropout: 1e-1", "dropout: 1", 6, ["student.dropout", "below 1"]),
    ("alpha: 0.5", "alpha: 1.5", 7, ["bert_to_bilstm.alpha", "up to 1", "1.5"]),
    ("alpha: 0.5", "alpha: .nan", 7, ["bert_to_bilstm.alpha", "nan"]),
    ("n_iter: 3", "n_iter: -1", 9, ["DataAugmentation.n_iter", "at least 0", "-1"]),
    ("n_iter: 3", "n_iter: 2.5", 9, ["DataAugmentation.n_iter", "2.5"]),
    ("- masking: {p_mask: 1e-1}", "- masking:\n      p_mask: 1e-1", 10, ["hooks", "indented"]),
    ("epochs: 6", "epochs: 0", 14, ["TrainConfig.epochs", "at least 1"]),
    ("type: PolynomialDecay, ", "", 15, ["TrainConfig.learning_rate", "type"]),
    ("optimizer: {type: AdamW, beta1: 0.9}", "optimzer: {}", 16, ["TrainConfig.optimizer_builder", "optimizer"]),
    ("QuantPost:", "QuantPost: [1]", 18, ["QuantPost", "mapping"]),
    ("train_file: train.tsv", "metric: accuray", 3, ["Global.metric", "one of accuracy, f1, macro_f1, matthews"]),
    ("train_file: train.tsv", "train_file: no", 3, ["Global.train_file", "text in quotes", "False"]),
    ("student: {embed_dim: 200, dropout: 1e-1}", "student: 3", 6, ["bert_to_bilstm.student", "mapping"]),
])
def test_wrong_settings_are_named_with_file_and_line(written, old, new, line, parts):
    path = written(changed(old, new))
    message = error_of(path)
    assert message.startswith(f"{path}:{line}: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("sections, parts", [
    ({"Global": {"task": "regression", "metric": "f1"}}, ["Global.metric: f1 is no metric of a regression", "pearson"]),
    ({"Global": {"metric": "pearson"}}, ["Global.metric: pearson is no metric of a classification", "accuracy"]),
    ({"Global": {"task": "regression"}, "bert_to_bilstm": {"loss": "soft_label"}},
     ["bert_to_bilstm.loss: soft_label", "logit_mse or l2"]),
    ({"Global": {"task": "regression"}, "QuantAware": {}, "Distillation": {"loss": ["l2", "dkd"]}},
     ["Distillation.loss: dkd"])])
def test_what_makes_no_sense_for_the_task_is_refused(sections, parts):
    message = error_of({"bert_to_bilstm": None, **sections})
    assert all(part in message for part in parts)


def test_hard_labels_and_crossover_do_not_go_together():
    config = load_config({"bert_to_bilstm": {"alpha": 0.5}, "DataAugmentation": {"n_iter": 3}})
    assert [hook.name for hook in config.augmentation.hooks] == ["masking", "pos_replacement", "ngram_sampling"]
    assert config.augmentation.n_iter == 3
    message = error_of({"bert_to_bilstm": {"alpha": 0.5}, "DataAugmentation": {"hooks": ["masking", "crossover"]}})
    assert all(part in message for part in ("bert_to_bilstm.alpha: 0.5", "set it to 0", "crossover"))


def test_the_task_chooses_the_metric():
    assert load_config({"bert_to_bilstm": None}).global_.chosen_metric == "accuracy"
    assert load_config({"bert_to_bilstm": None}, ["Global.task=regression"]).global_.chosen_metric == "pearson"
    assert load_config({"bert_to_bilstm": None}, ["Global.metric=f1"]).global_.chosen_metric == "f1"


@pytest.mark.parametrize("name, instead", [
    ("ChannelPrune", "no channels"), ("TransformerPrune", "no attention heads"),
    ("HyperParameterOptimization", "smac"), ("MultiTeacherDistillation", "one teacher")])
def test_strategies_that_make_no_sense_are_refused_with_the_reason(written, name, instead):
    path = written(YAML + f"{name}: {{}}\n")
    message = error_of(path)
    assert message.startswith(f"{path}:20: {name}: ") and instead in message


@pytest.mark.parametrize("override, part", [
    ("Global.sed=1", "did you mean seed?"), ("Gobal.seed=1", "did you mean Global?"), ("seed", "Section.key=value"),
    ("Global.=1", "Section.key=value"), ("Global.seed=[", "no valid YAML"), ("Global.seed=-1", "from 0 to"),
    ("Global.model_dir.x=1", "has no keys"), ("bert_to_bilstm={alpha: 2}", "bert_to_bilstm.alpha"),
    ("Global.seed=" + "9" * 5000, "Global.seed")])
def test_wrong_overrides_are_named(written, override, part):
    message = error_of(written(YAML), [override])
    assert message.startswith(f"-o {override}: ") and part in message


@pytest.mark.parametrize("text, line, part", [
    ("Global: {seed: 1}\nbert_to_bilstm:\nGlobal: {}\n", 3, "second time"),
    ("bert_to_bilstm: {alpha: 0,\n alpha: 1}\n", 2, "second time"),
    ("bert_to_bilstm: [\n", 2, "no valid YAML"),
    ("bert_to_bilstm: !!python/object/apply:os.system [exit 3]\n", 1, "not supported"),
    ("bert_to_bilstm:\n  loss: !!python/name:os.system\n", 2, "no valid YAML"),
    ("a: &a [1]\nb: *a\n", 2, "aliases"),
    ("a: &a [*a]\n", 1, "aliases"),
    ("bert_to_bilstm:\n  alpha: \x01\n", 2, "not allowed"),
    ("bert_to_bilstm:\n  ? [1]\n  : 2\n", 2, "must be a name"),
    (b"Global:\n  model_dir: \xff\n", 2, "UTF-8"),
])
def test_broken_yaml_is_named_with_its_line(written, text, line, part):
    path = written(text)
    message = error_of(path)
    assert message.startswith(f"{path}:{line}: ") and part in message


def test_files_that_hold_no_configuration(written, tmp_path):
    assert "No such file" in error_of(tmp_path / "absent.yaml")
    assert "directory" in error_of(tmp_path)
    assert "sections" in error_of(written(""))
    assert "sections" in error_of(written("just text"))
    assert "nested too deeply" in error_of(written("a: " + "[" * 5000))
    assert "no section bert_to_bilstm" in error_of(written("Global: {}"))


def test_inside_paddleslim_other_settings_are_left_alone(caplog):
    source = {"Global": {"task_name": "afqmc", "dataset": "clue", "model_dri": "x"}, "bert_to_bilstm": None, "Eval": {}}
    with caplog.at_level(logging.WARNING):
        config = load_config(source, inside_paddleslim=True)
    assert config.global_.dataset == ("clue",)
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == 3 and any("model_dri" in text and "did you mean model_dir?" in text for text in named)
    assert "Eval" in error_of({"bert_to_bilstm": None, "Eval": {}})
    with pytest.raises(UserError, match="alhpa"):
        load_config({"bert_to_bilstm": {"alhpa": 1}}, inside_paddleslim=True)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "configs").glob("*.yaml")),
                         ids=lambda path: path.stem)
def test_the_student_of_a_shipped_config_is_smaller_than_its_teacher(path):
    """Even with every token of BERT's vocabulary, features of pairs, and the smallest teacher: 22.7 million."""
    student = load_config(path).distill.student
    spec = StudentSpec(student.embed_dim, student.hidden_size, student.num_layers, ("0", "1"), 0, 128, pairs=True)
    assert sum(math.prod(shape) for shape in weight_shapes(spec, rows=30_522).values()) < 22.7e6
