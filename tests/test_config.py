"""Configuration: YAML, dict and overrides become checked settings; what is wrong is told in one line."""

from __future__ import annotations

import inspect
import json
import logging
import math
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

from paddleslim_bilstm import compress
from paddleslim_bilstm.augment import augmentation_hook, check_hooks
from paddleslim_bilstm.augment.registry import hook_fingerprint, hook_function
from paddleslim_bilstm.config import HookConfig, load_config
from paddleslim_bilstm.config.schema import PADDLESLIM_STRATEGIES, SECTIONS, json_schema
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.finetune.finetune import finetune
from paddleslim_bilstm.pipeline import augment
from paddleslim_bilstm.student.encoders import encoder_fingerprint, encoder_named
from paddleslim_bilstm.student.losses import loss_fingerprint
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.weights import weight_shapes
from paddleslim_bilstm.users_code import code_fingerprint

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
QuantBiLSTM: {max_accuracy_drop: 0.01, units_per_byte: 2}
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
    assert (config.distill.student.embed_dim, config.distill.student.hidden_size) == (200, 94)
    assert config.distill.student.dropout == 0.1 and config.distill.alpha == 0.5 and config.distill.loss == "logit_mse"
    assert config.augmentation.hooks == (HookConfig("masking", {"p_mask": 0.1}), HookConfig("ngram_sampling"))
    assert config.train.learning_rate == {"type": "PolynomialDecay", "learning_rate": 0.001, "decay_steps": 100}
    assert config.train.optimizer_builder["weight_decay"] == 0.01 and config.train.eval_iter is None
    assert list(config.strategies.items()) == [
        ("UnstructurePrune", {"ratio": 0.5}), ("QuantPost", {}),
        ("QuantBiLSTM", {"max_accuracy_drop": 0.01, "units_per_byte": 2})]


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


def test_numpys_numbers_are_pythons():
    source = {"Global": {"seed": np.uint8(3), "visualdl": np.bool_(True), "save_dir": np.str_("out")},
              "bert_to_bilstm": {"alpha": np.float32(0.5), "student": {"hidden_size": np.int64(150)}},
              "DataAugmentation": {"hooks": [{"masking": {"p_mask": np.float64(0.25)}}]},
              "TrainConfig": {"epochs": np.int64(2), "optimizer_builder": {
                  "optimizer": {"type": "Adam", "beta": (np.float32(0.5),)}}},
              "UnstructurePrune": {"ratio": np.float16(0.5)}}
    config = load_config(source)
    assert json.loads(json.dumps(config.to_dict())) == load_config(json.loads(json.dumps(source, default=lambda one: (
        one.item())))).to_dict()
    assert type(config.train.epochs) is int and type(config.strategies["UnstructurePrune"]["ratio"]) is float
    assert type(config.train.optimizer_builder["optimizer"]["beta"][0]) is float
    assert type(source["TrainConfig"]["epochs"]) is np.int64
    assert "TrainConfig.epochs: must be greater than or equal to 1, not 0" in error_of(
        {"bert_to_bilstm": {}, "TrainConfig": {"epochs": np.int64(0)}})


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
    ("embed_dim: 200", "embed_dim: wide", 6, ["student.embed_dim", "integer", "'wide'"]),
    ("embed_dim: 200", "embed_dim: true", 6, ["student.embed_dim", "True"]),
    ("dropout: 1e-1", "dropout: 1", 6, ["student.dropout", "less than 1"]),
    ("alpha: 0.5", "alpha: 1.5", 7, ["bert_to_bilstm.alpha", "equal to 1", "1.5"]),
    ("alpha: 0.5", "alpha: .nan", 7, ["bert_to_bilstm.alpha", "nan"]),
    ("n_iter: 3", "n_iter: -1", 9, ["DataAugmentation.n_iter", "equal to 0", "-1"]),
    ("n_iter: 3", "n_iter: 2.5", 9, ["DataAugmentation.n_iter", "2.5"]),
    ("- masking: {p_mask: 1e-1}", "- masking:\n      p_mask: 1e-1", 10, ["hooks", "indented"]),
    ("epochs: 6", "epochs: 0", 14, ["TrainConfig.epochs", "equal to 1"]),
    ("type: PolynomialDecay, ", "", 15, ["TrainConfig.learning_rate", "type"]),
    ("optimizer: {type: AdamW, beta1: 0.9}", "optimzer: {}", 16, ["TrainConfig.optimizer_builder", "optimizer"]),
    ("QuantPost:", "QuantPost: [1]", 18, ["QuantPost", "mapping"]),
    ("train_file: train.tsv", "metric: accuray", 3, ["Global.metric", "'accuracy'", "'matthews'"]),
    ("train_file: train.tsv", "train_file: no", 3, ["Global.train_file", "text in quotes", "False"]),
    ("student: {embed_dim: 200, dropout: 1e-1}", "student: 3", 6, ["bert_to_bilstm.student", "mapping"]),
])
def test_wrong_settings_are_named_with_file_and_line(written, old, new, line, parts):
    path = written(changed(old, new))
    message = error_of(path)
    assert message.startswith(f"{path}:{line}: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("value", [10**400, -1, True, "fast", {"learning_rate": 0.1}, {"type": 3}, float("nan")])
def test_a_learning_rate_is_a_number_or_a_schedule(value):
    assert "TrainConfig.learning_rate: must be" in error_of({"bert_to_bilstm": None,
                                                             "TrainConfig": {"learning_rate": value}})


@pytest.mark.parametrize("sections, parts", [
    ({"Global": {"task": "regression", "metric": "f1"}}, ["Global.metric: f1 is no metric of a regression", "pearson"]),
    ({"Global": {"metric": "pearson"}}, ["Global.metric: pearson is no metric of a classification", "accuracy"]),
    ({"Global": {"task": "regression"}, "bert_to_bilstm": {"loss": "soft_label"}},
     ["bert_to_bilstm.loss: soft_label", "valid: logit_mse, l2"]),
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
    ("HyperParameterOptimization", "smac"), ("MultiTeacherDistillation", "model_dir: [ONE, OTHER]")])
def test_strategies_that_make_no_sense_are_refused_with_the_reason(written, name, instead):
    path = written(YAML + f"{name}: {{}}\n")
    message = error_of(path)
    assert message.startswith(f"{path}:20: {name}: ") and instead in message


@pytest.mark.parametrize("override, part", [
    ("Global.sed=1", "did you mean seed?"), ("Gobal.seed=1", "did you mean Global?"), ("seed", "Section.key=value"),
    ("Global.=1", "Section.key=value"), ("Global.seed=[", "no valid YAML"), ("Global.seed=-1", "equal to 0"),
    ("Global.seed=4294967296", "less than"),
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
    ("bert_to_bilstm: !!python/tuple [1]\n", 1, "not supported"),
    ("a: &a [*a]\n", 1, "inside of what it names"),
    ("a: &a\n  <<: *a\n", 1, "inside of what it names"),
    ("a: &a {b: {<<: *a}}\n", 1, "inside of what it names"),
    ("a: *b\n", 1, "undefined alias"),
    ("a: {<<: 3}\n", 1, "<< takes a mapping"),
    ("bert_to_bilstm:\n  alpha: \x01\n", 2, "not allowed"),
    ("bert_to_bilstm:\n  ? [1]\n  : 2\n", 2, "must be a name"),
    (b"Global:\n  model_dir: \xff\n", 2, "UTF-8"),
])
def test_broken_yaml_is_named_with_its_line(written, text, line, part):
    path = written(text)
    message = error_of(path)
    assert message.startswith(f"{path}:{line}: ") and part in message


@pytest.mark.parametrize("value", ["!!bool maybe", '!!int ""', '!!float ""', "!!timestamp abc"])
def test_a_tag_that_does_not_fit_is_told(value):
    assert "can't read" in error_of({"bert_to_bilstm": None}, [f"Global.seed={value}"])


def test_files_that_hold_no_configuration(written, tmp_path):
    assert "No such file" in error_of(tmp_path / "absent.yaml")
    assert "directory" in error_of(tmp_path)
    assert "sections" in error_of(written(""))
    assert "sections" in error_of(written("just text"))
    assert "nested too deeply" in error_of(written("a: " + "[" * 5000))
    endless = {"bert_to_bilstm": {}}
    endless["bert_to_bilstm"]["student"] = endless
    assert "nested too deeply" in error_of(endless)
    assert "no section bert_to_bilstm" in error_of(written("Global: {}"))


def test_anchors_aliases_and_merge_keys_are_written_out_and_keep_their_places(written):
    path = written("""\
Global: &shared
  seed: 7
  max_seq_length: &length 64
bert_to_bilstm:
  student: &student {embed_dim: 40, hidden_size: 20}
  batch_size: *length
Finetune:
  <<: {epochs: 9, batch_size: 8}
  epochs: 2
  model: bert
QuantPost: &post {batch_nums: 4}
QuantAware: {<<: [{weight_bits: 8}, {weight_bits: 4, activation_bits: 8}]}
""")
    config = load_config(path)
    assert config.distill.batch_size == 64 and config.distill.student.embed_dim == 40
    assert (config.finetune.epochs, config.finetune.batch_size) == (2, 8)
    assert config.strategies["QuantAware"] == {"weight_bits": 8, "activation_bits": 8}
    merged = written("bert_to_bilstm:\n  student: &one\n    embed_dim: 5\n    hidden: 3\nFinetune:\n  <<: *one\n")
    assert error_of(merged, ["bert_to_bilstm.student={}"]).startswith(f"{merged}:3: Finetune.embed_dim: unknown key")


@pytest.mark.parametrize("text", [
    "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
    "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: 1}}\n" for n in range(1, 40)),
    "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 3000)),
    "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))])
def test_an_alias_bomb_is_refused_at_once(written, text):
    message = error_of(written(text + "bert_to_bilstm:\n"))
    assert "10,000 values" in message or "nested too deeply" in message


def test_inside_paddleslim_other_settings_are_left_alone(caplog):
    source = {"Global": {"task_name": "afqmc", "dataset": "clue", "model_dri": "x"}, "bert_to_bilstm": None, "Eval": {}}
    with caplog.at_level(logging.WARNING):
        config = load_config(source, inside_paddleslim=True)
    assert config.global_.dataset == ("clue",)
    message, = [record.getMessage() for record in caplog.records]
    assert all(part in message for part in ("Global.task_name,", "Eval", "Global.model_dri (did you mean model_dir?)"))
    assert "Eval" in error_of({"bert_to_bilstm": None, "Eval": {}})
    with pytest.raises(UserError, match="alhpa"):
        load_config({"bert_to_bilstm": {"alhpa": 1}}, inside_paddleslim=True)


def test_inside_paddleslim_a_loader_makes_the_data_set_the_scripts_own(caplog):
    source = {"Global": {"dataset": "glue", "task_name": "sst-2", "dev_file": "dev.tsv"}, "bert_to_bilstm": None}
    with caplog.at_level(logging.WARNING):
        config = load_config(source, inside_paddleslim=True, has_loader=True)
    assert config.global_.dataset is None and config.global_.dev_file == "dev.tsv"
    message, = [record.getMessage() for record in caplog.records]
    assert "Global.dataset" in message and "Global.task_name" in message
    assert load_config({**source, "Global": {"dataset": {"name": "glue"}}}, inside_paddleslim=True, has_loader=True)


@pytest.mark.parametrize("values", [{"task": "sst-2"}, {"metric": "acc"}, {"task": ["glue", 1], "metric": {"f1": 2}}])
def test_inside_paddleslim_a_loader_makes_task_and_metric_that_say_nothing_to_us_the_scripts_own(values, caplog):
    source = {"Global": values, "bert_to_bilstm": None}
    with caplog.at_level(logging.WARNING):
        config = load_config(source, inside_paddleslim=True, has_loader=True)
    assert config.global_ == load_config({"bert_to_bilstm": None}).global_
    message, = [record.getMessage() for record in caplog.records]
    assert all(f"Global.{key} ({value!r}; valid: " in message for key, value in values.items())
    with pytest.raises(UserError, match="^config: Global.(task|metric): must be "):
        load_config(source, inside_paddleslim=True)


@pytest.mark.parametrize("key, value, meant", [("task", "regresion", "regression"), ("metric", "Pearson", "pearson")])
def test_inside_paddleslim_a_slip_in_task_or_metric_is_refused(key, value, meant):
    with pytest.raises(UserError, match=f"Global.{key}: {value!r} .*did you mean {meant}"):
        load_config({"Global": {key: value}, "bert_to_bilstm": None}, inside_paddleslim=True, has_loader=True)


BOTH_DECAYS = {"optimizer": {"type": "Adam"}, "weight_decay": 0.01, "regularizer": {"type": "L2Decay", "coeff": 0.1}}


def decays(name):
    return "bias" not in name


def test_a_scripts_functions_go_into_the_optimizer_and_by_their_code_into_the_report():
    builder = {"optimizer": {"type": "AdamW", "apply_decay_param_fun": decays}}
    rate = {"type": "LambdaDecay", "learning_rate": 1e-3, "lr_lambda": lambda step: 0.9 ** step}
    config = load_config({"bert_to_bilstm": None, "TrainConfig": {"optimizer_builder": builder, "learning_rate": rate}})
    assert config.train.optimizer_builder == builder and config.train.learning_rate == rate
    assert config.train.has_functions and not load_config({"bert_to_bilstm": None}).train.has_functions
    written = config.to_dict()["TrainConfig"]
    json.dumps(written)
    assert re.fullmatch("decays [0-9a-f]{32}", written["optimizer_builder"]["optimizer"]["apply_decay_param_fun"])
    assert "lambda" in written["learning_rate"]["lr_lambda"]
    assert "function" in error_of({"bert_to_bilstm": None, "QuantPost": {"algo": decays}})


def test_inside_paddleslim_an_optimizer_builder_may_hold_what_the_host_ignores(caplog):
    builder = {"optimizer": {"type": "AdamW"}, "weight_decay": 0.01, "apply_decay_param_fun": decays}
    source = {"bert_to_bilstm": None, "TrainConfig": {"optimizer_builder": builder}}
    with caplog.at_level(logging.WARNING):
        config = load_config(source, inside_paddleslim=True)
    assert "TrainConfig.optimizer_builder.apply_decay_param_fun" in caplog.text and len(caplog.records) == 1
    assert config.train.optimizer_builder == {"optimizer": {"type": "AdamW"}, "weight_decay": 0.01}
    assert load_config(json.loads(json.dumps(config.to_dict()))) == config
    assert builder["apply_decay_param_fun"] is decays
    source["TrainConfig"]["optimizer_builder"] = {**BOTH_DECAYS}
    assert "weight_decay" not in load_config(source, inside_paddleslim=True).train.optimizer_builder
    with pytest.raises(UserError, match="must be {optimizer"):
        load_config({"bert_to_bilstm": None, "TrainConfig": {"optimizer_builder": {"optimzer": {"type": "Adam"}}}},
                    inside_paddleslim=True)


@pytest.mark.parametrize("key, value", [("amp_config", {"use_pure_fp16": True}), ("sparse_model", True),
                                        ("recompute_config", {"checkpoints": []}), ("sharding_config", {}),
                                        ("optimizer_builder", BOTH_DECAYS)])
@pytest.mark.parametrize("strategies", [{}, {"UnstructurePrune": {"ratio": 0.5}}])
def test_settings_that_would_do_nothing_are_refused(key, value, strategies):
    assert f"TrainConfig.{key}: " in error_of({"bert_to_bilstm": None, "TrainConfig": {key: value}, **strategies})


PLUGIN = """\
from paddleslim_bilstm import augmentation_hook, distillation_loss
from paddleslim_bilstm.tokens import Sentences

@augmentation_hook("{name}_hook")
def hook(sentences, corpus, rng, *, copies: int = 1):
    return sentences

@distillation_loss("{name}_loss", needs_classes=True)
def loss(student_logits, teacher_logits):
    return ((student_logits - teacher_logits) ** 2).mean()
"""


ENCODER = """\
from paddleslim_bilstm.student.encoders import Encoder, student_encoder
@student_encoder("{name}")
class Own({base}):
    bound = 1.0
    features = shapes = draw = layer = add_nodes = lambda *_: None
"""


def test_a_plugin_beside_the_yaml_is_imported_before_the_check(written, tmp_path, monkeypatch):
    written(PLUGIN.format(name="one"), "one.py")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = written("Global: {plugins: one}\nbert_to_bilstm: {loss: one_loss}\n"
                   "DataAugmentation: {hooks: [one_hook: {copies: 2}]}\nDistillation: {loss: [one_loss, l2]}\n")
    config = load_config(path)
    check_hooks(config.augmentation.hooks)
    assert config.distill.loss == "one_loss" and config.global_.plugins == (str(tmp_path / "one.py"),)
    assert load_config(config.to_dict()) == config
    regression = error_of(path, ["Global.task=regression"])
    assert "bert_to_bilstm.loss: one_loss compares probabilities" in regression


@pytest.mark.parametrize("where", ["dict", "override"])
def test_a_plugin_of_a_dict_or_an_override_lies_in_the_working_directory(written, tmp_path, monkeypatch, where):
    written(PLUGIN.format(name=where), f"{where}_plugin.py")
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    plugins, section = [f"{where}_plugin"], {"loss": f"{where}_loss"}
    if where == "dict":
        assert load_config({"Global": {"plugins": plugins}, "bert_to_bilstm": section}).distill.loss == "dict_loss"
    else:
        path = written(f"bert_to_bilstm: {{loss: {where}_loss}}\n", "configs/run.yaml")
        assert load_config(path, [f"Global.plugins={plugins}"]).global_.plugins == (f"{where}_plugin.py",)


def test_an_installed_module_is_a_plugin_too(tmp_path, monkeypatch):
    (tmp_path / "lib" / "pack").mkdir(parents=True)
    (tmp_path / "lib" / "pack" / "__init__.py").write_text("")
    (tmp_path / "lib" / "pack" / "losses.py").write_text(PLUGIN.format(name="pack"))
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    source = {"Global": {"plugins": ["pack.losses"]}, "bert_to_bilstm": {"loss": "pack_loss"}}
    assert load_config(source).global_.plugins == ("pack.losses",)


@pytest.mark.parametrize("code, line, part", [
    ("import os\n\nraise RuntimeError('no\\nway')\n", 3, "RuntimeError: no way"),
    ("def broken(:\n", 1, "SyntaxError"), ("import absent_module\n", 1, "absent_module"),
    ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"), ("import json\nx = 1\njson.loads('{')\n", 3, "JSONDecode"),
    ("from paddleslim_bilstm import distillation_loss\n@distillation_loss('l2')\ndef f(a, b): return a\n", 2, "taken"),
    ("from paddleslim_bilstm import distillation_loss\n@distillation_loss('a-b')\ndef f(a, b): return a\n", 2, "name"),
    ("from paddleslim_bilstm import distillation_loss\n@distillation_loss('ab')\ndef f(a): return a\n", 2, "must take"),
    (ENCODER.format(name="bilstm", base="Encoder"), 2, 'student encoder "bilstm": the name is taken'),
    (ENCODER.format(name="bigru", base="Encoder"), 2, 'student encoder "bigru": the name is taken'),
    (ENCODER.format(name="mean", base="object"), 2, 'student encoder "mean" must be a class over'),
])
def test_a_plugin_that_fails_is_named_with_its_line(written, tmp_path, code, line, part):
    plugin, path = written(code, "failing.py"), written("Global:\n  plugins: [failing.py]\nbert_to_bilstm:\n")
    message = error_of(path)
    assert message.startswith(f"{path}:2: Global.plugins: failing.py can't be imported: {plugin}:{line}: ")
    assert part in message


@pytest.mark.parametrize("plugin", ["absent.py", "absent_module", "absent.module", ".relative", "run.yaml"])
def test_a_plugin_that_is_not_there_is_named(written, plugin):
    path = written(f"Global:\n  plugins: {plugin}\nbert_to_bilstm:\n")
    assert error_of(path).startswith(f"{path}:2: Global.plugins: {plugin} ")


def test_a_changed_plugin_is_run_again_and_changes_the_fingerprints(written):
    path = written("Global: {plugins: twice.py}\nbert_to_bilstm: {loss: twice_loss}\n")
    keys = []
    for text in ("X = 1\n", "X = 1\n", "X = 2\n"):
        written(text + PLUGIN.format(name="twice"), "twice.py")
        load_config(path)
        keys.append((loss_fingerprint("twice_loss"), hook_fingerprint("twice_hook")))
    assert keys[0] == keys[1] and not set(keys[1]) & set(keys[2])
    assert loss_fingerprint("logit_mse") == "logit_mse" and hook_fingerprint("masking") == "masking"


def test_what_a_plugin_registers_takes_the_place_of_what_another_one_has(written):
    """As in a notebook, where an edit is undone, or another configuration's plug-in came between."""
    path = written("Global: {plugins: twice.py}\nbert_to_bilstm:\n")
    other = written("Global: {plugins: other.py}\nbert_to_bilstm:\n", "other.yaml")
    written("N = 9\n" + PLUGIN.format(name="twice"), "other.py")
    for number in (1, 2, 1):
        written(f"N = {number}\n" + PLUGIN.format(name="twice"), "twice.py")
        load_config(path)
        assert hook_function("twice_hook").__globals__["N"] == number
    load_config(other)
    assert hook_function("twice_hook").__globals__["N"] == 9
    load_config(path)
    assert hook_function("twice_hook").__globals__["N"] == 1


@pytest.mark.parametrize("work", [compress, finetune])
def test_overrides_of_a_checked_configuration_are_refused(work):
    with pytest.raises(UserError, match="^overrides: Global.seed=3 comes too late for a Config; give"):
        work(load_config({"bert_to_bilstm": None}), overrides=["Global.seed=3"])


@pytest.mark.parametrize("overrides, shown", [
    ("Global.seed=3", "'Global.seed=3'"), ({"Global.seed": 3}, "{'Global.seed': 3}"), (None, "None"),
    ([("Global.seed", 3)], "[('Global.seed', 3)]")])
@pytest.mark.parametrize("read", [dict, load_config])
def test_overrides_that_are_no_list_of_texts_are_refused(read, overrides, shown):
    with pytest.raises(UserError) as caught:
        compress(read({"bert_to_bilstm": None}), overrides=overrides)
    assert str(caught.value) == f'overrides: must be a list, ["Section.key=value", ...], not {shown}'


@pytest.mark.parametrize("work", [compress, finetune, augment])
@pytest.mark.parametrize("config", [None, ["bert_to_bilstm"], 3])
def test_what_is_no_config_is_refused(work, config):
    with pytest.raises(UserError) as caught:
        work(config)
    assert str(caught.value) == f"config: must be the path of a YAML file, or its content as a dict, not {config!r}"


HELD = """
from functools import partial
from paddleslim_bilstm import augmentation_hook, distillation_loss

class Scaled:
    def __init__(self, scale):
        self.scale = scale
    def __call__(self, student_logits, teacher_logits):
        return (({change}student_logits - teacher_logits) ** 2).mean() * self.scale

def forget(p_forget, sentences, corpus, rng):
    return sentences

augmentation_hook("held_hook")(partial(forget, {p_forget}))
distillation_loss("held_loss")(Scaled({scale}))
"""


def test_objects_that_can_be_called_have_the_fingerprint_of_their_code_and_of_what_they_hold(written):
    path, keys = written("Global: {plugins: held.py}\nbert_to_bilstm: {loss: held_loss}\n"), []
    for p_forget, scale, change in ((0.1, 2, ""), (0.1, 2, "0 * "), (0.2, 2, ""), (0.1, 3, ""), (0.1, 2, "")):
        written(HELD.format(p_forget=p_forget, scale=scale, change=change), "held.py")
        load_config(path)
        for name in [name for name in sys.modules if name.startswith("held_")]:  # or the same is not run again
            del sys.modules[name]
        keys.append((loss_fingerprint("held_loss"), hook_fingerprint("held_hook")))
    assert keys[0] == keys[4] and len(set(keys)) == 4


def test_what_other_cells_of_a_notebook_define_changes_the_fingerprints(monkeypatch, caplog):
    code = """
class Forget:
    share = SHARE
    def __call__(self, sentences, corpus, rng):
        return sentences
    def layer(self, spec, dropout, training):
        return P, SIZES

@augmentation_hook("of_a_notebook")
def forget(sentences, corpus, rng):
    return P, SIZES
"""
    module, keys = types.ModuleType("notebook"), []
    monkeypatch.setitem(sys.modules, "notebook", module)
    module.augmentation_hook, module.SHARE, module.SIZES = augmentation_hook, 0.5, [1]
    for cell in ("P = 0.1", "P = 0.2", "P = 0.1", "SHARE = 0.6"):
        exec(compile(cell, "<cell 1>", "exec"), vars(module))
        exec(compile(code, "<cell 2>", "exec"), vars(module))
        keys.append((hook_fingerprint("of_a_notebook"), code_fingerprint("Forget", module.Forget)))
    hooks, classes = zip(*keys)
    assert hooks[0] == hooks[2] == hooks[3] != hooks[1] and classes[0] == classes[2] and len(set(classes)) == 3
    assert [message.partition(" holds as ")[2] for message in caplog.messages] == [
        "SIZES (list); where that changes, start over with --fresh (in Python, fresh=True)"] * 2


def test_an_encoder_of_a_changed_plugin_takes_the_place_of_its_own_alone(written):
    path, bounds = written("Global: {plugins: own.py}\nbert_to_bilstm: {student: {encoder: of_own_file}}\n"), []
    for bound in ("1.0", "2.0"):
        written(ENCODER.format(name="of_own_file", base="Encoder").replace("1.0", bound), "own.py")
        load_config(path)
        bounds.append(encoder_named("of_own_file").bound)
    assert bounds == [1.0, 2.0] and encoder_fingerprint("bilstm") == "bilstm"


def test_a_loss_that_nobody_registered_is_refused_with_its_line(written):
    path = written(changed("alpha: 0.5", "loss: logit_mes"))
    message = error_of(path)
    assert message.startswith(f"{path}:7: bert_to_bilstm.loss: no loss is called 'logit_mes'; did you mean logit_mse?")
    in_chain = {"bert_to_bilstm": None, "Distillation": {"loss": "fsp"}}
    assert "Distillation.loss: no loss is called 'fsp'" in error_of(in_chain)


CONFIGS = Path(__file__).parents[1] / "configs"


def test_the_schema_beside_the_configs_is_what_the_command_prints():
    printed = run_command("--schema").stdout
    assert json.loads(printed) == json_schema() and (CONFIGS / "schema.json").read_text(encoding="utf-8") == printed
    for path in CONFIGS.glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=schema.json\n")


def test_every_key_is_described_and_paddleslims_keys_are_all_there():
    def described(schema):
        for name, value in schema.get("properties", {}).items():
            assert value.get("description", "").endswith("."), name
            described(value)

    schema = json_schema()
    sections = schema["properties"]
    for section in [*sections.values(), *schema["$defs"].values()]:
        described(section)
    assert sections.keys() == {*SECTIONS, *PADDLESLIM_STRATEGIES, "QuantBiLSTM"}
    from paddleslim.auto_compression import strategy_config
    for name in PADDLESLIM_STRATEGIES:
        known = list(inspect.signature(getattr(strategy_config, name).__init__).parameters)[1:]
        assert sections[name]["properties"].keys() == set(known)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_holds_the_shipped_configs(path):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    for sections in (config, load_config(path).to_dict()):
        assert fits(json_schema(), sections, json_schema())
    for name, section, wrong in (("Global", "sed", 1), ("Global", "seed", -1), ("Global", "metric", "acuracy"),
                                 ("bert_to_bilstm", "alpha", 2), ("bert_to_bilstm", "student", {"pooling": "min"}),
                                 ("DataAugmentation", "hooks", [3]), ("TrainConfig", "learning_rate", {})):
        assert not fits(json_schema(), {**config, name: {section: wrong}}, json_schema())
    assert not fits(json_schema(), {**config, "Globl": {}}, json_schema())


TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int,
         "number": (int, float)}


def fits(schema, value, whole):
    """Whether a value is what a JSON schema of draft 7 asks for; only with the words that ours uses."""
    def is_a(kind):
        return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))

    rules = {
        "$ref": lambda rule: fits(whole["$defs"][rule.rpartition("/")[2]], value, whole),
        "anyOf": lambda rule: any(fits(one, value, whole) for one in rule),
        "type": lambda rule: any(is_a(kind) for kind in ([rule] if isinstance(rule, str) else rule)),
        "enum": lambda rule: value in rule,
        "minimum": lambda rule: value >= rule, "exclusiveMinimum": lambda rule: value > rule,
        "maximum": lambda rule: value <= rule, "exclusiveMaximum": lambda rule: value < rule,
        "minItems": lambda rule: len(value) >= rule, "maxItems": lambda rule: len(value) <= rule,
        "minProperties": lambda rule: len(value) >= rule, "maxProperties": lambda rule: len(value) <= rule,
        "items": lambda rule: all(fits(rule, item, whole) for item in value),
        "required": lambda rule: set(rule) <= value.keys(),
        "properties": lambda rule: all(
            fits(rule[key], value[key], whole) for key in rule.keys() & (value or {}).keys()),
        "additionalProperties": lambda rule: all(
            rule is not False and fits(rule, item, whole) for key, item in (value or {}).items()
            if key not in schema.get("properties", {}))}
    names = schema.keys() - {"$schema", "$defs", "title", "description", "default"}
    names = sorted(names, key=lambda name: name != "type")
    return all(rules[name](schema[name]) for name in names)


def run_command(*arguments):
    return subprocess.run([sys.executable, "-m", "paddleslim_bilstm", "config", *arguments], capture_output=True,
                          text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(CONFIGS.parent)})


def test_the_command_checks_a_file_and_prints_it_in_full(written):
    done = run_command(str(CONFIGS / "sst2.yaml"), "-o", "Global.seed=3")
    assert done.returncode == 0, done.stderr
    assert load_config(written(done.stdout)) == load_config(CONFIGS / "sst2.yaml", ["Global.seed=3"])
    done = run_command(str(written("bert_to_bilstm:\nDataAugmentation: {hooks: [maskin]}\n")))
    assert done.returncode == 2 and "maskin" in done.stderr and done.stderr.count("\n") == 1
    assert "CONFIG: missing" in run_command().stderr
    assert "--schema: is that of all YAML files" in run_command("nowhere.yaml", "--schema").stderr


def test_what_is_printed_is_read_again(written):
    for name in ("1e3", "12e45", "输出"):
        text = f'bert_to_bilstm:\nGlobal: {{save_dir: "{name}"}}\n'
        assert load_config(written(run_command(str(written(text))).stdout)).global_.save_dir == name


@pytest.mark.parametrize("sections, message", [
    ("Finetune: {model: b}\nGlobal: {model_dir: t, model_filename: m.pdmodel}", "2: Global.model_filename: names"),
    ("bert_to_bilstm: {student: {vocabulary: words}}\nGlobal: {text_column: [a, b]}", "student.vocabulary: words is"),
    ("bert_to_bilstm: {student: {min_count: 9}}\nGlobal: {model_dir: t}", "1: bert_to_bilstm.student.min_count: is of"),
    ("bert_to_bilstm: {student: {embeddings: random, unseen_tokens: 0}}", "student.unseen_tokens: is of"),
    ("bert_to_bilstm: {alpha: 1, loss: l2, hint_weight: 0}", "bert_to_bilstm.loss: has no weight at alpha 1"),
    ("{bert_to_bilstm: {}, Finetune: {epochs: 9}}", "Finetune.epochs: Finetune.model: missing, so"),
    ("bert_to_bilstm:\nDistillation: {loss: []}", "2: Distillation.loss: must name a loss")])
def test_contradictions_are_told_with_their_place(written, sections, message):
    assert message in error_of(written(sections + "\n"))


def test_predicting_needs_no_pydantic():
    code = "import sys; sys.modules['pydantic'] = None\n" \
           "from paddleslim_bilstm import Predictor\n" \
           "import paddleslim_bilstm.commands.predict, paddleslim_bilstm.commands.evaluate\n" \
           "import paddleslim_bilstm.student.vocabulary, paddleslim_bilstm.text, paddleslim_bilstm.commands.cache\n" \
           "assert not {'paddle', 'onnx'} & set(sys.modules)\n" \
           "from paddleslim_bilstm.cli import main\nassert main(['config', '--schema']) == 2"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == 'error: pydantic is not installed: pip install "paddleslim-bilstm[cpu]"\n'


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")),
                         ids=lambda path: path.stem)
def test_the_student_of_a_shipped_config_is_smaller_than_its_teacher(path):
    """Even with every token of BERT's vocabulary, features of pairs, and the smallest teacher: 22.7 million."""
    student = load_config(path).distill.student
    spec = StudentSpec(student.embed_dim, student.hidden_size, student.num_layers, ("0", "1"), 0, 128, pairs=True)
    assert sum(math.prod(shape) for shape in weight_shapes(spec, rows=30_522).values()) < 22.7e6


def test_several_teachers():
    config = load_config({"bert_to_bilstm": {}, "Global": {"model_dir": ["one", "other/model.onnx"]}})
    assert config.global_.teachers == ("one", "other/model.onnx")
    assert config.global_.teacher_folders == ("one", "other")
    assert load_config(config.to_dict()) == config
    assert load_config({"bert_to_bilstm": {}, "Global": {"model_dir": "one"}}).global_.teachers == ("one",)


@pytest.mark.parametrize("settings, reason", [
    ({"Global": {"model_dir": ["one", "one"]}}, "Global.model_dir: must be a path, or a list of two or more"),
    ({"Global": {"model_dir": ["one"]}}, "Global.model_dir: must be a path, or a list of two or more"),
    ({"Global": {"model_dir": ["one", "two"], "model_filename": "x"}}, "Global.model_filename: is of one teacher"),
    ({"Global": {"model_dir": ["one", "two"]}, "Finetune": {"model": "m"}}, "Finetune.model: makes one teacher")])
def test_several_teachers_that_are_wrong_are_refused(settings, reason):
    with pytest.raises(UserError, match=reason):
        load_config({"bert_to_bilstm": {}, **settings})
