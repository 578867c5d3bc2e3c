"""Many files answered: each whole or not there, shared by processes and ranks, going on where an earlier run ended."""

import json
import shutil
import time

import numpy as np
import pytest

from paddleslim_bilstm.cli import main
from paddleslim_bilstm.predict import Predictor, shards
from paddleslim_bilstm.predict.shards import ShardJob
from paddleslim_bilstm.storage import checksum

TEXTS = ["the food is great .", "a dull film", "", "the staff was rude", "not very funny ."]


@pytest.fixture
def folder(class_run, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        rows = [json.dumps({"text": text, "id": number}) + "\n" for text in TEXTS[number:]]
        (tmp_path / "in" / f"part-{number}.jsonl").write_text("".join(rows))
    return tmp_path


@pytest.fixture
def predict(class_run, folder, capsys):
    """``predict(options...)`` returns the exit code, the summary and the errors."""
    def run(*options, pattern="in/*.jsonl"):
        code = main(["predict", str(class_run.result.save_dir), "--input", str(folder / pattern), "--output",
                     str(folder / "out"), *options])
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else None, shown.err
    return run


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_each_file_has_answers_of_its_name_and_a_summary_tells_of_all(class_run, folder, predict, processes):
    code, summary, errors = predict("--processes", processes)
    assert code == 0, errors
    assert sorted(file.name for file in (folder / "out").iterdir()) == [
        ".done", "part-0.jsonl", "part-1.jsonl", "part-2.jsonl", "summary.json"]
    predictor = Predictor(class_run.result.save_dir)
    for number in range(3):
        rows = rows_of(folder / "out" / f"part-{number}.jsonl")
        assert [row["text"] for row in rows] == TEXTS[number:]
        assert rows == [{"text": text, **answer.as_json(predictor.label_names)}
                        for text, answer in zip(TEXTS[number:], predictor.predict(TEXTS[number:]))]
    assert summary == json.loads((folder / "out" / "summary.json").read_text())
    assert (summary["files"], summary["texts"], sum(summary["answers"].values())) == (3, 12, 12)


def test_only_what_is_missing_or_has_changed_is_answered(folder, predict, monkeypatch):
    predict()
    times = {file.name: file.stat().st_mtime_ns for file in (folder / "out").glob("part-*")}
    (folder / "out" / "part-0.jsonl").unlink()
    time.sleep(0.01)
    (folder / "in" / "part-2.jsonl").write_text(json.dumps({"text": "good"}) + "\n")
    code, summary, _ = predict()
    assert code == 0 and summary["texts"] == 5 + 4 + 1
    changed = {file.name for file in (folder / "out").glob("part-*") if file.stat().st_mtime_ns != times[file.name]}
    assert changed == {"part-0.jsonl", "part-2.jsonl"}
    monkeypatch.setattr(shards, "_answer", lambda *_: pytest.fail("answers again"))
    assert predict()[1] == summary


def test_a_bad_line_is_named_and_the_other_files_stay(folder, predict):
    with open(folder / "in" / "part-2.jsonl", "a") as file:
        file.write("no object\n")
    code, summary, errors = predict()
    assert code == 2 and summary is None and "part-2.jsonl:4: not a JSON object" in errors
    assert sorted(file.name for file in (folder / "out").iterdir()) == [".done", "part-0.jsonl", "part-1.jsonl"]


def test_json_is_not_read_as_text(folder, predict):
    lines = (folder / "in" / "part-0.jsonl").read_text()
    for name, message in (("more.json", "more.json: has the suffix .json, which is not read; write one object a line"),
                          ("more.txt", "more.txt:1: looks like JSON; give --jsonl")):
        (folder / "in" / name).write_text(lines)
        assert message in predict(pattern=f"in/{name}")[2] and not list((folder / "out").glob("more*"))
        assert predict("--jsonl", pattern=f"in/{name}")[1]["texts"] == len(TEXTS)
        (folder / "out" / "more.jsonl").unlink()


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_student_that_cant_be_loaded_is_named_by_any_number_of_processes(class_run, folder, processes, capsys):
    student = folder / "student"
    shutil.copytree(class_run.result.save_dir, student)
    for model in student.glob("model*.onnx"):
        model.write_bytes(b"no model")
    code = main(["predict", str(student), "--input", str(folder / "in"), "--output", str(folder / "out"),
                 "--processes", processes])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and str(student) in errors[0], errors
    assert not list((folder / "out").glob("part-*"))


def test_a_file_may_have_brackets_in_its_name(folder, predict):
    (folder / "in" / "part-0.jsonl").rename(folder / "in" / "part[0].jsonl")
    code, summary, errors = predict(pattern="in/part[0].jsonl")
    assert code == 0 and summary["files"] == 1, errors


def test_each_rank_answers_its_files_and_the_last_one_sums_up(folder, predict, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    assert predict()[:2] == (0, None)
    assert [file.name for file in (folder / "out").glob("part-*")] == ["part-1.jsonl"]
    monkeypatch.setenv("PADDLE_TRAINER_ID", "0")
    assert predict()[1]["texts"] == 12


def test_parquet_in_is_parquet_out(class_run, folder, predict):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet
    parquet.write_table(pyarrow.table({"review": TEXTS, "id": list(range(5))}), folder / "in" / "part.parquet")
    code, summary, errors = predict("--text-key", "review", pattern="in/*.parquet")
    assert code == 0, errors
    rows = parquet.read_table(folder / "out" / "part.parquet").to_pylist()
    assert [row["text"] for row in rows] == TEXTS and summary["texts"] == 5
    np.testing.assert_allclose([sum(row["probabilities"].values()) for row in rows], 1, atol=1e-5)
    assert "has no column 'text'" in predict(pattern="in/*.parquet")[2]
    (folder / "in" / "part.parquet").write_bytes(b"no table")
    assert "not a Parquet file" in predict("--text-key", "review", pattern="in/*.parquet")[2]


def test_an_empty_parquet_file_has_answers_of_the_same_columns(class_run, folder, predict):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet
    for name, texts in (("empty", TEXTS[:0]), ("full", TEXTS)):
        table = pyarrow.table({"text": pyarrow.array(texts, pyarrow.string())})
        parquet.write_table(table, folder / "in" / f"{name}.parquet")
    assert predict(pattern="in/*.parquet")[1]["texts"] == 5
    empty, full = (parquet.read_table(folder / "out" / f"{name}.parquet") for name in ("empty", "full"))
    assert empty.num_rows == 0 and empty.schema.equals(full.schema)


def test_what_cant_be_is_refused(class_run, folder, predict, capsys):
    assert "no file is called" in predict(pattern="nowhere/*.jsonl")[2]
    (folder / "in" / "part-0.txt").write_text("good\n")
    assert "would be called part-0.jsonl" in predict(pattern="in")[2]
    assert main(["predict", str(class_run.result.save_dir), "--processes", "2"]) == 2
    assert "--processes" in capsys.readouterr().err
    assert main(["predict", str(class_run.result.save_dir), "--input", "texts.parquet"]) == 2
    assert "name a folder for its answers as --output" in capsys.readouterr().err
    assert main(["predict", str(class_run.result.save_dir), "--output", str(folder / "out")]) == 2
    assert "--input: missing" in capsys.readouterr().err


@pytest.mark.parametrize("kept", ["part-1.jsonl", "in.jsonl"])
def test_answers_never_take_the_place_of_a_file_of_the_users(class_run, folder, predict, kept):
    (folder / "out").mkdir()
    (folder / "out" / "part-1.jsonl").write_text("mine")
    (folder / "in" / "in.txt").write_text("good\n")
    (folder / "in" / "in.jsonl").write_text('{"text": "mine", "id": 1}\n')
    patterns = {"part-1.jsonl": ("out/part-1.jsonl", "in/*-1.jsonl"), "in.jsonl": ("in/in.jsonl", "in/in.jsonl")}
    file, pattern = patterns[kept]
    before = (folder / file).read_text()
    code, _, errors = predict("--output", str((folder / file).parent), pattern=pattern)
    assert code == 2 and "name another folder" in errors
    assert (folder / file).read_text() == before and not (folder / "in" / ".done").exists()


def test_a_file_of_the_users_is_kept_where_other_answers_are_already(folder, predict):
    predict(pattern="in/part-0.jsonl")
    (folder / "out" / "part-1.jsonl").write_text("mine")
    code, _, errors = predict(pattern="in/part-1.jsonl")
    assert code == 2 and "part-1.jsonl is there and holds no answers of ours" in errors
    assert (folder / "out" / "part-1.jsonl").read_text() == "mine"


def test_answers_without_a_record_are_ours_where_a_kill_came_between(folder, predict, monkeypatch):
    def killed(path, value, write=shards.write_sealed_json):
        if value:
            raise KeyboardInterrupt
        write(path, value)
    with monkeypatch.context() as changed:
        changed.setattr(shards, "write_sealed_json", killed)
        assert predict()[0] == 130 and (folder / "out" / "part-0.jsonl").is_file()
    assert predict()[1]["texts"] == 12


@pytest.mark.parametrize("pattern", ["in", "in/*"])
def test_the_same_command_goes_on_where_answers_stand_beside_their_inputs(folder, predict, pattern):
    for file in (folder / "in").iterdir():
        file.rename(file.with_suffix(".txt"))
    options = ("--jsonl", "--output", str(folder / "in"))
    before = predict(*options, pattern=pattern)
    (folder / "in" / "more.txt").write_text('{"text": "good"}\n')
    code, summary, _ = predict(*options, pattern=pattern)
    assert code == 0 and (summary["files"], summary["texts"]) == (before[1]["files"] + 1, before[1]["texts"] + 1)


def test_a_file_name_may_be_of_any_bytes(folder, predict):
    (folder / "in" / "caf\udce9.txt").write_text("good\n")
    for _ in range(2):
        code, summary, errors = predict(pattern="in/*.txt")
        assert code == 0 and summary["texts"] == 1, errors
    assert (folder / "out" / "caf\udce9.jsonl").is_file()


def test_another_student_answers_anew(class_run, folder, tmp_path):
    student = tmp_path / "student"
    shutil.copytree(class_run.result.save_dir, student)
    weights = student / "model.pdiparams"

    def identity(runtime):
        return checksum(*shards._student_files(ShardJob(str(student), runtime, 1, 16, False, (), folder)))
    before = {runtime: identity(runtime) for runtime in ("paddle", None)}
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    assert identity("paddle") != before["paddle"] and identity(None) == before[None]
    (student / "vocab.txt").write_text("[PAD]\n")
    assert identity(None) != before[None]


def test_labels_that_come_late_fit_into_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    with shards._writer(tmp_path / "answers.parquet", ".parquet", list) as write:
        write([{"text": "a", "labels": [], "probabilities": {"x": 0.1}}])
        write([{"text": "b", "labels": ["x"], "probabilities": {"x": 0.9}}])
    assert [row["labels"] for row in parquet.read_table(tmp_path / "answers.parquet").to_pylist()] == [[], ["x"]]
