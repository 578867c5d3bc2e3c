import argparse
import io
import json
import pickle
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from student_reference import WORDS, output_folder, random_texts, reference_logits

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.predict import Predictor


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("output")
    weights, spec = output_folder(folder, num_layers=2)
    return folder, weights, spec


def expected(output, texts):
    """Logits of the reference, each text by itself, cut to max_seq_length (32)."""
    _, weights, spec = output
    rows = []
    for text in texts:
        ids = [WORDS.index(word) for word in text.split()][:spec.max_seq_length - 2]
        rows.append(reference_logits(weights, spec, np.array([[2, *ids, 3]]))[0])
    return np.array(rows)


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_logits_come_in_the_order_of_the_texts_whatever_the_batches(output, batch_size):
    texts = random_texts(50)
    logits = Predictor(output[0], "onnx").logits(texts, batch_size)
    np.testing.assert_allclose(logits, expected(output, texts), atol=1e-5)


def test_a_prediction_is_a_label_with_the_probabilities_of_all(output):
    texts = ["the film is good", "", "the film is not very bad"]
    predictor = Predictor(output[0], "onnx")
    predictions = predictor.predict(texts)
    logits = expected(output, texts)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert predictor.label_names == ("class 0", "class 1", "class 2")
    assert [one.label for one in predictions] == [f"class {number}" for number in logits.argmax(axis=1)]
    np.testing.assert_allclose([one.probabilities for one in predictions], probabilities, atol=1e-5)
    assert predictor.predict([]) == []


def test_one_string_in_place_of_a_list_is_refused(output):
    with pytest.raises(TypeError, match="texts must be a list of strings"):
        Predictor(output[0]).predict("the film is good")


class Table(dict):
    """As pandas' DataFrame: its items are the names of its columns."""

    columns = ["text"]


@pytest.mark.parametrize("texts, error, message", [
    (5, TypeError, "texts must be a list of strings, not one 5"),
    (Table(text=["a"]), TypeError, "texts must be a list of strings, not a table; give its column"),
    (["good", None], TypeError, r"texts\[1\] must be a string, not NoneType"),
    (["good", "\ud83d"], UserError, r"texts\[1\]: has half of a surrogate pair"),
])
def test_what_is_no_text_is_refused_by_its_position(output, texts, error, message):
    with pytest.raises(error, match=message):
        Predictor(output[0]).predict(texts)
    with pytest.raises(UserError, match="batch_size: is 0"):
        Predictor(output[0]).predict(["good"], batch_size=0)


@pytest.mark.parametrize("text", ["", " ", "\0", "x" * 100_000, "good " * 20_000, "مرحبا", "👍🏽", "?!...",
                                  "\ufeffgood", "a\r\nb", "\u202ereversed"])
def test_every_text_gets_an_answer_however_odd(output, text):
    predictor = Predictor(output[0])
    odd, _ = predictor.predict([text, "good"])
    assert odd.label in predictor.label_names and odd.probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name, content, message", [
    ("student.json", b"{", "student.json: not valid JSON"),
    ("student.json", b"[]", "student.json: holds a list"),
    ("vocab.txt", b"\xff\n", "vocab.txt: can't be loaded"),
    ("vocab.txt", "\n".join(WORDS + ["more"]).encode(), "doesn't know all 19 tokens of the tokenizer beside it"),
    ("tokenizer_config.json", b'{"unk_token": 5}', "unk_token is 5"),
    ("tokenizer.json", b"{}", "tokenizer.json: can't be loaded"),
    ("model.int8.onnx", b"no model", "model.int8.onnx: ONNX Runtime can't load it"),
    ("model.pdmodel", b"no model", "model.pdmodel: Paddle can't load it"),
])
def test_damaged_files_are_named(output, tmp_path, name, content, message):
    folder = shutil.copytree(output[0], tmp_path / "output")
    (folder / name).write_bytes(content)
    (folder / "model.pdiparams").write_bytes(b"")
    with pytest.raises(UserError, match=message) as error:
        Predictor(folder, "paddle" if name == "model.pdmodel" else None).predict(["good"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bytes_left_out", [1, 3_000])
def test_weights_that_were_cut_are_named_not_read_from_whatever_is_in_memory(class_run, tmp_path, bytes_left_out):
    folder = shutil.copytree(class_run.result.save_dir, tmp_path / "output")
    weights = folder / "model.pdiparams"
    weights.write_bytes(weights.read_bytes()[:-bytes_left_out])
    with pytest.raises(UserError, match="Paddle can't load it with its .pdiparams .*copy both files again"):
        Predictor(folder, "paddle")


def test_a_model_of_other_classes_than_student_json_is_named(output, tmp_path):
    folder = shutil.copytree(output[0], tmp_path / "output")
    spec = json.loads((folder / "student.json").read_text())
    spec.update(num_classes=2, label_names=["a", "b"])
    (folder / "student.json").write_text(json.dumps(spec))
    with pytest.raises(UserError, match=r"answers \[1, 3\] where student.json names 2 labels"):
        Predictor(folder)


def test_int8_is_taken_first_and_stays_close(output, tmp_path):
    predictor = Predictor(output[0])
    assert predictor.runtime == "onnx-int8"
    texts = random_texts(100)
    logits = expected(output, texts)
    assert np.abs(predictor.logits(texts) - logits).max() < 0.1 * np.ptp(logits)
    shutil.copytree(output[0], tmp_path / "copy")
    (tmp_path / "copy" / "model.int8.onnx").unlink()
    assert Predictor(tmp_path / "copy").runtime == "onnx"
    (tmp_path / "copy" / "model.onnx").unlink()
    with pytest.raises(UserError, match="neither model.int8.onnx nor model.onnx is there"):
        Predictor(tmp_path / "copy")


def test_a_copied_folder_gives_the_same_answers(output, tmp_path):
    texts = random_texts(10)
    shutil.copytree(output[0], tmp_path / "elsewhere")
    np.testing.assert_array_equal(Predictor(tmp_path / "elsewhere").logits(texts), Predictor(output[0]).logits(texts))


def test_a_pickled_predictor_is_loaded_again_from_its_folder(output, tmp_path, monkeypatch):
    monkeypatch.chdir(output[0])
    first = Predictor(".", "onnx", threads=2)
    monkeypatch.chdir(tmp_path)  # as where a process of a pool stands
    again = pickle.loads(pickle.dumps(first))
    texts = random_texts(5)
    assert again.runtime == "onnx"
    np.testing.assert_array_equal(again.logits(texts), first.logits(texts))


@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_may_use_one_predictor(output, threads):
    predictor = Predictor(output[0], threads=threads)
    jobs = [random_texts(20, seed) for seed in range(24)]
    alone = [predictor.logits(texts) for texts in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(predictor.logits, jobs))
    for one, other in zip(alone, together):
        np.testing.assert_array_equal(one, other)


def test_unknown_runtimes_and_missing_files_are_named(output, tmp_path):
    with pytest.raises(UserError, match="runtime: 'tensorrt' is none of onnx-int8, onnx, paddle"):
        Predictor(output[0], "tensorrt")
    for threads in (0, 10**20):
        with pytest.raises(UserError, match="threads: is .* from 1 to 1024"):
            Predictor(output[0], threads=threads)
    with pytest.raises(UserError, match="model.pdmodel: no such file"):
        Predictor(output[0], "paddle")
    with pytest.raises(UserError, match="student.json: no such file"):
        Predictor(tmp_path)


def test_predicting_imports_neither_paddle_nor_what_the_predict_extra_lacks(output):
    script = (f"import sys; from paddleslim_bilstm.predict import Predictor; "
              f"Predictor({str(output[0])!r}).predict(['good']); "
              f"print([name for name in ('paddle', 'paddlenlp', 'paddleslim', 'onnx', 'safetensors', 'sklearn') "
              f"if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def run_command(module, monkeypatch, capsys, arguments, stdin=b""):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
    assert module.run(parser.parse_args([str(one) for one in arguments])) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def predict(output, monkeypatch, capsys):
    from paddleslim_bilstm.commands import predict as command
    return lambda *arguments, stdin=b"": run_command(command, monkeypatch, capsys, [output[0], *arguments], stdin)


def test_predict_reads_lines_from_standard_input(output, predict):
    rows = predict("--runtime", "onnx", stdin="the film\r\n\nnaïve \"fun\"".encode())
    assert [row["text"] for row in rows] == ["the film", "", "naïve \"fun\""]
    logits = expected(output, ["the film"])[0]
    assert rows[0]["label"] == f"class {logits.argmax()}"
    probabilities = list(rows[0]["probabilities"].values())
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(), atol=1e-5)


def test_predict_reads_a_file_larger_than_a_chunk_in_order(predict, tmp_path):
    texts = random_texts(3000, longest=20)
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n")
    assert (tmp_path / "in.txt").stat().st_size > 100_000
    assert [row["text"] for row in predict("--input", tmp_path / "in.txt")] == texts


@pytest.mark.parametrize("pairs", [False, True])
def test_blanks_around_a_text_and_padding_in_it_change_nothing(tmp_path, pairs):
    output_folder(tmp_path, classes=2, pairs=pairs)
    predictor, texts = Predictor(tmp_path), random_texts(6)
    spoilt = [f"  [PAD] {text} [PAD]\t" for text in texts]
    if pairs:
        texts, spoilt = ([(one, "so be it") for one in some] for some in (texts, spoilt))
    np.testing.assert_array_equal(predictor.logits(spoilt), predictor.logits(texts))
    np.testing.assert_array_equal(predictor.logits(dict.fromkeys(texts)), predictor.logits(list(dict.fromkeys(texts))))


def test_predict_reads_jsonl(predict, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"id": 1, "text": "good"}\n{"text": "bad"}\n')
    assert [row["text"] for row in predict("--input", tmp_path / "in.jsonl")] == ["good", "bad"]
    assert [row["text"] for row in predict("--jsonl", "--text-key", "t", stdin=b'{"t": "a"}\n')] == ["a"]
    (tmp_path / "in.ndjson").write_text('{"text": "good"}\n\n{"text": "bad"}\n\n')
    assert [row["text"] for row in predict("--input", tmp_path / "in.ndjson")] == ["good", "bad"]


def test_a_key_for_plain_lines_is_refused(predict, tmp_path):
    (tmp_path / "in.txt").write_text("text\tlabel\ngood\t1\n")
    with pytest.raises(UserError, match="--text-key: .*in.txt is read as plain lines"):
        predict("--input", tmp_path / "in.txt", "--text-key", "text")


@pytest.mark.parametrize("line", [
    '{"id": 1, "text": "good"}', '["good", "bad"]', '[{"text": "good"}]', "{}", "\ufeff[1] "])
def test_json_is_not_read_as_text(predict, tmp_path, line):
    with pytest.raises(UserError, match="^standard input:1: looks like JSON; give --jsonl where each line is an "):
        predict(stdin=f"{line}\r\nbad\n".encode())
    for name in ("in.txt", "in.csv"):
        (tmp_path / name).write_text(f"{line}\n")
        with pytest.raises(UserError, match=f"{name}:1: "):
            predict("--input", tmp_path / name)
    (tmp_path / "in.JSON").write_text(f"{line}\n")
    with pytest.raises(UserError, match="in.JSON: has the suffix .json, which is not read; write one object a line as"):
        predict("--input", tmp_path / "in.JSON")


@pytest.mark.parametrize("line", [
    "[good] film", "{fun}", "[", "{", "{'text': 'a'}", '"good"', "1", "null", '{"text": "a"} !'])
def test_a_text_that_only_begins_as_json_does_is_a_text(predict, tmp_path, line):
    lines = [line, '{"text": "a"}', "[1]"]  # JSON that stands further down is a text, too
    assert [row["text"] for row in predict(stdin="\n".join(lines).encode())] == lines


def test_json_a_line_under_the_name_json_needs_the_option(predict, tmp_path):
    (tmp_path / "in.json").write_text('{"text": "good"}\n{"text": "bad"}\n')
    assert [row["text"] for row in predict("--input", tmp_path / "in.json", "--jsonl")] == ["good", "bad"]
    for content, message in (('[{"text": "good"}]\n', "must hold an object, {\"text\": ...}; write one a line"),
                             ("[\n", "not a JSON object .*; write one a line")):
        (tmp_path / "in.json").write_text(content)
        with pytest.raises(UserError, match=f"in.json:1: {message}"):
            predict("--input", tmp_path / "in.json", "--jsonl")


@pytest.mark.parametrize("name, content, texts", [
    ("in.tsv", 'text\tlabel\n"good"\t1\n\t0\n', ['"good"', ""]),
    ("in.csv", '"label";"Review"\r\n1;"good; ""fun"""\r\n0;"two\nlines"\r\n', ['good; "fun"', "two\nlines"]),
    ("in.csv", "\ufeffid,text\n1,good\n\n2,\n", ["good", ""]),
    ("in.CSV", ',sentence,"why, if you know"\n0,good,yes\n', ["good"]),
    ("in.csv", 'text\n"good, but"\nbad\n', ["good, but", "bad"]),
    ("in.csv", "id,text\n", []),
])
def test_predict_reads_the_text_column_of_a_table(predict, tmp_path, name, content, texts):
    (tmp_path / name).write_bytes(content.encode())
    assert [row["text"] for row in predict("--input", tmp_path / name)] == texts


@pytest.mark.parametrize("name, content, column, shown", [
    ("in.csv", "id,comment_body,stars\n1,good,5\n", "comment_body", "id, comment_body, stars"),
    ("in.tsv", "编号\t评论内容\n1\tgood\n", "评论内容", "编号, 评论内容"),
    ("in.csv", "Timestamp,What did you think of it all?\n9:00,good\n", "What did you think of it all?", "Timestamp, "),
    ("in.csv", "id, the comment, stars\n1,good,5\n", "the comment", "id, the comment, stars"),
    ("in.csv", '"When?","What do you think of it?"\n9:00,good\n', "What do you think of it?", "When?, What do you "),
    ("in.tsv", "bad film\t0\ngood\t1\n", "bad film", "bad film, 0"),
])
def test_a_table_whose_text_column_is_unknown_is_never_read_as_lines(predict, tmp_path, name, content, column, shown):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(shown)) as error:
        predict("--input", tmp_path / name)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / name}:1: ") and "name it with --text-key" in message and ".txt" in message
    assert [row["text"] for row in predict("--input", tmp_path / name, "--text-key", column)] == ["good"]
    with pytest.raises(UserError, match="--text-key is commnet, which is not among the columns"):
        predict("--input", tmp_path / name, "--text-key", "commnet")


@pytest.mark.parametrize("name", ["in.tsv", "in.csv"])
@pytest.mark.parametrize("lines", [
    ["a good text, with a comma"], ["content, pacing and acting are superb"], ["Question, how good is it?"],
    ["好看，推荐", "不好看"], ["good", "", "bad; very bad"], ["Yes, I do", "No!"],
    ["Great, funny, and short", *["the film"] * 10_000, "bad, so bad"],
])
def test_texts_alone_are_lines_under_any_name(predict, tmp_path, name, lines):
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    assert [row["text"] for row in predict("--input", tmp_path / name)] == lines


@pytest.mark.parametrize("content, message", [
    ("id,text\n1,good\n1,go,od\n", ":3: has 3 columns where the first line names 2"),
    ('id,text\n1,"good\n', ":2: is no valid CSV"),
    ("id,text,Text\n1,a,b\n", ":1: the column text is there twice"),
    ("id,text1,text2\n1,a,b\n", "has pairs of sentences, the texts of this student are single sentences; name the one "
                                 "column to read with --text-key"),
])
def test_a_broken_table_is_named_with_its_line(predict, tmp_path, content, message):
    (tmp_path / "in.csv").write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        predict("--input", tmp_path / "in.csv")


@pytest.mark.parametrize("name, content", [
    ("in.csv", 'label;Content;query\n1;"good; fun";x\n0;bad;y\n'),
    ("in.tsv", "label\tcontent\tsentence\n1\tx\tgood\n0\ty\tbad\n"),
])
def test_predict_reads_in_a_table_what_evaluate_reads(predict, tmp_path, name, content):
    from paddleslim_bilstm.text import read_file
    (tmp_path / name).write_text(content)
    assert [row["text"] for row in predict("--input", tmp_path / name)] == read_file(tmp_path / name, "--data").texts


def test_predict_reads_a_line_of_megabytes_in_pieces(predict):
    rows = predict(stdin=b"good\n" + b"very good " * 300_000 + b"\nbad")
    assert [len(row["text"]) for row in rows] == [4, 3_000_000, 3]


def test_predict_takes_a_byte_order_mark_and_nul_and_empty_lines(predict):
    rows = predict("--runtime", "onnx", stdin=b"\xef\xbb\xbfgood\r\n\ngo\0od")
    assert [row["text"] for row in rows] == ["good", "", "go\0od"]
    assert rows[0]["probabilities"] == rows[2]["probabilities"]


@pytest.mark.parametrize("line, message", [
    (b'{"text": "\\ud800"}', "standard input:2: has half of a surrogate pair"),
    (b'{"text": 1}', "standard input:2: no text under 'text'"),
    (b"plain", "standard input:2: not a JSON object"),
    (b'{"text": "\xff"}', "standard input:2: not UTF-8"),
])
def test_predict_names_the_line_that_it_cannot_read(predict, line, message):
    with pytest.raises(UserError, match=message):
        predict("--jsonl", stdin=b'{"text": "a"}\n' + line)


@pytest.mark.parametrize("key", ["data", "data.text"])
def test_predict_tells_that_an_object_within_an_object_is_not_read(predict, key):
    with pytest.raises(UserError, match=f"^standard input:1: no text under '{key}'; an object within an object is "):
        predict("--jsonl", "--text-key", key, stdin=b'{"data": {"text": "a"}}\n')
    assert [row["text"] for row in predict("--jsonl", "--text-key", "a.b", stdin=b'{"a.b": "x", "a": {}}')] == ["x"]


def test_predict_names_an_input_that_is_not_there(predict, tmp_path):
    with pytest.raises(UserError, match="in.txt: can't be read"):
        predict("--input", tmp_path / "in.txt")


@pytest.mark.parametrize("prelude", ["", "os.set_blocking(0, False); "], ids=["waits", "nothing yet is no end"])
def test_predict_answers_before_the_input_ends(output, prelude):
    command = [sys.executable, "-c", "import argparse, os; from paddleslim_bilstm.commands import predict as c; "
               f"p = argparse.ArgumentParser(); c.add_arguments(p); {prelude}c.run(p.parse_args())", str(output[0])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for text in ("good", "bad"):
            time.sleep(0.5)
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        assert process.wait(20) == 0


def test_evaluate_warms_up_before_it_times(output, monkeypatch, capsys, tmp_path):
    from paddleslim_bilstm.commands import evaluate as evaluate_command
    lines = [f"{text}\tclass {number % 3}" for number, text in enumerate(random_texts(20)) if text]
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
    done, logits, clock = [], Predictor.logits, evaluate_command.time.perf_counter
    monkeypatch.setattr(Predictor, "logits", lambda self, texts, *rest: (done.append(len(texts)),
                                                                        logits(self, texts, *rest))[1])
    monkeypatch.setattr(evaluate_command.time, "perf_counter", lambda: (done.append("clock"), clock())[1])
    run_command(evaluate_command, monkeypatch, capsys,
                [output[0], "--data", tmp_path / "dev.tsv", "--runtime", "onnx", "--batch-size", "4"])
    assert done == [4, "clock", len(lines), "clock"]


def test_evaluate_gives_accuracy_and_f1_on_a_file(output, monkeypatch, capsys, tmp_path):
    from paddleslim_bilstm.commands import evaluate as evaluate_command
    texts = [text for text in random_texts(60) if text]
    found = expected(output, texts).argmax(axis=1)
    found[:10] = (found[:10] + 1) % 3
    lines = [f"{text}\tclass {number}" for text, number in zip(texts, found)]
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
    row, = run_command(evaluate_command, monkeypatch, capsys,
                       [output[0], "--data", tmp_path / "dev.tsv", "--runtime", "onnx"])
    assert row["runtime"] == "onnx" and row["sentences"] == len(texts)
    assert row["accuracy"] == pytest.approx(1 - 10 / len(texts))
    assert all(-1 < row[metric] < 1 for metric in ("f1", "macro_f1", "matthews"))
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\ngood\t0\nbad\t3\nfine\t1\n")
    with pytest.raises(UserError, match=r"dev.tsv:3: the labels 3 are none of the student's classes \(class 0, "):
        run_command(evaluate_command, monkeypatch, capsys, [output[0], "--data", tmp_path / "dev.tsv"])
