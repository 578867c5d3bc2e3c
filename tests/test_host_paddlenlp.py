"""PaddleNLP's door: ``Trainer.compress()`` with the strategy ``bert_to_bilstm``, and what it does with others."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from pair_reviews import make_pairs
from reviews import make_reviews
from teachers import make_tiny_teacher

from paddleslim_bilstm import Predictor, UserError
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.host.data_hook import read_loader
from paddleslim_bilstm.host.imports import follow_imports
from paddleslim_bilstm.host.trainer_job import _judge
from paddleslim_bilstm.student.train import metric_of
from paddleslim_bilstm.task import CLASSIFICATION, MULTI_LABEL
from paddleslim_bilstm.teacher import load_teacher

CONFIG = {"bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16}, "batch_size": 32},
          "DataAugmentation": {"n_iter": 1, "hooks": ["masking"]},
          "TrainConfig": {"epochs": 5, "eval_iter": 30, "learning_rate": 0.01}}


@pytest.fixture(autouse=True)
def as_paddlenlps_users(tmp_path, monkeypatch):
    """Dynamic mode, and a cache of one's own."""
    monkeypatch.setenv("PADDLESLIM_BILSTM_CACHE", str(tmp_path / "cache"))
    paddle.disable_static()
    yield
    paddle.enable_static()


def make_trainer(folder, rows, architecture="bert", **options):
    """What PaddleNLP's scripts make: tokenized examples, a padding collator, a classifier. A third is the dev set."""
    from paddlenlp.data import DataCollatorWithPadding
    from paddlenlp.trainer import CompressionArguments, Trainer
    from paddlenlp.transformers import AutoModelForSequenceClassification, BertTokenizer

    checkpoint = str(make_tiny_teacher(folder / "checkpoint", architecture=architecture))
    paddle.disable_static()
    tokenizer = BertTokenizer.from_pretrained(checkpoint)
    network = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    examples = [{**tokenizer(*([text] if isinstance(text, str) else text)), "labels": label} for text, label in rows]
    settings = {"strategy": "bert_to_bilstm", "learning_rate": 3e-3, "per_device_train_batch_size": 16,
                "num_train_epochs": 8, "disable_tqdm": True, "device": "cpu", "save_strategy": "no", "report_to": [],
                **options.pop("arguments", {})}
    third = len(examples) // 3
    data = {"train_dataset": examples[third:], "eval_dataset": examples[:third], "tokenizer": tokenizer, **options}
    return Trainer(network, paddle.nn.CrossEntropyLoss(), CompressionArguments(output_dir=str(folder / "out"),
                   **settings), DataCollatorWithPadding(tokenizer), **data)


def accuracy(prediction):
    """As PaddleNLP's scripts write it, on Paddle's tensors."""
    metric = paddle.metric.Accuracy()
    metric.update(metric.compute(paddle.to_tensor(prediction.predictions), paddle.to_tensor(prediction.label_ids)))
    return {"accuracy": metric.accumulate()}


def report_of(save_dir):
    return {model["name"]: model for model in json.loads((save_dir / "report.json").read_text())["models"]}


def test_the_trainers_model_is_distilled_with_the_trainers_data(tmp_path):
    rows = make_reviews(450, seed=3)
    trainer = make_trainer(tmp_path, rows, compute_metrics=accuracy, arguments={"strategy": "bert_to_bilstm+ptq"})
    for parameter in trainer.model.parameters():
        if parameter.ndim == 2:
            parameter.set_value(parameter * 0.1)  # from the tiny teacher's weights as they are, it learns nothing
    trainer.train()
    weights = {name: value.numpy() for name, value in trainer.model.state_dict().items()}
    longer = {**CONFIG["TrainConfig"], "epochs": 15}  # the tiny teacher's embeddings, drawn at random, are no help
    result = trainer.compress(config={**CONFIG, "TrainConfig": longer})
    assert paddle.in_dynamic_mode()
    assert all((value.numpy() == weights[name]).all() for name, value in trainer.model.state_dict().items())
    save_dir = tmp_path / "out" / "bert_to_bilstm"
    assert result.save_dir == save_dir.resolve()
    models = report_of(save_dir)
    assert list(models) == ["teacher", "Bi-LSTM alone", "distilled", "QuantPost"]
    assert models["teacher"]["metric"] == pytest.approx(trainer.evaluate()["eval_accuracy"])
    assert min(models[name]["metric"] for name in ("distilled", "QuantPost")) > 0.9
    assert all(row["accuracy"] == pytest.approx(row["metric"]) for row in models.values())
    assert result.report.data["dev"] == 150 and "dev sentences on which" in (save_dir / "report.md").read_text()
    predictions = Predictor(save_dir).predict([text for text, _ in rows[:150]])
    right = np.mean([prediction.label == str(label) for prediction, (_, label) in zip(predictions, rows)])
    assert right > 0.9
    written = json.loads((save_dir / "report.json").read_text())["config"]["Global"]
    assert written["seed"] == trainer.args.seed and written["max_seq_length"] == 64  # all that the tiny teacher takes


def test_folders_of_a_trainer_are_called_as_they_are(tmp_path):
    from paddleslim_bilstm.host.trainer_job import _overrides

    trainer = make_trainer(tmp_path, make_reviews(4, seed=1))
    folder = tmp_path / "out \U0001f600 \U00020000"
    overrides = _overrides(trainer, {}, folder, 16, MULTI_LABEL)
    assert Path(load_config({}, overrides).global_.save_dir) == folder


@pytest.mark.usefixtures("in_old_programs")
def test_a_trainers_labels_may_be_zeros_and_ones_for_each_output(tmp_path):
    from paddleslim_bilstm.host.trainer_job import examples_loader, read_examples

    wanted = [[float("good" in text), float("not" in text)] for text, _ in make_reviews(30, seed=1)]
    rows = [(text, labels) for (text, _), labels in zip(make_reviews(30, seed=1), wanted)]
    trainer = make_trainer(tmp_path, rows)
    train, dev = read_examples(trainer, "train_dataset"), read_examples(trainer, "eval_dataset")
    assert train.task is dev.task is MULTI_LABEL and dev.labels.tolist() == wanted[:10]
    trainer.train_dataset[0]["labels"] = [0.5, 0.0]
    with pytest.raises(UserError, match=r"Trainer\(train_dataset=...\): labels: holds other values than 0 and 1"):
        read_examples(trainer, "train_dataset")
    paddle.enable_static()
    try:
        config = load_config({**CONFIG, "Global": {"task": "multi_label"}})
        assert next(iter(examples_loader(train, config)()))[0]["labels"].shape()[1] == 2
    finally:
        paddle.disable_static()


def test_a_trainers_several_labels_are_distilled(tmp_path):
    """The training set has no labels; what the dev set's are decides."""
    rows = [(text, [float("good" in text), float("not" in text)]) for text, _ in make_reviews(90, seed=1)]
    trainer = make_trainer(tmp_path, rows)
    for example in trainer.train_dataset:
        del example["labels"]
    config = {**CONFIG, "bert_to_bilstm": {**CONFIG["bert_to_bilstm"], "train_alone": False}}
    report = trainer.compress(config=config).report
    assert report.config["Global"]["task"] == "multi_label" and report.metric == "micro_f1"
    assert report.models[-1].metric is not None and "several" not in report.headline
    assert report.data["dev"] == 30 and report.models[-1].agreement is not None


def test_a_trainers_labels_of_two_kinds_are_refused(tmp_path):
    rows = [(text, [float(label), 0.0]) for text, label in make_reviews(30, seed=1)]
    trainer = make_trainer(tmp_path, rows)
    trainer.eval_dataset = [{**example, "labels": 1} for example in trainer.eval_dataset]
    with pytest.raises(UserError, match=r"^Trainer\(eval_dataset=...\): its labels are of another kind .*multi_label"):
        trainer.compress(config=CONFIG)
    assert not (tmp_path / "out" / "bert_to_bilstm" / "teacher").exists()


@pytest.mark.usefixtures("in_old_programs")
def test_pairs_reach_the_engine_as_the_trainer_has_them(tmp_path):
    from paddleslim_bilstm.host.trainer_job import evaluation_on, examples_loader, read_examples, save_teacher

    pairs = make_pairs(90, seed=0)
    trainer = make_trainer(tmp_path, pairs, architecture="ernie")
    trainer.model.eval()
    expected = np.concatenate([trainer.model(batch["input_ids"], batch["token_type_ids"]).numpy()
                               for batch in trainer.get_eval_dataloader()])
    train, dev = read_examples(trainer, "train_dataset"), read_examples(trainer, "eval_dataset")
    save_teacher(trainer, tmp_path / "teacher")
    paddle.enable_static()
    teacher = load_teacher(tmp_path / "teacher", tmp_path / "copy")
    seen = []
    metric_of(teacher.prefix, evaluation_on(dev, lambda *answers: seen.extend(answers) or 0.0))
    np.testing.assert_allclose(seen[0], expected, atol=1e-4)  # in the data set's order, whatever the batches
    assert seen[1].tolist() == [label for _, label in pairs[:30]]
    loader = examples_loader(train, load_config(CONFIG))
    sentences, labels = read_loader(loader, teacher.tokenizer, teacher.framing, CLASSIFICATION, 2)
    tokens = teacher.tokenizer.encode([pair for pair, _ in pairs[30:]]).to_lists()
    found = {(tuple(first), tuple(second)): label for (first, second), label in zip(sentences.to_lists(), labels)}
    assert found == {(tuple(first), tuple(second)): label for (first, second), (_, label) in zip(tokens, pairs[30:])}


def test_a_package_imported_after_paddlenlp_registers_at_once(monkeypatch):
    from paddlenlp.trainer import Trainer

    assert Trainer.compress.knows_bert_to_bilstm  # conftest.py imported the package before PaddleNLP
    monkeypatch.setattr(Trainer, "compress", Trainer.compress.__wrapped__)
    follow_imports()
    ours = Trainer.compress
    assert ours.knows_bert_to_bilstm
    follow_imports()
    assert Trainer.compress is ours


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return make_trainer(tmp_path_factory.mktemp("trainer"), make_reviews(30, seed=0))


LOGITS, LABELS = np.array([[0, 2], [3, 1], [0, 1]], "f4"), np.array([1, 0, 0])


@pytest.mark.parametrize("scores, wanted, found", [
    ({"mse": 9.0, "pearson": 0.5, "f1": 0.25}, None, 0.5), ({"accuracy": 0.75}, "loss", 0.75),
    ({"eval_f1": 0.25, "accuracy": 0.5}, "f1", 0.25), ({"accuracy": 0.5, "f1": 0.25}, "eval_f1", 0.25),
    ({"mean_squared_error": 9.0, "eval_runtime": 3.0, "r2": 0.5}, None, 0.5),
    ({"0": {"f1": 0.1}, "accuracy": np.float64(0.5)}, None, 0.5),
    ({"accuracy": 0.5}, "pearsonr", r"\(accuracy\).* it is pearsonr"), ({"rmse": 0.5}, None, "it is not set")])
def test_the_best_student_has_the_trainers_own_metric(trainer, monkeypatch, scores, wanted, found):
    monkeypatch.setattr(trainer.args, "metric_for_best_model", wanted)
    monkeypatch.setattr(trainer, "compute_metrics", lambda prediction: scores)
    judge = _judge(trainer, None)
    if isinstance(found, str):
        with pytest.raises(UserError, match=f"metric_for_best_model: .*{found}"):
            judge(LOGITS, LABELS)
    else:
        assert judge(LOGITS, LABELS) == found


def test_logits_are_preprocessed_as_the_trainer_does(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "preprocess_logits_for_metrics", lambda logits, labels: logits.argmax(axis=-1))
    monkeypatch.setattr(trainer, "compute_metrics", lambda prediction: {
        "right": (prediction.predictions == prediction.label_ids).mean()})
    assert _judge(trainer, None)(LOGITS, LABELS) == pytest.approx(2 / 3)


def test_examples_without_a_label_count_for_nothing(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "compute_metrics", None)
    settings = load_config({"bert_to_bilstm": None, "Global": {"metric": "f1"}})
    judge, logits = _judge(trainer, settings), np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert judge(logits, np.array([0, 1, -1])) == 1
    with pytest.raises(UserError, match="eval_dataset.*all without a label"):
        judge(logits, np.full(3, -1))


def test_other_strategies_are_paddlenlps_own_business(trainer, monkeypatch):
    called = []
    monkeypatch.setattr(trainer, "quant", lambda *arguments: called.append(arguments), raising=False)
    monkeypatch.setattr(trainer.args, "strategy", "qat")
    assert trainer.compress(accuracy) is None
    assert called == [(trainer.args.output_dir, "qat")] and trainer.custom_evaluate is accuracy
    with pytest.raises(TypeError, match="config"):  # PaddleNLP's compress has none
        trainer.compress(config={})
    monkeypatch.setattr(trainer.args, "strategy", "nobody's")
    assert trainer.compress() is None


class Endless(paddle.io.IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize("attributes, arguments, call, message", [
    ({}, {"strategy": "dynabert+bert_to_bilstm"}, {}, "strategy: 'dynabert' can't go with bert_to_bilstm"),
    ({}, {"greater_is_better": False, "metric_for_best_model": "error"}, {}, "greater_is_better"),
    ({}, {"metric_for_best_model": "eval_mse"}, {}, "metric_for_best_model: eval_mse, but the best student"),
    ({}, {}, {"custom_evaluate": accuracy}, "custom_evaluate"),
    ({}, {}, {"config": {"Global": {"train_file": "train.tsv"}}}, "Global.train_file: the trainer has model and data"),
    ({}, {}, {"config": {"Global": {"threshold": "dev"}}}, "Global.threshold: dev is chosen on a dev set of text"),
    ({}, {}, {"config": {"TrainConfig": {"epoch": 3}}}, "TrainConfig.epoch: unknown key.*epochs"),
    ({"tokenizer": None, "data_collator": None}, {}, {}, "tokenizer=.*missing"),
    ({"model": paddle.nn.Linear(2, 2)}, {}, {}, "a Linear can't be distilled"),
    ({"train_dataset": None}, {}, {}, "train_dataset=.*NoneType"),
    ({"train_dataset": Endless()}, {}, {}, "train_dataset=.*Endless"),
    ({"eval_dataset": [{"input_ids": [2, 9, 3], "token_type_ids": [0, 0, 0]}]}, {}, {}, "eval_dataset=.*no labels"),
])
def test_what_cannot_be_distilled_is_refused_in_one_line(trainer, monkeypatch, attributes, arguments, call, message):
    for owner, changes in ((trainer, attributes), (trainer.args, arguments)):
        for name, value in changes.items():
            monkeypatch.setattr(owner, name, value)
    with pytest.raises(UserError, match=message) as error:
        trainer.compress(**call)
    assert "\n" not in str(error.value) and paddle.in_dynamic_mode()
