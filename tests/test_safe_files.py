"""No file of a stranger's runs code or writes where it should not: the canary never appears."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from reviews import make_reviews
from student_reference import output_folder

from paddleslim_bilstm import Predictor, compress
from paddleslim_bilstm.augment.transfer_set import ArrayWriter, read_array
from paddleslim_bilstm.config import GlobalConfig, load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.pipeline import prepare
from paddleslim_bilstm.student.weights import load_student
from paddleslim_bilstm.teacher import load_teacher
from paddleslim_bilstm.teacher.weights import checkpoint_files, read_pdparams
from paddleslim_bilstm.text import load_dataset

CODE = "__import__('os').system('touch canary')"


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch canary",)


@pytest.fixture(autouse=True)
def canary(tmp_path, monkeypatch):
    """Run each test in a folder of its own, where the canary may not appear; nor may anything beside that folder."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    yield
    assert not list(tmp_path.rglob("canary*")) and os.listdir(tmp_path) == ["home"]


@pytest.fixture(scope="module")
def teacher(tiny_teacher):
    return tiny_teacher()


def refused(call, *arguments, match: str, **keywords):
    with pytest.raises(UserError, match=match) as error:
        call(*arguments, **keywords)
    assert "\n" not in str(error.value)


# .pdparams: pickles

@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_come_out_of_a_pickle_as_they_went_in(protocol):
    arrays = {"float": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), "half": np.ones(3, np.float16),
              "turned": np.asfortranarray(np.arange(6).reshape(2, 3)), "big": np.arange(3, dtype=">i4"),
              "empty": np.zeros((0, 4), np.float32), "flag": np.array([True, False]), "one": np.array(3.0)}
    state = {**{name: (name, value) for name, value in arrays.items()}, "StructuredToParameterName@@": {"a": "b"}}
    Path("model_state.pdparams").write_bytes(pickle.dumps(state, protocol))
    found = read_pdparams(Path("model_state.pdparams"))
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_paddles_split_parameters_are_put_together():
    parts = {"w@@.0": np.arange(3.0), "w@@.1": np.arange(3.0, 6.0)}
    info = {"UnpackBigParamInfor@@": {"w": {"OriginShape": (2, 3), "slices": list(parts)}}}
    Path("a.pdparams").write_bytes(pickle.dumps({**parts, **info}, 2))
    np.testing.assert_array_equal(read_pdparams(Path("a.pdparams"))["w"], np.arange(6.0).reshape(2, 3))
    Path("a.pdparams").write_bytes(pickle.dumps(info))
    refused(read_pdparams, Path("a.pdparams"), match="don't fit together")


@pytest.mark.parametrize("content, match", [
    (pickle.dumps({"w": RunsCode()}), r"refused, since loading it would run .*\.system"),
    (pickle.dumps(RunsCode(), 0), "refused"),
    (b"cbuiltins\neval\n(S\"" + CODE.encode() + b"\"\ntR.", "refused, since loading it would run builtins.eval"),
    (b"cnumpy\nload\n(S'other.npy'\nI01\nI01\ntR.", "refused, since loading it would run numpy.load"),
    (pickle.dumps({"w": np.array([RunsCode()], object)}), "can't be read"),
    (pickle.dumps({"w": [1, 2]}), "w is not an array"),
    (pickle.dumps({5: np.ones(2)}), "5 is not an array"),
    (pickle.dumps([np.ones(2)]), "holds a list"),
    (pickle.dumps({"w": np.ones(4, np.float32)}).replace(b"K\x04\x85", b"K\x7f\x85"), "can't be read"),  # longer
    (pickle.dumps({"w": np.ones(9)})[:-20], "can't be read"),
])
def test_hostile_and_damaged_pickles_are_refused(content, match):
    Path("model_state.pdparams").write_bytes(content)
    refused(read_pdparams, Path("model_state.pdparams"), match=match)


# .npy

def test_a_pickle_inside_an_npy_file_is_not_run():
    for value in (np.array([RunsCode()], object), {"w": RunsCode()}):
        np.save("a.npy", value, allow_pickle=True)
        with pytest.raises(ValueError, match="header"):
            read_array(Path("a.npy"), np.int32, 1, "0" * 32)
    with ArrayWriter(Path("b.npy"), np.int32) as writer:
        writer.append(np.arange(3))
    np.testing.assert_array_equal(read_array(Path("b.npy"), np.int32, 3, writer.digest), np.arange(3))


def test_nothing_in_the_package_allows_pickles():
    package = Path(load_config.__code__.co_filename).parents[1]
    unsafe = re.compile(r"allow_pickle\s*=\s*True|np\.load\((?!.*allow_pickle=False)|(paddle|torch|joblib)\.load\("
                        r"|yaml\.(load|unsafe_load|full_load)\b|pickle\.loads?\(")
    assert not [file for file in package.rglob("*.py") if unsafe.search(file.read_text(encoding="utf-8"))]


# YAML

@pytest.mark.parametrize("value", [
    "!!python/object/apply:os.system ['touch canary']", "!!python/object/new:os.system ['touch canary']",
    "!!python/name:os.system", "!!python/module:os", "!!python/object:os.system {}", "!env x"])
def test_yaml_tags_run_nothing(value):
    Path("run.yaml").write_text(f"bert_to_bilstm:\n  loss: {value}\n")
    refused(load_config, "run.yaml", match="run.yaml:2: is no valid YAML")
    refused(load_config, {"bert_to_bilstm": {}}, [f"Global.seed={value}"], match="-o Global.seed")


@pytest.mark.parametrize("section, match", [
    ({"Distillation": {"loss": CODE}}, "Distillation.loss"),         # PaddleSlim gives this text to eval()
    ({"QuantAware": {}, "Distillation": {"loss": ["l2", CODE]}}, "Distillation.loss"),
    ({"bert_to_bilstm": {"loss": CODE}}, "bert_to_bilstm.loss"),
    ({CODE: {}}, "unknown section"),
    ({"TrainConfig": {"optimizer_builder": {"optimizer": {"type": "__builtins__"}}}}, "no Optimizer"),
    ({"TrainConfig": {"optimizer_builder": {"optimizer": {"type": "Adam"}, "grad_clip": {"type": "Layer"}}}},
     "no ClipGradBase"),
    ({"TrainConfig": {"learning_rate": {"type": "numpy"}}}, "no LRScheduler"),
    ({"DataAugmentation": {"hooks": [{"os.system": {"command": "touch canary"}}]}}, "unknown hook"),
    ({"DataAugmentation": {"hooks": ["../../canary"]}}, "unknown hook"),
])
def test_names_in_a_config_are_looked_up_and_never_run(section, match):
    refused(prepare, {"Global": {"model_dir": "x", "save_dir": "out"}, "bert_to_bilstm": {}, **section}, match=match)


@pytest.mark.parametrize("name", ["evil.py", "./evil", "evil", "../home/evil", "someone/else"])
def test_a_dataset_is_a_name_and_never_a_script(name):
    Path("evil").mkdir()
    for script in ("evil.py", "evil/evil.py"):
        Path(script).write_text("import os\nos.system('touch canary')\n")
    refused(load_dataset, GlobalConfig(dataset=(name,)), match="is no name of a dataset")


# Model folders

def test_a_teacher_whose_files_point_elsewhere_stays_in_its_folder(teacher, tmp_path):
    folder = shutil.copytree(teacher, Path("copy"))
    (folder / "model_state.pdparams").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../home/secret.safetensors"}}))
    Path("secret.safetensors").write_bytes(b"")
    refused(checkpoint_files, folder, match="names secret.safetensors, which is not beside it")
    index.write_text('{"weight_map": ["../canary"]}')
    refused(checkpoint_files, folder, match="no weight_map")


def test_names_in_a_teachers_files_never_become_paths(teacher, tmp_path):
    folder = shutil.copytree(teacher, Path("hostile"))
    config = json.loads((folder / "config.json").read_text())
    config.update(id2label={"0": "../../canary", "1": "/canary"}, _name_or_path="../../canary",
                  auto_map={"AutoModel": "canary.Canary"})
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer.update(name_or_path="../../canary", tokenizer_file="../../canary")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    rows = [(text, "../../canary" if label else "/canary") for text, label in make_reviews(60, seed=1)]
    compress({"Global": {"model_dir": str(folder), "save_dir": "out", "cache_dir": "cache", "max_seq_length": 32},
              "bert_to_bilstm": {"student": {"embed_dim": 4, "hidden_size": 4}, "train_alone": False},
              "DataAugmentation": {"n_iter": 0}, "TrainConfig": {"epochs": 1}, "QuantBiLSTM": {"max_accuracy_drop": 1}},
             train=rows[:40], dev=rows[40:])
    assert set(Predictor("out").label_names) == {"../../canary", "/canary"}
    assert sorted(os.listdir()) == ["cache", "hostile", "out"]


def test_a_malicious_teacher_is_refused_without_running_it(teacher):
    folder = shutil.copytree(teacher, Path("hostile"))
    (folder / "model_state.pdparams").write_bytes(pickle.dumps({"classifier.weight": RunsCode()}))
    refused(load_teacher, folder, Path("work"), match=r"model_state.pdparams: refused.*\.system")
    assert os.listdir("work") == []


def test_an_exported_teacher_of_garbage_is_one_line(teacher):
    folder = shutil.copytree(teacher, Path("garbage"))
    (folder / "model.pdiparams").write_bytes(b"garbage")
    for content in (b"garbage", b"", b"\x00" * 1000, pickle.dumps(RunsCode())):
        (folder / "model.pdmodel").write_bytes(content)
        refused(load_teacher, folder, Path("work"), match=r"model\.pdmodel: ")


def test_arrays_with_the_names_of_paths_are_refused():
    Path("student").mkdir()
    weights, _ = output_folder(Path("student"))
    hostile = {f"../../canary/{name}": value for name, value in weights.items()}
    safetensors.numpy.save_file(hostile, "student/student.safetensors")
    refused(load_student, "student", match="student.safetensors: no array embedding")
    Path("student/student.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}")
    refused(load_student, "student", match="student.safetensors: not a safetensors file")


def test_a_student_folder_of_a_stranger_runs_nothing(tmp_path):
    Path("student").mkdir()
    output_folder(Path("student"))
    for name in ("model.int8.onnx", "student.json", "vocab.txt", "tokenizer_config.json"):
        folder = shutil.copytree("student", f"with_{name}")
        (Path(folder) / name).write_bytes(pickle.dumps(RunsCode()))
        refused(Predictor, folder, match=re.escape(name))
