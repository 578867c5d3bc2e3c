"""Teachers and labels that are wrong, given to the command: exit code 2, one line, and nothing half-written."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml
from onnx import TensorProto
from onnx_teachers import OnnxClassifier, put_onnx_teacher

from paddleslim_bilstm import cli

ONNX = OnnxClassifier()


@pytest.fixture(scope="module")
def texts(review_files, tmp_path_factory) -> Path:
    """The texts to label, as ``augment`` writes them, in a folder that no test changes."""
    folder = tmp_path_factory.mktemp("texts")
    assert cli.main(["augment", str(written(folder, review_files)), "--output", str(folder / "texts")]) == 0
    return folder / "texts"


def written(folder: Path, data: Path, **settings) -> Path:
    """Write the configuration of a run into ``folder`` and return its path."""
    folder.mkdir(exist_ok=True)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({
        "Global": {"train_file": str(data / "train.tsv"), "dev_file": str(data / "dev.tsv"),
                   "save_dir": str(folder / "out"), "cache_dir": str(folder / "cache"), "max_seq_length": 64,
                   **settings},
        "bert_to_bilstm": {"train_alone": False, "student": {"embeddings": "random"}},
        "DataAugmentation": {"n_iter": 1}}))
    return path


def refused(config: Path, capsys) -> str:
    """Run the command, which must refuse the configuration, and return its one line."""
    assert cli.main(["compress", str(config)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    out, cache = config.parent / "out", config.parent / "cache"
    assert not [*out.rglob("*.pdmodel"), *out.rglob("report.*"), *out.rglob("model.onnx")]
    assert not [path for folder in (out, cache) for path in folder.rglob("*.partial*")]
    assert not [*(cache / "labels").rglob("*.npy")]
    return errors[0]


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def jsonl(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def rows_of(ids) -> list[dict]:
    return [{"id": one, "logits": [0.5, place % 3]} for place, one in enumerate(ids)]


def changed(rows, **values) -> list[dict]:
    return [{**rows[0], **values}, *rows[1:]]


BAD_LABELS = {  # what is wrong: (the file, what it holds given the ids of the first part, what the message says)
    "cut in a line": ("answers.jsonl", lambda ids: jsonl(rows_of(ids))[:-9], "is no valid JSON"),
    "no number": ("answers.jsonl", lambda ids: jsonl(changed(rows_of(ids), logits=[float("nan"), 1])),
                  r"answers.jsonl:1: .*(finite|NaN)"),
    "other classes": ("answers.jsonl", lambda ids: jsonl(changed(rows_of(ids), logits=[1, 2, 3])),
                      r"answers.jsonl:[12]: .*3"),
    "all of other classes": ("answers.jsonl", lambda ids: jsonl({**row, "logits": [1, 2, 3]} for row in rows_of(ids)),
                             r"answers.jsonl:1: has 3 numbers where the data has 2 classes \(0, 1\)"),
    "another run": ("answers.jsonl", lambda ids: jsonl(changed(rows_of(ids), id="0" * 16)),
                    "answers.jsonl:1: .*is of no text of this run"),
    "two answers": ("answers.jsonl", lambda ids: jsonl([*rows_of(ids), {"id": ids[0], "logits": [9, 9]}]),
                    r"answers.jsonl:\d+: .*answer"),
    "array cut": ("part-00000.npy", lambda ids: npy(np.zeros((len(ids), 2), np.float32))[:-8], "part-00000.npy: "),
    "array too short": ("part-00000.npy", lambda ids: npy(np.zeros((len(ids) - 1, 2), np.float32)), "part-00000.npy: "),
    "array of other classes": ("part-00000.npy", lambda ids: npy(np.zeros((len(ids), 3), np.float32)),
                               r"part-00000.npy\[0\]: has 3 numbers where the data has 2 classes"),
    "array with NaN": ("part-00000.npy", lambda ids: npy(np.full((len(ids), 2), np.nan, np.float32)),
                       r"part-00000.(npy|jsonl)"),
    "tensors cut": ("part-00000.safetensors", lambda ids: safetensors.numpy.save(
        {"logits": np.zeros((len(ids), 2), np.float32)})[:-8], "part-00000.safetensors: "),
    "array of no part": ("part-00007.npy", lambda ids: npy(np.zeros((len(ids), 2), np.float32)), "part-00007"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels(case, texts, review_files, tmp_path, capsys):
    name, content, message = BAD_LABELS[case]
    ids = [json.loads(line)["id"] for line in (texts / "part-00000.jsonl").read_text().splitlines()]
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "part-00000.jsonl").write_bytes((texts / "part-00000.jsonl").read_bytes())
    (answers / name).write_bytes(content(ids))
    line = refused(written(tmp_path, review_files, teacher_labels=str(answers)), capsys)
    assert re.search(message, line), line


def test_a_part_that_is_named_and_missing(texts, review_files, tmp_path, capsys):
    ids = [json.loads(line)["id"] for line in (texts / "part-00000.jsonl").read_text().splitlines()]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows_of(ids)))
    paths = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    assert "b.jsonl" in refused(written(tmp_path, review_files, teacher_labels=paths), capsys)


BAD_ONNX = {
    "cut": (lambda: ONNX.model().SerializeToString()[:-100], "model.onnx: "),
    "empty": (lambda: b"", "model.onnx: "),
    "something else": (lambda: b"PK\3\4" * 99, "model.onnx: "),
    "an encoder": (lambda: ONNX.model(outputs=["last_hidden_state"]).SerializeToString(), "no classifier of texts"),
    "one sentence a call": (lambda: ONNX.model(shape=(1, "length")).SerializeToString(), "its input input_ids is"),
    "numbers as input": (lambda: ONNX.model(dtype=TensorProto.FLOAT16).SerializeToString(), "its input input_ids is"),
    "two inputs of ids": (lambda: ONNX.model(("input_ids", "attention_mask", "pixels")).SerializeToString(),
                          "seem to be the same"),
}


@pytest.mark.parametrize("case", BAD_ONNX)
def test_onnx_files(case, review_files, tmp_path, capsys):
    content, message = BAD_ONNX[case]
    folder = put_onnx_teacher(tmp_path / "teacher", ONNX.model())
    (folder / "model.onnx").write_bytes(content())
    assert message in refused(written(tmp_path, review_files, model_dir=str(folder)), capsys)


@pytest.mark.parametrize("second, message", [
    (lambda folder: put_onnx_teacher(folder, OnnxClassifier(classes=3).model()), "has 3 classes"),
    (lambda folder: put_onnx_teacher(folder, ONNX.model(), label_names=["cat", "dog"]), "names its classes cat, dog"),
    (lambda folder: folder, "missing")])
def test_several_teachers(second, message, review_files, tmp_path, capsys):
    first = put_onnx_teacher(tmp_path / "one", ONNX.model(), label_names=["bad", "good"])
    second(tmp_path / "other")
    line = refused(written(tmp_path, review_files, model_dir=[str(first), str(tmp_path / "other")]), capsys)
    assert "other" in line and (message in line or message == "missing")


@pytest.mark.parametrize("cells, message", [
    (["room;bar", "pool"], "train.csv:2: .*put a comma between them"),
    (["room|bar", "pool"], "train.csv:2: .*put a comma between them"),
    (['"room,,bar"', "pool"], "train.csv:2: .*is empty"), (['", "', "pool"], "train.csv:2: .*is empty"),
    (['"room,room"', "pool"], "train.csv:2: .*twice"), (["", ""], "train.csv: every row has the labels none"),
    (["spa", "pool"], "train.csv:2: the labels spa are none of the teacher's classes")])
def test_files_of_several_labels(cells, message, tmp_path, capsys):
    teacher = put_onnx_teacher(tmp_path / "teacher", OnnxClassifier(classes=3).model(),
                               label_names=["bar", "pool", "room"])
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"good,{cell}\n" for cell in cells))
    (tmp_path / "dev.csv").write_text('text,label\na,"room,bar"\nb,\n')
    config = written(tmp_path, tmp_path, task="multi_label", model_dir=str(teacher),
                     train_file=str(tmp_path / "train.csv"), dev_file=str(tmp_path / "dev.csv"))
    config.write_text(config.read_text().replace("train_alone: false", "train_alone: true"))  # so the labels are read
    line = refused(config, capsys)
    assert re.search(message, line), line
