"""``Global.dataset``: data by PaddleNLP's names, read by PaddleNLP's own machinery from local files."""

from __future__ import annotations

import sys
import types

import pytest

from paddleslim_bilstm.config import GlobalConfig
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.text import load_dataset

datasets = pytest.importorskip("paddlenlp.datasets")


@pytest.fixture
def tickets(tmp_path, monkeypatch):
    """A dataset "tickets" in PaddleNLP's catalogue, a builder as PaddleNLP's own are, over two TSV files."""
    (tmp_path / "train.tsv").write_text("my card is lost\tcard\nno money came\tbill\nlost it\tcard\n")
    (tmp_path / "dev.tsv").write_text("bill is wrong\tbill\ncard broke\tcard\n")

    class Tickets(datasets.DatasetBuilder):
        SPLITS = {"train": "train.tsv", "dev": "dev.tsv"}

        def _get_data(self, mode, **kwargs):
            return str(tmp_path / self.SPLITS[mode])

        def _read(self, filename, *args):
            with open(filename) as file:
                for line in file:
                    text, label = line.rstrip("\n").split("\t")
                    yield {"sentence": text, "labels": label}

        def get_labels(self):
            return ["card", "bill"]

    module = types.ModuleType("paddlenlp.datasets.tickets")
    module.Tickets = Tickets
    monkeypatch.setitem(sys.modules, "paddlenlp.datasets.tickets", module)


def test_classes_keep_the_order_of_the_dataset(tickets):
    data = load_dataset(GlobalConfig(dataset=("tickets",)), 2)
    assert data.label_names == ["card", "bill"]
    assert data.train_texts[0] == "my card is lost" and data.train_labels.tolist() == [0, 1, 0]
    assert data.dev_labels.tolist() == [1, 0]


def test_the_teachers_names_win(tickets):
    data = load_dataset(GlobalConfig(dataset=("tickets",)), 2, ["bill", "card"])
    assert data.train_labels.tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"tickets train\[0\]: .*bill, card.*teacher"):
        load_dataset(GlobalConfig(dataset=("tickets",)), 2, ["x", "y"])


def test_a_list_replaces_one_split(tickets):
    data = load_dataset(GlobalConfig(dataset=("tickets",)), 2, dev=[("a", "bill"), ("b", "card")])
    assert data.dev_texts == ["a", "b"] and len(data.train_texts) == 3


@pytest.mark.parametrize("names, part", [
    (("glue", "nope"), "glue/nope"), (("a", "b", "c"), "has 3 names")])
def test_unknown_datasets_are_refused(names, part):
    with pytest.raises(UserError, match=part):
        load_dataset(GlobalConfig(dataset=names), 2)


def test_stsb_is_read_as_pairs_with_numbers(tmp_path, monkeypatch):
    """PaddleNLP's own reader of GLUE's STS-B, over two rows in the layout of the original files."""
    from paddlenlp.datasets import glue

    columns = "index genre filename year old_index source1 source2 sentence1 sentence2 score".split()
    rows = ["0 g f y 1 s s|A man eats .|A man is eating .|5.000", "1 g f y 2 s s|A plane flies .|A dog runs .|0.400"]
    lines = ["\t".join(columns), *("\t".join([*row.split("|")[0].split(), *row.split("|")[1:]]) for row in rows)]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(glue.Glue, "_get_data", lambda self, mode, **kwargs: str(tmp_path / "rows.tsv"))
    data = load_dataset(GlobalConfig(dataset=("glue", "sts-b"), task="regression"), 1)
    assert data.train_texts == [("A man eats .", "A man is eating ."), ("A plane flies .", "A dog runs .")]
    assert data.train_labels.tolist() == pytest.approx([5.0, 0.4]) and data.label_names == ("score",)
