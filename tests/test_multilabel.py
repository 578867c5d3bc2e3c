"""Several labels a text, or none: how they are written, measured and answered, and a whole run with them."""

import json
import logging
import shutil

import numpy as np
import pytest
from reviews import make_reviews
from student_reference import output_folder
from test_finetune import WORDS, huggingface_bert

from paddleslim_bilstm import compress
from paddleslim_bilstm.cli import main
from paddleslim_bilstm.config import GlobalConfig, load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.finetune.finetune import best_dev_metric
from paddleslim_bilstm.host.data_hook import read_loader
from paddleslim_bilstm.metrics import exact_match, f1_by_label, label_macro_f1, mean_average_precision, micro_f1
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.student.spec import read_spec
from paddleslim_bilstm.task import CLASSIFICATION, MULTI_LABEL
from paddleslim_bilstm.text import load_dataset, read_file
from paddleslim_bilstm.text.dataset import _named_labels
from paddleslim_bilstm.thresholds import best_thresholds, log_odds, sigmoid
from paddleslim_bilstm.tokens import load_tokenizer

NAMES = ("bar", "pool", "room")
TRAIN = [("a", ["room", "bar"]), ("b", []), ("c", ["pool"])]


def dataset(train=TRAIN, dev=TRAIN, outputs=3, names=NAMES, **settings):
    return load_dataset(GlobalConfig(task="multi_label", **settings), outputs, names, train=train, dev=dev)


# How they are written

@pytest.mark.parametrize("name, content", [
    ("a.jsonl", '{"text": "a", "labels": ["room", "bar"]}\n{"text": "b", "labels": []}\n'
                '{"text": "c", "labels": "pool"}'),
    ("a.jsonl", '{"text": "a", "labels": [2, 0]}\n{"text": "b", "labels": ""}\n{"text": "c", "labels": 1}\n'),
    ("a.csv", 'text,label\na,"room, bar"\nb,\nc,Pool\n'),
    ("a.tsv", "label\ttext\nroom,bar\ta\n \tb\npool\tc\n"),
    ("a.csv", "text,label\na,\"['room', 'bar']\"\nb,[]\nc,['pool']\n"),
    ("a.tsv", "text\tlabel\na\t[2, 0]\nb\t[]\nc\t[1]\n"),
    ("a.tsv", "text\tlabel\na\t0,2\nb\t\nc\t1\n")])
def test_labels_are_lists_or_stand_between_commas_and_may_be_none(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    data = load_dataset(GlobalConfig(task="multi_label", train_file=str(path), dev_file=str(path)), 3, NAMES)
    assert data.train_labels.dtype == np.float32 and tuple(data.label_names) == NAMES
    assert data.train_labels.tolist() == data.dev_labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_lists_in_python_and_a_column_by_its_name():
    rows = [{"text": "a", "queues": {"room", "bar"}}, {"text": "b", "queues": ()}, {"text": "c", "queues": "pool"}]
    assert dataset(rows, label_column="queues").train_labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_names_with_commas_come_in_lists_and_the_same_labels_in_another_order_are_no_conflict():
    train = [("a", ["arts, crafts", "x"]), ("a", ["x", "arts, crafts"]), ("b", ["x"])]
    data = dataset(train, [("a", ["x"]), ("b", [])], None, None)
    assert data.label_names == ["arts, crafts", "x"] and data.counts["train_conflicting_labels"] == 0


def test_data_sets_of_paddlenlp_hold_lists_of_positions():
    rows = [{"sentence": "a", "labels": [2, 0]}, {"sentence": "b", "labels": []}]
    assert [row["labels"] for row in _named_labels(rows, list(NAMES))] == [["room", "bar"], []]


@pytest.mark.parametrize("content, line, part", [
    ('{"text": "a", "labels": null}', 1, "has no labels; where it has none of them write []"),
    ('{"text": "a", "labels": []}\n{"text": "b"}', 2, "has no labels"),
    ('{"text": "a", "labels": {"room": 1}}', 1, "must be a list of names or ids"),
    ('{"text": "a", "labels": [["room"]]}', 1, "must be a list of names or ids"),
    ('{"text": "a", "labels": [0.5]}', 1, "the label is 0.5"),
    ('{"text": "a", "labels": [1, 0, 0]}', 1, "[1, 0, 0] hold one twice; give the names or ids"),
    ('{"text": "a", "labels": ["room", "room"]}', 1, "hold one twice"),
    ('{"text": "a", "labels": ["room", ""]}', 1, "['room', ''] is empty"),
    ('{"text": "a", "labels": "room,,bar"}', 1, "is empty"),
    ('{"text": "a", "labels": "room|bar"}', 1, "put a comma between them, or give a list where a name has a |"),
    ('{"text": "a", "labels": "[room, bar]"}', 1, "put commas between them and no brackets around"),
    ('{"text": "a", "labels": "[\'room\' \'bar\']"}', 1, "put commas between them and no brackets around"),
    ('{"text": "a", "labels": "room; bar"}', 1, "put a comma between them"),
    *((f'{{"text": "a", "labels": "服务{mark}位置"}}', 1,
       f'put a comma (",") between them, or give a list where a name has a {mark}') for mark in "，、；｜")])
def test_wrong_labels_are_named_with_file_and_line(tmp_path, content, line, part):
    path = tmp_path / "a.jsonl"
    path.write_text(content + "\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_file(path, "Global.train_file", task=MULTI_LABEL)
    assert str(caught.value).startswith(f"{path}:{line}: ") and part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments, message", [
    ({"dev": [*TRAIN, ("d", ["spa"])]},
     r"dev\[3\]: the labels spa are none of the teacher's classes \(bar, pool, room\)"),
    ({"train": [("d", ["3"]), *TRAIN]}, r"train\[0\]: the labels 3 are none"),
    ({"names": None, "outputs": 4}, "train and dev: has 3 classes .* where the teacher has 4 without names"),
    ({"names": None, "outputs": None, "dev": [("a", []), ("b", ["spa"])]},
     r"dev\[1\]: spa is not among the labels of train \(bar, pool, room\)"),
    ({"train": [("a", ["bar", "pool"]), ("b", "pool,bar")]}, "train: every row has the labels bar, pool; add rows"),
    ({"dev": [("a", []), ("b", [])]}, "dev: every row has the labels none; add rows with other labels")])
def test_labels_that_dont_go_with_the_teacher_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        dataset(**arguments)


def test_the_data_name_the_labels_where_nobody_else_does_and_rare_ones_may_be_missing(caplog):
    assert dataset(names=None, outputs=None).label_names == list(NAMES)
    with caplog.at_level(logging.WARNING):
        assert dataset(train=TRAIN[:2]).dev_labels[2].tolist() == [0, 1, 0]
    assert "train: no text has pool of the teacher's 3 labels" in caplog.text


def test_a_list_is_no_label_of_another_task():
    with pytest.raises(UserError, match=r"train\[0\]: the label is \['a', 'b'\]; .*multi_label lists"):
        load_dataset(GlobalConfig(), 2, train=[("x", ["a", "b"])], dev=[("x", "a")])


# From a data loader

def loader(tokenizer, labels):
    ids, types = tokenizer.framing.batch(tokenizer.encode(["good film", "bad film", "film"]), np.arange(3))
    return [{"input_ids": ids, "token_type_ids": types, "labels": np.array(labels)}]


def test_a_loaders_labels_are_an_array_of_zeros_and_ones(tmp_path):
    output_folder(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    given = [[1, 0, 1], [0, 0, 0], [np.nan] * 3]
    sentences, labels = read_loader(loader(tokenizer, given), tokenizer, tokenizer.framing, MULTI_LABEL, 3)
    texts = [tokenizer.encode([text]).to_lists()[0] for text in ("good film", "bad film", "film")]
    found = {tuple(ids): row for ids, row in zip(sentences.to_lists(), labels)}
    np.testing.assert_array_equal([found[tuple(ids)] for ids in texts], given)
    for wrong, message in (([1, 0, 1], r"has the shape \[3\]; .* must be \[3, 3\]"),
                           ([[1, 0]] * 3, r"has the shape \[3, 2\]"),
                           ([[0.5, 0, 0]] * 3, "holds other values than 0 and 1"),
                           ([[np.nan, 0, 0]] * 3, "holds other values than 0 and 1")):
        with pytest.raises(UserError, match=f"^train_dataloader: labels: {message}"):
            read_loader(loader(tokenizer, wrong), tokenizer, tokenizer.framing, MULTI_LABEL, 3)
    with pytest.raises(UserError, match=r"labels: has the shape \[3, 3\] for 3 sentences; .*multi_label"):
        read_loader(loader(tokenizer, np.eye(3)), tokenizer, tokenizer.framing, CLASSIFICATION, 3)
    assert read_loader(loader(tokenizer, np.eye(3)), tokenizer, tokenizer.framing)[1] is None


# How good answers are

LABELS = np.array([[1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0]], np.float32)
ANSWERS = np.array([[2, -1, -1, -3], [1, -2, 3, -1], [-1, -1, -2, -2], [3, 4, -3, -4]], np.float32)


def test_metrics_by_hand():
    """Right: bar twice (once too often), pool once (once missed), room once (once missed), the last never occurs."""
    np.testing.assert_array_equal(f1_by_label(LABELS, ANSWERS), [4 / 5, 2 / 3, 2 / 3, np.nan])
    assert micro_f1(LABELS, ANSWERS) == 2 * 4 / (6 + 5)
    assert label_macro_f1(LABELS, ANSWERS) == pytest.approx((4 / 5 + 2 / 3 + 2 / 3) / 3)
    assert exact_match(LABELS, ANSWERS) == 1 / 4
    assert mean_average_precision(LABELS, ANSWERS) == pytest.approx((1 + (1 + 2 / 3) / 2 + 1) / 3)
    assert MULTI_LABEL.label_scores(LABELS, ANSWERS)[3] is None


def test_nothing_right_and_nothing_there():
    none = np.zeros((3, 2), np.float32)
    for metric in MULTI_LABEL.metrics:
        assert metric.of(none, none - 1, 2) == (metric.name == "exact_match")
        with pytest.raises(ValueError):
            metric.of(none, none[:2], 2)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_scikit_learns(seed):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    labels = (rng.random((40, 6)) < [0.5, 0.3, 0.1, 0.05, 0.2, 0]).astype(np.float32)
    answers = np.round(labels + rng.normal(-0.5, 1, labels.shape), 1).astype(np.float32)  # with equal values
    said, used = answers > 0, labels.any(axis=0)
    assert micro_f1(labels, answers) == pytest.approx(sklearn.f1_score(labels, said, average="micro"))
    assert label_macro_f1(labels, answers) == pytest.approx(
        sklearn.f1_score(labels, said, average="macro", zero_division=np.nan))
    assert exact_match(labels, answers) == pytest.approx(sklearn.accuracy_score(labels, said))
    assert mean_average_precision(labels, answers) == pytest.approx(
        sklearn.average_precision_score(labels[:, used], answers[:, used], average="macro"))


def test_rounding_is_held_against_every_decision():
    logits = np.array([[1, -1], [2, -2]], np.float32)
    assert MULTI_LABEL.kept_by_rounding(logits, logits + 0.5) == 1
    assert MULTI_LABEL.kept_by_rounding(logits, logits + 1.5) == 3 / 4  # argmax would see nothing


# Doubts

def judged(right: float, order=(0, 1, 2)):
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < [0.5, 0.3, 0.2]).astype(np.float32)
    answers = np.where(rng.random(labels.shape) < right, labels, 1 - labels)[:, list(order)] - 0.5
    return MULTI_LABEL.teacher_doubts(labels, answers, NAMES)


def test_doubts_about_a_teacher():
    assert judged(0.95) == []
    swapped, = judged(0.95, (1, 0, 2))
    assert "SWAPPED" in swapped and "if one reads bar as pool, pool as bar;" in swapped
    useless, = judged(0.4)
    assert "less than always answering the commonest labels" in useless
    same, = MULTI_LABEL.one_answer("the teacher", np.random.default_rng(0).random((60, 3)) - 2, NAMES)
    assert "ANSWERS THE SAME TO ALL 60 DEV SENTENCES: none of the labels" in same


# Thresholds

def calibrated(texts: int, share: float, labels: int = 100, shift: float = 0.0, seed: int = 0):
    """Labels, and logits that are their log-odds but for a shift."""
    rng = np.random.default_rng(seed)
    truth = rng.random((texts, labels)) < share
    signal = rng.normal(2.0 * truth, 1)
    return truth.astype(np.float32), (2 * signal - 2 + log_odds(share) + shift).astype(np.float32)


def scored(dev, test) -> tuple[float, float]:
    """Return macro-F1 on ``test`` by one half and by the best thresholds of ``dev``."""
    tuned = MULTI_LABEL.fitted(*dev)
    return tuple(task.score_logits("macro_f1", *test) for task in (MULTI_LABEL, tuned))


def test_the_best_threshold_of_a_label_is_found():
    labels = np.repeat([1, 0], [300, 700])[:, None].astype(np.float32)
    logits = np.where(labels > 0, -0.8, -1.4).astype(np.float32)  # of 0.31 and 0.2: one half answers nothing
    threshold, = best_thresholds(labels, logits)
    assert 0.2 < threshold < 0.31 and MULTI_LABEL.fitted(labels, logits).score_logits("micro_f1", labels, logits) == 1
    assert best_thresholds(labels, np.where(labels > 0, 3, -3).astype(np.float32)) == (0.5,)


def test_a_few_texts_with_a_label_hardly_move_its_threshold():
    labels = np.zeros((100, 1), np.float32)
    labels[:2] = 1
    logits = np.full((100, 1), -5, np.float32)
    logits[:2] = -1.5  # perfect below 0.18
    threshold, = best_thresholds(labels, logits)
    assert threshold == 0.5  # on the way there nothing is better yet
    labels[:20], logits[:20] = 1, -1.0
    threshold, = best_thresholds(labels, logits)
    assert 0.1 < threshold < 0.27


@pytest.mark.parametrize("texts, share", [(100, 0.03), (300, 0.03), (300, 0.2)])
def test_thresholds_of_a_small_dev_set_do_no_harm_elsewhere(texts, share):
    for shift in (-1.5, 0.0, 1.5):
        half, tuned = scored(calibrated(texts, share, shift=shift), calibrated(20_000, share, shift=shift, seed=1))
        assert tuned > half - 0.005
    half, tuned = scored(calibrated(1000, 0.2, shift=-1.5), calibrated(20_000, 0.2, shift=-1.5, seed=1))
    assert tuned > half + 0.15


def test_sigmoid_and_log_odds_are_inverse_and_overflow_nowhere():
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-1e4, 0, 1e4], np.float32)).tolist() == [0, 0.5, 1]
    np.testing.assert_allclose(log_odds(sigmoid(np.array([-2.0, 0.5]))), [-2, 0.5])


# Settings and the student's file

def test_a_threshold_is_a_number_or_dev_and_only_of_several_labels():
    def read(**values):
        return load_config({"Global": values, "bert_to_bilstm": {}}).global_

    assert read(task="multi_label").chosen_task.thresholds == (0.5,)
    assert read(task="multi_label", threshold=0.3).chosen_task.thresholds == (0.3,)
    assert read(task="multi_label", threshold="dev").chosen_task.thresholds == (0.5,)
    assert read().chosen_task.thresholds == ()
    for wrong in (0, 1, 1.5, "best", True, None, [0.5]):
        with pytest.raises(UserError, match="Global.threshold: must be a number between 0 and 1, or dev"):
            read(task="multi_label", threshold=wrong)
    with pytest.raises(UserError, match="Global.threshold: a classification has none"):
        read(threshold="dev")
    assert read(threshold=0.5).chosen_task.thresholds == ()  # as a report writes every setting
    with pytest.raises(UserError, match="soft_label compares probabilities of classes, which a multi_label"):
        load_config({"Global": {"task": "multi_label"}, "bert_to_bilstm": {"loss": "soft_label"}})


def test_the_students_file_holds_the_thresholds(tmp_path):
    output_folder(tmp_path)
    path = tmp_path / "student.json"
    values = json.loads(path.read_text())
    assert "thresholds" not in values
    count = values["num_classes"]

    def read(**changes):
        path.write_text(json.dumps({**values, "task_name": "multi_label", **changes}))
        return read_spec(tmp_path)

    assert read().task.thresholds == (0.5,)
    assert read(thresholds=[0.25] * count).task.thresholds == (0.25,) * count
    for wrong in ([0.5], [0.5] * (count + 1), [1.0] * count, ["0.5"] * count, [None] * count, 0.5, {"a": 1}, True):
        with pytest.raises(UserError, match="student.json: thresholds is .*; of a student of several labels"):
            read(thresholds=wrong)
    with pytest.raises(UserError, match="thresholds is"):
        read(thresholds=[0.5] * count, task_name=None)


# A whole run

LABEL_WORDS = ("w0", "w1", "w2", "w3")
CONFIG = {"bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16}, "batch_size": 16},
          "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"train_iter": 400, "eval_iter": 50, "learning_rate": 0.01}}


def labelled_words(count: int, seed: int) -> list[tuple[str, list[str]]]:
    """Texts with the label words that they hold; "w3" is rare."""
    rng = np.random.default_rng(seed)
    shares = np.where(np.array(WORDS) == "w3", 0.2, 1)
    texts = [rng.choice(WORDS, rng.integers(2, 9), p=shares / shares.sum()) for _ in range(count)]
    return [(" ".join(words), [word for word in LABEL_WORDS if word in words]) for words in texts]


def write_csv(path, rows):
    path.write_text("text,label\n" + "".join(f'"{text}","{",".join(labels)}"\n' for text, labels in rows))
    return str(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A teacher is fine-tuned, distilled with some weight on the labels, calibrated and quantized."""
    folder = tmp_path_factory.mktemp("multilabel")
    train, dev = labelled_words(400, 3), labelled_words(150, 4)
    config = {**CONFIG, "Global": {
        "task": "multi_label", "threshold": "dev", "model_dir": str(folder / "teacher"), "max_seq_length": 32,
        "train_file": write_csv(folder / "train.csv", train), "dev_file": write_csv(folder / "dev.csv", dev),
        "save_dir": str(folder / "out"), "cache_dir": str(folder / "cache")},
        "Finetune": {"model": str(huggingface_bert(folder / "bert")), "epochs": 6, "learning_rate": 3e-3,
                     "batch_size": 16},
        "QuantPost": {"batch_nums": 2}, "QuantBiLSTM": {"max_accuracy_drop": 0.05}}
    config["bert_to_bilstm"] = {**config["bert_to_bilstm"], "alpha": 0.3}
    return folder, dev, compress(config)


def test_the_run_learns_and_its_report_shows_every_label(finished):
    folder, dev, result = finished
    rows = {row.name: row for row in result.report.models}
    assert list(rows) == ["teacher", "Bi-LSTM alone", "distilled", "QuantPost", "QuantBiLSTM, Paddle", "ONNX",
                          "QuantBiLSTM"]
    assert rows["teacher"].figure("micro_f1") > 0.8 and rows["distilled"].figure("micro_f1") > 0.8
    assert rows["teacher"].agreement == 1 and rows["ONNX"].agreement == rows["distilled"].agreement
    assert rows["QuantBiLSTM"].figure("micro_f1") >= rows["ONNX"].figure("micro_f1") - 0.05
    assert "of the teacher's micro-F1" in result.report.headline
    columns = ["micro-F1 %", "macro-F1 %", "exact %", "mAP %", "agree %"]
    page = (folder / "out" / "report.md").read_text()
    assert f"| model | {' | '.join(columns)} | params |" in page
    places = [result.table.splitlines()[0].index(column) for column in (*columns, "p50 ms")]
    assert places == sorted(places)
    assert max(map(len, result.table.splitlines())) <= 100 and "Bi-LSTM alone" in result.table
    written = json.loads((folder / "out" / "report.json").read_text())
    thresholds = json.loads((folder / "out" / "student.json").read_text())["thresholds"]
    assert [label["threshold"] for label in written["labels"]] == thresholds
    assert {label["label"]: label["dev_rows"] for label in written["labels"]} == {
        word: sum(word in labels for _, labels in dev) for word in LABEL_WORDS}
    for page in ("report.md", "README.md"):
        text = (folder / "out" / page).read_text()
        assert "| label | dev rows | threshold | teacher, F1 % |" in text and "| w3 |" in text
    assert "`w3`" in text and "each label's best on the dev rows" in text and "- f1\n" in text


def test_the_predictor_goes_by_the_thresholds(finished, capsys, tmp_path):
    folder, dev, result = finished
    texts, labels = zip(*dev)
    predictor = Predictor(folder / "out", "onnx")
    assert len(predictor.task.thresholds) == 4 and set(predictor.task.thresholds) != {0.5}
    found = predictor.predict(texts)
    cuts = np.array(predictor.task.thresholds)
    for answer in found:
        assert answer.probabilities.dtype == np.float32
        above = answer.probabilities > cuts
        assert answer.labels == tuple(name for name, has in zip(predictor.label_names, above) if has)
    exact = np.mean([set(answer.labels) == set(given) for answer, given in zip(found, labels)])
    onnx = next(row for row in result.report.models if row.name == "ONNX")
    assert exact == pytest.approx(onnx.figure("exact_match"))
    capsys.readouterr()
    assert main(["evaluate", str(folder / "out"), "--data", str(folder / "dev.csv"), "--runtime", "onnx"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert {name: measured[name] for name in onnx.scores} == pytest.approx(onnx.scores, abs=1e-6)
    assert list(measured["by_label"].values()) == pytest.approx(list(onnx.by_label), abs=1e-6)
    (tmp_path / "in.txt").write_text(texts[0] + "\n")
    assert main(["predict", str(folder / "out"), "--input", str(tmp_path / "in.txt"), "--runtime", "onnx"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["labels"] == list(found[0].labels) and list(line["probabilities"]) == list(predictor.label_names)
    swapped = ["--text-column", "label", "--label-column", "text"]
    assert main(["evaluate", str(folder / "out"), "--data", str(folder / "train.csv"), *swapped]) == 2
    assert "train.csv:2: the labels" in capsys.readouterr().err.splitlines()[-1]


def test_a_teacher_of_several_labels_is_fine_tuned_further_in_its_own_order(finished, tmp_path, capsys):
    """Its outputs are w0 to w3 by its config; had the data's order won, it would begin with the labels mixed up."""
    folder, dev, _ = finished
    older = tmp_path / "older"
    shutil.copytree(folder / "teacher", older)
    (older / "finetune.json").unlink()
    config = json.loads((older / "config.json").read_text())
    renamed = dict(zip(LABEL_WORDS, ("z", "y", "x", "w")))
    config["id2label"] = {place: renamed[name] for place, name in config["id2label"].items()}
    (older / "config.json").write_text(json.dumps(config))
    for name in ("train", "dev"):
        text = (folder / f"{name}.csv").read_text().splitlines()
        rows = [line.rsplit('","', 1) for line in text[1:]]
        (tmp_path / f"{name}.csv").write_text("\n".join([text[0], *(
            f'{text}","{",".join(renamed[label] for label in labels[:-1].split(",") if label)}"'
            for text, labels in rows)]) + "\n")
    yaml = tmp_path / "more.yaml"
    yaml.write_text(json.dumps({
        "Global": {"task": "multi_label", "model_dir": str(tmp_path / "teacher"), "max_seq_length": 32,
                   "train_file": str(tmp_path / "train.csv"), "dev_file": str(tmp_path / "dev.csv"),
                   "cache_dir": str(tmp_path / "cache")},
        "bert_to_bilstm": {}, "Finetune": {"model": str(older), "epochs": 1, "learning_rate": 1e-9, "batch_size": 16}}))
    assert main(["finetune", str(yaml)]) == 0
    assert "micro-F1 on the dev set" in capsys.readouterr().out and best_dev_metric(tmp_path / "teacher") > 0.8
    assert json.loads((tmp_path / "teacher" / "config.json").read_text())["id2label"] == config["id2label"]


@pytest.mark.slow
def test_a_loader_with_labels_for_pairs_trains_but_thresholds_need_a_dev_set(tiny_teacher, tmp_path):
    teacher = tiny_teacher(num_classes=2, label_names=("same", "good"))
    tokenizer = load_tokenizer(teacher)
    pairs = [(first, second) for (first, _), (second, _) in zip(make_reviews(60, 1), make_reviews(60, 2))]
    sentences = tokenizer.encode(pairs).truncate(40)
    labels = np.array([[first[:1] == second[:1], "good" in first] for first, second in pairs], np.float32)
    batches = [dict(zip(("input_ids", "token_type_ids"), tokenizer.framing.batch(sentences, rows)), labels=labels[rows])
               for rows in np.split(np.arange(60), 4)]
    config = {**CONFIG, "Global": {"task": "multi_label", "model_dir": str(teacher), "save_dir": str(tmp_path / "out"),
                                   "cache_dir": str(tiny_teacher.seed(tmp_path / "cache", teacher)),
                                   "max_seq_length": 64, "threshold": 0.2},
              "TrainConfig": {"train_iter": 10}, "DataAugmentation": {"n_iter": 0}}
    config["bert_to_bilstm"] = {**config["bert_to_bilstm"], "alpha": 1.0, "train_alone": False}
    report = compress(config, train_dataloader=batches).report
    assert report.models[0].agreement == 1 and report.labels == ()
    student = Predictor(tmp_path / "out")
    assert student.pairs and student.task.thresholds == (0.2, 0.2)
    unlabelled = [{name: array for name, array in batch.items() if name != "labels"} for batch in batches]
    with pytest.raises(UserError, match="bert_to_bilstm.alpha: the batches of train_dataloader hold no labels"):
        compress(config, train_dataloader=unlabelled)
    soft = {**config, "bert_to_bilstm": {**config["bert_to_bilstm"], "alpha": 0.0}}
    rows = compress(soft, train_dataloader=unlabelled).report.models
    assert rows[-1].agreement > 0.3 and rows[-1].figure("micro_f1") is None  # no labels anywhere
    with pytest.raises(UserError, match="Global.threshold: dev, but no labelled dev set is known"):
        compress(config | {"Global": config["Global"] | {"threshold": "dev"}}, train_dataloader=batches)
