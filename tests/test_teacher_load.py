"""The teacher in all its forms becomes one inference model, and its owner's files stay as they were."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
from pathlib import Path

import numpy as np
import paddle
import pytest
from teachers import HIDDEN, VOCABULARY

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.teacher import InferenceModel, load_teacher, logits_of
from paddleslim_bilstm.teacher.weights import read_pdparams, read_weights
from paddleslim_bilstm.tokens import BERT_FEEDS

pytestmark = pytest.mark.usefixtures("in_old_programs")

paddle.enable_static()

TEXTS = ["the film is great !", "a boring plot , and the acting was awful .", "not bad", "fun", "",
         "i never thought that this messy story would make me feel so warm"]
KINDS = ["paddlenlp", "huggingface", "exported"]


@pytest.fixture(scope="module")
def folders(tiny_teacher) -> dict[str, Path]:
    return {kind: tiny_teacher(kind, label_names=["negative", "positive"]) for kind in KINDS}


@pytest.fixture(scope="module")
def loaded(folders, tmp_path_factory):
    """The teachers of ``folders`` by kind, each loaded once: for tests that change neither them nor their copies."""
    work = tmp_path_factory.mktemp("loaded")
    return {kind: load_teacher(folder, work) for kind, folder in folders.items()}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("tried to reach the network")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def answers(teacher, texts=TEXTS) -> np.ndarray:
    return logits_of(InferenceModel(teacher.prefix, 1), teacher.tokenizer.encode(texts), teacher.framing)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


def test_all_forms_of_one_teacher_answer_alike(loaded):
    logits = {kind: answers(loaded[kind]) for kind in KINDS}
    assert logits["paddlenlp"].shape == (len(TEXTS), 2) and logits["paddlenlp"].dtype == np.float32
    assert np.ptp(logits["paddlenlp"], axis=0).max() > 0.1
    np.testing.assert_allclose(logits["huggingface"], logits["paddlenlp"], atol=1e-5)
    np.testing.assert_allclose(logits["exported"], logits["paddlenlp"], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_script_in_dynamic_mode_loads_it_too_and_stays_there(folders, loaded, tmp_path, kind):
    in_static = loaded[kind]
    paddle.disable_static()
    try:
        teacher = load_teacher(folders[kind], tmp_path / "dynamic")
        np.testing.assert_array_equal(answers(teacher), answers(in_static))
        np.testing.assert_array_equal(teacher.embeddings, in_static.embeddings)
        assert paddle.in_dynamic_mode()
    finally:
        paddle.enable_static()


@pytest.mark.parametrize("architecture", ["bert", "ernie"])
def test_the_answers_are_those_of_paddlenlp(architecture, tiny_teacher, tmp_path):
    folder = tiny_teacher(architecture=architecture)
    teacher = load_teacher(folder, tmp_path / "work")
    text = teacher.tokenizer.encode([TEXTS[1]])[0].tolist()
    ids = [[teacher.tokenizer.cls_id, *text, teacher.tokenizer.sep_id]]
    paddle.disable_static()
    try:
        from paddlenlp.transformers import AutoModelForSequenceClassification
        model = AutoModelForSequenceClassification.from_pretrained(str(folder))
        model.eval()
        expected = model(paddle.to_tensor(ids), paddle.zeros([1, len(ids[0])], "int64")).numpy()
    finally:
        paddle.enable_static()
    np.testing.assert_allclose(answers(teacher, [TEXTS[1]]), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_users_folder_may_be_read_only_and_is_not_touched(folders, kind, tmp_path):
    folder = shutil.copytree(folders[kind], tmp_path / "teacher")
    before = contents(folder)
    for file in [*folder.iterdir(), folder]:
        os.chmod(file, 0o555)
    teacher = load_teacher(folder, tmp_path / "work_that_is_new")
    assert contents(folder) == before
    assert teacher.label_names == (None if kind == "exported" else ("negative", "positive"))
    assert (teacher.num_classes, teacher.framing.feeds, teacher.max_length) == (2, BERT_FEEDS, 64)
    os.chmod(folder, 0o755)


def test_a_second_call_uses_the_copy_and_another_teacher_gets_its_own(folders, tmp_path):
    first = load_teacher(folders["paddlenlp"], tmp_path)
    written = (tmp_path / first.prefix.with_suffix(".pdmodel")).stat().st_mtime_ns
    assert load_teacher(folders["paddlenlp"], tmp_path).prefix == first.prefix
    assert load_teacher(folders["paddlenlp"], tmp_path).fingerprint == first.fingerprint
    assert first.prefix.with_suffix(".pdmodel").stat().st_mtime_ns == written
    assert load_teacher(folders["huggingface"], tmp_path).prefix != first.prefix
    assert not [name for name in os.listdir(tmp_path) if not name.startswith("teacher-")]


def test_padding_does_not_change_the_answer(loaded):
    teacher = loaded["huggingface"]
    model, sentences = InferenceModel(teacher.prefix, 1), teacher.tokenizer.encode(TEXTS)
    batch = teacher.framing.batch(sentences, np.arange(len(TEXTS)))[0]
    np.testing.assert_allclose(model.run(batch, np.zeros_like(batch)), answers(teacher), atol=1e-5)


def test_static_mode_is_on_afterwards(folders, tmp_path):
    load_teacher(folders["paddlenlp"], tmp_path)
    assert not paddle.in_dynamic_mode()


@pytest.mark.parametrize("kind", ["paddlenlp", "exported"])
def test_ernie(kind, tiny_teacher, tmp_path):
    teacher = load_teacher(tiny_teacher(kind, num_classes=3, architecture="ernie"), tmp_path / "work")
    assert answers(teacher).shape == (len(TEXTS), 3)
    assert teacher.max_length == 64
    assert teacher.label_names is None


def test_a_model_that_ignores_token_types_still_takes_both_feeds(tiny_teacher, tmp_path):
    teacher = load_teacher(tiny_teacher(architecture="ernie", type_vocab_size=0), tmp_path / "work")
    assert teacher.framing.feeds == BERT_FEEDS
    assert answers(teacher).shape == (len(TEXTS), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_the_word_embeddings(folders, loaded, kind):
    expected = read_pdparams(folders["paddlenlp"] / "model_state.pdparams")["bert.embeddings.word_embeddings.weight"]
    embeddings = loaded[kind].embeddings
    assert embeddings.shape == (len(VOCABULARY), HIDDEN) and embeddings.dtype == np.float32
    np.testing.assert_array_equal(embeddings, expected)


def test_bfloat16_and_sharded_safetensors(folders, loaded, tmp_path):
    import safetensors.numpy
    weights = safetensors.numpy.load_file(str(folders["huggingface"] / "model.safetensors"))
    folder = shutil.copytree(folders["huggingface"], tmp_path / "teacher")
    (folder / "model.safetensors").unlink()
    names, weight_map = sorted(weights), {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        header, data = {}, b""
        for name in part:
            upper_halves = (weights[name].astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
            header[name] = {"dtype": ("BF16", "U16")[number], "shape": weights[name].shape,
                            "data_offsets": [len(data), len(data) + len(upper_halves)]}
            data += upper_halves
        text = json.dumps(header).encode()
        (folder / file).write_bytes(len(text).to_bytes(8, "little") + text + data)
        weight_map.update(dict.fromkeys(part, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    np.testing.assert_allclose(answers(load_teacher(folder, tmp_path / "work")), answers(loaded["huggingface"]),
                               atol=0.2)


def test_paddlenlps_weights_may_lie_in_several_files(folders, tmp_path):
    folder = shutil.copytree(folders["paddlenlp"], tmp_path / "teacher")
    weights = read_pdparams(folder / "model_state.pdparams")
    (folder / "model_state.pdparams").unlink()
    names, weight_map = sorted(weights), {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model_state-0000{number + 1}-of-00002.pdparams"
        paddle.save({name: weights[name] for name in part}, str(folder / file))
        weight_map.update(dict.fromkeys(part, file))
    (folder / "model_state.pdparams.index.json").write_text(json.dumps({"weight_map": weight_map}))
    np.testing.assert_array_equal(answers(load_teacher(folder, tmp_path / "work")),
                                  answers(load_teacher(folders["paddlenlp"], tmp_path / "work")))
    (folder / "model_state-00002-of-00002.pdparams").unlink()
    refused(folder, tmp_path, "index.json: names model_state-00002-of-00002.pdparams, which is not beside it")


def test_paddlenlp_safetensors_are_not_taken_for_hugging_faces(folders, loaded, tmp_path):
    import safetensors.numpy
    folder = shutil.copytree(folders["paddlenlp"], tmp_path / "teacher")
    weights = read_pdparams(folder / "model_state.pdparams")
    (folder / "model_state.pdparams").unlink()
    safetensors.numpy.save_file(weights, str(folder / "model.safetensors"), {"format": "np"})
    np.testing.assert_allclose(answers(load_teacher(folder, tmp_path / "work")), answers(loaded["paddlenlp"]),
                               atol=1e-6)


@pytest.mark.parametrize("wrappers", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "_layers."])
def test_names_of_wrapped_models_are_read_without_the_wrapper(folders, tmp_path, wrappers):
    import safetensors.numpy
    plain, wrapped = folders["huggingface"] / "model.safetensors", tmp_path / "model.safetensors"
    weights = safetensors.numpy.load_file(str(plain))
    safetensors.numpy.save_file({wrappers + name: value for name, value in weights.items()}, str(wrapped))
    expected, found = read_weights([plain]), read_weights([wrapped])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_wrapped_model_is_loaded(folders, loaded, tmp_path):
    import safetensors.numpy
    folder = shutil.copytree(folders["huggingface"], tmp_path / "teacher")
    weights = safetensors.numpy.load_file(str(folder / "model.safetensors"))
    safetensors.numpy.save_file({f"module._orig_mod.{name}": value for name, value in weights.items()},
                                str(folder / "model.safetensors"))
    np.testing.assert_array_equal(answers(load_teacher(folder, tmp_path / "work")), answers(loaded["huggingface"]))


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch stolen",)


def test_a_malicious_checkpoint_is_refused_without_running_it(folders, tmp_path, monkeypatch):
    folder = shutil.copytree(folders["paddlenlp"], tmp_path / "teacher")
    monkeypatch.chdir(tmp_path)
    (folder / "model_state.pdparams").write_bytes(pickle.dumps({"classifier.weight": RunsCode()}))
    with pytest.raises(UserError, match=r"model_state.pdparams: refused.*\.system"):
        load_teacher(folder, tmp_path / "work")
    assert not (tmp_path / "stolen").exists()
    assert os.listdir(tmp_path / "work") == []


def refused(folder: Path, tmp_path: Path, match: str, **kwargs) -> None:
    with pytest.raises(UserError, match=match) as error:
        load_teacher(folder, tmp_path / "work", **kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["BertForTokenClassification", "BertForMultipleChoice"])
def test_a_head_of_another_kind_is_no_classifier(tiny_teacher, tmp_path, kind):
    folder = shutil.copytree(tiny_teacher("huggingface"), tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [kind]}))
    refused(folder, tmp_path, f"config.json: is of a model {kind[4:]}, no classifier of whole texts")


def test_what_is_missing_is_named(folders, tmp_path):
    refused(tmp_path / "nowhere", tmp_path, "model_dir.*nowhere is not there")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", tmp_path, "model_dir.*file is not a folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", tmp_path, "holds no model; looked for .*pdmodel.*model.safetensors")
    (tmp_path / "empty" / "pytorch_model.bin").write_bytes(b"")
    refused(tmp_path / "empty", tmp_path, r"pytorch_model.bin is a pickle.*save_pretrained\(FOLDER, safe_serial")
    refused(folders["exported"], tmp_path, "other.pdmodel is missing", model_filename="other.pdmodel")
    folder = shutil.copytree(folders["exported"], tmp_path / "bare")
    (folder / "vocab.txt").unlink()
    refused(folder, tmp_path, "no tokenizer files")
    assert load_teacher(folder, tmp_path / "work", tokenizer_dir=folders["paddlenlp"]).num_classes == 2
    (folder / "inference.pdiparams").unlink()
    refused(folder, tmp_path, "inference.pdiparams is missing")


def test_an_exported_model_without_a_config_has_the_classes_that_the_tokenizers_folder_names(folders, tmp_path):
    folder = shutil.copytree(folders["exported"], tmp_path / "exported")
    teacher = load_teacher(folder, tmp_path / "work", tokenizer_dir=folders["paddlenlp"])
    assert teacher.label_names == ("negative", "positive")
    (folder / "config.json").write_text('{"id2label": {"0": "bad", "1": "good"}}')
    teacher = load_teacher(folder, tmp_path / "work", tokenizer_dir=folders["paddlenlp"])
    assert teacher.label_names == ("bad", "good")


def test_a_checkpoint_that_does_not_fit_is_refused(folders, tmp_path):
    import safetensors.numpy
    folder = shutil.copytree(folders["huggingface"], tmp_path / "teacher")
    weights = safetensors.numpy.load_file(str(folder / "model.safetensors"))

    def keep(condition) -> None:
        safetensors.numpy.save_file({name: value for name, value in weights.items() if condition(name)},
                                    str(folder / "model.safetensors"))

    keep(lambda name: not name.startswith("classifier"))
    refused(folder, tmp_path, "no classifier weights")
    keep(lambda name: "layer.1.output.dense.bias" not in name)
    refused(folder, tmp_path, "lacks 1 of the model's weights, such as bert.encoder.layer.1.output.dense.bias")
    (folder / "model.safetensors").write_bytes(b"not a checkpoint")
    refused(folder, tmp_path, "model.safetensors: can't be read")
    keep(lambda name: True)
    (folder / "config.json").write_text('{"architectures": ["NoSuchModel"]}')
    refused(folder, tmp_path, "config.json: .*none of the families.*PaddleNLP.*or ONNX file, or label")
    (folder / "config.json").write_text("{")
    refused(folder, tmp_path, "config.json: not valid JSON")
    folder = shutil.copytree(folders["paddlenlp"], tmp_path / "cut")
    (folder / "model_state.pdparams").write_bytes((folder / "model_state.pdparams").read_bytes()[:5000])
    refused(folder, tmp_path, "model_state.pdparams: can't be read")


def saved_by_paddlenlp(network, config, folder: Path) -> Path:
    """The folder of an untrained ``network`` of PaddleNLP's, with the tiny teachers' vocabulary."""
    paddle.disable_static()
    network(config).save_pretrained(str(folder))
    paddle.enable_static()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


def test_a_classifier_that_paddlenlp_cant_build_as_a_program_is_said_to_be_that(tmp_path):
    """BigBird's classifier is called ``linear``; its network wants the length of a batch in Python."""
    from paddlenlp.transformers import BigBirdConfig, BigBirdForSequenceClassification
    config = BigBirdConfig(vocab_size=len(VOCABULARY), hidden_size=HIDDEN, num_layers=1, num_attention_heads=2,
                           dim_feedforward=48, max_position_embeddings=64, block_size=4)
    folder = saved_by_paddlenlp(BigBirdForSequenceClassification, config, tmp_path / "bigbird")
    refused(folder, tmp_path, "BigBirdForSequenceClassification can't be built as a static program.*or ONNX file")


def test_a_classifier_with_a_name_that_we_dont_know_is_not_said_to_be_none(tmp_path):
    """RemBERT's is called ``dense``; what PaddleNLP can't build, or misses, is said to be that."""
    from paddlenlp.transformers import RemBertConfig, RemBertForSequenceClassification
    config = RemBertConfig(vocab_size=len(VOCABULARY), hidden_size=HIDDEN, num_hidden_layers=1, intermediate_size=48,
                           num_attention_heads=2, max_position_embeddings=64, input_embedding_size=16)
    folder = saved_by_paddlenlp(RemBertForSequenceClassification, config, tmp_path / "rembert")
    weights = read_pdparams(folder / "model_state.pdparams")
    refused(folder, tmp_path, "RemBertForSequenceClassification can't be built as a static program.*inference model")
    kept = {name: value for name, value in weights.items() if not name.startswith("dense.")}
    paddle.disable_static()
    paddle.save(kept, str(folder / "model_state.pdparams"))
    paddle.enable_static()
    refused(folder, tmp_path, "the checkpoint lacks 2 of the model's weights, such as dense.weight")


def export(folder: Path, build, vocabulary=VOCABULARY) -> Path:
    """Save ``build()``, which returns feeds and outputs, as an inference model."""
    folder.mkdir()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.static.scope_guard(paddle.static.Scope()):
        feeds, outputs = build()
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        paddle.static.save_inference_model(str(folder / "model"), feeds, outputs, executor, program=program)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    return folder


def small_network(feed_names, dtype="int64", shape=(-1, -1), outputs=1, tables=None):
    tables = tables or (len(VOCABULARY), 2, 2)

    def build():
        feeds = [paddle.static.data(name, list(shape), dtype) for name in feed_names]
        embedded = sum(paddle.static.nn.embedding(feed.astype("int64"), [rows, 8]) for feed, rows in zip(feeds, tables))
        logits = paddle.static.nn.fc(paddle.mean(embedded, axis=1), 2)
        return feeds, [logits] * outputs if outputs < 2 else [logits, paddle.nn.functional.softmax(logits)]
    return build


def test_exported_models_that_cannot_be_teachers_are_refused(tmp_path):
    names = ["input_ids", "token_type_ids", "position_ids"]
    refused(export(tmp_path / "positions", small_network(names, tables=(len(VOCABULARY), 2, 64))), tmp_path,
            "position_ids is looked up in a table of 64 rows.*export it with")
    refused(export(tmp_path / "int8", small_network(["input_ids"], "int8")), tmp_path, "input_ids is int8")
    refused(export(tmp_path / "batch", small_network(["input_ids"], shape=(1, 128))), tmp_path, r"\[1, 128\]")
    refused(export(tmp_path / "two", small_network(["input_ids"], outputs=2)), tmp_path, "2 of its 2 outputs")
    folder = export(tmp_path / "small", small_network(["input_ids"], tables=[50]))
    refused(folder, tmp_path, f"tokenizer has {len(VOCABULARY)} tokens, the model embeds only 50")
    (folder / "model.pdmodel").write_bytes(b"not a program")
    refused(folder, tmp_path, "not a Paddle program")
    folder = export(tmp_path / "cut", small_network(["input_ids"]))
    (folder / "model.pdiparams").write_bytes((folder / "model.pdiparams").read_bytes()[:100])
    refused(folder, tmp_path, f"{folder}/model.pdiparams: is cut or damaged")
    shutil.copy(folder / "model.pdmodel", folder / "second.pdmodel")
    refused(folder, tmp_path, "holds 2 inference models .*Global.model_filename")


def test_one_feed_and_feeds_in_another_order(tmp_path):
    one = load_teacher(export(tmp_path / "one", small_network(["x"])), tmp_path / "work")
    assert one.framing.feeds == (("x", "ids", "int64"),) and answers(one).shape == (len(TEXTS), 2)
    build = small_network(["segments", "words"], tables=(2, len(VOCABULARY)))
    swapped = load_teacher(export(tmp_path / "swapped", build), tmp_path / "work")
    assert swapped.framing.feeds == (("segments", "types", "int64"), ("words", "ids", "int64"))
    assert answers(swapped).shape == (len(TEXTS), 2)
    assert swapped.embeddings.shape == (len(VOCABULARY), 8)


def masked_network(width=-1, extra_outputs=False):
    """As PaddleSlim's Hugging Face example has it: x0 are ids, x1 the mask, x2 the types."""
    def build():
        ids, mask, types = (paddle.static.data(name, [-1, width], "int64") for name in ("x0", "x1", "x2"))
        embedded = paddle.static.nn.embedding(ids, [len(VOCABULARY), 8]) + paddle.static.nn.embedding(types, [2, 8])
        shares = paddle.unsqueeze(paddle.cast(mask, "float32"), -1)
        logits = paddle.static.nn.fc(paddle.sum(embedded * shares, axis=1) / paddle.sum(shares, axis=1), 2)
        return [ids, mask, types], ([embedded, logits] if extra_outputs else [logits])
    return build


def test_a_mask_among_the_feeds_is_fed(tmp_path):
    teacher = load_teacher(export(tmp_path / "mask", masked_network()), tmp_path / "work")
    assert [feed.role for feed in teacher.framing.feeds] == ["ids", "mask", "types"]
    sentences = teacher.tokenizer.encode(TEXTS[:3])
    ids, mask, types = teacher.framing.batch(sentences, np.arange(3))
    np.testing.assert_array_equal(mask, ids != teacher.tokenizer.pad_id)
    alone = [teacher.framing.batch(sentences, np.array([row])) for row in range(3)]
    model = InferenceModel(teacher.prefix, 1)
    np.testing.assert_allclose(model.run(ids, mask, types), np.concatenate([model.run(*one) for one in alone]),
                               atol=1e-5)


def test_a_fixed_width_is_kept(tmp_path):
    free, fixed = (load_teacher(export(tmp_path / name, masked_network(width)), tmp_path / "work")
                   for name, width in (("free", -1), ("fixed", 20)))
    assert (free.max_length, fixed.max_length) == (None, 20)
    assert fixed.framing.batch(fixed.tokenizer.encode(["fun"]), np.array([0]))[0].shape == (1, 20)
    np.testing.assert_allclose(answers(fixed), answers(fixed, TEXTS[::-1])[::-1], atol=1e-5)


def test_logits_are_found_among_other_outputs(loaded, tiny_teacher, tmp_path):
    """A checkpoint with use_cache is exported with keys and values beside the logits."""
    teacher = load_teacher(export(tmp_path / "many", masked_network(extra_outputs=True)), tmp_path / "work")
    assert answers(teacher).shape == (len(TEXTS), 2)
    caching = tiny_teacher("exported", use_cache=True)
    np.testing.assert_allclose(answers(load_teacher(caching, tmp_path / "work")), answers(loaded["exported"]),
                               atol=1e-5)


def test_the_real_teacher_answers_as_the_reference(shared, tmp_path):
    folder = shared / "teachers" / "minilm-sst2"
    teacher = load_teacher(folder, tmp_path)
    lines = (shared / "data" / "sst2" / "dev.tsv").read_text(encoding="utf-8").split("\n")[1:61]
    logits = answers(teacher, [line.split("\t")[0] for line in lines])
    np.testing.assert_allclose(logits, np.load(folder / "dev_logits.npy")[:60], atol=1e-4)
    assert teacher.label_names == ("negative", "positive")
