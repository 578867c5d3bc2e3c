"""Text: rows from files and lists, labels that agree with the teacher, and what happens to odd input."""

from __future__ import annotations

import gzip
import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from paddleslim_bilstm.config import GlobalConfig
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.labels import label_scheme
from paddleslim_bilstm.predict.lines import texts_of
from paddleslim_bilstm.task import REGRESSION
from paddleslim_bilstm.text import load_dataset, read_file

TRAIN = [("good film", "pos"), ("bad film", "neg"), ("fine", "pos")]


@pytest.fixture
def written(tmp_path: Path):
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path
    return write


def read(path: Path, **arguments):
    return read_file(path, "Global.train_file", **arguments)


def read_error(path: Path, **arguments) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def dataset_error(**arguments) -> str:
    arguments = {"config": GlobalConfig(), "num_classes": 2, "train": TRAIN, "dev": TRAIN, **arguments}
    with pytest.raises(UserError) as caught:
        load_dataset(**arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Files

def test_tsv_has_no_quoting(written):
    rows = read(written("a.tsv", 'sentence\tlabel\n"so called " film\t1\nit\'s "\t0\n'))
    assert rows.texts == ['"so called " film', 'it\'s "'] and rows.labels == ["1", "0"] and rows.places == [2, 3]


def test_csv_quotes_commas_quotes_and_line_ends(written):
    rows = read(written("a.csv", 'label,text\n1,"a ""b"", c"\n0,"two\nlines"\n\n1,last\n'))
    assert rows.texts == ['a "b", c', "two\nlines", "last"] and rows.labels == ["1", "0", "1"]
    assert rows.places == [2, 3, 6] and rows.empty_skipped == 1


@pytest.mark.parametrize("separator", ";\t,")
def test_csv_may_be_separated_as_excel_does(written, separator):
    rows = read(written("a.csv", f'"label"{separator}text\n1{separator}"a{separator} ""b"";"\n0{separator}c: d\n'))
    assert rows.texts == [f'a{separator} "b";', "c: d"] and rows.labels == ["1", "0"]
    rows = read(written("b.csv", f'"a,b;c"{separator}label\nfine{separator}1\n'), text_column="a,b;c")
    assert rows.texts == ["fine"]

def test_jsonl_takes_numbers_and_booleans_as_labels(written):
    lines = [{"text": "a", "label": 1}, {"label": 0.0, "text": "b"}, {"text": "c", "label": "x", "more": []},
             {"text": "d", "label": True}]
    rows = read(written("a.jsonl", "".join(json.dumps(line) + "\n" for line in lines)))
    assert rows.texts == ["a", "b", "c", "d"] and rows.labels == ["1", "0", "x", "true"]


def test_txt_is_one_text_a_line_and_has_no_labels(written):
    path = written("a.txt", "sentence\n\n  two words \n")
    rows = read(path, with_labels=False)
    assert rows.texts == ["sentence", "two words"] and rows.labels is None and rows.empty_skipped == 1
    assert "suffix .txt" in read_error(path) and ".tsv" in read_error(path)


def test_bom_and_crlf_are_accepted(written):
    rows = read(written("a.tsv", b"\xef\xbb\xbfsentence\tlabel\r\ngood\t1\r\n"))
    assert (rows.texts, rows.labels) == (["good"], ["1"])


def test_long_right_to_left_emoji_and_unicode_line_ends_stay_as_they_are(written):
    texts = ["x" * 100_000, "مرحبا", "👍🏽", "...", "a\u2028b", "a\x0bb\x85c"]
    rows = read(written("a.tsv", "text\tlabel\n" + "".join(f"{text}\t1\n" for text in texts)))
    assert rows.texts == texts


def test_columns_are_found_by_usual_names_or_by_setting(written):
    path = written("a.tsv", "id\tText\tClass\ttitle\n7\ta\tx\tb\n")
    assert (read(path).texts, read(path).labels) == (["a"], ["x"])
    assert read(path, text_column="title", label_column="id").texts == ["b"]
    message = read_error(path, text_column="titel")
    assert message.startswith(f"{path}:1: ") and "Global.text_column" in message and "did you mean title?" in message
    unknown = read_error(written("b.tsv", "a fine film\t1\nx\t0\n"))
    assert "a fine film, 1" in unknown and "Global.text_column" in unknown
    assert "Global.label_column" in read_error(written("c.tsv", "text\tstars\nx\t0\n"))
    assert "twice" in read_error(written("d.tsv", "text\ttext\tlabel\nx\tx\t0\n"))


def test_no_column_is_text_and_label(written):
    path = written("a.csv", "comment,review\ngood,positive\nbad,negative\n")  # review is usually a text's
    assert "no text column is known among comment, review" in read_error(path, label_column="review")
    rows = read(path, text_column="comment", label_column="review")
    assert rows.texts == ["good", "bad"] and rows.labels == ["positive", "negative"]
    assert read(written("b.csv", "Text,review\ngood,x\n"), label_column="review").texts == ["good"]
    path = written("c.csv", "target,category\nthe food,1\n")  # target is usually a label's
    assert read(path, text_column="target").labels == ["1"]
    assert "both name target; name two columns" in read_error(path, text_column="target", label_column="target")


def test_a_second_text_is_not_ignored_silently(written):
    path = written("a.tsv", "sentence\tsentence2\tlabel\na\tb\t1\n")
    assert "sentence, sentence2 could be single sentences or pairs" in read_error(path)
    assert read(path, text_column="sentence").texts == ["a"]
    assert read(path, text_column=("sentence2", "sentence")).texts == [("b", "a")]
    path = written("b.tsv", "question\tanswer\tlabel\na\tyes\t1\n")
    assert "question, answer could be single sentences or pairs" in read_error(path)
    rows = read(path, label_column="answer")
    assert rows.texts == ["a"] and rows.labels == ["yes"]
    with pytest.raises(UserError, match="b.tsv:1: .*name the one column, or the two of pairs, with --text-column"):
        read_file(path, "--data")
    with pytest.raises(UserError, match="no label column is known .* name it with --label-column"):
        read_file(written("e.tsv", "text\tstars\na\t5\n"), "--data")
    assert read(written("c.tsv", "review\tresponse\tlabel\na\tb\t1\n")).texts == ["a"]
    assert read(written("d.tsv", "query\ttitle\tpassage\tlabel\na\tb\tc\t1\n")).texts == [("a", "b")]


@pytest.mark.parametrize("name, content, line, part", [
    ("few.tsv", "sentence\tlabel\na\t1\nb\n", 3, "has 1 columns where the first line names 2"),
    ("many.tsv", "sentence\tlabel\na\tb\t1\n", 2, "has 3 columns"),
    ("few.csv", "sentence,label\na\n", 2, "has 1 columns"),
    ("label.tsv", "sentence\tlabel\na\t \n", 2, "no label"),
    ("utf8.tsv", b"sentence\tlabel\na\t1\nb\xff\t1\n", 3, "byte 0xff at column 2"),
    ("utf16.tsv", "sentence\tlabel\n".encode("utf-16"), 1, "UTF-8"),
    ("nul.tsv", b"sentence\tlabel\na\0\t1\n", 2, "NUL"),
    ("nul.jsonl", '{"text": "a\\u0000", "label": 1}\n', 1, "NUL"),
    ("surrogate.jsonl", '{"text": "\\ud800", "label": 1}\n', 1, "surrogate"),
    ("name.jsonl", '{"text": "a", "label": "\\ud800"}\n', 1, "the label: has half of a surrogate"),
    ("nul_name.jsonl", '{"text": "a", "label": "b\\u0000"}\n', 1, "the label: has a NUL"),
    ("quote.csv", 'text,label\na,1\n"b,1\nc,1\n', 3, "no valid CSV"),
    ("json.jsonl", '{"text": "a", "label": 1}\n{"text": \n', 2, "no valid JSON"),
    ("deep.jsonl", "[" * 100_000 + "\n", 1, "JSON"),
    ("list.jsonl", '["a", 1]\n', 1, "must hold an object"),
    ("key.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n', 2, "has no label"),
    ("null.jsonl", '{"text": "a", "label": null}\n', 1, "no label"),
    ("number.jsonl", '{"text": 5, "label": 1}\n', 1, "must be text"),
    ("half.jsonl", '{"text": "a", "label": 0.5}\n', 1, "whole number"),
    ("header.csv", "\n", 1, "name the columns"),
])
def test_broken_rows_are_named_with_their_line(written, name, content, line, part):
    path = written(name, content)
    message = read_error(path)
    assert message.startswith(f"{path}:{line}: ") and part in message


@pytest.mark.parametrize("record, columns, part", [
    ({"body": "a", "label": 1}, {}, "no text column is known among body, label; name it with Global.text_column, or "
     "call it sentence there (each object must have that key)"),
    ({"text": "a"}, {}, "no label column is known among text; "),
    ({"data": {"text": "a"}, "label": 1}, {"text_column": "data"}, "the text is {'text': 'a'}; an object within an "),
    ({"text": {"a": "b"}, "label": 1}, {}, "the text is {'a': 'b'}; an object within an object is not read: flatten"),
    ({"data": {"text": "a"}, "label": 1}, {"text_column": "data.text"}, "Global.text_column is data.text; an object w"),
    ({"data": {"a": "a"}, "label": 1}, {"text_column": ("data.a", "data.b")}, "Global.text_column is data.a; an obje"),
    ({"text": "a", "meta": {"label": 1}}, {"label_column": "meta.label"}, "Global.label_column is meta.label; an obj"),
    ({"data": "a", "label": 1}, {"text_column": "data.text"}, "Global.text_column is data.text, which is not among"),
    ({}, {}, "has no keys, and the first of all must have those of the rest; remove it"),
])
def test_jsonl_without_the_right_keys_is_told_in_its_own_words(written, record, columns, part):
    path = written("a.jsonl", "\n" + json.dumps(record) + '\n{"text": "b", "label": 0}\n')
    message = read_error(path, **columns)
    assert message.startswith(f"{path}:2: {part}") and "first line" not in message
    if not columns:
        assert dataset_error(train=[record]).startswith(f"train[0]: {part.replace('each object', 'each row')}")


def test_a_key_with_a_dot_is_a_key(written):
    path = written("a.jsonl", '{"data.text": "a", "data": {"text": "b"}, "label": 1}\n')
    assert read(path, text_column="data.text").texts == ["a"]


@pytest.mark.parametrize("content, part", [
    (gzip.compress(b"text,label\na,1\n"), "is packed (gzip); unpack it"),
    (b"PK\x03\x04\x14\0\x06\0\x08\0", "is a zip file or an Excel workbook; "),
    (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an Excel workbook; save it as CSV"),
    (b"text,label\rgood,1\rbad,0\r", "is one line with CR in it, which ended lines on old Macs"),
])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_what_is_no_text_file_is_told(written, name, content, part):
    path = written(name, content)
    assert read_error(path, with_labels=False).startswith(f"{path}: ") and part in read_error(path, with_labels=False)
    if b"text" not in content or name in ("a.csv", "a.tsv"):
        with open(path, "rb") as file, pytest.raises(UserError, match=re.escape(f"{path}: {part}")):
            list(texts_of(file, str(path), jsonl=False, pairs=False))


def test_a_carriage_return_in_a_text_stays(written):
    assert read(written("a.tsv", b"text\tlabel\na\rb\t1\r\n")).texts == ["a\rb"]
    assert read(written("a.csv", b'text,label\r"a\rb",1\n'.replace(b"\r", b"\r\n", 1))).texts == ["a\rb"]


def test_a_score_of_many_digits_is_one_line(written):
    path = written("a.jsonl", '{"text": "a", "score": 1%s}\n' % ("0" * 400))
    assert f"{path}:1: the label is 1000" in read_error(path, label_column="score", task=REGRESSION)


@pytest.mark.parametrize("name, content", [
    ("a.tsv", "sentence\tscore\na\t4.5\nb\t-1e-1\nc\t3\n"), ("a.csv", "text,score\na,4.5\nb,-0.1\nc,3\n"),
    ("a.jsonl", '{"text": "a", "score": 4.5}\n{"text": "b", "score": -0.1}\n{"text": "c", "score": 3}\n')])
def test_the_labels_of_a_regression_are_numbers(written, name, content):
    path = str(written(name, content))
    config = GlobalConfig(train_file=path, dev_file=path, label_column="score", task="regression")
    data = load_dataset(config, 1, ["LABEL_0"])
    assert data.train_labels.dtype == np.float32 and data.label_names == ("score",)
    np.testing.assert_allclose(data.train_labels, [4.5, -0.1, 3])


@pytest.mark.parametrize("label", ["high", "nan", "inf", "1,5", "0x10", "1_0", "1e999", "true"])
def test_a_label_of_a_regression_that_is_no_number_is_named_with_its_line(written, label):
    path = written("a.tsv", f"sentence\tlabel\na\t1.5\nb\t{label}\n")
    message = read_error(path, task=REGRESSION)
    assert message.startswith(f"{path}:3: the label is {label}; ") and "must be a number" in message
    with pytest.raises(UserError, match=r"train\[1\]: the label is"):
        load_dataset(GlobalConfig(task="regression"), 1, train=[("a", 0.5), ("b", label)], dev=[("a", 1), ("b", 2)])


def test_a_regression_whose_labels_are_all_the_same_is_refused():
    with pytest.raises(UserError, match="train: .*label 0.5; add"):
        load_dataset(GlobalConfig(task="regression"), 1, train=[("a", 0.5), ("b", 0.5)], dev=[("a", 1), ("b", 2)])


def test_missing_and_empty_files(written, tmp_path):
    assert "Global.train_file" in read_error(tmp_path / "no.tsv") and "No such file" in read_error(tmp_path / "no.tsv")
    assert "no rows with text" in read_error(written("a.tsv", "sentence\tlabel\n \t1\n"))
    assert "empty" in read_error(written("b.tsv", ""))
    assert "no rows with text" in read_error(written("c.jsonl", ""))
    assert "suffix .xlsx" in read_error(tmp_path / "a.xlsx")


def test_what_is_no_list_of_rows_is_refused_and_tables_are_read():
    rows = [("good", 1), ("bad", 0)]
    for other in ("train.tsv", Path("train.tsv"), {"text": ["a"], "label": [1]}):
        with pytest.raises(UserError, match="^train: is a .*, not a list of rows; name a file as Global.train_file"):
            load_dataset(GlobalConfig(), 2, train=other, dev=rows)
    table = SimpleNamespace(columns=["text", "label"], to_dict=lambda how: [
        {"text": text, "label": label} for text, label in rows] if how == "records" else {})
    data = load_dataset(GlobalConfig(), 2, train=table, dev=rows, unlabeled=table)
    assert data.train_texts == data.unlabeled_texts == ["good", "bad"] and data.train_labels.tolist() == [1, 0]


def test_the_columns_of_a_table_without_a_header_are_numbers():
    rows = [{0: "good", 1: "pos"}, {0: "bad", 1: "neg"}]
    data = load_dataset(GlobalConfig(text_column="0", label_column="1"), 2, train=rows, dev=rows)
    assert data.train_texts == ["good", "bad"] and data.train_labels.tolist() == [1, 0]
    assert "train[1]: has no 0, which the first row has" in dataset_error(
        config=GlobalConfig(text_column="0", label_column="1"), train=[rows[0], {1: "neg"}])


# Labels

@pytest.mark.parametrize("labels, names, ids", [
    ({"0", "1"}, ["negative", "positive"], {"0": 0, "1": 1}),
    ({"Positive", "NEGATIVE"}, ["negative", "positive"], {"NEGATIVE": 0, "Positive": 1}),
    ({"1", "2"}, ["1", "2"], {"1": 0, "2": 1}),          # the teacher's names win over ids
    ({"0", "1"}, ["1", "0"], {"1": 0, "0": 1}),
    ({"A", "a"}, ["a", "A"], {"A": 1, "a": 0}),
    ({"neg", "pos"}, ["LABEL_0", "LABEL_1"], {"neg": 0, "pos": 1}),
    ({"neg", "pos"}, None, {"neg": 0, "pos": 1}),
    ({"10", "9"}, None, {"9": 0, "10": 1}),
    ({"0.0", "1.0"}, ["negative", "positive"], {"0.0": 0, "1.0": 1}),   # pandas' whole numbers
    ({"-1.0", "-2.0"}, None, {"-2.0": 0, "-1.0": 1}),
    ({"1.0", "2.0"}, ["2.0", "1.0"], {"2.0": 0, "1.0": 1}),
    ({"1.0", "2.0"}, ["2", "1"], {"2.0": 0, "1.0": 1}),
    ({"4.5", "5.0"}, None, {"4.5": 0, "5.0": 1}),
])
def test_labels_become_the_teachers_class_ids(labels, names, ids):
    assert label_scheme(labels, 2, names, "train.tsv").ids == ids


def test_many_whole_numbers_with_a_point_are_ids_and_name_the_classes_without():
    labels = [f"{number}.0" for number in range(12)]
    for outputs in (12, None):
        scheme = label_scheme(labels, outputs, None, "t")
        assert scheme.ids == {label: i for i, label in enumerate(labels)} and scheme.names == list(map(str, range(12)))


def test_numbers_that_could_be_names_or_ids_are_told(caplog):
    assert label_scheme({"1", "2", "3", "4"}, 5, list("12345"), "dev.tsv").ids["1"] == 0
    assert "dev.tsv: the labels 1, 2, 3, 4 are read as names of classes (1, 2, 3, 4, 5), not as their" in caplog.text
    caplog.clear()
    label_scheme({"0", "1"}, 2, ["0", "1"], "dev.tsv")
    label_scheme({"1", "5"}, 5, list("12345"), "dev.tsv")
    assert not caplog.text


def test_fewer_labels_than_classes_need_ids_or_names():
    assert label_scheme({"0", "2"}, 3, None, "t").names == ["0", "1", "2"]
    assert label_scheme({"c", "a"}, 3, ["a", "b", "c"], "t").ids == {"a": 0, "c": 2}
    made_up = [f"LABEL_{i}" for i in range(12)]
    assert label_scheme(made_up, 12, made_up, "t").ids == {name: i for i, name in enumerate(made_up)}
    assert label_scheme({"LABEL_11"}, 12, None, "t").names == made_up
    with pytest.raises(UserError, match=r"t: .*2 .*\(a, c\).*teacher.* 3 "):
        label_scheme({"a", "c"}, 3, None, "t")


@pytest.mark.parametrize("labels, names, part", [
    ({"a", "b", "c"}, ["a", "b"], r"labels c are none of the teacher's classes \(a, b\)"),
    ({"0", "1", "2"}, ["a", "b"], "labels 2 are none"),
    ({"0.0", "1.0", "2.0", "-1.0"}, ["a", "b"], "labels -1, 2 are none"),
    ({"0.0", "1", "?"}, ["a", "b"], r"labels \? are none"),
    ({"a", "1"}, ["a", "b"], "labels 1 are none"),    # names are meant
    ({"A", "aa"}, ["a", "AA"], None),
    ({"aA", "x"}, ["aa", "AA"], "labels aA, x"),      # aA could be either
    ({"a", "b", "c"}, None, "has 3 classes"),
    ({"a", "b"}, ["a", "b", "c"], "names 3 classes"),
])
def test_classes_that_dont_match_the_teacher_are_named(labels, names, part):
    if part is None:
        assert label_scheme(labels, 2, names, "t").ids == {"A": 0, "aa": 1}
    else:
        with pytest.raises(UserError, match=part):
            label_scheme(labels, 2, names, "t")


def test_a_class_too_many_is_named_with_its_line_and_the_student_is_no_teacher(written):
    rows = read(written("n.tsv", "text\tlabel\na\t0\nb\t1\nc\t2\n"))
    rows.labels_of = "student"
    message = r"n.tsv:4: the labels 2 are none of the student's classes \(neg, pos\); use these names, or 0 to 1"
    with pytest.raises(UserError, match=message):
        rows.task.scheme(None, rows, 2, ["neg", "pos"])


def test_sorted_order_without_teacher_names_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        label_scheme({"pos", "neg"}, 2, None, "t")
    assert "neg = class 0, pos = class 1" in caplog.text


# The whole data set

def test_files_and_unlabelled_text_together(written, caplog):
    config = GlobalConfig(
        train_file=str(written("t.tsv", "sentence\tlabel\ngood\tpos\nbad\tneg\n\tpos\ngood\tneg\nbad\tneg\n")),
        dev_file=str(written("d.csv", "text,label\ngood,pos\nawful,neg\n")),
        unlabeled_file=str(written("u.txt", "one\ntwo\none\n")))
    with caplog.at_level(logging.WARNING):
        data = load_dataset(config, 2, ["neg", "pos"])
    assert data.train_texts == ["good", "bad", "good", "bad"] and data.unlabeled_texts == ["one", "two", "one"]
    assert data.train_labels.dtype == np.int64 and data.train_labels.tolist() == [1, 0, 0, 0]
    assert data.dev_labels.tolist() == [1, 0] and data.label_names == ["neg", "pos"]
    assert data.train_rows[0].places == [2, 3, 5, 6]
    assert data.counts["train_rows"] == 4 and data.counts["train_empty_skipped"] == 1
    assert data.counts["train_duplicates"] == 2 and data.counts["train_conflicting_labels"] == 1
    assert data.counts["unlabeled_duplicates"] == 1 and data.counts["dev_texts_in_train"] == 1
    assert "1 rows without text were skipped" in caplog.text


@pytest.mark.parametrize("text_column, unlabeled, texts", [
    ("comment", "title,Text\na,one\nb,two\n", ["one", "two"]),      # one with a usual name
    ("comment", "body\none\n", ["one"]), ("comment", "text,comment\na,one\n", ["one"]),
    ("comment", "kind,review\none,a\n", None),                     # the label of the training file
    (None, "comment_body\none\n", ["one"]), (None, "id,content\n1,one\n", ["one"]),
    ("comment", "id,body\n1,one\n", None), ("comment", "text,content\na,b\n", None),
    ("comment", "id,text,text2\n1,a,b\n", None), ("comment", "question,passage\na,b\n", None),
])
def test_unlabelled_text_may_be_called_otherwise(written, text_column, unlabeled, texts, caplog):
    train = written("t.csv", f"{text_column or 'sentence'},review\ngood,pos\nbad,neg\n")
    config = GlobalConfig(train_file=str(train), dev_file=str(train), unlabeled_file=str(written("u.csv", unlabeled)),
                          text_column=text_column, label_column="review")
    if texts is None:
        message = dataset_error(config=config, train=None, dev=None)
        assert "u.csv:1: has no comment, which is Global.text_column in " in message and "t.csv" in message
        assert "rename what is meant to comment" in message and unlabeled.split("\n")[0].replace(",", ", ") in message
        return
    data = load_dataset(config, 2)
    assert data.unlabeled_texts == texts and data.train_texts == ["good", "bad"]
    otherwise = unlabeled.split("\n")[0] in ("title,Text", "body", "comment_body")
    assert ("u.csv:1: " in caplog.text) == otherwise


def test_dev_columns_may_be_called_otherwise_if_they_have_usual_names(written, caplog):
    train = written("t.tsv", "comment\tstars\ngood\tpos\nbad\tneg\n")
    named = {"train_file": str(train), "text_column": "comment", "label_column": "stars"}
    dev = written("d.tsv", "text\tid\tlabel\nfine\t7\tpos\nawful\t8\tneg\n")
    data = load_dataset(GlobalConfig(dev_file=str(dev), **named), 2)
    assert data.dev_texts == ["fine", "awful"] and data.dev_labels.tolist() == [1, 0]
    assert "d.tsv:1: has no stars, which is Global.label_column in " in caplog.text and "label is read" in caplog.text
    dev = written("d.tsv", "text\tgrade\nfine\tpos\n")
    message = dataset_error(config=GlobalConfig(dev_file=str(dev), **named), train=None, dev=None)
    assert "d.tsv:1: has no stars, " in message and "(text, grade); rename what is meant to stars" in message
    rows = [{"comment": "good", "stars": "pos"}, {"comment": "bad", "stars": "neg"}]
    data = load_dataset(GlobalConfig(**named), 2, train=rows, dev=rows, unlabeled=[{"sentence": "one", "id": 3}])
    assert data.unlabeled_texts == ["one"]
    message = dataset_error(config=GlobalConfig(), dev=[{"comment": "good", "label": "pos"}])
    assert "dev[0]: no text column is known among comment, label; call it sentence there" in message


def test_pairs_may_be_called_otherwise_in_another_file(written):
    train = written("t.tsv", "left\tright\tlabel\na\tb\tpos\nc\td\tneg\n")
    config = {"train_file": str(train), "dev_file": str(train), "text_column": ("left", "right")}
    unlabeled = written("u.tsv", "id\tsentence1\tsentence2\n1\tone\ttwo\n")
    assert load_dataset(GlobalConfig(unlabeled_file=str(unlabeled), **config), 2).unlabeled_texts == [("one", "two")]
    unlabeled = written("u.tsv", "first\tsecond\none\ttwo\n")
    message = dataset_error(config=GlobalConfig(unlabeled_file=str(unlabeled), **config), train=None, dev=None)
    assert "u.tsv:1: has no left and right, " in message and "rename what is meant to left and right" in message


def test_python_lists_replace_files():
    config = GlobalConfig(train_file="absent.tsv", dev_file="absent.tsv")
    data = load_dataset(config, 2, train=[{"sentence": "a", "label": 0}, {"sentence": "b", "label": np.int64(1)}],
                        dev=[("c", 1), ("d", 0)], unlabeled=["e", {"text": "f"}, ("g", 1)])
    assert data.train_labels.tolist() == [0, 1] and data.dev_texts == ["c", "d"]
    assert data.unlabeled_texts == ["e", "f", "g"]
    assert data.label_names == ["0", "1"]


def test_rows_may_be_those_of_an_array_and_labels_numpys_booleans():
    rows = np.array([["a", np.bool_(True)], ["b", False]], object)
    data = load_dataset(GlobalConfig(), 2, ["false", "true"], train=rows, dev=[("c", np.bool_(True)), ("d", False)],
                        unlabeled=np.array(["e", "f"]))
    assert data.train_texts == ["a", "b"] and data.train_labels.tolist() == data.dev_labels.tolist() == [1, 0]
    assert data.unlabeled_texts == ["e", "f"]
    pairs = np.array([["a", "b", "1"], ["c", "d", "0"]])
    data = load_dataset(GlobalConfig(), 2, train=pairs, dev=[("e", "f", 1), ("g", "h", 0)])
    assert data.train_texts == [("a", "b"), ("c", "d")] and data.train_labels.tolist() == [1, 0]
    assert "train[0]: must be {column: value}, (text, label)" in dataset_error(train=np.array([["a"]]))


def test_training_text_may_lack_labels_where_none_are_needed():
    data = load_dataset(GlobalConfig(), 2, ["neg", "pos"], train=["a", "b"], dev=TRAIN, require_train_labels=False)
    assert data.train_labels is None and data.train_texts == ["a", "b"] and data.dev_labels.tolist() == [1, 0, 1]


def test_without_a_teacher_the_labels_decide(caplog):
    assert load_dataset(GlobalConfig(), train=TRAIN, dev=TRAIN).label_names == ["neg", "pos"]
    assert not caplog.records


@pytest.mark.parametrize("arguments, parts", [
    ({"train": []}, ["train: has no rows"]),
    ({"train": None}, ["Global.train_file is missing; give train=[(text, label), ...], or name a .tsv"]),
    ({"dev": None}, ["Global.dev_file is missing; give dev=[(text, label), ...], or name a .tsv"]),
    ({"train": None, "dev": None}, ["Global.train_file is missing; name a .tsv"]),
    ({"train": [("a", 1), ("b", 1)]}, ["train: every row has the label 1"]),
    ({"dev": [("a", "pos")]}, ["dev: every row has the label pos"]),
    ({"dev": [("a", "pos"), ("b", "new")]}, ["dev[1]: new is not among the labels of train (neg, pos)"]),
    ({"train": [("a", "x"), ("b", "y"), ("c", "z")], "dev": [("a", "x"), ("b", "y")]}, ["has 3 classes (x, y, z)"]),
    ({"teacher_label_names": ["bad", "good"]}, ["neg, pos are none of the teacher's classes (bad, good)"]),
    ({"train": ["a"]}, ["train[0]: has no label"]),
    ({"train": [("a", 1, 2)]}, ["train[0]: the text is ('a', 1)", "(text, text) for a pair"]),
    ({"train": [("a",)]}, ["train[0]: must be"]),
    ({"train": [(None, 1)]}, ["train[0]: the text is None"]),
    ({"train": [("a\ud800", 1)]}, ["train[0]:", "surrogate"]),
    ({"unlabeled": [" "]}, ["unlabeled: has no rows"]),
    ({"config": GlobalConfig(dataset=("glue", "sst-2"), train_file="a.tsv")}, ["Global.dataset", "remove one"]),
])
def test_bad_data_is_named(arguments, parts):
    message = dataset_error(**arguments)
    for part in parts:
        assert part in message


def test_a_stray_label_is_named_with_its_line(written):
    rows = written("a.tsv", "text\tlabel\na\tpos\nb\tneg\nc\tpsitive\nd\tpsitive\n")
    with pytest.raises(UserError, match=r"a.tsv:4: the labels psitive are none of the teacher's classes \(neg, pos\)"):
        load_dataset(GlobalConfig(train_file=str(rows), dev_file=str(rows)), 2, ["neg", "pos"])


def test_real_files(shared):
    sst2 = load_dataset(GlobalConfig(train_file=str(shared / "data/sst2/train.tsv"),
                                     dev_file=str(shared / "data/sst2/dev.tsv")), 2, ["negative", "positive"])
    assert (len(sst2.train_texts), len(sst2.dev_texts)) == (67349, 872)
    assert sst2.train_labels.tolist()[:2] == [0, 0] and sst2.counts["train_conflicting_labels"] == 5
    rows = read(shared / "data/chnsenticorp/dev.tsv")
    assert len(rows.texts) == 1000 and set(rows.labels) == {"0", "1"}
