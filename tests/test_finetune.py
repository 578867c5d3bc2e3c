"""Fine-tuning: a pretrained folder and labelled text become a classifier that ``compress`` can take."""

from __future__ import annotations

import errno
import json
import logging
import re
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy
from conftest import Ended

from paddleslim_bilstm import compress
from paddleslim_bilstm.cli import main
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.finetune import finetune as finetuning
from paddleslim_bilstm.finetune import training
from paddleslim_bilstm.finetune.finetune import best_dev_metric, finetune, teacher_is_missing
from paddleslim_bilstm.finetune.training import load_pretrained, warmup_and_decay
from paddleslim_bilstm.run import cache_in_use
from paddleslim_bilstm.scopes import dynamic_mode
from paddleslim_bilstm.teacher import InferenceModel, load_teacher

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["good", "bad", *(f"w{i}" for i in range(20))]
UNITS, INNER, LAYERS = 32, 64, 2


def huggingface_bert(folder: Path, architecture: str = "BertModel", dtype: type = np.float32) -> Path:
    """A pretrained BERT as Hugging Face writes it, with random weights: torch names, ``[out, in]`` matrices."""
    rng = np.random.default_rng(0)
    shapes = {"embeddings.word_embeddings.weight": (len(SPECIAL + WORDS), UNITS),
              "embeddings.position_embeddings.weight": (40, UNITS),
              "embeddings.token_type_embeddings.weight": (2, UNITS), "pooler.dense": (UNITS, UNITS)}
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        shapes.update({f"{name}.attention.self.{part}": (UNITS, UNITS) for part in ("query", "key", "value")})
        shapes.update({f"{name}.attention.output.dense": (UNITS, UNITS), f"{name}.intermediate.dense": (INNER, UNITS),
                       f"{name}.output.dense": (UNITS, INNER)})
    weights = {}
    for name, shape in shapes.items():
        value = rng.normal(0, 0.1, shape).astype(dtype)
        if name.endswith("weight"):
            weights[name] = value
        else:
            weights.update({f"{name}.weight": value, f"{name}.bias": np.zeros(shape[0], dtype)})
    for name in ("embeddings", *(f"encoder.layer.{layer}.{part}output" for layer in range(LAYERS)
                                 for part in ("attention.", ""))):
        weights.update({f"{name}.LayerNorm.weight": np.ones(UNITS, dtype),
                        f"{name}.LayerNorm.bias": np.zeros(UNITS, dtype)})
    weights["embeddings.position_ids"] = np.arange(40)[None]
    folder.mkdir()
    safetensors.numpy.save_file(weights, str(folder / "model.safetensors"), {"format": "pt"})
    write_config_and_vocab(folder, architectures=[architecture], model_type="bert", use_cache=True,
                           num_attention_heads=2, num_hidden_layers=LAYERS, hidden_act="gelu",
                           intermediate_size=INNER, type_vocab_size=2)
    return folder


def paddlenlp_ernie(folder: Path) -> Path:
    """A pretrained ERNIE as PaddleNLP writes it: ``config.json`` and ``model_state.pdparams``."""
    from paddlenlp.transformers import ErnieConfig, ErnieModel

    paddle.disable_static()
    paddle.seed(0)
    config = ErnieConfig(vocab_size=len(SPECIAL + WORDS), hidden_size=UNITS, num_hidden_layers=LAYERS,
                         num_attention_heads=2, intermediate_size=INNER, max_position_embeddings=40)
    ErnieModel(config).save_pretrained(str(folder), safe_serialization=False)
    (folder / "vocab.txt").write_text("\n".join(SPECIAL + WORDS) + "\n", encoding="utf-8")
    paddle.enable_static()
    return folder


def write_config_and_vocab(folder: Path, **settings) -> None:
    config = {"vocab_size": len(SPECIAL + WORDS), "hidden_size": UNITS, "max_position_embeddings": 40, **settings}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(SPECIAL + WORDS) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")


def write_reviews(path: Path, rows: int, seed: int) -> Path:
    """Two to nine words of which one decides, labelled by name."""
    rng = np.random.default_rng(seed)
    lines = ["sentence\tlabel"]
    for row in range(rows):
        words = list(rng.choice(WORDS[2:], rng.integers(1, 9)))
        words.insert(rng.integers(len(words) + 1), WORDS[row % 2])
        lines.append(f"{' '.join(words)}\t{('praise', 'blame')[row % 2]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def config(tmp_path) -> dict:
    """Settings under which the tiny BERT learns the tiny task."""
    return {"Global": {"model_dir": str(tmp_path / "out" / "teacher"), "max_seq_length": 32, "seed": 1,
                       "cache_dir": str(tmp_path / "cache"),
                       "train_file": str(write_reviews(tmp_path / "train.tsv", 320, 1)),
                       "dev_file": str(write_reviews(tmp_path / "dev.tsv", 60, 2))},
            "Finetune": {"model": str(huggingface_bert(tmp_path / "bert")), "epochs": 4, "learning_rate": 0.003,
                         "batch_size": 16},
            "bert_to_bilstm": {}}


def logits_of(folder: Path, ids: list[list[int]]) -> np.ndarray:
    """What PaddleNLP itself answers with the checkpoint in ``folder``."""
    from paddlenlp.transformers import AutoModelForSequenceClassification

    paddle.disable_static()
    network = AutoModelForSequenceClassification.from_pretrained(str(folder))
    network.eval()
    logits = network(paddle.to_tensor(ids)).numpy()
    paddle.enable_static()
    return logits


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_pretrained_bert_becomes_a_classifier_that_paddlenlp_loads(config):
    teacher = finetune(config)
    assert best_dev_metric(teacher) > 0.95
    names = json.loads((teacher / "config.json").read_text())["id2label"]
    good, bad = len(SPECIAL), len(SPECIAL) + 1
    logits = logits_of(teacher, [[2, good, 12, 3], [2, 11, bad, 3]])
    assert [names[str(i)] for i in logits.argmax(axis=1)] == ["praise", "blame"]
    assert {"vocab.txt", "tokenizer_config.json", "model.safetensors", "finetune.json"} <= set(files_in(teacher))


def test_the_pretrained_folder_stays_as_it_is(config):
    pretrained = Path(config["Finetune"]["model"])
    before = files_in(pretrained)
    finetune(config, ["Finetune.epochs=1"])
    assert files_in(pretrained) == before


def test_the_same_seed_gives_the_same_teacher(config):
    first = files_in(finetune(config, ["Finetune.epochs=1"]))["model.safetensors"]
    assert files_in(finetune(config, ["Finetune.epochs=1"]))["model.safetensors"] == first
    assert files_in(finetune(config, ["Finetune.epochs=1", "Global.seed=2"]))["model.safetensors"] != first


def test_the_epoch_with_the_best_dev_metric_is_kept(config):
    teacher = finetune(config, ["Finetune.epochs=3"])
    record = json.loads((teacher / "finetune.json").read_text())
    assert len(record["dev_metric_by_epoch"]) == 3
    rows = [line.split("\t") for line in Path(config["Global"]["dev_file"]).read_text().splitlines()[1:]]
    vocab = SPECIAL + WORDS
    answers = [int(logits_of(teacher, [[2, *map(vocab.index, text.split()), 3]])[0].argmax()) for text, _ in rows[:20]]
    names = json.loads((teacher / "config.json").read_text())["id2label"]
    right = np.mean([names[str(answer)] == label for answer, (_, label) in zip(answers, rows)])
    assert right >= max(record["dev_metric_by_epoch"]) - 0.1


def test_a_run_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(config, tmp_path, monkeypatch, caplog):
    straight = files_in(finetune(config, ["Finetune.epochs=2", f"Global.model_dir={tmp_path / 'straight'}"]))
    monkeypatch.setattr(training, "_CHECKPOINT_S", 0.0)
    take_step = training._Run.step
    for killed_at in (7, 20, 33):  # an epoch has 20 steps

        def step(run, train, batch, number, killed_at=killed_at):
            if number == killed_at:
                raise Killed
            return take_step(run, train, batch, number)

        monkeypatch.setattr(training._Run, "step", step)
        with pytest.raises(Killed):
            finetune(config, ["Finetune.epochs=2"])
    monkeypatch.setattr(training._Run, "step", take_step)
    assert not Path(config["Global"]["model_dir"]).exists()
    with caplog.at_level(logging.INFO):
        resumed = files_in(finetune(config, ["Finetune.epochs=2"]))
    assert re.search(r"goes on from step (2\d|3[0-3]) of 40", caplog.text)
    assert resumed["model.safetensors"] == straight["model.safetensors"]
    records = [json.loads(files["finetune.json"])["dev_metric_by_epoch"] for files in (resumed, straight)]
    assert records[0] == records[1]
    assert not list((tmp_path / "cache" / "finetune").iterdir())


@pytest.mark.parametrize("writes", [(training, "write_arrays"), (finetuning, "save_classifier")])
def test_a_full_disk_is_told_with_its_folder(config, monkeypatch, writes):
    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training, "_CHECKPOINT_S", 0.0)
    monkeypatch.setattr(*writes, fill)
    with pytest.raises(UserError, match=f"^{re.escape(str(Path(config['Global']['model_dir']).parent))}.*: no room is "
                                        "left on this disk, or for this user; make some, then give the same command"):
        finetune(config, ["Finetune.epochs=1"])
    assert not Path(config["Global"]["model_dir"]).exists()


class Killed(Exception):
    """In place of a kill: nothing of ours catches it."""


def test_other_settings_do_not_go_on_from_a_checkpoint(config, monkeypatch):
    monkeypatch.setattr(training, "_CHECKPOINT_S", 0.0)
    take_step, taken = training._Run.step, []

    def step(run, train, batch, number):
        taken.append(number)
        if len(taken) == 3:
            raise Killed
        return take_step(run, train, batch, number)

    monkeypatch.setattr(training._Run, "step", step)
    with pytest.raises(Killed):
        finetune(config, ["Finetune.epochs=1"])
    finetune(config, ["Finetune.epochs=1", "Finetune.learning_rate=0.001"])
    assert taken[3] == 0


def test_another_threshold_does_not_go_on_either():
    with dynamic_mode():
        network = paddle.nn.Linear(2, 2)
        names = {finetuning._checkpoint(load_config({"Global": {"task": "multi_label", "threshold": threshold},
                                                     "Finetune": {"model": "any"}}), network, (), (), None).name
                 for threshold in (0.2, 0.5, 0.2)}
    assert len(names) == 2


def test_another_network_or_other_special_tokens_do_not_go_on_either(config):
    pretrained = Path(config["Finetune"]["model"])
    settings, names, written = load_config(config), [], json.loads((pretrained / "config.json").read_text())
    for changes, special in (({}, (0, 1)), ({}, (0, 1)), ({"hidden_dropout_prob": 0.4}, (0, 1)),
                             ({"num_attention_heads": 1}, (0, 1)), ({}, (0, 2))):
        (pretrained / "config.json").write_text(json.dumps({**written, **changes}))
        with dynamic_mode(), paddle.utils.unique_name.guard():
            paddle.seed(0)
            network = load_pretrained(str(pretrained), 2, pretrained)[0]
            names.append(finetuning._checkpoint(settings, network, (), special, None).name)
    assert names[0] == names[1] and len(set(names)) == 4


@pytest.mark.parametrize(("metric", "best_epoch"), [("accuracy", 0), ("macro_f1", 1)])
def test_the_metric_that_is_named_chooses_the_epoch(config, monkeypatch, metric, best_epoch):
    """On 30 rows of "blame" and 6 of "praise", always "blame" is more often right, and worse by macro-F1."""
    dev = Path(config["Global"]["dev_file"])
    header, *rows = dev.read_text().splitlines()
    blame, praise = ([row for row in rows if row.endswith(label)] for label in ("blame", "praise"))
    dev.write_text("\n".join([header, *blame[:30], *praise[:6]]) + "\n")
    answers, weights = [np.zeros(36, int), np.repeat([0, 1], [22, 14])], []

    def predict(network, *_):
        weights.append(network.classifier.weight.numpy())
        return answers[len(weights) - 1]

    monkeypatch.setattr(training, "predict", predict)
    folder = finetune(config, ["Finetune.epochs=2", f"Global.metric={metric}"])
    assert json.loads((folder / "finetune.json").read_text())["metric"] == metric
    kept = safetensors.numpy.load_file(str(folder / "model.safetensors"))["classifier.weight"]
    np.testing.assert_array_equal(kept, weights[best_epoch])
    assert (weights[0] != weights[1]).any()


def test_a_regression_is_fine_tuned_with_numbers(config, tmp_path):
    for name in ("train", "dev"):
        lines = Path(config["Global"][f"{name}_file"]).read_text().splitlines()
        numbered = [line.replace("praise", "3.5").replace("blame", "1.25") for line in lines]
        (tmp_path / f"{name}_numbers.tsv").write_text("\n".join(numbered) + "\n")
        config["Global"][f"{name}_file"] = str(tmp_path / f"{name}_numbers.tsv")
    teacher = finetune(config, ["Global.task=regression"])
    assert best_dev_metric(teacher) > 0.9
    record = json.loads((teacher / "finetune.json").read_text())
    assert record["metric"] == "pearson"
    vocab = SPECIAL + WORDS
    good, bad = (logits_of(teacher, [[2, vocab.index(word), vocab.index("w3"), 3]]) for word in ("good", "bad"))
    assert good.shape == (1, 1) and good > bad + 1
    assert load_teacher(teacher, tmp_path / "work").num_classes == 1


def test_compress_fine_tunes_first_where_there_is_no_teacher(config, tmp_path, caplog, ends_before):
    config["Global"]["save_dir"] = str(tmp_path / "student")
    config["Finetune"]["epochs"] = 1
    config.update({"bert_to_bilstm": {"student": {"embed_dim": 8, "hidden_size": 8}, "train_alone": False},
                   "DataAugmentation": {"n_iter": 0}, "TrainConfig": {"train_iter": 2}})
    with caplog.at_level(logging.INFO):
        report = compress(config).report
    assert "holds no teacher yet" in caplog.text and "fine-tune teacher" in report.seconds
    teacher = files_in(Path(config["Global"]["model_dir"]))
    passed = ends_before("check teacher")
    for overrides, said in (([], "taken as it is"), (["Finetune.epochs=2"], "fine-tuned with other settings")):
        caplog.clear()
        with caplog.at_level(logging.INFO), pytest.raises(Ended):
            compress(config, overrides=overrides)
        assert said in caplog.text
    assert passed == 2 * ["load teacher", "read text"]
    assert files_in(Path(config["Global"]["model_dir"])) == teacher


@pytest.mark.parametrize("fresh", [False, True])
def test_a_fresh_run_fine_tunes_from_the_beginning(config, tmp_path, monkeypatch, fresh):
    caches = []
    monkeypatch.setattr("paddleslim_bilstm.stages.finetune", lambda *_, cache, **__: caches.append(cache) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compress({**config, "Global": {**config["Global"], "save_dir": str(tmp_path / "student")}}, fresh=fresh)
    assert caches[0].relative_to(tmp_path / "cache").parts[0] == ("fresh" if fresh else "finetune")


def test_an_onnx_teacher_is_taken_as_it_is(config, tmp_path):
    file = str(tmp_path / "own.onnx")
    assert not teacher_is_missing(load_config(config, [f"Global.model_dir={file}"]))
    Path(file).write_bytes(b"")
    assert not teacher_is_missing(load_config(config, [f"Global.model_dir={file}"]))


@pytest.mark.skipif(sys.platform == "win32", reason="folders can't be locked")
def test_the_cache_is_not_cleared_meanwhile(config, tmp_path, monkeypatch):
    def clear(*_):
        with cache_in_use(tmp_path / "cache", to_clear=True):
            pass
    monkeypatch.setattr("paddleslim_bilstm.finetune.finetune.train_classifier", clear)
    with pytest.raises(UserError, match="a run is using"):
        finetune(config)


def test_static_mode_is_restored(config):
    paddle.enable_static()
    finetune(config, ["Finetune.epochs=1"])
    assert not paddle.in_dynamic_mode()


def test_half_precision_and_ernie_work_too(config, tmp_path):
    half = huggingface_bert(tmp_path / "half", dtype=np.float16)
    assert best_dev_metric(finetune(config, [f"Finetune.model={half}"])) > 0.95
    ernie = paddlenlp_ernie(tmp_path / "ernie")
    teacher = finetune(config, [f"Finetune.model={ernie}", "Finetune.epochs=6"])
    assert best_dev_metric(teacher) > 0.9
    assert logits_of(teacher, [[2, 9, 3]]).shape == (1, 2)


def test_the_bar_counts_the_sentences_that_there_are(config, monkeypatch):
    class Bar(list):
        update = list.append

        def __enter__(self):
            return self

        def __exit__(self, *_):
            assert (self.total, sum(self)) == (640, 640) and self.initial == 0

        def set_postfix(self, **_):
            pass

    def bar(_, total, __):
        bar.last = Bar()
        bar.last.total = total
        return bar.last
    monkeypatch.setattr(training, "progress_bar", bar)
    finetune(load_config({**config, "Finetune": {**config["Finetune"], "epochs": 2, "batch_size": 300}}))
    assert sorted(bar.last) == [0, 20, 20, 300, 300]


def test_the_command_says_where_the_teacher_is(config, tmp_path, capsys):
    import yaml

    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["finetune", str(tmp_path / "config.yaml"), "-o", "Finetune.epochs=1"]) == 0
    assert config["Global"]["model_dir"] in capsys.readouterr().out


@pytest.mark.parametrize(("override", "message"), [
    ("Finetune.model=", "Finetune.model: missing"),
    ("Global.model_dir=", "Global.model_dir: missing"),
    ("Finetune.model=./nowhere", "Finetune.model: there is no folder ./nowhere"),
    ("Finetune.model=someone/model", "download the model and name its folder"),
    ("Finetune.learning_rate=1e30", "Finetune.learning_rate"),
    ("Global.max_seq_length=64", "Global.max_seq_length: 64, but .*bert reads at most 40 tokens"),
])
def test_bad_settings_are_told_in_one_line_and_leave_nothing(config, override, message):
    with pytest.raises(UserError, match=message) as error:
        finetune(config, [override])
    assert "\n" not in str(error.value)
    assert not Path(config["Global"]["model_dir"]).exists()


def test_a_folder_of_the_users_is_not_overwritten(config, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("call home")
    with pytest.raises(UserError, match="was not written by finetune"):
        finetune(config, [f"Global.model_dir={tmp_path / 'notes'}"])
    with pytest.raises(UserError, match="was not written by finetune"):
        finetune(config, [f"Global.model_dir={config['Finetune']['model']}"])
    assert files_in(tmp_path / "notes") == {"todo.txt": b"call home"}


def test_what_stands_beside_a_teacher_of_finetunes_is_not_lost(config, tmp_path):
    teacher = finetune(config)
    (teacher / "student").mkdir()
    with pytest.raises(UserError, match="^Global.model_dir: .* holds student beside a teacher of finetune's"):
        finetune(config)
    with pytest.raises(UserError, match="Global.save_dir: lies in Global.model_dir"):
        load_config({**config, "bert_to_bilstm": None}, [f"Global.save_dir={teacher / 'student'}"])
    (teacher / "student").rmdir()
    finetune(config)


def test_a_model_folder_without_weights_or_tokenizer_is_refused(config):
    pretrained = Path(config["Finetune"]["model"])
    (pretrained / "vocab.txt").unlink()
    with pytest.raises(UserError, match="no tokenizer files"):
        finetune(config)
    (pretrained / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no pretrained model"):
        finetune(config)


def test_a_tokenizer_with_more_tokens_than_the_network_is_refused(config):
    vocab = Path(config["Finetune"]["model"]) / "vocab.txt"
    vocab.write_text(vocab.read_text() + "one\nmore\n")
    with pytest.raises(UserError, match="the tokenizer of .* has 29 tokens, its network embeds 27"):
        finetune(config)


def test_weights_that_do_not_fit_the_config_are_refused(config):
    settings = Path(config["Finetune"]["model"]) / "config.json"
    settings.write_text(settings.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(UserError, match="lacks 16 of the model's weights, such as encoder.layer.2."):
        finetune(config)


def test_compress_takes_the_teacher(config, tmp_path):
    folder = finetune(config, ["Finetune.epochs=2"])
    teacher = load_teacher(folder, tmp_path / "work")
    ids = [[2, 5, 12, 3], [2, 11, 6, 3]]
    ours = InferenceModel(teacher.prefix, threads=1).run(np.array(ids), np.zeros_like(ids))
    np.testing.assert_allclose(ours, logits_of(folder, ids), atol=1e-5)
    assert [teacher.label_names[i] for i in ours.argmax(axis=1)] == ["praise", "blame"]


def test_the_learning_rate_climbs_and_falls_linearly():
    factors = [warmup_and_decay(step, 10, 0.2) for step in range(11)]
    assert factors == [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]
    assert warmup_and_decay(0, 10, 0.0) == 1
