"""``paddleslim-bilstm explain``: where a finished student and its teacher differ, on the dev set and on new text."""

import json
import shutil

import pytest

from paddleslim_bilstm import cli
from paddleslim_bilstm.storage import write_json


def _explained(folder, name="disagreements.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def test_the_dev_set_tells_what_the_report_tells(class_run, tmp_path, capsys):
    out = class_run.result.save_dir
    assert cli.main(["explain", str(out), "--to", str(tmp_path)]) == 0
    rows, dev = _explained(tmp_path), 80
    served = json.loads((out / "report.json").read_text(encoding="utf-8"))["models"][-1]
    assert len(rows) == pytest.approx((1 - served["agreement"]) * dev, abs=1)    # int8 rounds by the batch
    assert f"On {len(rows)} of {dev} texts" in capsys.readouterr().out
    assert [row["sure"] for row in rows] == sorted((row["sure"] for row in rows), reverse=True)
    for row in rows:
        assert row["teacher"]["label"] != row["student"]["label"]
        assert row["teacher_is_right"] == (row["teacher"]["label"] == row["label"])
        assert row["sure"] == pytest.approx(row["teacher"]["probabilities"][row["teacher"]["label"]], abs=1e-5)
    page = (tmp_path / "disagreements.html").read_text(encoding="utf-8")
    assert all(row["text"] in page for row in rows)


def test_the_runs_file_is_read_by_the_runs_columns(class_run, tmp_path):
    out = shutil.copytree(class_run.result.save_dir, tmp_path / "out")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    text = open(report["config"]["Global"]["dev_file"], encoding="utf-8").read()
    (tmp_path / "odd.tsv").write_text(text.replace("sentence\tlabel", "words\tkind", 1), encoding="utf-8")
    report["config"]["Global"].update(dev_file=str(tmp_path / "odd.tsv"), text_column="words", label_column="kind")
    write_json(out / "report.json", report)
    assert cli.main(["explain", str(out)]) == 0 and _explained(out)


def test_new_texts_need_no_labels(class_run, tmp_path):
    (tmp_path / "new.txt").write_text("the film is good\nthe story was not funny .\n", encoding="utf-8")
    command = ["explain", str(class_run.result.save_dir), "--data", str(tmp_path / "new.txt"), "--unlabeled"]
    assert cli.main([*command, "--to", str(tmp_path / "new")]) == 0
    assert all("label" not in row for row in _explained(tmp_path / "new"))
    assert "gold label" not in (tmp_path / "new" / "disagreements.html").read_text(encoding="utf-8")


def test_a_teacher_that_is_gone_is_told_in_one_line_and_can_be_named(class_run, tmp_path, capsys):
    out = shutil.copytree(class_run.result.save_dir, tmp_path / "out")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    teacher = report["config"]["Global"]["model_dir"]
    report["config"]["Global"]["model_dir"] = "gone/teacher"
    write_json(out / "report.json", report)
    assert cli.main(["explain", str(out)]) == cli.USER_ERROR
    assert capsys.readouterr().err == (f"error: gone/teacher: the teacher of {out} is no longer there; name where it "
                                       "is with --teacher\n")
    assert cli.main(["explain", str(out), "--teacher", teacher]) == 0
    assert (out / "disagreements.html").is_file()
    report["config"]["Global"].update(model_dir=None, teacher_labels=["answers"])
    write_json(out / "report.json", report)
    assert cli.main(["explain", str(out)]) == cli.USER_ERROR
    assert "its teacher is no model that can be asked again" in capsys.readouterr().err
    assert cli.main(["explain", str(tmp_path)]) == cli.USER_ERROR
    assert "holds no report.json" in capsys.readouterr().err
