"""Pairs of texts from files, lists and PaddleNLP's names."""

import pytest
from test_text import TRAIN, dataset_error, read, read_error, written  # noqa: F401  (written is a fixture)
from test_text_paddlenlp import datasets

from paddleslim_bilstm.config import GlobalConfig, load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.text import load_dataset

PAIRS = [(("a", "b"), "yes"), (("a", "c"), "no"), (("", "d"), "yes")]


@pytest.mark.parametrize("name, header", [
    ("mrpc.tsv", "sentence1\tsentence2\tlabel"), ("qqp.tsv", "question1\tquestion2\tis_duplicate"),
    ("qnli.tsv", "question\tsentence\tlabel"), ("mnli.tsv", "premise\thypothesis\tgold_label"),
    ("raw.tsv", "#1 String\t#2 String\tQuality"), ("boolq.tsv", "question\tpassage\tlabel"),
    ("capitals.tsv", "Text_A\tTEXT_B\tLabel"),
])
def test_usual_pair_columns_are_found(written, name, header):  # noqa: F811
    rows = read(written(name, f"{header}\n a \t b\t1\nc\t\t0\n\t\t1\n"))
    assert rows.pairs and rows.texts == [("a", "b"), ("c", "")] and rows.labels == ["1", "0"]
    assert rows.places == [2, 3] and rows.empty_skipped == 1 and rows.counts()["one_side_empty"] == 1


def test_pairs_from_csv_and_jsonl_by_name(written):  # noqa: F811
    config = load_config({"bert_to_bilstm": None, "Global": {"text_column": ["left", "right"]}})
    assert load_config(config.to_dict()) == config
    columns = config.global_.text_column
    assert read(written("a.csv", 'right,label,left\n"b, c",1,a\n'), text_column=columns).texts == [("a", "b, c")]
    jsonl = written("a.jsonl", '{"left": "a", "right": "b", "label": 1}\n')
    assert read(jsonl, text_column=columns).texts == [("a", "b")]
    assert "Global.text_column is left" in read_error(written("b.csv", "text,label\na,1\n"), text_column=columns)
    with pytest.raises(UserError, match="Global.text_column: must be a column, or the two columns"):
        load_config({"bert_to_bilstm": None, "Global": {"text_column": ["a", "b", "c"]}})


@pytest.mark.parametrize("header, shown", [
    ("text\tsentence1\tsentence2\tlabel", "text, sentence1, sentence2"), ("sentence\tsentence2\tx\tlabel", "sentence2"),
    ("sentence1\tsentence2\ttext_a\ttext_b\tlabel", "sentence1, sentence2, text_a, text_b"),
])
def test_columns_that_could_be_either_must_be_named(written, header, shown):  # noqa: F811
    message = read_error(written("a.tsv", header + "\n"))
    assert shown in message and "a.tsv:1: " in message and "with Global.text_column" in message


@pytest.mark.parametrize("content, part", [
    ('{"sentence1": "a", "sentence2": "b", "label": 1}\n{"sentence1": "a", "label": 1}\n', ":2: has no sentence2"),
    ('{"sentence1": "a", "sentence2": 3, "label": 1}\n', ":1: the text is"),
    ('{"sentence1": "a", "sentence2": "\\u0000", "label": 1}\n', ":1: has a NUL"),
])
def test_broken_pairs_are_named_with_their_line(written, content, part):  # noqa: F811
    assert part in read_error(written("a.jsonl", content))


def test_rows_of_pairs_in_both_forms():
    flat = [(a, b, label) for (a, b), label in PAIRS]
    unlabeled = [("x", "y"), ["x", "z"], ("u", "v", "?")]
    for train in (PAIRS, flat, [[["a", "b"], "yes"], ["a", "c", "no"]]):
        data = load_dataset(GlobalConfig(), 2, train=train, dev=flat, unlabeled=unlabeled)
        assert data.train_texts[0] == ("a", "b") and data.dev_texts[2] == ("", "d")
        assert data.unlabeled_texts == [("x", "y"), ("x", "z"), ("u", "v")]
    assert data.counts["dev_one_side_empty"] == 1
    single = load_dataset(GlobalConfig(), 2, train=TRAIN, dev=TRAIN, unlabeled=[("x", "some label")])
    assert single.unlabeled_texts == ["x"]


@pytest.mark.parametrize("arguments, parts", [
    ({"train": PAIRS}, ["dev: ", "single sentences", "pairs", "Global.text_column"]),
    ({"dev": PAIRS}, ["dev: ", "pairs", "single sentences", "train"]),
    ({"train": PAIRS, "dev": PAIRS, "unlabeled": ["one"]}, ["unlabeled: has single sentences"]),
    ({"train": [*PAIRS, ("a", "yes")]}, ["train[3]: ", "single sentence", "pair"]),
    ({"train": [*TRAIN, *PAIRS]}, ["train[3]: ", "pair", "single sentence"]),
    ({"train": [(("a", "b", "c"), "yes")]}, ["train[0]: the text is"]),
])
def test_mixed_kinds_are_refused(arguments, parts):
    message = dataset_error(**arguments)
    assert all(part in message for part in parts)


def test_paddlenlps_pair_datasets_by_name(monkeypatch):
    """GLUE as PaddleNLP yields it: sentence1, sentence2 and the position of the label."""
    rows = [{"sentence1": "a", "sentence2": "b", "labels": 1}, {"sentence1": "c", "sentence2": "d", "labels": 0}]
    split = type("Split", (list,), {"label_list": ["0", "1"]})(rows)
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, splits: asked.append(names) or (split, split))
    data = load_dataset(GlobalConfig(dataset=("glue", "qqp")), 2)
    assert asked == [("glue", "qqp")] and data.train_texts == [("a", "b"), ("c", "d")]
    assert data.train_labels.tolist() == [1, 0]
