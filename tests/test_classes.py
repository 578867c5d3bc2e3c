"""Many classes by name, some of them rare: names come out as they went in, and macro-F1 decides."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from paddleslim_bilstm import compress
from paddleslim_bilstm.cli import main
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.text import load_dataset

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["billing", "Défaut", "login / access", "refund", "outage", "other", "42"]
WORDS = ["price", "dirty", "phone", "money", "slow", "book", "staff"]
COUNTS = [120, 80, 50, 30, 20, 10, 6]


def tickets(seed):
    """Rows whose class is given by a word among others; the first class is twenty times the last."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, word, count in zip(NAMES, WORDS, COUNTS):
        for _ in range(count):
            words = rng.choice(["the", "is", "not", "very", "we", "and", "film", "hotel"], rng.integers(2, 8)).tolist()
            rows.append((" ".join([*words[:2], word, *words[2:]]), name))
    return [rows[i] for i in rng.permutation(len(rows))]


def test_seven_uneven_classes_by_name(tiny_teacher, tmp_path, capsys):
    """The teacher is random, so alpha 1: the student learns the labels; the teacher is only there."""
    teacher = tiny_teacher(num_classes=7, label_names=NAMES)
    dev = tickets(1)
    result = compress({
        "Global": {"model_dir": str(teacher), "save_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache"),
                   "metric": "macro_f1", "max_seq_length": 64},
        "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16, "dropout": 0.0}, "alpha": 1.0,
                           "batch_size": 16, "train_alone": False},
        "DataAugmentation": {"n_iter": 0}, "TrainConfig": {"epochs": 8, "eval_iter": 20, "learning_rate": 0.01},
        "QuantBiLSTM": {"max_accuracy_drop": 0.05}}, train=tickets(0), dev=dev)
    student, int8 = (row for row in result.report.models if row.name in ("distilled", "QuantBiLSTM"))
    assert student.f1 > 0.9 and student.f1 - int8.f1 <= 0.05
    assert "macro-F1" in result.report.headline

    answers = Predictor(tmp_path / "out").predict([text for text, _ in dev])
    assert np.mean([answer.label == label for answer, (_, label) in zip(answers, dev)]) > 0.9
    assert {answer.label for answer in answers} == set(NAMES)
    (tmp_path / "dev.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in dev))
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(tmp_path / "dev.csv")]) == 0
    assert json.loads(capsys.readouterr().out)["macro_f1"] == pytest.approx(int8.f1, abs=0.03)


@pytest.fixture
def task_texts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("task_texts")


@pytest.mark.parametrize("make", ["ticket", "review", "letter"])
def test_the_benchmarks_texts_differ_repeat_and_hold_phrases_back(task_texts, make):
    train, dev, unlabeled = task_texts.rows(getattr(task_texts, make), 800, 300, 800)
    texts = [text for text, _ in train + dev + unlabeled]
    assert len(set(texts)) == len(texts)
    assert (train, dev, unlabeled) == task_texts.rows(getattr(task_texts, make), 800, 300, 800)
    phrases = [phrase for group in (*task_texts._PROBLEMS.values(), *task_texts._GRADES.values()) for phrase in group]
    used = [[phrase for phrase in phrases if any(phrase in text.lower() or phrase in text for text, _ in part)]
            for part in (train, dev)]
    assert 0.2 * len(used[1]) < len(set(used[1]) - set(used[0])) < 0.5 * len(used[1])


def test_the_benchmarks_classes_are_uneven_and_the_scores_spread(task_texts):
    labels = [label for _, label in task_texts.rows(task_texts.ticket, 2000, 1, 1)[0]]
    counts = sorted(labels.count(name) for name in set(labels))
    assert len(counts) == 7 and counts[0] * 8 < counts[-1]
    scores = [score for _, score in task_texts.rows(task_texts.review, 2000, 1, 1)[0]]
    assert min(scores) == 0 and max(scores) == 5 and 1 < np.std(scores) < 2


@pytest.mark.slow
def test_the_benchmark_fine_tunes_distils_and_prints_its_table(task_texts, tiny_teacher, tmp_path, monkeypatch,
                                                               capsys):
    teacher = tiny_teacher()
    monkeypatch.setenv("PADDLESLIM_BILSTM_CACHE", str(tmp_path / "cache"))
    tasks = importlib.import_module("tasks")
    tasks.main([str(teacher), "--train", "400", "--dev", "150", "--unlabeled", "20", "--output", str(tmp_path / "out"),
                "--json", str(tmp_path / "tasks.json"), "-o", "Finetune.epochs=1", "TrainConfig.train_iter=3",
                "DataAugmentation.n_iter=0", "Global.max_seq_length=32", "bert_to_bilstm.student.hidden_size=8"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[1] for line in lines[2:]] == [
        "macro-F1 %", "accuracy %", "Pearson", "Spearman", "micro-F1 %", "macro-F1 %", "exact %", "mAP %"]
    found = json.loads((tmp_path / "tasks.json").read_text())
    assert set(found["reviews"]["Pearson"]) == set(tasks.MODELS)


@pytest.mark.parametrize("name", ["classes", "regression", "multilabel"])
def test_the_shipped_configs_read_what_their_comments_show(name, tmp_path):
    source = ROOT / "configs" / f"{name}.yaml"
    shown = [line[4:] for line in source.read_text().splitlines() if line.startswith("#   ")]
    rows = shown[shown.index("text,label") + 1:]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join([*rows, 'more,4' if name == "regression" else "x,y"]))
    config = load_config(source, [f"Global.{part}_file={tmp_path / 'rows.csv'}" for part in ("train", "dev")])
    data = load_dataset(config.global_)
    assert len(data.train_texts) == len(rows) + 1
    assert config.global_.chosen_metric == {"classes": "macro_f1", "regression": "pearson",
                                            "multilabel": "micro_f1"}[name]
    assert config.finetune.model and "QuantBiLSTM" in config.strategies
