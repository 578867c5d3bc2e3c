"""The three ways in: PaddleSlim's AutoCompression (YAML, dict, script), and what it does without our strategy."""

import json

import numpy as np
import paddle
import pytest
import yaml
from paddleslim.auto_compression import AutoCompression
from reviews import make_reviews, write_reviews
from teachers import make_tiny_teacher

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.tokens import load_tokenizer

FAST = {"Global": {"max_seq_length": 64}, "DataAugmentation": {"n_iter": 2},
        "TrainConfig": {"epochs": 1, "eval_iter": 20}}
STUDENT = {"student": {"embed_dim": 16, "hidden_size": 16}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return make_tiny_teacher(tmp_path_factory.mktemp("teacher"), "exported")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLESLIM_BILSTM_CACHE", str(tmp_path / "cache"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def script_loader(tokenizer, texts):
    """A loader as in PaddleSlim's NLP example: feed_list, return_list=False, padded int64 batches."""
    sentences = tokenizer.encode(texts)
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        feeds = [paddle.static.data(name, [-1, -1], "int64") for name in ("input_ids", "token_type_ids")]

    def collate(rows):
        ids = sentences.padded(np.array(rows), tokenizer.pad_id, [tokenizer.cls_id], [tokenizer.sep_id])
        return ids, np.zeros_like(ids)

    return paddle.io.DataLoader(list(range(len(texts))), feed_list=feeds, batch_size=16, collate_fn=collate,
                                return_list=False, places=paddle.CPUPlace())


def script_evaluation(tokenizer, rows):
    """An eval_callback as in PaddleSlim's NLP example: accuracy, a sentence at a time."""
    sentences = tokenizer.encode([text for text, _ in rows])

    def evaluate(executor, program, feed_names, fetch_targets):
        correct = 0
        for row, (_, label) in enumerate(rows):
            ids = sentences.padded(np.array([row]), tokenizer.pad_id, [tokenizer.cls_id], [tokenizer.sep_id])
            logits, = executor.run(program, feed={feed_names[0]: ids, feed_names[1]: np.zeros_like(ids)},
                                   fetch_list=fetch_targets)
            correct += int(logits.argmax() == label)
        return correct / len(rows)
    return evaluate


def script(exported, out, sections, **arguments):
    """The compression of a script: 120 sentences in its loader, 40 of them in its evaluation."""
    tokenizer, rows = load_tokenizer(exported), make_reviews(120, seed=1)
    return AutoCompression(**{
        "model_dir": str(exported), "model_filename": "inference.pdmodel", "params_filename": "inference.pdiparams",
        "save_dir": str(out), "config": {"bert_to_bilstm": STUDENT, **FAST, **sections},
        "train_dataloader": script_loader(tokenizer, [text for text, _ in rows]),
        "eval_callback": script_evaluation(tokenizer, rows[:40]), **arguments})


def test_a_script_in_paddleslims_style_needs_only_the_import(exported, tmp_path, caplog):
    """The import stands in conftest.py; everything below is what PaddleSlim's users write."""
    before, out = contents(exported), tmp_path / "out"
    compression = script(exported, out, {"QuantPost": {"batch_nums": 2}, "QuantBiLSTM": None})
    compression.compress()
    assert contents(exported) == before
    models = json.loads((out / "report.json").read_text())["models"]
    assert [model["name"] for model in models] == ["teacher", "distilled", "QuantPost", "QuantBiLSTM, Paddle", "ONNX",
                                                   "QuantBiLSTM"]
    assert all(0 <= model["metric"] <= 1 for model in models)
    assert models[4]["metric"] == models[1]["metric"]  # of the same weights, in ONNX Runtime
    final = models[3]["metric"]

    evaluate = script_evaluation(load_tokenizer(exported), make_reviews(120, seed=1)[:40])
    executor = paddle.static.Executor(paddle.CPUPlace())
    assert {file.name for file in out.glob("*.pd*")} == {"inference.pdmodel", "inference.pdiparams"}
    program, feeds, fetches = paddle.static.load_inference_model(
        str(out), executor, model_filename="inference.pdmodel", params_filename="inference.pdiparams")
    assert evaluate(executor, program, feeds, fetches) == final == compression.final_metric
    for name in ("embedding_int8", "linear_0.w_0", "linear_1.w_0"):
        assert np.array(paddle.static.global_scope().find_var(name).get_tensor()).dtype == np.int8
    assert Predictor(out, "paddle").predict(["a good film ."])[0].probabilities.shape == (2,)

    assert f"==> The metric of final model is {final:.4f}" in caplog.text
    assert f"==> The ACT compression has been completed and the final model is saved in `{out}`" in caplog.text
    compression.export_onnx("student.onnx")
    assert (out / "ONNX" / "student.onnx").read_bytes() == (out / "model.int8.onnx").read_bytes()
    page = (out / "report.md").read_text()
    assert "chosen by your eval_callback, `evaluate`" in page and 'Config("inference.pdmodel"' in page
    assert "Agreement and speed are measured on 120 training sentences" in page
    assert "dev sentences on which a model predicts" not in page


def test_a_failing_step_loses_no_training(exported, tmp_path, monkeypatch):
    """Also where an eval_callback chose the student, which no later run may take from the cache."""
    def fail(*arguments):
        raise UserError("QuantPost: failed")

    with monkeypatch.context() as patched:
        patched.setattr("paddleslim_bilstm.models.run_chain", fail)
        with pytest.raises(UserError, match="QuantPost: failed"):
            script(exported, tmp_path / "out", {"QuantPost": {"batch_nums": 2}}).compress()
    monkeypatch.setattr("paddleslim_bilstm.student.train._train", lambda *_: pytest.fail("trains again"))
    compression = script(exported, tmp_path / "out", {"QuantPost": {"batch_nums": 2}})
    compression.compress()
    assert [row.name for row in compression.result.report.models] == ["teacher", "distilled", "QuantPost"]
    assert not (tmp_path / "out" / "work").exists()


@pytest.mark.parametrize("name, value, message", [
    ("input_shapes", {"input_ids": [-1, 64]}, "input_shapes: the student takes batches of any width"),
    ("target_speedup", 2.0, "target_speedup: PaddleSlim chooses"),
    ("deploy_hardware", "toaster", "deploy_hardware: Hardware should be in supported list")])
def test_arguments_that_mean_nothing_here_are_refused(exported, tmp_path, name, value, message):
    with pytest.raises(UserError, match=message) as error:
        script(exported, tmp_path, {}, **{name: value})
    assert "\n" not in str(error.value)


def test_hardware_that_paddleslim_knows_is_taken(exported, tmp_path):
    assert script(exported, tmp_path, {}, deploy_hardware="SD710").deploy_hardware == "SD710"
    assert script(exported, tmp_path, {}).deploy_hardware == "gpu"


def test_onnx_is_there_after_compress(exported, tmp_path):
    with pytest.raises(UserError, match="export_onnx: .* call compress"):
        script(exported, tmp_path, {}).export_onnx()


def test_the_teachers_folder_is_not_written_to(exported, tmp_path):
    with pytest.raises(UserError, match="Global.save_dir: .* is the teacher's folder"):
        script(exported, exported, {}).compress()


def test_yaml_file_through_auto_compression(exported, tmp_path):
    data = write_reviews(tmp_path / "data")
    sections = {**FAST, "Global": {"max_seq_length": 64, "model_dir": "ignored", "train_file": str(data / "train.tsv"),
                           "dev_file": str(data / "dev.tsv"), "batch_size": 8},
                "bert_to_bilstm": STUDENT}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(sections))
    compression = AutoCompression(model_dir=str(exported), train_dataloader=None, save_dir=str(tmp_path / "out"),
                                  config=str(tmp_path / "run.yaml"))
    compression.compress()
    assert [row.name for row in compression.result.report.models] == ["teacher", "Bi-LSTM alone", "distilled"]
    assert all(row.accuracy is not None for row in compression.result.report.models)


def test_a_wrong_setting_is_refused_in_the_constructor(exported, tmp_path):
    for section, message in (({"bert_to_bilstm": {"losss": "l2"}}, "loss"),
                             ({"bert_to_bilstm": {"loss": "kl"}}, "bert_to_bilstm.loss"),
                             ({"bert_to_bilstm": None, "ChannelPrune": {"pruned_ratio": 0.5}}, "ChannelPrune"),
                             ({"bert_to_bilstm": None, "QuantPost": {"alg": "KL"}}, "QuantPost.alg"),
                             ({"bert_to_bilstm": None, "TrainConfig": {"learning_rate": {"type": "Nope"}}}, "Nope")):
        with pytest.raises(UserError, match=message) as error:
            AutoCompression(model_dir=str(exported), train_dataloader=None, save_dir=str(tmp_path / "out"),
                            config=section)
        assert "\n" not in str(error.value)


def test_the_callers_config_is_left_as_it_was(exported, tmp_path):
    config = {"bert_to_bilstm": STUDENT, **FAST}
    before = json.dumps(config)
    AutoCompression(model_dir=str(exported), train_dataloader=None, save_dir=str(tmp_path / "out"), config=config)
    assert json.dumps(config) == before


@pytest.mark.parametrize("augmented", [False, True])
def test_paddleslims_own_distillation_with_our_loss_and_data_hook(tmp_path, augmented):
    model_dir = make_tiny_teacher(tmp_path / "teacher", "exported", hidden_dropout_prob=0.0,
                                  attention_probs_dropout_prob=0.0)  # PaddleSlim can't train a program with dropout
    tokenizer = load_tokenizer(model_dir)
    rows = make_reviews(64, seed=2)
    batches = []

    def loader():
        for batch in script_loader(tokenizer, [text for text, _ in rows])():
            yield {name: np.array(value) for name, value in batch[0].items()}

    def seeing(executor, program, feed_names, fetch_targets):
        batches.append(1)
        return script_evaluation(tokenizer, rows[:10])(executor, program, feed_names, fetch_targets)

    config = {"Distillation": {"loss": "logit_mse", "alpha": 1.0}, "QuantAware": None,
              "TrainConfig": {"epochs": 1, "eval_iter": 2, "learning_rate": 1e-4,
                              "optimizer_builder": {"optimizer": {"type": "SGD"}}}}
    if augmented:
        config["DataAugmentation"] = {"hooks": [{"masking": {"p_mask": 0.5}}]}
    compression = AutoCompression(model_dir=str(model_dir), model_filename="inference.pdmodel",
                                  params_filename="inference.pdiparams", save_dir=str(tmp_path / "out"), config=config,
                                  train_dataloader=loader, eval_callback=seeing)
    masked = [(batch["input_ids"] == tokenizer.mask_id).mean() for batch in compression.train_dataloader()]
    assert (min(masked) > 0.1) if augmented else (max(masked) == 0)
    compression.compress()
    assert batches and (tmp_path / "out" / "inference.pdmodel").is_file()
