"""A regression: one output, numbers as labels, correlations in place of accuracy and agreement."""

import json

import numpy as np
import paddle
import pytest
from conftest import Ended
from reviews import make_reviews

from paddleslim_bilstm import compress
from paddleslim_bilstm.cli import main
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.metrics import pearson
from paddleslim_bilstm.predict import Predictor, Score
from paddleslim_bilstm.student.losses import logit_mse
from paddleslim_bilstm.student.recipe import Recipe, Student, StudentText
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.train import TrainingPlan, TrainingSet, closeness_to, train_student
from paddleslim_bilstm.student.weights import first_weights
from paddleslim_bilstm.task import REGRESSION
from paddleslim_bilstm.teacher import InferenceModel, load_teacher, logits_of
from paddleslim_bilstm.tokens import Sentences, Tokenizer


@pytest.fixture(scope="module")
def teacher(tiny_teacher):
    return tiny_teacher("huggingface", num_classes=1)


@pytest.fixture(scope="module")
def rows(teacher, tmp_path_factory):
    """Reviews with the teacher's own numbers, a little off, as labels: its Pearson correlation is nearly 1."""
    loaded = load_teacher(teacher, tmp_path_factory.mktemp("work"))
    texts = [text for text, _ in make_reviews(380, seed=5)]
    numbers = logits_of(InferenceModel(loaded.prefix, 1), loaded.tokenizer.encode(texts), loaded.framing)[:, 0]
    noise = np.random.default_rng(0).normal(0, 0.05 * numbers.std(), len(texts))
    return [(text, round(float(number), 3)) for text, number in zip(texts, numbers + noise)]


@pytest.fixture
def config(teacher, tiny_teacher, tmp_path):
    return {"Global": {"model_dir": str(teacher), "save_dir": str(tmp_path / "out"), "task": "regression",
                       "cache_dir": str(tiny_teacher.seed(tmp_path / "cache", teacher)), "max_seq_length": 64},
            "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16, "dropout": 0.0}, "batch_size": 16},
            "DataAugmentation": {"n_iter": 2}, "TrainConfig": {"epochs": 10, "eval_iter": 50, "learning_rate": 0.005}}


def test_the_whole_job(config, rows, tmp_path, capsys):
    config["QuantPost"] = {"batch_nums": 2}
    config["QuantBiLSTM"] = {"max_accuracy_drop": 0.05}
    result = compress(config, train=rows[:300], dev=rows[300:])
    by_name = {row.name: row for row in result.report.models}
    assert result.report.metric == "pearson" and "Pearson" in result.table and "acc" not in result.table
    assert by_name["teacher"].pearson > 0.99 and by_name["teacher"].correlation == pytest.approx(1.0)
    assert by_name["teacher"].accuracy is None and by_name["teacher"].agreement is None
    assert by_name["distilled"].pearson > 0.5 and by_name["distilled"].correlation > 0.5
    assert by_name["Bi-LSTM alone"].pearson > 0.2
    assert by_name["distilled"].pearson - by_name["QuantBiLSTM"].pearson <= 0.05
    assert "of the teacher's Pearson correlation" in result.report.headline
    notes = (tmp_path / "out" / "report.md").read_text()
    assert "correlate with the float student's" in notes and "**corr.**" in notes and "teacher's class" not in notes

    predictor = Predictor(tmp_path / "out")
    answers = predictor.predict([text for text, _ in rows[300:]])
    assert all(isinstance(answer, Score) for answer in answers)
    numbers = np.array([answer.score for answer in answers])
    assert pearson(np.array([label for _, label in rows[300:]]), numbers) == pytest.approx(
        by_name["QuantBiLSTM"].pearson, abs=0.02)

    (tmp_path / "dev.tsv").write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows[300:]))
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(tmp_path / "dev.tsv"), "--runtime", "onnx"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["pearson"] == pytest.approx(by_name["distilled"].pearson, abs=0.02)
    assert -1 <= shown["spearman"] <= 1 and "accuracy" not in shown
    (tmp_path / "in.txt").write_text(rows[300][0] + "\n")
    assert main(["predict", str(tmp_path / "out"), "--input", str(tmp_path / "in.txt")]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"text", "score"}


def test_alpha_and_unlabelled_text(config, rows):
    config["bert_to_bilstm"].update(alpha=0.5, train_alone=False)
    config["TrainConfig"]["epochs"] = 4
    result = compress(config, train=rows[:300], dev=rows[300:], unlabeled=[text for text, _ in rows[300:]])
    assert result.report.models[-1].pearson > 0.4


def test_a_teacher_of_another_task_is_refused(config, rows, tiny_teacher):
    with pytest.raises(UserError, match="Global.task: .*1 output;.*regression"):
        compress(config, overrides=["Global.task=classification"], train=rows[:300], dev=rows[300:])
    config["Global"]["model_dir"] = str(tiny_teacher())
    with pytest.raises(UserError, match="Global.task: .*2 outputs;.*classification"):
        compress(config, train=rows[:300], dev=rows[300:])


def test_a_teacher_that_knows_nothing_of_the_labels_is_told(config, rows, caplog, ends_before):
    import logging
    ends_before("augment")
    with caplog.at_level(logging.WARNING), pytest.raises(Ended):
        compress(config, train=rows[:300], dev=[(text, -label) for text, label in rows[300:]])
    assert "don't go together" in caplog.text


def length_task(labelled):
    """Sentences whose number is the share of tokens above 20; labels are wrong where they should not be read."""
    rng = np.random.default_rng(0)
    sentences = Sentences.from_lists([rng.integers(5, 40, rng.integers(1, 12)).tolist() for _ in range(400)])
    numbers = np.array([4 * np.mean(ids > 20) for ids in sentences], np.float32)
    labels = np.where(np.arange(400) % 2 == 0, np.nan, numbers).astype(np.float32) if labelled else None
    return TrainingSet(sentences, numbers[:, None], labels), numbers


@pytest.mark.parametrize("loss, labelled, alpha", [(None, True, 0.0), (logit_mse, False, 0.0), (logit_mse, True, 0.5)])
def test_the_student_learns_from_labels_logits_or_both(loss, labelled, alpha):
    paddle.enable_static()
    data, numbers = length_task(labelled)
    spec = StudentSpec(12, 8, 1, ("score",), 0, 32)
    weights = first_weights(spec, np.arange(40, dtype=np.int32), None, np.random.default_rng(0))

    tokenizer = Tokenizer(None, [str(i) for i in range(40)], 0, 1, 2, 3, None)
    from paddleslim_bilstm.student.train import metric_on
    plan = TrainingPlan(300, 32, alpha, 0.0, 50, None, 0)
    student = train_student(spec, weights, data, plan, loss, lambda steps: (paddle.optimizer.Adam(0.02), None),
                            metric_on(data.sentences, numbers, tokenizer.framing, "pearson"))
    assert student.metric > 0.9


@pytest.mark.parametrize("alone", [True, False])
def test_large_numbers_are_reached(tmp_path, alone):
    """Prices: the outputs start as far apart as they are, or Adam's steps would be too short for them."""
    paddle.enable_static()
    data, numbers = length_task(False)
    numbers = (2e5 + 5e4 * (numbers - numbers.mean()) / numbers.std()).astype(np.float32)
    spec = StudentSpec(12, 8, 1, ("score",), 0, 32)
    reader = Tokenizer(None, [str(i) for i in range(40)], 0, 1, 2, 3, None).framing
    weights = first_weights(spec, np.arange(40, dtype=np.int32), None, np.random.default_rng(0))
    settings = load_config({"Global": {"task": "regression"}, "bert_to_bilstm": {"batch_size": 32},
                            "TrainConfig": {"train_iter": 300, "eval_iter": 100}})
    recipe = Recipe(settings, logit_mse, lambda steps: (paddle.optimizer.Adam(0.02), None),
                    closeness_to(numbers[:, None], data.sentences, reader), "dev", tmp_path)
    student = Student(spec, weights, StudentText(reader, data.sentences, data.sentences, data.sentences, {}))
    trained = recipe.train_alone(student, numbers) if alone else recipe.distil(
        student, TrainingSet(data.sentences, numbers[:, None], None))
    assert -trained.metric < 0.1 * numbers.var()


def test_sentences_without_a_label_do_not_count_in_the_error():
    paddle.disable_static()
    logits, labels = paddle.to_tensor([[1.0], [5.0], [2.0]]), paddle.to_tensor([3.0, float("nan"), 1.0])
    logits.stop_gradient = False
    loss = REGRESSION.hard_loss(logits, labels)
    loss.backward()
    gradient, nothing = logits.grad.numpy(), REGRESSION.hard_loss(logits, paddle.full([3], float("nan"))).item()
    error = loss.item()
    paddle.enable_static()
    assert error == pytest.approx((4 + 1) / 2)
    assert gradient[:, 0].tolist() == [-2, 0, 1] and nothing == 0


def test_pairs_with_numbers_as_in_stsb(config, tiny_teacher, tmp_path, capsys):
    """From fine-tuning to the command line: the first pairs are labelled by a rule, 4.5 for alike and 0.5 for not."""
    from pair_reviews import make_pairs, write_pairs
    rows = [(pair, 4.5 if alike else 0.5) for pair, alike in make_pairs(120, seed=0)]
    config["Global"].update(train_file=str(write_pairs(tmp_path / "train.tsv", rows[:90])),
                            dev_file=str(write_pairs(tmp_path / "dev.tsv", rows[90:])),
                            model_dir=str(tmp_path / "teacher"))
    config["Finetune"] = {"model": str(tiny_teacher()), "epochs": 1}
    config["bert_to_bilstm"]["train_alone"] = False
    config["TrainConfig"]["epochs"] = 1
    report = compress(config).report
    assert all(-1 <= row.pearson <= 1 and row.correlation is not None for row in report.models)
    assert "fine-tune teacher" in report.seconds
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "out"), "--input", str(tmp_path / "dev.tsv")]) == 0
    assert all("score" in json.loads(line) for line in capsys.readouterr().out.splitlines())
