"""What happens to hostile and broken text, in files and Python rows, for training and dev, as docs/trust.md has it.

What the predictor does with it: tests/test_predict.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddleslim_bilstm.config import GlobalConfig
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.report.report import data_table
from paddleslim_bilstm.text import load_dataset
from paddleslim_bilstm.text.rows import count_oddities

FINE = [("good film", "1"), ("bad film", "0")]
LONG = "so very long " * 8_000  # 104,000 characters


def as_file(folder: Path, kind: str, name: str, rows: list[tuple[str, str]], bom: bool = False, end: str = "\n") -> str:
    if kind == "jsonl":
        lines = [json.dumps({"sentence": text, "label": label}, ensure_ascii=False) for text, label in rows]
    else:
        separator = {"tsv": "\t", "csv": ","}[kind]
        lines = [separator.join(("sentence", "label")), *(separator.join(row) for row in rows)]
    content = ("\ufeff" if bom else "") + end.join(lines) + end
    path = folder / f"{name}.{kind}"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    return str(path)


@pytest.fixture(params=["tsv", "csv", "jsonl", "Python rows"])
def load(request, tmp_path):
    """Return ``load(train, dev)``, through files of each kind or as Python rows."""
    def load_rows(train, dev, **options):
        if request.param == "Python rows":
            return load_dataset(GlobalConfig(), 2, train=train, dev=dev)
        files = {f"{name}_file": as_file(tmp_path, request.param, name, rows, **options)
                 for name, rows in (("train", train), ("dev", dev))}
        return load_dataset(GlobalConfig(**files), 2)
    load_rows.kind = request.param
    return load_rows


@pytest.mark.parametrize("text, count", [
    ("?!...", "without_letters"), ("👍🏽", "without_letters"), ("مرحبا بالعالم", None), ("fun 👍🏽", None),
    (LONG.strip(), "long")])
def test_odd_texts_are_kept_as_they_are_and_counted(load, text, count):
    data = load([*FINE, (text, "1")], [*FINE, (text, "0")])
    assert data.train_texts[2] == data.dev_texts[2] == text
    assert count is None or data.counts[f"train_{count}"] == data.counts[f"dev_{count}"] == 1


def test_empty_texts_are_skipped_and_counted(load):
    data = load([*FINE, ("", "1"), (" \u3000 ", "0")], [("", "0"), *FINE])
    assert len(data.train_texts) == len(data.dev_texts) == 2
    assert (data.counts["train_empty_skipped"], data.counts["dev_empty_skipped"]) == (2, 1)


def test_duplicates_and_conflicting_labels_are_kept_and_counted(load):
    data = load([*FINE, FINE[0], ("good film", "0")], [*FINE, ("bad film", "1")])
    assert len(data.train_texts) == 4 and data.train_labels.tolist() == [1, 0, 1, 0]
    counts = {name: (data.counts[f"{name}_duplicates"], data.counts[f"{name}_conflicting_labels"])
              for name in ("train", "dev")}
    assert counts == {"train": (2, 1), "dev": (1, 1)} and data.counts["dev_texts_in_train"] == 3


def test_byte_order_marks_and_crlf_are_left_out_and_counted(load):
    data = load(FINE, FINE, bom=True, end="\r\n") if load.kind != "Python rows" else load(FINE, FINE)
    assert data.train_texts == ["good film", "bad film"] and data.dev_labels.tolist() == [1, 0]
    expected = {"tsv": (1, 3), "csv": (1, 3), "jsonl": (1, 2), "Python rows": (0, 0)}[load.kind]
    assert (data.counts["train_byte_order_mark"], data.counts["train_crlf_lines"]) == expected


@pytest.mark.parametrize("text, part", [("go\0od", "NUL"), ("good\ud800", "surrogate pair|UTF-8")])
@pytest.mark.parametrize("where", ["train", "dev"])
def test_nul_and_half_surrogates_are_refused_with_their_line(load, text, part, where):
    bad = [*FINE, (text, "1")]
    place = {"tsv": r"\.tsv:4: ", "csv": r"\.csv:4: ", "jsonl": r"\.jsonl:3: ", "Python rows": r"\[2\]: "}[load.kind]
    with pytest.raises(UserError, match=f"{where}{place}.*({part})"):
        load(bad if where == "train" else FINE, bad if where == "dev" else FINE)


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl", "txt"])
def test_invalid_utf8_is_refused_with_its_line(tmp_path, kind):
    train = Path(as_file(tmp_path, "tsv", "train", FINE))
    path = tmp_path / f"more.{kind}"
    path.write_bytes(b'sentence,label\n"caf\xe9",1\n' if kind == "csv" else b"sentence\tlabel\ncaf\xe9\t1\n")
    if kind == "jsonl":
        path.write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n')
    with pytest.raises(UserError, match=rf"more\.{kind}:2: .*UTF-8.*0xe9 .*\d"):
        load_dataset(GlobalConfig(train_file=str(train), dev_file=str(train), unlabeled_file=str(path)), 2)


def test_a_csv_field_may_be_of_any_length(tmp_path):
    path = as_file(tmp_path, "csv", "train", [*FINE, ("x" * 1_000_000, "1")])
    assert len(load_dataset(GlobalConfig(train_file=path, dev_file=path), 2).train_texts[2]) == 1_000_000


def test_a_text_may_be_odd_in_several_ways():
    assert count_oddities(["👍", "?", "_", "7", "שלום 👍", "é", "\ufeff"]) == {
        "without_letters": 4, "long": 0}


def test_the_report_shows_what_was_odd_and_names_what_was_looked_for(tmp_path):
    data = load_dataset(GlobalConfig(), 2, train=[*FINE, ("👍", "1"), FINE[0], ("", "1")], dev=FINE)
    table = data_table({"train": 4, "dev": 2, "unlabeled": 0, "truncated_train": 1, "truncated_dev": 0, **data.counts},
                       {"sentences": 9_000})
    assert "| | train | dev |" in table and "| rows | 4 | 2 |" in table
    assert "| longer than `max_seq_length`, cut | 1 | 0 |" in table
    assert "| without text, skipped | 1 | 0 |" in table and "| the same text again, kept | 1 | 0 |" in table
    assert "| only punctuation, symbols or emoji | 1 | 0 |" in table
    looked_for = table[table.index("not found"):]
    assert "another label" in looked_for and "10,000 characters" in looked_for
    assert "| dev texts in train | 2 |" in table and "| transfer set: sentences | 9,000 |" in table
