"""Sentence pairs from a file to the Predictor, through every way in."""

import json

import numpy as np
import paddle
import pytest
from paddleslim.auto_compression import AutoCompression
from pair_reviews import make_pairs, write_pairs

from paddleslim_bilstm import compress
from paddleslim_bilstm.cli import main
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.host.data_hook import augmented_loader, read_loader
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.predict.runtimes import onnx_logits, paddle_logits
from paddleslim_bilstm.teacher import InferenceModel, load_teacher, logits_of
from paddleslim_bilstm.tokens import load_tokenizer

ROWS = make_pairs(200, seed=0)
STUDENT = {"student": {"embed_dim": 16, "hidden_size": 16}}
FAST = {"Global": {"max_seq_length": 32}, "DataAugmentation": {"n_iter": 3},
        "TrainConfig": {"epochs": 1, "eval_iter": 9}}
FEEDS = ("input_ids", "token_type_ids")


@pytest.fixture(scope="module")
def teacher(tiny_teacher):
    return tiny_teacher("huggingface")


@pytest.fixture(scope="module")
def exported(tiny_teacher):
    return tiny_teacher("exported", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="module")
def output(teacher, tiny_teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    result = compress({
        **FAST, "bert_to_bilstm": STUDENT, "QuantPost": {"batch_nums": 2}, "QuantBiLSTM": {"max_accuracy_drop": 1.0},
        "Global": {"model_dir": str(teacher), "save_dir": str(folder / "out"),
                   "cache_dir": str(tiny_teacher.seed(folder / "cache", teacher)),
                   "train_file": str(write_pairs(folder / "train.tsv", ROWS[:150])),
                   "dev_file": str(write_pairs(folder / "dev.jsonl", ROWS[150:])), "max_seq_length": 18}})
    return result


def test_the_whole_job_on_pairs(output, teacher):
    report = output.report
    assert [row.name for row in report.models] == ["teacher", "Bi-LSTM alone", "distilled", "QuantPost",
                                                   "QuantBiLSTM, Paddle", "ONNX", "QuantBiLSTM"]
    assert all(row.accuracy is not None and row.f1 is not None and row.flops > 0 for row in report.models)
    of = {row.name: row.parameters for row in report.models}
    assert of["QuantBiLSTM, Paddle"] == of["QuantPost"] == of["distilled"]  # scales are none
    assert report.data["truncated_train"] > 0 and report.data["train_one_side_empty"] == 0
    assert json.loads((output.save_dir / "student.json").read_text())["pairs"] is True
    texts = [pair for pair, _ in ROWS[150:]]
    tokenizer = load_tokenizer(output.save_dir)
    served = tokenizer.encode(texts).truncate(18 - 3)
    batch = tokenizer.framing.batch(served, np.arange(len(texts)))
    together = paddle_logits(output.save_dir / "steps" / "distilled" / "model")(*batch)
    np.testing.assert_allclose(onnx_logits(output.save_dir / "model.onnx")(*batch), together, atol=1e-4)
    np.testing.assert_allclose(Predictor(output.save_dir, "onnx").logits(texts), together, atol=1e-4)
    right = np.array([int(one.label) for one in Predictor(output.save_dir, "onnx").predict(texts)])
    accuracy = np.mean(right == [label for _, label in ROWS[150:]])
    assert accuracy == pytest.approx(next(row.accuracy for row in report.models if row.name == "ONNX"))


def test_the_teacher_is_asked_with_types_as_paddlenlp_would(teacher, tiny_teacher, tmp_path):
    """[CLS] a [SEP] b [SEP] with types 0 and 1; the tiny teacher tells types apart."""
    from paddlenlp.transformers import AutoModelForSequenceClassification

    ours = load_teacher(teacher, tmp_path)
    pairs = ours.tokenizer.encode([pair for pair, _ in ROWS[:12]])
    logits = logits_of(InferenceModel(ours.prefix, threads=1), pairs, ours.framing)
    same = tiny_teacher()
    paddle.disable_static()
    try:
        network = AutoModelForSequenceClassification.from_pretrained(str(same))
        network.eval()
        for row in range(12):
            ids, types = ours.tokenizer.framing.batch(pairs, np.array([row]))
            expected = network(paddle.to_tensor(ids), token_type_ids=paddle.to_tensor(types)).numpy()[0]
            np.testing.assert_allclose(logits[row], expected, atol=1e-3)
            assert np.abs(network(paddle.to_tensor(ids)).numpy()[0] - expected).max() > 0.01
    finally:
        paddle.enable_static()


def loader_of(tokenizer, texts):
    sentences = tokenizer.encode(texts)

    def batches():
        for start in range(0, len(texts), 16):
            yield dict(zip(FEEDS, tokenizer.framing.batch(sentences, np.arange(start, min(start + 16, len(texts))))))
    return batches


def test_pairs_from_a_paddleslim_loader(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLESLIM_BILSTM_CACHE", str(tmp_path / "cache"))
    tokenizer = load_tokenizer(exported)
    texts = [pair for pair, _ in ROWS[:60]]
    found, labels = read_loader(loader_of(tokenizer, [*texts, ("good", "")]), tokenizer, tokenizer.framing)
    assert sorted(found.to_lists()) == sorted(tokenizer.encode([*texts, ("good", "")]).to_lists()) and labels is None
    compression = AutoCompression(
        model_dir=str(exported), model_filename="inference.pdmodel", params_filename="inference.pdiparams",
        save_dir=str(tmp_path / "out"), config={**FAST, "bert_to_bilstm": STUDENT},
        train_dataloader=loader_of(tokenizer, texts))
    compression.compress()
    assert Predictor(tmp_path / "out").pairs and compression.result.report.models[-1].agreement is not None


def test_the_data_hook_changes_first_second_and_both_sides_of_a_loaders_pairs(exported):
    tokenizer = load_tokenizer(exported)
    loader = loader_of(tokenizer, [pair for pair, _ in ROWS[:30]])
    augmented = augmented_loader({"DataAugmentation": {"hooks": [{"masking": {"p_mask": 1.0}}]}, "QuantAware": None}, {
        "model_dir": str(exported), "model_filename": "inference.pdmodel", "params_filename": "inference.pdiparams",
        "train_dataloader": loader})
    seen = []
    for _ in range(3):
        for before, after in zip(loader(), augmented()):
            np.testing.assert_array_equal(before["token_type_ids"], after["token_type_ids"])
            masked, types = after["input_ids"] == tokenizer.mask_id, after["token_type_ids"]
            seen += zip((masked & (types == 0)).any(axis=1), (masked & (types == 1)).any(axis=1))
    assert {kind: seen.count(kind) for kind in seen} == {(True, False): 30, (False, True): 30, (True, True): 30}


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_python_rows_unlabelled_pairs_and_three_classes(tiny_teacher, tmp_path, classes):
    teacher = tiny_teacher(num_classes=classes)
    rows = [((a, b), number % classes) for number, ((a, b), _) in enumerate(ROWS[:90])]
    flat = [(a, b, label) for (a, b), label in rows]
    result = compress({**FAST, "bert_to_bilstm": {**STUDENT, "train_alone": False, "alpha": 0.5},
                       "Global": {"model_dir": str(teacher), "save_dir": str(tmp_path / "out"), "max_seq_length": 32,
                                  "cache_dir": str(tmp_path / "cache")}},
                      train=flat[:60], dev=rows[60:], unlabeled=[("good film", "bad film"), ("one", "two")])
    assert result.report.data["unlabeled"] == 2 and result.report.data["train"] == 60
    assert Predictor(tmp_path / "out").logits([("a", "b"), ("", "")]).shape == (2, classes)


def test_predict_and_evaluate_on_the_command_line(output, tmp_path, capsys):
    folder = str(output.save_dir)
    answers = []
    for name in ("dev.tsv", "dev.jsonl"):
        assert main(["predict", folder, "--input", str(write_pairs(tmp_path / name, ROWS[150:]))]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    (tmp_path / "plain.txt").write_text("".join(f"{a}\t{b}\n" for (a, b), _ in ROWS[150:]))
    assert main(["predict", folder, "--input", str(tmp_path / "plain.txt")]) == 0
    answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert answers[0] == answers[1] == answers[2]
    assert [tuple(row["text"]) for row in answers[0]] == [pair for pair, _ in ROWS[150:]]
    assert main(["evaluate", folder, "--data", str(tmp_path / "dev.tsv")]) == 0
    row = json.loads(capsys.readouterr().out)
    right = np.mean([answer["label"] == str(label) for answer, (_, label) in zip(answers[0], ROWS[150:])])
    assert row["accuracy"] == pytest.approx(right) and "f1" in row


def test_predict_takes_unusual_names_by_option(output, tmp_path, capsys):
    (tmp_path / "in.tsv").write_text("id\tleft \tright\n1\tgood\tbad\n")  # as spreadsheets write blanks
    (tmp_path / "in.jsonl").write_text('{"left": "good", "right": "bad"}\n')
    (tmp_path / "in.csv").write_text('id,left,right \n1,good,"bad"\n')
    for name in ("in.tsv", "in.csv", "in.jsonl"):
        arguments = ["predict", str(output.save_dir), "--input", str(tmp_path / name)]
        assert main([*arguments, "--text-key", "right", "--text-key", "left"]) == 0
        assert json.loads(capsys.readouterr().out)["text"] == ["bad", "good"]
        assert main(arguments) == 2 and f"{name}:1: " in capsys.readouterr().err


@pytest.mark.parametrize("name, content", [
    ("in.csv", 'id,Text_A,text_b\n1,"good, fun",bad\n'), ("in.csv", "Text_A\ttext_b\ngood, fun\tbad\n"),
    ("in.csv", "good, fun\tbad\n"), ("in.txt", "good, fun\tbad\n"),
])
def test_predict_reads_pairs_from_a_table_or_lines(output, tmp_path, capsys, name, content):
    (tmp_path / name).write_text(content)
    assert main(["predict", str(output.save_dir), "--input", str(tmp_path / name)]) == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == [["good, fun", "bad"]]


@pytest.mark.parametrize("command, content, message", [
    (["predict"], "only one\n", "in.tsv:1: has 1 columns, not 2; this student reads pairs"),
    (["predict"], "a\tb\na\tb\tc\n", "in.tsv:2: has 3 columns, not 2"),
    (["predict", "--text-key", "a"], "a\tb\n", "--text-key: this student reads pairs: give it twice"),
    (["evaluate"], "sentence\tlabel\na\t0\nb\t1\n", "has single sentences, the texts of this student are pairs"),
])
def test_single_sentences_for_a_student_of_pairs_are_refused(output, tmp_path, capsys, command, content, message):
    (tmp_path / "in.tsv").write_text(content)
    option = "--data" if command[0] == "evaluate" else "--input"
    assert main([command[0], str(output.save_dir), option, str(tmp_path / "in.tsv"), *command[1:]]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_predictor_names_the_wrong_kind(output):
    predictor = Predictor(output.save_dir)
    with pytest.raises(UserError, match=r"texts\[1\]: .*single sentence.*pairs"):
        predictor.predict([("a", "b"), "c"])
    with pytest.raises(TypeError, match=r"texts\[0\] must be a pair of strings, not tuple"):
        predictor.predict([("a", "b", "c")])
    with pytest.raises(UserError, match="surrogate"):
        predictor.predict([("a", "\ud800")])


def test_finetune_reads_pairs(tmp_path):
    from test_finetune import WORDS, huggingface_bert

    from paddleslim_bilstm.finetune.finetune import best_dev_metric, finetune

    rng = np.random.default_rng(0)
    rows = []
    for number in range(400):  # whether the second side begins with the first's word: only types and order tell sides
        word = rng.choice(WORDS[2:4])
        other = word if number % 2 else WORDS[2 + (word == WORDS[2])]
        rows.append(((f"{word}", f"{other}"), number % 2))
    config = {"Global": {"model_dir": str(tmp_path / "teacher"), "max_seq_length": 16,
                         "cache_dir": str(tmp_path / "cache"),
                         "train_file": str(write_pairs(tmp_path / "train.tsv", rows[:340])),
                         "dev_file": str(write_pairs(tmp_path / "dev.tsv", rows[340:]))},
              "Finetune": {"model": str(huggingface_bert(tmp_path / "bert")), "epochs": 6, "learning_rate": 0.003,
                           "batch_size": 16}}
    assert best_dev_metric(finetune(config)) > 0.95
