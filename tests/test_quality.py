"""The recipe is worth its work: with a real teacher, on real text, the distilled student beats the one without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddleslim_bilstm import compress

pytestmark = pytest.mark.slow

LEAST_GAIN = 0.05


def first_rows(file: Path, count: int) -> list[tuple[str, str]]:
    """Return the first ``(text, label)`` rows of a TSV file of SST-2."""
    lines = file.read_text(encoding="utf-8").split("\n")[1:count + 1]
    return [(text, label) for text, label in (line.split("\t") for line in lines)]


def accuracies(shared: Path, folder: Path, seed: int) -> dict[str, float]:
    """Distil from 500 labelled and 700 unlabelled phrases of SST-2; return each model's accuracy by its name."""
    rows = first_rows(shared / "data" / "sst2" / "train.tsv", 1200)
    config = {"Global": {"model_dir": str(shared / "teachers" / "minilm-sst2"), "save_dir": str(folder / "out"),
                         "cache_dir": str(folder / "cache"), "max_seq_length": 64, "seed": seed},
              "bert_to_bilstm": {"student": {"embed_dim": 100, "hidden_size": 100}, "batch_size": 32},
              "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"train_iter": 300, "eval_iter": 50}}
    report = compress(config, train=rows[:500], dev=first_rows(shared / "data" / "sst2" / "dev.tsv", 400),
                      unlabeled=[text for text, _ in rows[500:]]).report
    return {model.name: model.accuracy for model in report.models}


def test_a_distilled_student_beats_the_same_student_alone(shared, tmp_path):
    """With seeds 0, 1 and 2: alone 63.5, 62.5 and 62.8 %, distilled 74.0, 71.0 and 73.0 %, the teacher 88.8 %.

    So the gain is 8.5 to 10.5 points; with the logits in a random order the student reaches 51.8 %.
    """
    found = accuracies(shared, tmp_path, seed=0)
    assert found["teacher"] > 0.85
    assert found["distilled"] - found["Bi-LSTM alone"] > LEAST_GAIN
