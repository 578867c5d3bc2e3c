"""The whole job on a tiny real BERT: what it leaves behind, what it refuses, and that it repeats itself."""

import copy
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from conftest import contents
from reviews import make_reviews

from paddleslim_bilstm import compress
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.pipeline import augment, prepare
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.report.measure import DevSet
from paddleslim_bilstm.run import WORK_FOLDER, RunFolder, cache_in_use, published_name
from paddleslim_bilstm.teacher import InferenceModel
from paddleslim_bilstm.tokens import TOKENIZER_FILES, Sentences, load_tokenizer

MODEL_KEYS = {"name", "accuracy", "f1", "agreement", "parameters", "size_bytes", "flops", "latency_ms",
              "sentences_per_s"}


@pytest.fixture
def config(class_run, tiny_teacher, tmp_path):
    """A run in folders of its own that trains one student, beside a cache that holds the converted teacher alone."""
    config = copy.deepcopy(class_run.config)
    cache = tiny_teacher.seed(tmp_path / "cache", tiny_teacher("huggingface"))
    config["Global"].update(save_dir=str(tmp_path / "out"), cache_dir=str(cache))
    config["bert_to_bilstm"]["train_alone"] = False
    del config["QuantBiLSTM"]
    return config


@pytest.fixture
def again(class_run, tmp_path):
    """The class run once more, beside a copy of its output and its cache."""
    return class_run.copy_to(tmp_path)


def test_the_job_leaves_a_drop_in_model_and_a_report(class_run, tiny_teacher):
    tiny_teacher.check()
    result, out = class_run.result, class_run.result.save_dir
    report = json.loads((out / "report.json").read_text())
    assert [row["name"] for row in report["models"]] == [
        "teacher", "Bi-LSTM alone", "distilled", "QuantBiLSTM, Paddle", "ONNX", "QuantBiLSTM"]
    assert all(MODEL_KEYS <= row.keys() and row["accuracy"] is not None for row in report["models"])
    assert {"config", "versions", "hardware", "seconds"} <= report.keys()
    assert str(out) == os.path.realpath(class_run.config["Global"]["save_dir"]) and "QuantBiLSTM" in result.table
    assert {"model.pdmodel", "model.pdiparams", "model.onnx", "model.int8.onnx", "student.safetensors", "student.json",
            "report.html", "report.md", "report.png", "vocab.txt"} <= set(os.listdir(out))
    assert not (out / WORK_FOLDER).exists()

    tokenizer = load_tokenizer(out)
    sentences = tokenizer.encode(["good .", "the film is not very funny .", "bad", "the story of this was dull ."])
    model = InferenceModel(out / "model", threads=1)
    batch = tokenizer.framing.batch(sentences, np.arange(4))[0]
    together = model.run(batch, np.zeros_like(batch))
    for row in range(4):
        ids = tokenizer.framing.batch(sentences, np.array([row]))[0]
        np.testing.assert_allclose(model.run(ids, np.zeros_like(ids))[0], together[row], atol=1e-5)
    texts = ["the food is great .", "the food is not great ."]
    paddle_logits = Predictor(out, runtime="paddle").logits(texts)
    np.testing.assert_allclose(Predictor(out, runtime="onnx").logits(texts), paddle_logits, atol=0.05)
    assert Predictor(out).runtime == "onnx-int8"


def test_the_same_config_and_seed_give_the_same_student(class_run, config, tmp_path):
    """The second time as a `Config`, in a process that has done nothing in Paddle yet, and with an empty cache."""
    code = "import json, sys; from paddleslim_bilstm import compress\n" \
           "from paddleslim_bilstm.config import load_config\ncompress(load_config(json.loads(sys.argv[1])))"
    config["Global"].update(save_dir=str(tmp_path / "again"), cache_dir=str(tmp_path / "empty"))
    done = subprocess.run([sys.executable, "-c", code, json.dumps(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    config["Global"].update(save_dir=str(tmp_path / "other"), cache_dir=str(tmp_path / "cache"), seed=1)
    compress(config)
    first, again, other = [(folder / "student.safetensors").read_bytes()
                           for folder in (class_run.result.save_dir, tmp_path / "again", tmp_path / "other")]
    assert first == again != other


def test_the_students_own_seed_trains_another_one_from_the_same_labels(class_run, again, tmp_path):
    def labels():
        cache = tmp_path / "cache"
        return {file.relative_to(cache) for kind in ("labels", "transfer_sets") for file in (cache / kind).rglob("*")}
    before = labels()
    assert before
    again["bert_to_bilstm"]["seed"] = 1
    other = compress(again)
    assert labels() == before
    weights = [(folder / "student.safetensors").read_bytes() for folder in (class_run.result.save_dir, other.save_dir)]
    assert weights[0] != weights[1]


def test_a_second_run_takes_everything_from_the_cache(again, tmp_path):
    before = contents(tmp_path / "cache")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "students").iterdir()}
    again["QuantPost"] = {"batch_nums": 2}
    del again["QuantBiLSTM"]
    result = compress(again)
    assert [row.name for row in result.report.models] == ["teacher", "Bi-LSTM alone", "distilled", "QuantPost"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "students").iterdir()} == times
    assert contents(tmp_path / "cache") == before


def test_python_rows_take_the_place_of_files(config):
    for name in ("train_file", "dev_file"):
        del config["Global"][name]
    rows = make_reviews(120, seed=3)
    config["Global"]["metric"] = "matthews"
    unlabeled = ["the acting was fresh .", "a weak plot . " * 40]
    result = compress(config, train=rows[:90], dev=rows[90:], unlabeled=unlabeled)
    assert result.report.data["unlabeled"] == 2 and result.report.data["truncated_unlabeled"] == 1
    assert result.report.data["truncated_train"] == 0
    last = result.report.models[-1]
    assert result.report.metric == "matthews" and "Matthews" in result.table
    assert last.accuracy is not None and -1 <= last.matthews <= 1


_FAILS_ON_PADDLE_3 = pytest.mark.skipif(paddle.__version__ >= "3", reason="PaddleSlim multiplies floats by ints in it")


@pytest.mark.parametrize("loss", ["l2", "soft_label", pytest.param("dkd", marks=_FAILS_ON_PADDLE_3)])
def test_paddleslims_own_losses_teach_too(again, loss):
    again["bert_to_bilstm"].update(loss=loss, train_alone=False)
    del again["QuantBiLSTM"]
    agreement = compress(again).report.models[-1].agreement
    assert agreement > 0.5


def test_alpha_one_half_and_unlabelled_text(config, tmp_path):
    (tmp_path / "more.txt").write_text("the room was clean .\nthe staff was rude .\n")
    config["Global"]["unlabeled_file"] = str(tmp_path / "more.txt")
    config["bert_to_bilstm"]["alpha"] = 0.5
    assert compress(config).report.data["unlabeled"] == 2


@pytest.mark.parametrize("change, message", [
    ({"Global": {"model_dir": None}}, "Global.model_dir"),
    ({"Global": {"train_file": "nowhere.tsv"}}, "nowhere.tsv"),
    ({"TrainConfig": {"origin_metric": 0.99}}, "TrainConfig.origin_metric"),
    ({"bert_to_bilstm": {"loss": "fsp"}}, "bert_to_bilstm.loss"),
    ({"DataAugmentation": {"hooks": [{"masking": {"p_mask": 2}}]}}, "p_mask"),
    ({"TransformerPrune": {"pruned_ratio": 0.2}}, "TransformerPrune"),
    ({"QuantAware": {"bits": 4}}, "QuantAware.bits"),
])
def test_bad_settings_are_one_line_and_leave_no_model(config, tmp_path, change, message):
    for section, values in change.items():
        config[section] = {**config.get(section, {}), **values}
    with pytest.raises(UserError, match=message) as error:
        compress(config)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").glob("*model*"))


@pytest.mark.parametrize(("teacher", "student"), [
    (None, "model"), ("inference.pdmodel", "inference"), ("inference.json", "inference"), ("bert.onnx", "bert"),
    ("__model__", "__model__")])
def test_the_final_model_is_called_as_the_teacher_is(teacher, student):
    assert published_name(teacher) == student


def test_paddle_is_in_the_mode_that_it_was_in_afterwards(config, tmp_path):
    paddle.disable_static()
    try:
        compress(config)
        assert paddle.in_dynamic_mode()
        with pytest.raises(UserError):
            compress({})
        augment(config, output=tmp_path / "texts")
        assert paddle.in_dynamic_mode()
    finally:
        paddle.enable_static()
    compress(config)
    assert not paddle.in_dynamic_mode()


def test_a_folder_that_cant_be_written_is_refused_before_any_work(config, tmp_path):
    (tmp_path / "file").write_text("")
    config["Global"]["save_dir"] = str(tmp_path / "file" / "out")
    with pytest.raises(UserError, match="Global.save_dir"):
        prepare(config)


def test_a_teacher_with_other_classes_than_the_labels_is_refused(config, tiny_teacher):
    config["Global"]["model_dir"] = str(tiny_teacher(num_classes=3))
    config["bert_to_bilstm"]["train_alone"] = True
    with pytest.raises(UserError, match="3"):
        compress(config)


def test_a_vocabulary_without_a_mask_token_is_refused(config, tiny_teacher, tmp_path):
    folder = tmp_path / "maskless"
    folder.mkdir()
    for name, value in contents(tiny_teacher("huggingface")).items():
        (folder / name).write_bytes(value.replace(b"[MASK]", b"[MUSK]") if name == "vocab.txt" else value)
    config["Global"]["model_dir"] = str(folder)
    with pytest.raises(UserError, match="mask"):
        compress(config)


def test_two_runs_in_one_folder_are_refused_and_a_failed_run_frees_it(again, tmp_path):
    with RunFolder(prepare(again)):
        with pytest.raises(UserError, match="another run is writing to"):
            compress(again)
    compress(again)
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_model_under_another_name_takes_the_place_of_an_earlier_one(config, tmp_path):
    out = tmp_path / "out"
    for name in ("inference", "model"):
        config["Global"]["model_filename"] = f"{name}.pdmodel"
        settings = prepare(config)
        with RunFolder(settings) as run:
            for file in (f"{name}.pdmodel", f"{name}.pdiparams", "student.json"):
                (run.final_dir / file).write_text(name)
            (run.final_dir / "report.json").write_text(json.dumps({"config": settings.to_dict()}))
            (out / "mine.pdmodel").write_text("the user's")
            run.publish()
        assert sorted(file.name for file in out.glob("*.pd*")) == sorted(
            [f"{name}.pdiparams", f"{name}.pdmodel", "mine.pdmodel"])


def test_no_tokenizer_file_of_an_earlier_teacher_stays(config, tmp_path):
    out, settings = tmp_path / "out", prepare(config)
    (out / "words.txt").write_text("the user's")
    for number, files in enumerate((["tokenizer.json", "tokenizer_config.json"], ["vocab.txt"])):
        with RunFolder(settings) as run:
            for name in (*files, "student.json"):
                (run.final_dir / name).write_text(name)
            (run.final_dir / "report.json").write_text(json.dumps({"config": settings.to_dict()}))
            run.publish()
        assert (out / "words.txt").exists() == (number == 0)  # nothing of ours was there before the first run
    assert sorted(file.name for file in out.iterdir() if file.is_file() and file.name != ".lock") == [
        "report.json", "student.json", "vocab.txt"]


def test_what_is_the_users_in_the_folder_stays(config, tmp_path):
    out, settings = tmp_path / "out", prepare(config)
    for name in ("work", "steps"):
        (out / name).mkdir()
        (out / name / "thesis.txt").write_text("mine")
    (out / "bert.onnx").write_text("mine")
    with pytest.raises(UserError, match="Global.save_dir: .*steps is none of ours"), RunFolder(settings):
        pass
    assert not (out / ".lock").exists() and (out / "steps" / "thesis.txt").exists()
    shutil.rmtree(out / "steps")
    (out / "model.onnx").write_text("mine")
    with pytest.raises(UserError, match="Global.save_dir: .*model.onnx is none of ours"), RunFolder(settings):
        pass
    assert not (out / ".lock").exists() and (out / "model.onnx").read_text() == "mine"
    (out / "model.onnx").unlink()
    with RunFolder(settings) as run:
        (run.final_dir / "report.json").write_text(json.dumps({"config": settings.to_dict()}))
        run.publish()
        run.clear()
    assert (out / "work" / "thesis.txt").exists() and (out / "bert.onnx").exists()
    with RunFolder(settings):  # whose steps these are
        assert (out / "steps").is_dir()


def test_whatever_a_run_would_replace_that_is_none_of_ours_is_refused_before_any_work(class_run, config, tmp_path):
    out, settings = tmp_path / "out", prepare(config)
    published = set(os.listdir(class_run.result.save_dir)) - {"README.md", "model.pdmodel", "model.pdiparams"}
    assert {"vocab.txt", "student.json", "student.safetensors", "report.json", "report.html", "steps"} <= published
    for name in published:
        (out / name).write_text("mine")
        with pytest.raises(UserError, match=f"Global.save_dir: .*{name} is none of ours.*name another folder") as error:
            compress(settings)
        assert "\n" not in str(error.value) and contents(out) == {name: b"mine"}
        (out / name).unlink()
    (out / "tokenizer.json").write_text("mine")  # the teacher has none
    with RunFolder(settings):
        pass


def test_the_teachers_own_tokenizer_may_be_there_before(config, tmp_path):
    """PaddleSlim's scripts save it in save_dir, with settings of their own, before they begin."""
    out, teacher = tmp_path / "out", Path(config["Global"]["model_dir"])
    settings = prepare(config)
    (out / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 512}')
    (out / "special_tokens_map.json").write_text("{}")
    words = (teacher / "vocab.txt").read_text()
    (out / "vocab.txt").write_text(words + "another\n")
    with pytest.raises(UserError, match="vocab.txt is none of ours"), RunFolder(settings):
        pass
    (out / "vocab.txt").write_text(words)
    with RunFolder(settings):
        pass


def test_another_classifiers_folder_is_no_save_dir(config, tiny_teacher):
    other = Path(shutil.copytree(tiny_teacher("huggingface"), Path(config["Global"]["save_dir"])))
    for file in TOKENIZER_FILES:
        (other / file).unlink(missing_ok=True)
    before = contents(other)
    with pytest.raises(UserError, match=r"Global.save_dir: .*holds a model that is none of ours \(config.json, "):
        compress(config)
    assert contents(other) == before


def test_words_of_others_are_in_the_way_of_a_student_of_words(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "words.txt").write_text("mine")
    with pytest.raises(UserError, match="words.txt is none of ours"), \
            RunFolder(prepare(config, ["bert_to_bilstm.student.vocabulary=words"])):
        pass
    with RunFolder(prepare(config)):
        pass


def test_a_callback_that_was_changed_chooses_anew(config, tmp_path):
    from paddleslim_bilstm.stages import recipe_of
    dev = DevSet(Sentences.from_lists([[1]]), None, None, 2, None)

    def callback(factor):
        return lambda *_: 0.5 * factor
    keys = {recipe_of(prepare(config), dev, evaluate, tmp_path, chooses).dev_key for evaluate, chooses in (
        (callback(1), True), (callback(100), True), (callback(1), True), (callback(1), False))}
    assert len(keys) == 3


def test_the_cache_is_listed_and_cleared(again, tmp_path, capsys):
    from paddleslim_bilstm.cli import main
    assert main(["cache", "--cache-dir", str(tmp_path / "cache")]) == 0
    listed = capsys.readouterr().out
    assert all(f"{kind}/" in listed for kind in ("teachers", "transfer_sets", "labels", "students"))
    assert main(["cache", "clear", "--cache-dir", str(tmp_path / "cache"), "--older-than", "1"]) == 0
    assert "removed: 0 entries" in capsys.readouterr().out
    assert main(["cache", "clear", "--cache-dir", str(tmp_path / "cache")]) == 0
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))


@pytest.mark.skipif(sys.platform == "win32", reason="folders can't be locked")
@pytest.mark.parametrize("work", [compress, augment])
def test_the_cache_of_a_run_that_is_at_work_is_not_cleared(again, tmp_path, capsys, monkeypatch, work):
    from paddleslim_bilstm import pipeline
    from paddleslim_bilstm.cli import main
    clear, codes, made = ["cache", "clear", "--cache-dir", str(tmp_path / "cache")], [], pipeline.make_transfer_set

    def cleared_meanwhile(*arguments):
        codes.append(main(clear))
        return made(*arguments)
    monkeypatch.setattr(pipeline, "make_transfer_set", cleared_meanwhile)
    before = contents(tmp_path / "cache")
    work(again)
    assert codes == [2] and f"{tmp_path / 'cache'}: a run is using what is cached there" in capsys.readouterr().err
    assert before.items() <= contents(tmp_path / "cache").items()
    assert main(clear) == 0 and not contents(tmp_path / "cache")


@pytest.mark.skipif(sys.platform == "win32", reason="folders can't be locked")
def test_a_run_waits_until_the_cache_is_cleared(tmp_path):
    order = []

    def run():
        with cache_in_use(tmp_path), cache_in_use(tmp_path):  # several may
            order.append("run")
    with cache_in_use(tmp_path, to_clear=True):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(0.2)
        order.append("cleared")
    thread.join(60)
    assert order == ["cleared", "run"]


def test_where_folders_cant_be_locked_runs_and_clears_go_on(tmp_path, monkeypatch):
    from paddleslim_bilstm import run

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    for fcntl in (None, SimpleNamespace(flock=refuse, LOCK_SH=1, LOCK_EX=2, LOCK_NB=4)):
        monkeypatch.setattr(run, "fcntl", fcntl)
        with cache_in_use(tmp_path), cache_in_use(tmp_path, to_clear=True):
            pass
    with cache_in_use(tmp_path / "nothing", to_clear=True):
        pass


def spoil(students):
    """Replace cached students by what none of ours is; return when each file was written."""
    for student in students:
        student.write_bytes(b"not one of ours")
    return {student: student.stat().st_mtime_ns for student in students}


@pytest.mark.slow
def test_a_fresh_run_takes_nothing_from_the_cache_and_replaces_it(again, tmp_path):
    before = contents(tmp_path / "cache")
    spoiled = spoil(list((tmp_path / "cache" / "students").iterdir()))
    compress(again, fresh=True)
    assert contents(tmp_path / "cache") == before
    assert spoiled and all(student.stat().st_mtime_ns > written for student, written in spoiled.items())


@pytest.mark.slow
def test_a_fresh_run_that_was_killed_goes_on_with_its_own_and_nothing_older(again, tmp_path, monkeypatch):
    from paddleslim_bilstm import pipeline
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "verify", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compress(again, fresh=True)
    old, own = (list((tmp_path / "cache").glob(f"{where}students/*")) for where in ("", "fresh/*/"))
    spoil(old)
    made = {student.name: student.stat().st_mtime_ns for student in own}
    compress(again)
    assert made and {student.name: student.stat().st_mtime_ns for student in old} == made
    assert not list((tmp_path / "cache").glob("fresh/*"))


def test_a_run_that_fails_leaves_the_earlier_model_whole(again, tmp_path, monkeypatch):
    from paddleslim_bilstm import pipeline
    again["bert_to_bilstm"]["train_alone"] = False
    before = contents(tmp_path / "out")

    def refuse(*arguments):
        raise UserError("answers otherwise")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "verify", refuse)
        again["Global"]["seed"] = 1
        with pytest.raises(UserError, match="answers otherwise"):
            compress(again)
    after = contents(tmp_path / "out")
    assert {name: content for name, content in after.items() if not name.startswith(WORK_FOLDER)} == before
    del again["QuantBiLSTM"]
    result = compress(again)
    assert not (result.save_dir / "model.int8.onnx").exists() and not (result.save_dir / WORK_FOLDER).exists()
    assert os.listdir(result.save_dir / "steps") == ["distilled"]
