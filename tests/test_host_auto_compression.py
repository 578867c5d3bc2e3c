"""The three ways in: PaddleSlim's AutoCompression (YAML, dict, script), and what it does without our strategy."""

import json
import shutil

import numpy as np
import paddle
import pytest
import yaml
from paddleslim.auto_compression import AutoCompression
from reviews import make_reviews, write_reviews

from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.host.auto_compression import _written, extend
from paddleslim_bilstm.old_programs import old_programs
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.run import WORK_FOLDER
from paddleslim_bilstm.student.losses import LOSSES, check_loss
from paddleslim_bilstm.teacher import load_teacher
from paddleslim_bilstm.teacher.text import read_training_text
from paddleslim_bilstm.tokens import load_tokenizer

FAST = {"Global": {"max_seq_length": 64}, "DataAugmentation": {"n_iter": 2},
        "TrainConfig": {"epochs": 1, "eval_iter": 20}}
STUDENT = {"student": {"embed_dim": 16, "hidden_size": 16}}


@pytest.fixture(scope="module")
def exported(tiny_teacher):
    return tiny_teacher("exported")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Of students: they are these tests' own."""
    monkeypatch.setenv("PADDLESLIM_BILSTM_CACHE", str(tmp_path / "cache"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def script_loader(tokenizer, texts):
    """A loader as in PaddleSlim's NLP example: feed_list, return_list=False, padded int64 batches."""
    sentences = tokenizer.encode(texts)
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        feeds = [paddle.static.data(name, [-1, -1], "int64") for name in ("input_ids", "token_type_ids")]

    def collate(rows):
        return tokenizer.framing.batch(sentences, np.array(rows))

    loader = paddle.io.DataLoader(list(range(len(texts))), feed_list=feeds, batch_size=16, collate_fn=collate,
                                  return_list=False, places=paddle.CPUPlace())
    loader.program = program  # as a script's default program, it must live as long as its variables
    return loader


def script_evaluation(tokenizer, rows):
    """An eval_callback as in PaddleSlim's NLP example: accuracy, a sentence at a time."""
    sentences = tokenizer.encode([text for text, _ in rows])

    def evaluate(executor, program, feed_names, fetch_targets):
        correct = 0
        for row, (_, label) in enumerate(rows):
            batch = tokenizer.framing.batch(sentences, np.array([row]))
            logits, = executor.run(program, feed=dict(zip(feed_names, batch)), fetch_list=fetch_targets)
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
    assert {file.name for file in out.glob("*.pd*")} == {"inference.pdmodel", "inference.pdiparams"}
    with old_programs():  # Paddle 3's own loader reads no .pdmodel without; Paddle Inference does
        executor = paddle.static.Executor(paddle.CPUPlace())
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
    assert "- **agree**: the share of training sentences on which a model predicts" in page
    assert "% of the training sentences." in page and "dev sentences" not in page
    assert "**acc, F1**" not in page


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
    assert not (tmp_path / "out" / WORK_FOLDER).exists()


@pytest.mark.parametrize("name, value, message", [
    ("input_shapes", {"input_ids": [-1, 64]}, "input_shapes: the student takes batches of any width"),
    ("target_speedup", 2.0, "target_speedup: PaddleSlim chooses"),
    ("deploy_hardware", "toaster", "deploy_hardware: Hardware should be in supported list")])
def test_arguments_that_mean_nothing_here_are_refused(exported, tmp_path, name, value, message):
    with pytest.raises(UserError, match=message) as error:
        script(exported, tmp_path, {}, **{name: value})
    assert "\n" not in str(error.value)


def test_a_dev_set_beside_a_loader_is_what_models_are_compared_on(exported, tmp_path):
    teacher, rows = load_teacher(exported, tmp_path / "cache"), make_reviews(60, seed=1)
    (tmp_path / "dev.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows[40:]))
    settings = load_config({"Global": {"dev_file": str(tmp_path / "dev.tsv"), "max_seq_length": 64},
                            "bert_to_bilstm": None})
    loader = script_loader(teacher.tokenizer, [text for text, _ in rows[:40]])
    text = read_training_text(settings, teacher, train_dataloader=loader)
    assert text.dev.to_lists() == teacher.tokenizer.encode([text for text, _ in rows[40:]]).to_lists()
    assert text.dev_labels.tolist() == [label for _, label in rows[40:]] and text.dev_texts[0] == rows[40][0]
    assert (text.counts["dev"], text.counts["dev_rows"], text.notes) == (20, 20, ())
    given = read_training_text(settings, teacher, dev=rows[50:], train_dataloader=loader)
    assert given.dev_labels.tolist() == [label for _, label in rows[50:]] and given.counts["dev"] == 10
    with pytest.raises(UserError, match="dev.* are pairs|dev.*has pairs of sentences, those of train_dataloader"):
        read_training_text(settings, teacher, dev=[("a", "b", 1), ("c", "d", 0)], train_dataloader=loader)
    loader_of_dev = script_loader(teacher.tokenizer, [text for text, _ in [*rows[50:], rows[50]]])
    tokens = read_training_text(settings, teacher, dev=loader_of_dev, train_dataloader=loader)
    assert sorted(tokens.dev.to_lists()) == sorted(teacher.tokenizer.encode(
        [text for text, _ in [*rows[50:], rows[50]]]).to_lists())  # one that is there twice stays so
    assert (tokens.counts["dev"], tokens.notes, tokens.compared_on) == (11, (), "dev sentences")
    with pytest.raises(UserError, match="^dev: is a data loader, which goes with the token ids of train_dataloader"):
        read_training_text(settings, teacher, train=rows, dev=loader_of_dev)
    with pytest.raises(UserError, match="^dev: has single sentences, train_dataloader pairs of them"):
        pairs = teacher.tokenizer.encode([("a film", "a good film")])
        batch = teacher.framing.batch(pairs, np.arange(1))
        read_training_text(settings, teacher, dev=loader_of_dev, train_dataloader=lambda: iter([batch]))
    with pytest.raises(UserError, match="Global.unlabeled_file: can't join"):
        read_training_text(settings, teacher, unlabeled=["more"], train_dataloader=loader)


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


@pytest.mark.parametrize("text, place", [
    ("bert_to_bilstm:\n  losss: l2\n", ":2: bert_to_bilstm.losss"),
    ("Global:\n  task: sst-2\nbert_to_bilstm:\n", ":2: Global.task"),
    ("Global: 5\nbert_to_bilstm:\n", ":1: Global"),
    ("bert_to_bilstm:\n\nTrainConfig:\n  recompute_config: {a: 1}\n", ":4: TrainConfig.recompute_config"),
    ("QuantAware: !!python/tuple [1]\nDataAugmentation:\n  hoks: []\n", ":3: DataAugmentation.hoks")])
def test_a_wrong_setting_in_a_file_is_named_by_its_line(exported, tmp_path, text, place):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        AutoCompression(model_dir=str(exported), train_dataloader=None, save_dir=str(tmp_path / "out"),
                        config=str(path))
    assert str(error.value).startswith(f"{path}{place}: ")


def test_an_argument_that_is_wrong_is_not_blamed_on_the_file(exported, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("Global:\n  save_dir: out\nbert_to_bilstm:\n")
    with pytest.raises(UserError, match="^AutoCompression: Global.save_dir: must be text"):
        AutoCompression(model_dir=str(exported), train_dataloader=None, save_dir=" ", config=str(path))


def test_a_generator_which_ends_after_one_epoch_is_no_loader(exported, tmp_path):
    with pytest.raises(UserError, match="^train_dataloader: is a generator, which can be gone through only once"):
        AutoCompression(model_dir=str(exported), train_dataloader=(one for one in []), save_dir=str(tmp_path / "out"),
                        config={"bert_to_bilstm": None})


def test_a_function_is_the_teacher_in_place_of_a_folder(review_files, tmp_path):
    def teacher(texts):
        return [[1.0, -1.0] if "bad" in text or "not" in text else [-1.0, 1.0] for text in texts]

    config = {**FAST, "Global": {**FAST["Global"], "train_file": str(review_files / "train.tsv"),
                                 "dev_file": str(review_files / "dev.tsv")},
              "bert_to_bilstm": {**STUDENT, "train_alone": False}}
    given = {"train_dataloader": None, "save_dir": str(tmp_path / "out"), "config": config}
    for wrong, message in (({"teacher": teacher, "model_dir": "folder"}, "teacher: a function was given, and"),
                           ({"model_dir": teacher}, "model_dir: is a function; give it as teacher="),
                           ({"teacher": teacher, "config": {"QuantPost": {}}}, "teacher: only bert_to_bilstm learns")):
        with pytest.raises(UserError, match=f"^{message}"):
            AutoCompression(**{**given, **wrong})
    compression = AutoCompression(**given, teacher=teacher)
    compression.compress()
    teacher_row, student = compression.result.report.models
    assert teacher_row.agreement == 1 and compression.final_metric == student.accuracy


def test_the_callers_config_is_left_as_it_was(exported, tmp_path):
    config = {"bert_to_bilstm": STUDENT, **FAST}
    before = json.dumps(config)
    AutoCompression(model_dir=str(exported), train_dataloader=None, save_dir=str(tmp_path / "out"), config=config)
    assert json.dumps(config) == before


@pytest.mark.parametrize("augmented", [False, True])
def test_paddleslims_own_distillation_with_our_loss_and_data_hook(tiny_teacher, tmp_path, augmented):
    trainable = tiny_teacher("exported", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model_dir = shutil.copytree(trainable, tmp_path / "teacher")  # PaddleSlim writes there, and can't train dropout
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


@pytest.fixture
def plain_paddleslim(monkeypatch):
    """Return what reaches PaddleSlim's own constructor in place of running it."""
    reached = []

    class Plain:
        def __init__(self, model_dir, train_dataloader, config=None, eval_callback=None):
            reached.append(config)

        def compress(self):
            return "plain"

        single_strategy_compress = export_onnx = compress

    extend(Plain)
    return Plain, reached


@pytest.mark.parametrize("text", [
    "QuantPost:\n  quantize_op_types: !!python/tuple [matmul]\n", "Global: {a: &a [1, *a]}\n", "Global: [\n",
    "- 1\n",
    "Global: &a {plugins: absent}\nTrainConfig: {<<: *a}\n", "", "\ufeffQuantPost:\n", "a: \x01\n", "b: " + "[" * 1500])
def test_a_file_without_our_sections_is_left_to_paddleslim(plain_paddleslim, tmp_path, text):
    Plain, reached = plain_paddleslim
    path = tmp_path / "plain.yaml"
    path.write_text(text, encoding="utf-8")
    assert Plain("model", None, config=str(path)).compress() == "plain"
    assert reached == [str(path)]


@pytest.mark.parametrize("text", ["base: &a\n  bert_to_bilstm: {alpha: 7}\n<<: *a\n",
                                  "base: &a\n  bert_to_bilstm: {alpha: 7}\n<<: [{QuantPost: null}, *a]\n"])
def test_a_section_that_a_merge_key_brings_in_is_seen(plain_paddleslim, tmp_path, text):
    (tmp_path / "merged.yaml").write_text(text)
    with pytest.raises(UserError, match="merged.yaml:2: bert_to_bilstm.alpha"):
        plain_paddleslim[0]("model", None, config=str(tmp_path / "merged.yaml"))


def test_a_dict_without_our_sections_is_left_to_paddleslim(plain_paddleslim):
    Plain, reached = plain_paddleslim
    config = {"Global": {"plugins": "absent"}, "QuantPost": {"quantize_op_types": ("matmul",)}}
    Plain("model", None, config=config)
    assert reached[0] is config


@pytest.mark.parametrize("config", [["QuantPost", {"a": 1}], ("QuantPost",)])
def test_a_list_reaches_paddleslim_as_it_is(plain_paddleslim, config):
    Plain, reached = plain_paddleslim
    Plain("model", None, config=config)
    assert reached[0] is config


def test_a_path_is_a_file_like_its_text(plain_paddleslim, tmp_path):
    path = tmp_path / "ours.yaml"
    path.write_text("bert_to_bilstm: {alpha: 7}\n")
    with pytest.raises(UserError, match=f"{path}:1: bert_to_bilstm.alpha"):
        plain_paddleslim[0]("model", None, config=path)


def test_a_dev_loader_that_nobody_reads_is_named(exported, tmp_path, caplog):
    loader = script_loader(load_tokenizer(exported), ["good ."])
    script(exported, tmp_path, {}, eval_dataloader=loader)
    assert "eval_dataloader" not in caplog.text
    script(exported, tmp_path, {}, eval_dataloader=loader, eval_callback=None)
    assert "eval_dataloader: is not read" in caplog.text


def test_beside_a_data_hook_other_sections_may_hold_what_paddleslim_reads(tmp_path):
    path = tmp_path / "hook.yaml"
    path.write_text("DataAugmentation: {n_iter: 2}\nQuantAware: {quantize_op_types: !!python/tuple [matmul]}\n")
    assert _written(str(path)).values == {"DataAugmentation": {"n_iter": 2}, "QuantAware": None, "Global": None}


def test_in_our_configs_tags_are_refused(plain_paddleslim, tmp_path):
    path = tmp_path / "ours.yaml"
    path.write_text("bert_to_bilstm:\nQuantPost: !!python/tuple [1]\n")
    with pytest.raises(UserError, match=f"{path}:2: .*python/tuple is not supported"):
        plain_paddleslim[0]("model", None, config=str(path))


PLUGIN = """\
import paddle
from paddleslim_bilstm import augmentation_hook, distillation_loss

@augmentation_hook("shy")
def shy(sentences, corpus, rng, *, times: int = 1):
    return sentences

@distillation_loss("logit_mae")
def logit_mae(student_logits, teacher_logits):
    return paddle.nn.functional.l1_loss(student_logits, teacher_logits)
"""


def test_a_plugin_lies_beside_the_yaml_of_auto_compression(exported, tmp_path):
    (tmp_path / "beside.py").write_text(PLUGIN)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"Global": {"plugins": ["beside"]}, "bert_to_bilstm": {"loss": "logit_mae"},
                                    "DataAugmentation": {"hooks": [{"shy": {"times": 2}}]},
                                    "Distillation": {"loss": "logit_mae"}, "UnstructurePrune": None}))
    compression = AutoCompression(model_dir=str(exported), train_dataloader=None, save_dir=str(tmp_path / "out"),
                                  config=str(path))
    assert compression._distillation.settings.distill.loss == "logit_mae"
    path.write_text(path.read_text().replace("times: 2", "times: many"))
    with pytest.raises(UserError, match="shy.times: 'many' is not an integer"):
        AutoCompression(model_dir=str(exported), train_dataloader=None, save_dir=str(tmp_path / "out"),
                        config=str(path))


@pytest.mark.parametrize("body, part", [
    ("return student_logits", "must return a scalar"), ("return 1.0", "must return a scalar"),
    ("raise RuntimeError('no way')", "own.py:4: RuntimeError: no way"),
    ("return teacher_logits.mean()", "no gradient")])
def test_a_loss_of_ones_own_that_cannot_work_is_refused_before_any_work(exported, tmp_path, body, part):
    (tmp_path / "own.py").write_text("from paddleslim_bilstm import distillation_loss\n@distillation_loss('own')\n"
                                     f"def own(student_logits, teacher_logits):\n    {body}\n")
    config = {"Global": {"plugins": [str(tmp_path / "own.py")]}, "bert_to_bilstm": {"loss": "own"}}
    with pytest.raises(UserError, match="bert_to_bilstm.loss: own can't be used: ") as error:
        AutoCompression(model_dir=str(exported), train_dataloader=None, save_dir=str(tmp_path / "out"), config=config)
    assert part in str(error.value)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_the_table_is_a_loss(name):
    paddle.enable_static()
    if name == "dkd" and paddle.__version__.startswith("3"):  # docs/versions.md
        with pytest.raises(UserError, match="dkd"):
            check_loss(name, 2)
        return
    check_loss(name, 2)
    if not LOSSES[name].needs_classes:
        check_loss(name, 1)


def test_a_script_with_a_data_set_of_its_own_a_function_in_its_optimizer_and_a_plugin(exported, tmp_path):
    """As PaddleSlim's example/auto_compression/nlp/run.py hands over its YAML; and a loss of one's own in the chain."""
    (tmp_path / "own.py").write_text(PLUGIN)
    tokenizer = load_tokenizer(exported)
    rows = make_reviews(120, seed=1)
    config = {"Global": {"task_name": "sst-2", "dataset": "glue", "batch_size": 16, "max_seq_length": 64,
                         "plugins": [str(tmp_path / "own.py")]},
              "TrainConfig": {"epochs": 1, "eval_iter": 20, "learning_rate": 2e-3, "optimizer_builder": {
                  "optimizer": {"type": "AdamW"}, "weight_decay": 0.01, "apply_decay_param_fun": lambda name: True}},
              "bert_to_bilstm": {**STUDENT, "loss": "logit_mae"}, "Distillation": {"loss": "logit_mae"},
              "DataAugmentation": {"n_iter": 1, "hooks": ["shy", "masking"]}, "UnstructurePrune": {"ratio": 0.5}}
    compression = AutoCompression(
        model_dir=str(exported), model_filename="inference.pdmodel", params_filename="inference.pdiparams",
        save_dir=str(tmp_path / "out"), config=config,
        train_dataloader=script_loader(tokenizer, [text for text, _ in rows]),
        eval_callback=script_evaluation(tokenizer, rows[:40]))
    compression.compress()
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [model["name"] for model in written["models"]] == ["teacher", "distilled", "UnstructurePrune"]
    assert written["config"]["Global"]["dataset"] is None
