"""Whole runs whose teacher is elsewhere: its answers in files, or a function."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from pair_reviews import make_pairs

from paddleslim_bilstm import Predictor, cli, compress
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.pipeline import augment, prepare
from paddleslim_bilstm.teacher import load_teacher
from paddleslim_bilstm.tokens import Sentences, load_tokenizer

MODELS = ("student.safetensors", "student.json", "model.pdmodel", "model.pdiparams", "model.onnx", "vocab.txt")
BAD = ("bad", "awful", "boring", "dull", "weak", "stupid", "messy", "horrible")


@pytest.fixture
def config(review_files, tmp_path):
    """A run without a teacher."""
    return {"Global": {"train_file": str(review_files / "train.tsv"), "dev_file": str(review_files / "dev.tsv"),
                       "save_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache"), "max_seq_length": 64},
            "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16, "embeddings": "random"},
                               "train_alone": False},
            "DataAugmentation": {"n_iter": 2}, "TrainConfig": {"epochs": 2, "eval_iter": 5}}


def with_global(config, **settings):
    config = copy.deepcopy(config)
    config["Global"].update(settings)
    return config


def rows_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write_rows(path: Path, rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def copy_beside(answers, texts) -> None:
    """Copy what tells the tokenizer of ``texts`` to the folder ``answers``."""
    shutil.copy(texts / "manifest.json", answers)
    shutil.copytree(texts / "tokenizer", answers / "tokenizer")


def test_labels_from_a_file_give_the_student_of_the_teacher_itself(config, tiny_teacher, tmp_path, capsys):
    folder = tiny_teacher("huggingface")
    config = with_global(config, model_dir=str(folder))
    config["bert_to_bilstm"]["hint_weight"] = 0  # which a file of labels doesn't have
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["augment", str(tmp_path / "run.yaml"), "--output", str(tmp_path / "texts"), "--tokens"]) == 0
    assert str(tmp_path / "texts") in capsys.readouterr().out
    assert not (tmp_path / "out" / "work").exists()
    teacher = load_teacher(folder, tmp_path / "copy")
    for name in ("part-00000", "dev"):
        rows = rows_of(tmp_path / "texts" / f"{name}.jsonl")
        logits = teacher.logits(Sentences.from_lists([row["input_ids"] for row in rows])).tolist()
        answers = [{"id": row["id"], "logits": values} for row, values in zip(rows, logits)]
        random.Random(0).shuffle(answers)
        write_rows(tmp_path / f"{name}.jsonl", answers)
    answers = [str(tmp_path / f"{name}.jsonl") for name in ("part-00000", "dev")]
    labelled = with_global(config, model_dir=None, teacher_labels=answers)
    copy_beside(tmp_path, tmp_path / "texts")
    with pytest.raises(UserError, match="student.min_count: is of a vocabulary of words, and .* tokens of .*tokenizer"):
        compress(labelled, overrides=["bert_to_bilstm.student.min_count=9"])
    with pytest.raises(UserError, match="student.unseen_tokens: is of tokens that start from the teacher's embeddings"):
        compress(labelled, overrides=["bert_to_bilstm.student.unseen_tokens=9"])
    elsewhere = compress(labelled)
    here = compress(with_global(config, save_dir=str(tmp_path / "here"),
                                cache_dir=str(tiny_teacher.seed(tmp_path / "another", folder))))
    for file in MODELS:
        assert (elsewhere.save_dir / file).read_bytes() == (here.save_dir / file).read_bytes(), file
    assert [row.agreement for row in elsewhere.report.models] == [row.agreement for row in here.report.models]
    assert elsewhere.report.models[0].latency_ms is None and here.report.models[0].latency_ms is not None
    assert any("labelled elsewhere" in note for note in elsewhere.report.notes)

    (tmp_path / "run.yaml").write_text(yaml.safe_dump(labelled))
    assert cli.main(["compress", str(tmp_path / "run.yaml"), "-o", "DataAugmentation.n_iter=1"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "part-00000.jsonl:" in error and "is of no text of this run" in error and "augment" in error


def test_people_label_most_texts_and_nobody_brings_a_tokenizer(config, tmp_path):
    config["TrainConfig"] = {"epochs": 60, "eval_iter": 100}
    texts = augment(config, output=tmp_path / "texts")
    rows = rows_of(texts / "part-00000.jsonl")
    wrong = [sum(word in BAD for word in row["text"].split()) + ("not" in row["text"].split()) for row in rows]
    answers = [{"id": row["id"], "label": 1 - count % 2} for row, count in zip(rows, wrong)]
    write_rows(tmp_path / "labels.jsonl", answers[:-40])
    result = compress(with_global(config, teacher_labels=str(tmp_path / "labels.jsonl")))
    assert [row.name for row in result.report.models] == ["distilled"]
    assert all(row.agreement is None for row in result.report.models) and "agree" not in result.table
    assert result.report.headline.startswith("The student reaches ")
    notes = " ".join(result.report.notes)
    for told in (f"40 of the {len(rows)} texts of the transfer set have no answer and are left out: 40 of part-00000",
                 f"{len(rows) - 40} answers came as labels", "80 of the 80 dev texts have no answer"):
        assert told in notes
    assert "without an answer" in (result.save_dir / "report.md").read_text(encoding="utf-8")
    tokenizer = load_tokenizer(result.save_dir)
    assert "brilliant" in tokenizer.vocab and len(tokenizer.vocab) < 60
    assert result.report.models[-1].accuracy > 0.8
    assert [one.label for one in Predictor(result.save_dir).predict(["the film is good .", "this plot was dull ."])] \
        == ["1", "0"]


@pytest.mark.slow
def test_a_function_teaches_pairs_and_is_asked_once(config, tmp_path):
    asked = []

    def teacher(pairs):
        asked.extend(pairs)
        return [[0.0, 3.0] if len(first) < len(second) else [3.0, 0.0] for first, second in pairs]

    teacher.fingerprint = "1"
    config = with_global(config, train_file=None, dev_file=None)
    rows = make_pairs(120, seed=0)
    result = compress(config, teacher=teacher, train=rows[:90], dev=rows[90:])
    assert result.report.models[0].name == "teacher" and result.report.models[0].parameters is None
    assert "by a function" in " ".join(result.report.notes)
    assert (result.save_dir / "tokenizer.json").is_file() and Predictor(result.save_dir).pairs
    assert {pair for pair, _ in rows} <= set(asked) and len(asked) < result.report.transfer_set["made"] + 30
    before = len(asked)
    compress(config, teacher=teacher, train=rows[:90], dev=rows[90:])
    assert len(asked) == before
    config["TrainConfig"]["origin_metric"] = 0.1  # of the callback, which can't be asked of a function
    compress(config, teacher=teacher, train=rows[:90], dev=rows[90:], eval_callback=lambda *_: 0.1)


def test_texts_are_not_written_into_the_working_folder(config, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for folder in (".", tmp_path / "empty"):
        with pytest.raises(UserError, match="--output: .* is the working folder, .*; name a folder inside it"):
            augment(config, output=folder)
    monkeypatch.setattr(os.path, "ismount", lambda folder: Path(folder) == tmp_path / "disk")
    with pytest.raises(UserError, match="--output: .*disk is a mounted disk, .* name a folder inside it"):
        augment(config, output=tmp_path / "disk")


def test_texts_are_written_where_a_link_points_to(config, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    folder = augment(config, output=tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "README.md").is_file()
    assert folder == tmp_path / "link" and not list(tmp_path.glob(".link*"))


def test_exactly_one_teaches(config, tmp_path):
    with pytest.raises(UserError, match="^Global.model_dir: missing; .* Global.teacher_labels its answers .*augment"):
        prepare(config)
    with pytest.raises(UserError, match="^Global.model_dir: missing"):
        compress(load_config(config))
    with pytest.raises(UserError, match="^config: Global.teacher_labels: stands in place of Global.model_dir"):
        prepare(with_global(config, model_dir="x", teacher_labels="y"))
    for taken in ("model_dir", "teacher_labels"):
        with pytest.raises(UserError, match="^teacher: a function was given, and .*names a teacher, too"):
            compress(with_global(config, **{taken: "x"}), teacher=np.zeros)
    with pytest.raises(UserError, match="^teacher: must be a function of a list of texts, not 'folder'; a model's"):
        compress(config, teacher="folder")


@pytest.mark.parametrize(("value", "paths"), [
    ("a.jsonl", ("a.jsonl",)), (["a", "~/b"], ("a", str(Path("~/b").expanduser()))), (Path("c"), ("c",)), (None, None)])
def test_paths_of_labels_in_the_configuration(config, value, paths):
    assert load_config(with_global(config, teacher_labels=value)).global_.teacher_labels == paths


@pytest.mark.parametrize("value", [[], 3, "", [True], {}])
def test_what_is_no_path_is_refused(config, value):
    with pytest.raises(UserError, match="Global.teacher_labels: must be"):
        load_config(with_global(config, teacher_labels=value))
