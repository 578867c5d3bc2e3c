"""Teachers of every family: loaded, labelled, distilled; the student is a drop-in for each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy
from encoders import KINDS, PAIRS, TEXTS, make_encoder_teacher
from pair_reviews import make_pairs
from reviews import make_reviews

from paddleslim_bilstm import compress
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.finetune.finetune import finetune
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.predict.runtimes import batch_logits, onnx_logits, paddle_logits
from paddleslim_bilstm.teacher import load_teacher
from paddleslim_bilstm.teacher.families import read_encoder
from paddleslim_bilstm.teacher.weights import read_config, read_weights

NAMES = {  # some of Hugging Face's, written out
    "bert": ["bert.encoder.layer.1.attention.output.LayerNorm.bias", "bert.pooler.dense.weight", "classifier.weight"],
    "roberta": ["roberta.embeddings.token_type_embeddings.weight", "classifier.dense.weight",
                "classifier.out_proj.bias", "roberta.encoder.layer.0.intermediate.dense.weight"],
    "mpnet": ["mpnet.encoder.relative_attention_bias.weight", "mpnet.encoder.layer.0.attention.attn.q.weight",
              "mpnet.encoder.layer.1.attention.LayerNorm.weight", "classifier.out_proj.weight"],
    "distilbert": ["distilbert.transformer.layer.1.attention.q_lin.weight", "pre_classifier.weight",
                   "distilbert.transformer.layer.0.sa_layer_norm.bias", "distilbert.transformer.layer.0.ffn.lin1.bias"],
    "electra": ["electra.embeddings_project.weight", "electra.encoder.layer.0.attention.self.query.weight"],
    "albert": ["albert.encoder.embedding_hidden_mapping_in.weight", "albert.pooler.weight",
               "albert.encoder.albert_layer_groups.0.albert_layers.0.full_layer_layer_norm.weight",
               "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.dense.weight"],
}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folder of each kind in each form, with PaddleNLP's own network, made when it is first asked for."""
    known = {}

    def make(kind: str, form: str = "huggingface"):
        if (kind, form) not in known:
            folder = tmp_path_factory.mktemp("families") / f"{kind}-{form}"
            known[kind, form] = folder, make_encoder_teacher(folder, kind, form)
        return known[kind, form]

    return make


def own_answers(network, teacher, sentences) -> np.ndarray:
    """What PaddleNLP answers, each sentence alone."""
    paddle.disable_static()
    try:
        rows = []
        for row in range(len(sentences)):
            arrays = teacher.framing.batch(sentences, np.array([row]))
            feeds = {feed.name: paddle.to_tensor(array) for feed, array in zip(teacher.framing.feeds, arrays)}
            rows.append(network(**feeds).numpy())
    finally:
        paddle.enable_static()
    return np.concatenate(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_answers_as_paddlenlp_in_padded_batches_and_pairs(kind, made, tmp_path):
    folder, network = made(kind)
    names = safetensors.numpy.load_file(str(folder / "model.safetensors"))
    assert set(NAMES.get(kind, [])) <= set(names)
    teacher = load_teacher(folder, tmp_path)
    with_types = kind in ("bert", "ernie", "electra", "albert")
    assert [feed.name for feed in teacher.framing.feeds] == ["input_ids", "token_type_ids"][:1 + with_types]
    assert teacher.max_length == (62 if kind.endswith("roberta") else 64)
    for texts in (TEXTS[:20], [*PAIRS[:19], ("", "fun")]):
        sentences = teacher.tokenizer.encode(texts).truncate(40)
        answers = teacher.logits(sentences)
        assert np.ptp(answers, axis=0).min() > 0.01
        np.testing.assert_allclose(answers, own_answers(network, teacher, sentences), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_paddlenlps_names_and_hugging_faces_are_one_teacher(kind, made):
    (theirs, _), (ours, _) = made(kind), made(kind, "paddlenlp")
    found = [read_encoder(folder / "config.json", read_config(folder / "config.json"),
                          read_weights([folder / "model.safetensors"]), 0) for folder in (theirs, ours)]
    (one, arrays), (other, others) = found
    assert one.shapes == other.shapes and one.order == other.order
    assert one.first_position == other.first_position == (2 if KINDS[kind][1] else 0)
    for name in one.shapes:
        np.testing.assert_array_equal(arrays[name], others[name])


def test_paddlenlp_is_not_imported_for_a_family_of_ours(made, tmp_path, monkeypatch):
    folder, _ = made("roberta")
    for name in [name for name in sys.modules if name.split(".")[0] == "paddlenlp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "paddlenlp", None)  # so that an import fails
    assert load_teacher(folder, tmp_path).num_classes == 2


def test_the_longest_sentence_is_labelled(made, tmp_path):
    """RoBERTa's positions begin behind the padding's, so 62 of 64 are left."""
    teacher = load_teacher(made("roberta")[0], tmp_path)
    longest = teacher.tokenizer.encode([" ".join(TEXTS)]).truncate(teacher.max_length - 2)
    assert longest.lengths[0] == 60
    assert np.isfinite(teacher.logits(longest)).all()


def changed(folder: Path, target: Path, **settings) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    config = {**json.loads((folder / "config.json").read_text()), **settings}
    (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.parametrize(("settings", "message"), [
    ({"num_hidden_layers": 5}, "lacks 48 of the model's weights, such as roberta.encoder.layer.2."),
    ({"num_hidden_layers": 10 ** 9}, "num_hidden_layers is 1000000000.*ONNX file"),
    ({"hidden_act": "snake"}, "hidden_act is 'snake'"),
    ({"num_attention_heads": 5}, "num_attention_heads is 5"),
    ({"hidden_size": "wide"}, "hidden_size is 'wide'"),
    ({"pad_token_id": 80}, "max_position_embeddings is 64"),
    ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'.*label with it elsewhere"),
    ({"layer_norm_eps": 0.01}, "layer_norm_eps is 0.01"),
    ({"is_decoder": True}, "is_decoder is True.*ONNX file"),
    ({"model_type": "gpt9"}, "none of the families that we load ourselves"),
])
def test_what_is_no_such_encoder_is_refused_in_one_line(settings, message, made, tmp_path):
    folder = changed(made("roberta")[0], tmp_path / "teacher", **settings)
    with pytest.raises(UserError, match=message) as error:
        load_teacher(folder, tmp_path / "work")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "activation"), [("gelu_python", "gelu"), ("gelu_accurate", "gelu_tanh")])
def test_an_activation_has_several_names(name, activation, made):
    folder, _ = made("roberta")
    file = folder / "config.json"
    weights = read_weights([folder / "model.safetensors"])
    spec, _ = read_encoder(file, {**read_config(file), "hidden_act": name}, weights, 0)
    assert spec.activation == activation


@pytest.mark.parametrize(("form", "first"), [("huggingface", 2), ("paddlenlp", 1)])
def test_an_mpnets_positions_begin_at_two_in_transformers_and_behind_the_padding_in_paddlenlp(form, first, made):
    folder, _ = made("mpnet", form)
    file = folder / "config.json"
    spec, _ = read_encoder(file, {**read_config(file), "pad_token_id": 0}, read_weights([folder / "model.safetensors"]),
                           0)
    assert spec.first_position == first


@pytest.mark.parametrize(("kind", "settings", "dropouts"), [  # before the classifier's first layer, before its last
    ("bert", {}, (0.0, 0.3)), ("bert", {"classifier_dropout": 0.2}, (0.0, 0.2)), ("roberta", {}, (0.3, 0.3)),
    ("electra", {"classifier_dropout": 0.2}, (0.2, 0.2)), ("mpnet", {}, (0.3, 0.3)),
    ("albert", {"classifier_dropout_prob": 0.2}, (0.0, 0.2)), ("albert", {"classifier_dropout_prob": None}, (0.0, 0.1)),
    ("distilbert", {"seq_classif_dropout": None}, (0.0, 0.2)), ("distilbert", {"seq_classif_dropout": 0.4}, (0.0, 0.4)),
])
def test_a_classifier_drops_what_its_family_drops(kind, settings, dropouts, made):
    folder, _ = made(kind)
    file, weights = folder / "config.json", read_weights([folder / "model.safetensors"])
    told = {**read_config(file), "hidden_dropout_prob": 0.3, "dropout": 0.3, "classifier_dropout": None}
    spec, _ = read_encoder(file, {**told, **settings}, weights, 0)
    assert (spec.pool_dropout, spec.head_dropout) == dropouts


@pytest.mark.parametrize("kind", ["roberta", *(pytest.param(kind, marks=pytest.mark.slow) for kind in (
    "xlm-roberta", "mpnet", "distilbert", "electra", "albert"))])
def test_the_student_is_a_drop_in(kind, made, tmp_path):
    """Pairs, or for XLM-R the words of single sentences, by the default hooks and all that change words."""
    words = kind == "xlm-roberta"
    rows = make_reviews(160, seed=3) if words else make_pairs(160, seed=3)
    folder, settings = made(kind)[0], {"embed_dim": 8, "hidden_size": 8, **({"vocabulary": "words"} if words else {})}
    result = compress(
        {"Global": {"model_dir": str(folder), "save_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache"),
                    "max_seq_length": 40}, "bert_to_bilstm": {"student": settings, "train_alone": False},
         "DataAugmentation": {"n_iter": 2, "hooks": [{"masking": {"whole_word": True}}, "pos_replacement",
                                                     {"ngram_sampling": {"unit": "word"}}, "crossover"]},
         "TrainConfig": {"train_iter": 30, "eval_iter": 15}},
        train=rows[:120], dev=rows[120:])
    texts = [text for text, _ in rows[120:]]
    teacher, student = load_teacher(folder, tmp_path / "cache" / "teachers"), Predictor(result.save_dir, "onnx")
    if words:
        sentences = student._words.encode(texts, 40)
        reader = student._words
        assert {"film", "Film", "."} & set(reader.words) and "\u2581" not in "".join(reader.words)
    else:
        reader = teacher.framing
        sentences = teacher.tokenizer.encode(texts).truncate(40 - reader.special_tokens(pairs=True))
        assert {feed.name for feed in student._spec.feeds} == {feed.name for feed in teacher.framing.feeds}
        assert (student._spec.pad_id, student._spec.separators) == (KINDS[kind][1], 2 if KINDS[kind][1] else 1)
    expected = student.logits(texts)
    for run in (onnx_logits(result.save_dir / "model.onnx"), paddle_logits(result.save_dir / "model")):
        np.testing.assert_allclose(batch_logits(run, sentences, reader, 16), expected, atol=1e-4)
    assert np.ptp(expected) > 0.01


@pytest.mark.parametrize("kind", ["distilbert", *(pytest.param(kind, marks=pytest.mark.slow) for kind in (
    "roberta", "mpnet", "electra", "albert"))])
def test_finetune_takes_a_family_and_paddlenlp_loads_what_it_writes(kind, made, tmp_path):
    """A pretrained encoder without the layers of a classifier gets fresh ones."""
    folder, _ = made(kind)
    pretrained = changed(folder, tmp_path / "pretrained", pooler=None)
    weights = safetensors.numpy.load_file(str(folder / "model.safetensors"))
    bare = {name: array / (1 if "orm" in name else 5) for name, array in weights.items() if "classifier" not in name}
    safetensors.numpy.save_file(bare, str(pretrained / "model.safetensors"))
    rows = [(text, ["bad", "good"][label]) for text, label in make_reviews(200, seed=4)]
    teacher = finetune({"Global": {"model_dir": str(tmp_path / "teacher"), "cache_dir": str(tmp_path / "cache"),
                                   "max_seq_length": 40}, "bert_to_bilstm": {},
                        "Finetune": {"model": str(pretrained), "epochs": 1, "learning_rate": 0.003, "batch_size": 16}},
                       train=rows[:160], dev=rows[160:])
    loaded = load_teacher(teacher, tmp_path / "work")
    assert loaded.label_names == ("bad", "good")
    paddle.disable_static()
    from paddlenlp.transformers import AutoModelForSequenceClassification
    network = AutoModelForSequenceClassification.from_pretrained(str(teacher))
    network.eval()
    sentences = loaded.tokenizer.encode([text for text, _ in rows[160:170]])
    np.testing.assert_allclose(loaded.logits(sentences), own_answers(network, loaded, sentences), atol=1e-5)


@pytest.mark.slow
def test_the_strong_teacher_of_another_family_answers_as_the_reference(shared, tmp_path):
    packed = shared / "teachers" / "mpnet-sst2"
    if not packed.is_dir():
        pytest.skip("needs teachers/mpnet-sst2")
    arrays = safetensors.numpy.load_file(str(packed / "model.int8.safetensors"))
    weights = {name.removesuffix(".int8"): value.astype(np.float32) * arrays[name.replace(".int8", ".scale")]
               if name.endswith(".int8") else value.astype(np.float32)
               for name, value in arrays.items() if not name.endswith(".scale")}
    folder = tmp_path / "mpnet"
    folder.mkdir()
    safetensors.numpy.save_file(weights, str(folder / "model.safetensors"))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((packed / name).read_bytes())
    teacher = load_teacher(folder, tmp_path / "work")
    lines = (shared / "data" / "sst2" / "dev.tsv").read_text(encoding="utf-8").split("\n")[1:13]
    logits = teacher.logits(teacher.tokenizer.encode([line.split("\t")[0] for line in lines]))
    np.testing.assert_allclose(logits, np.load(packed / "dev_logits.npy")[:12], atol=1e-3)
    assert teacher.max_length == 512 and teacher.framing.separators == 2
