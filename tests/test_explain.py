"""``paddleslim-bilstm explain``: where a finished student and its teacher differ, on the dev set and on new text."""

import html
import json
import shutil
import sys
from pathlib import Path

import pytest

from paddleslim_bilstm import cli
from paddleslim_bilstm.export.onnx_model import write_onnx
from paddleslim_bilstm.run import cache_in_use
from paddleslim_bilstm.storage import write_json
from paddleslim_bilstm.student.weights import load_student


def _explained(folder, name="disagreements.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def contrary(class_run, tmp_path):
    """A copy of the run's output whose student, in float, says the opposite of what it has learned."""
    out = shutil.copytree(class_run.result.save_dir, tmp_path / "out")
    weights, spec = load_student(out)
    turned = {name: -value if name.startswith("output.") else value for name, value in weights.items()}
    (out / "model.int8.onnx").unlink()
    write_onnx(out / "model.onnx", turned, spec)
    return out


def test_every_disagreement_on_the_dev_set_is_told(class_run, contrary, capsys):
    agreement = json.loads((contrary / "report.json").read_text(encoding="utf-8"))["models"][-1]["agreement"]
    assert cli.main(["explain", str(contrary)]) == 0
    rows, dev = _explained(contrary), 80
    assert rows and len(rows) == pytest.approx(agreement * dev, abs=2)           # what was agreement
    assert f"On {len(rows)} of {dev} texts" in capsys.readouterr().out
    assert [row["sure"] for row in rows] == sorted((row["sure"] for row in rows), reverse=True)
    for row in rows:
        assert row["teacher"]["label"] != row["student"]["label"]
        assert row["teacher_is_right"] == (row["teacher"]["label"] == row["label"])
        assert row["sure"] == pytest.approx(row["teacher"]["probabilities"][row["teacher"]["label"]], abs=1e-5)
    page = html.unescape((contrary / "disagreements.html").read_text(encoding="utf-8"))
    assert all(row["text"] in page for row in rows) and "gold label" in page


def test_the_runs_file_is_read_by_the_runs_columns(contrary, tmp_path):
    report = json.loads((contrary / "report.json").read_text(encoding="utf-8"))
    text = Path(report["config"]["Global"]["dev_file"]).read_text(encoding="utf-8")
    (tmp_path / "odd.tsv").write_text(text.replace("sentence\tlabel", "words\tkind", 1), encoding="utf-8")
    report["config"]["Global"].update(dev_file=str(tmp_path / "odd.tsv"), text_column="words", label_column="kind")
    write_json(contrary / "report.json", report)
    assert cli.main(["explain", str(contrary)]) == 0 and _explained(contrary)
    (tmp_path / "odd.tsv").write_text(text, encoding="utf-8")  # called otherwise than the training file's
    assert cli.main(["explain", str(contrary)]) == 0 and _explained(contrary)
    assert cli.main(["explain", str(contrary), "--text-column", "words"]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="folders can't be locked")
def test_the_cache_is_not_cleared_meanwhile(class_run, contrary, monkeypatch, capsys):
    def clear(settings, _):
        with cache_in_use(Path(settings.global_.cache_dir), to_clear=True):
            pass
    monkeypatch.setattr("paddleslim_bilstm.pipeline.load_fitting_teacher", clear)
    assert cli.main(["explain", str(contrary)]) == 2 and "a run is using" in capsys.readouterr().err


def test_new_texts_need_no_labels(contrary, tmp_path):
    (tmp_path / "new.txt").write_text("the film is good\nthe story was not funny .\n", encoding="utf-8")
    command = ["explain", str(contrary), "--data", str(tmp_path / "new.txt"), "--unlabeled"]
    assert cli.main([*command, "--label-column", "x"]) == 2
    (tmp_path / "file").write_text("")
    assert cli.main([*command, "--to", str(tmp_path / "file")]) == 2
    assert cli.main([*command, "--to", str(tmp_path / "new")]) == 0
    rows = _explained(tmp_path / "new")
    assert rows and not any("label" in row or "teacher_is_right" in row for row in rows)
    assert "gold label" not in (tmp_path / "new" / "disagreements.html").read_text(encoding="utf-8")


def test_a_teacher_that_is_gone_is_told_in_one_line_and_can_be_named(contrary, tmp_path, capsys):
    out = contrary
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    teacher = report["config"]["Global"]["model_dir"]
    report["config"]["Global"]["model_dir"] = "gone/teacher"
    write_json(out / "report.json", report)
    assert cli.main(["explain", str(out)]) == cli.USER_ERROR
    assert capsys.readouterr().err == (f"error: gone/teacher: the teacher of {out} is no longer there; name where it "
                                       "is with --teacher\n")
    assert cli.main(["explain", str(out), "--teacher", teacher]) == 0
    assert (out / "disagreements.html").is_file()
    other = shutil.copytree(teacher, tmp_path / "other")
    settings = json.loads((other / "config.json").read_text(encoding="utf-8"))
    names = [f"class of another {number}" for number in range(len(settings["id2label"]))]
    write_json(other / "config.json", {**settings, "id2label": dict(enumerate(names))})
    assert cli.main(["explain", str(out), "--teacher", str(other)]) == cli.USER_ERROR
    assert f"{other}: names its classes {', '.join(names)}, and the student" in capsys.readouterr().err
    alike = len(_explained(out))
    write_json(other / "config.json", {**settings, "id2label": {0: "1", 1: "0"}})  # now its answers are the opposite
    assert cli.main(["explain", str(out), "--teacher", str(other)]) == 0
    assert len(_explained(out)) == 80 - alike != alike
    report["config"]["Global"].update(model_dir=None, teacher_labels=["answers"])
    write_json(out / "report.json", report)
    assert cli.main(["explain", str(out)]) == cli.USER_ERROR
    assert "its teacher is no model that can be asked again" in capsys.readouterr().err
    assert cli.main(["explain", str(tmp_path)]) == cli.USER_ERROR
    assert "holds no report.json" in capsys.readouterr().err
