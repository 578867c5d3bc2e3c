"""The model card of an output folder: its head for hubs, and its code, which runs as it stands."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from reviews import write_reviews
from student_reference import output_folder
from teachers import make_tiny_teacher

from paddleslim_bilstm import compress
from paddleslim_bilstm.export.paddle_model import export_paddle_model
from paddleslim_bilstm.report.measure import TEACHER, Latency, ModelRow
from paddleslim_bilstm.report.write import write_report
from paddleslim_bilstm.tokens import Feed

MASKED = (Feed("ids", "ids"), Feed("mask", "mask", "float32"), Feed("types", "types", "int32"))
ROW = ModelRow(TEACHER, 0.9, 0.8, 0.7, 10, 10, 10, 10, Latency(1, 1), 1, "Paddle Inference")


def head_and_blocks(card: Path) -> tuple[dict, list[str]]:
    text = card.read_text(encoding="utf-8")
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1]), re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_in(folder: Path, blocks: list[str], monkeypatch) -> tuple[np.ndarray, np.ndarray]:
    """Run all blocks of a card in its folder; return what ONNX Runtime and Paddle Inference answered."""
    monkeypatch.chdir(folder)
    names: dict = {}
    answers = []
    for block in blocks:
        exec(block, names)
        answers.append(names.get("logits"))
    return answers[-2], answers[-1]


@pytest.mark.slow
def test_every_output_folder_has_a_card(tmp_path, monkeypatch, capsys):
    teacher, data = make_tiny_teacher(tmp_path / "my-bert"), write_reviews(tmp_path / "data", train=60, dev=30)
    config = {"Global": {"model_dir": str(teacher), "train_file": str(data / "train.tsv"), "max_seq_length": 64,
                         "dev_file": str(data / "dev.tsv"), "save_dir": str(tmp_path / "out"),
                         "cache_dir": str(tmp_path / "cache"), "metric": "matthews"},
              "bert_to_bilstm": {"student": {"embed_dim": 8, "hidden_size": 8}, "train_alone": False},
              "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"epochs": 1}, "QuantBiLSTM": {"max_accuracy_drop": 1}}
    compress(config)
    card = tmp_path / "out" / "README.md"
    head, blocks = head_and_blocks(card)
    assert head["pipeline_tag"] == "text-classification" and "language" not in head and "license" not in head
    assert {"paddleslim-bilstm", "bilstm", "onnx", "int8"} <= set(head["tags"])
    assert head["metrics"] == ["accuracy", "f1", "matthews_correlation"]
    text = card.read_text(encoding="utf-8")
    assert "my-bert" in text and str(tmp_path) not in text and "| QuantBiLSTM |" in text
    assert "60 labelled rows to train on" in text and "30 dev rows" in text
    assert "distinct sentences made of them in 1 round by `masking`, " in text
    in_onnx, in_paddle = run_in(tmp_path / "out", blocks, monkeypatch)
    assert capsys.readouterr().out.strip() in ("0", "1")
    assert in_onnx.shape == in_paddle.shape == (1, 2) and np.abs(in_onnx - in_paddle).max() < 0.5

    assert "distilled from a larger classifier" in text and "BERT that it replaces" in text
    compress(config, overrides=["bert_to_bilstm.seed=1", "DataAugmentation.n_iter=0"])
    text = card.read_text(encoding="utf-8")
    assert "seed 1" in text and "made of them by no augmentation, " in text
    card.write_text("# My project\n", encoding="utf-8")
    compress(config)
    assert card.read_text(encoding="utf-8") == "# My project\n"


@pytest.mark.parametrize("changes", [
    {"classes": 2, "pairs": True}, {"classes": 1}, {"classes": 3, "encoder": "bigru", "feeds": MASKED},
    {"classes": 3, "width": 20, "feeds": MASKED, "sep_id": 3, "pairs": True}], ids=str)
def test_the_code_runs_for_every_kind_of_student(tmp_path, monkeypatch, changes):
    kept = {name: changes.pop(name) for name in ("feeds", "width", "sep_id") if name in changes}
    weights, spec = output_folder(tmp_path, **changes)
    spec = replace(spec, **kept)
    from paddleslim_bilstm.export.onnx_model import write_onnx
    from paddleslim_bilstm.student.weights import save_student
    paddle.enable_static()
    export_paddle_model(tmp_path, spec, weights)
    write_onnx(tmp_path / "model.onnx", weights, spec)
    (tmp_path / "model.int8.onnx").unlink()
    save_student(tmp_path, weights, spec)
    write_report(tmp_path, [ROW], {}, {"train": 1.0}, {"train": 5}, {"sentences": 9}, spec=spec, language="zh")
    head, blocks = head_and_blocks(tmp_path / "README.md")
    assert head["language"] == "zh" and "int8" not in head["tags"]
    pages = [(tmp_path / name).read_text(encoding="utf-8") for name in ("README.md", "report.md")]
    assert "distilled from the answers of others" in pages[0] and "answers from elsewhere" in pages[0]
    assert not any("BERT that it replaces" in page or "its teacher's tokenizer" in page for page in pages)
    in_onnx, in_paddle = run_in(tmp_path, blocks, monkeypatch)
    np.testing.assert_allclose(in_onnx, in_paddle, atol=1e-5)
    assert in_onnx.shape == (1, spec.num_classes)
    of_report = re.findall(r"^```python\n(.*?)^```", (tmp_path / "report.md").read_text(encoding="utf-8"), re.S | re.M)
    np.testing.assert_allclose(run_in(tmp_path, [*blocks, *of_report], monkeypatch)[1], in_paddle, atol=1e-6)
