"""Hints: what a middle layer of the teacher holds, kept beside its logits and learned by the student."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import paddle
import pytest
from encoders import KINDS, make_encoder_teacher
from onnx import helper
from onnx_teachers import OnnxClassifier, put_onnx_teacher
from teachers import VOCABULARY
from test_student import SPEC, accuracy, adam, plan, token_sum_task, weights_for
from test_teacher_load import export, small_network

from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.student.losses import logit_mse
from paddleslim_bilstm.student.program import TrainingProgram
from paddleslim_bilstm.student.train import train_student
from paddleslim_bilstm.teacher import label, labelling, load_teacher
from paddleslim_bilstm.teacher.ensemble import ensemble_of
from paddleslim_bilstm.teacher.hints import Basis, packed, unpacked
from paddleslim_bilstm.tokens import Sentences

pytestmark = pytest.mark.usefixtures("in_old_programs")


@pytest.fixture(autouse=True)
def static_mode():
    paddle.enable_static()


def random_sentences(count: int, seed: int = 0) -> Sentences:
    rng = np.random.default_rng(seed)
    return Sentences.from_lists([rng.integers(5, 150, rng.integers(0, 25)) for _ in range(count)])


def states_alone(teacher, sentences: Sentences, layer: int) -> np.ndarray:
    """The mean of what a layer of the exported network returns, each sentence alone and so without padding."""
    executor, rows = paddle.static.Executor(paddle.CPUPlace()), []
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, names, _ = paddle.static.load_inference_model(str(teacher.prefix), executor)
        ends = [op.output("Y")[0] for op in program.global_block().ops if op.type == "layer_norm"]
        for row in range(len(sentences)):
            batch = dict(zip(names, teacher.framing.batch(sentences, np.array([row]))))
            rows.append(executor.run(program, feed=batch, fetch_list=[ends[2 * layer]])[0][0].mean(axis=0))
    return np.stack(rows)


@pytest.mark.parametrize("kind, layers, layer", [("paddlenlp", 2, 1), ("exported", 6, 4), ("exported", 3, 2)])
def test_a_network_tells_the_mean_of_the_layer_two_thirds_of_the_way(kind, layers, layer, tiny_teacher, tmp_path):
    teacher = load_teacher(tiny_teacher(kind, num_hidden_layers=layers), tmp_path)
    sentences = random_sentences(40)
    answers = teacher.hinting().logits(sentences, threads=2)
    np.testing.assert_allclose(answers[:, :2], teacher.logits(sentences), atol=1e-5)
    np.testing.assert_allclose(answers[:, 2:], states_alone(teacher, sentences, layer), atol=1e-4)
    assert sorted(path.name for path in teacher.prefix.parent.glob("hints*")) == ["hints.pdmodel"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_of_ours_tells(kind, tmp_path):
    make_encoder_teacher(tmp_path / "teacher", kind, "huggingface")
    teacher = load_teacher(tmp_path / "teacher", tmp_path / "work")
    sentences = Sentences.from_lists([[7, 8, 9], [10], [11, 12, 13, 14, 15]])
    together = teacher.hinting().logits(sentences)
    alone = np.concatenate([teacher.hinting().logits(sentences.take(np.array([row]))) for row in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.ptp(together[:, teacher.num_classes:], axis=0).max() > 0.01


def test_a_network_without_such_layers_or_no_program_tells_nothing(tmp_path):
    plain = load_teacher(export(tmp_path / "plain", small_network(["input_ids", "token_type_ids"])), tmp_path / "work")
    onnx = load_teacher(put_onnx_teacher(tmp_path / "onnx", OnnxClassifier().model()), tmp_path / "work")
    for teacher in (plain, onnx):
        assert teacher.hinting() is None
        labels = label(teacher, random_sentences(30), tmp_path / "cache", "key", threads=1)
        assert labels.hints is None and labels.logits.shape == (30, 2)


def test_hints_are_of_variance_one_and_tell_different_things():
    rng = np.random.default_rng(0)
    states = rng.normal(0, 1, (3000, 5)) @ rng.normal(0, 1, (5, 90)) + rng.normal(0, 5, 90)
    basis = Basis.of(states.astype(np.float32))
    hints = basis.hints(states.astype(np.float32))
    assert hints.shape == (3000, 5)  # there is nothing more to tell
    np.testing.assert_allclose(np.cov(hints.T), np.eye(5), atol=1e-2)
    np.testing.assert_allclose(hints.mean(axis=0), 0, atol=1e-2)
    assert abs(unpacked(packed(hints)) - hints)[abs(hints) < 3.9].max() <= 1 / 64 + 1e-6
    again = Basis.from_text(basis.to_text())
    np.testing.assert_array_equal(again.hints(states), basis.hints(states))
    assert again.key == basis.key != Basis.of(states[:1000].astype(np.float32)).key


@pytest.mark.parametrize("states", [np.zeros((0, 4)), np.ones((500, 4)), np.eye(7), np.full((500, 4), np.nan)])
def test_too_little_tells_nothing(states):
    assert Basis.of(states.astype(np.float32)) is None


def test_few_sentences_tell_few_units():
    assert Basis.of(np.random.default_rng(0).normal(0, 1, (80, 90)).astype(np.float32)).units == 10


@pytest.fixture
def teacher(tiny_teacher, tmp_path):
    return load_teacher(tiny_teacher(), tmp_path / "work")


def test_hints_are_kept_beside_the_logits(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(labelling, "CHUNK_SENTENCES", 400)
    sentences = random_sentences(1000)
    labels = label(teacher, sentences, tmp_path / "one", "key", threads=1)
    states = teacher.hinting().logits(sentences)[:, 2:]
    basis = Basis.of(states[:400])
    assert labels.hints.shape == (1000, basis.units) and labels.hints.dtype == np.int8
    assert abs(labels.hints.astype(int) - packed(basis.hints(states)).astype(int)).max() <= 1
    np.testing.assert_allclose(labels.logits, teacher.logits(sentences), atol=1e-5)
    files = sorted((tmp_path / "one").glob("labels-*/chunk-*"))
    files[1].write_bytes(files[1].read_bytes()[:-1])
    next((tmp_path / "one").glob("labels-*/precision.json")).write_text("{}")
    again = label(teacher, sentences, tmp_path / "one", "key", threads=1)
    np.testing.assert_array_equal(again.hints, labels.hints)
    assert again.key == labels.key
    more = label(teacher, random_sentences(1000), tmp_path / "one", "another", threads=1)
    assert sorted(file.name for file in (tmp_path / "one").glob("labels-*/chunk-*")) == sorted(
        2 * [file.name for file in files])  # the same chunks, though of a set of another name
    np.testing.assert_array_equal(more.hints, labels.hints)
    teacher.logits(sentences.take(np.arange(2)))
    label(teacher, sentences, tmp_path / "one", "key", threads=1)
    assert not teacher._engines  # its twin has taken its place in the memory


def test_several_teachers_hint_as_the_first_that_does(teacher, tmp_path):
    onnx = load_teacher(put_onnx_teacher(tmp_path / "onnx", OnnxClassifier().model()), tmp_path / "work")
    sentences = random_sentences(300)
    alone = label(teacher, sentences, tmp_path / "cache", "key", threads=1)
    together = label(ensemble_of(["a", "b"], [onnx, teacher]), sentences, tmp_path / "cache", "key", threads=1)
    np.testing.assert_array_equal(together.hints, alone.hints)
    assert not np.array_equal(together.logits, alone.logits)


def task_with_hints(units: int = 6):
    """The tokens' sum as logits, and as hints other sums of them."""
    data = token_sum_task()
    table = np.random.default_rng(1).normal(0, 1, (60, units))
    hints = np.stack([table[np.asarray(ids)].mean(axis=0) * len(ids) ** 0.5 for ids in data.sentences])
    return replace(data, hints=packed(hints))


def test_a_student_learns_the_hints_and_forgets_how_it_told_them():
    data = task_with_hints()
    with paddle.static.scope_guard(paddle.static.Scope()):
        run = TrainingProgram(SPEC, weights_for(), plan(300, hint_weight=1.0), logit_mse, adam, hint_units=6)
        rows, errors = np.arange(128), []
        for number in range(300):
            feed = run._feed(data, rows, number)
            loss, both = run._executor.run(run._program, feed=feed, fetch_list=[run._loss, run._minimised])
            errors.append((float(loss), float(both) - float(loss)))
            run._advance()
        assert errors[-1][0] < 0.3 * errors[0][0] and errors[-1][1] < 0.5 * errors[0][1]
        assert set(run.weights()) == set(weights_for()) - {"token_map"}
        assert any("hint" in name or value.shape == (6,) for name, value in run.state().items())


def test_hints_change_the_student_but_not_what_loss_it_shows():
    data, changed = task_with_hints(), {}
    for weight in (0.0, 1.0):
        hints = data if weight else token_sum_task()
        trained = train_student(SPEC, weights_for(), hints, plan(40, hint_weight=weight), logit_mse, adam,
                                accuracy(data))
        changed[weight] = trained
    without, learned = changed[0.0], changed[1.0]
    assert abs(learned.weights["embedding"] - without.weights["embedding"]).max() > 1e-3
    assert learned.weights.keys() == without.weights.keys()
    assert learned.evaluations[0][2] == pytest.approx(without.evaluations[0][2], rel=0.3)  # the hints' is 1 at first


def test_a_weight_that_would_do_nothing_is_refused(tmp_path):
    config = {"Global": {"model_dir": "teacher", "train_file": "train.tsv"}}
    assert load_config({**config, "bert_to_bilstm": {}}).distill.learns_hints
    assert not load_config({**config, "bert_to_bilstm": {"hint_weight": 0}}).distill.learns_hints
    assert not load_config({**config, "bert_to_bilstm": {"loss": "soft_label"}}).distill.learns_hints
    load_config({**config, "bert_to_bilstm": {"loss": "soft_label", "hint_weight": 0}})
    for other in ({"loss": "soft_label"}, {"alpha": 1}):
        with pytest.raises(UserError, match="bert_to_bilstm.hint_weight: joins the squared error between logits"):
            load_config({**config, "bert_to_bilstm": {"hint_weight": 2, **other}})


def normalising_network(width: int = -1, length_first: bool = False):
    """One that normalises its states three times, and has the mask among its feeds."""
    def build():
        ids, mask = (paddle.static.data(name, [-1, width], "int64") for name in ("input_ids", "attention_mask"))
        states = paddle.static.nn.embedding(ids, [len(VOCABULARY), 16])
        if length_first:
            states = paddle.transpose(states, [1, 0, 2])
        for _ in range(3):
            states = paddle.nn.LayerNorm(16)(paddle.static.nn.fc(states, 16, num_flatten_dims=2))
        if length_first:
            states = paddle.transpose(states, [1, 0, 2])
        shares = paddle.unsqueeze(paddle.cast(mask, "float32"), -1)
        logits = paddle.static.nn.fc(paddle.sum(states * shares, axis=1) / paddle.sum(shares, axis=1), 2)
        return [ids, mask], [logits]
    return build


@pytest.mark.parametrize("width", [-1, 30])
def test_what_the_mask_says_is_left_out(width, tmp_path):
    teacher = load_teacher(export(tmp_path / "masked", normalising_network(width)), tmp_path / "work")
    sentences = random_sentences(9)
    together = teacher.hinting().logits(sentences)
    assert together.shape == (9, 2 + 16)
    np.testing.assert_allclose(together[:, :2], teacher.logits(sentences), atol=1e-5)
    if width < 0:
        np.testing.assert_allclose(together[:, 2:], states_alone(teacher, sentences, 0), atol=1e-5)


def test_states_in_another_layout_are_not_read(tmp_path):
    other = load_teacher(export(tmp_path / "other", normalising_network(length_first=True)), tmp_path / "work")
    assert other.hinting() is None and other.logits(random_sentences(3)).shape == (3, 2)


def onnx_network(written_out: bool, length_first: bool = False) -> onnx.ModelProto:
    """The same in ONNX, its normalisations in one node or as exporters write them out, with one layer in all."""
    rng, nodes = np.random.default_rng(0), []
    weights = {"words": rng.standard_normal((len(VOCABULARY), 16)).astype(np.float32), "last": np.array([2], np.int64),
               "first": np.array([1], np.int64), "two": np.array(2, np.float32), "small": np.array(1e-12, np.float32),
               "output": rng.standard_normal((16, 2)).astype(np.float32)}

    def add(operator: str, name: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    states = add("Gather", "embedded", "words", "input_ids")
    if length_first:
        states = add("Transpose", "turned", states, perm=[1, 0, 2])
    for number in range(3):
        weights.update({f"w{number}": rng.standard_normal((16, 16)).astype(np.float32),
                        f"g{number}": rng.uniform(0.5, 2, 16).astype(np.float32),
                        f"b{number}": rng.standard_normal(16).astype(np.float32)})
        states = add("MatMul", f"product{number}", states, f"w{number}")
        if not written_out:
            states = add("LayerNormalization", f"norm{number}", states, f"g{number}", f"b{number}", epsilon=1e-12)
            continue
        centred = add("Sub", f"centred{number}", states, add("ReduceMean", f"mean{number}", states, axes=[-1]))
        square = add("ReduceMean", f"square{number}", add("Pow", f"power{number}", centred, "two"), axes=[-1])
        deviation = add("Sqrt", f"deviation{number}", add("Add", f"sum{number}", square, "small"))
        scaled = add("Mul", f"scaled{number}", add("Div", f"divided{number}", centred, deviation), f"g{number}")
        states = add("Add", f"norm{number}", scaled, f"b{number}")
    if length_first:
        states = add("Transpose", "back", states, perm=[1, 0, 2])
    kept = add("Unsqueeze", "kept", add("Cast", "mask", "attention_mask", to=onnx.TensorProto.FLOAT), "last")
    total = add("ReduceSum", "total", add("Mul", "masked", states, kept), "first", keepdims=0)
    mean = add("Div", "mean", total, add("ReduceSum", "count", kept, "first", keepdims=0))
    add("MatMul", "logits", mean, "output")
    about = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "classifier", [about(name, onnx.TensorProto.INT64, ["batch", "length"])
                              for name in ("input_ids", "attention_mask")],
        [about("logits", onnx.TensorProto.FLOAT, ["batch", 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("written_out", [False, True])
def test_an_onnx_file_tells_the_mean_of_its_first_normalised_states(written_out, tmp_path):
    model = onnx_network(written_out)
    teacher = load_teacher(put_onnx_teacher(tmp_path / "onnx", model), tmp_path / "work")
    assert teacher.states == "norm0"
    sentences = random_sentences(50)
    answers = teacher.hinting().logits(sentences)
    np.testing.assert_allclose(answers[:, :2], teacher.logits(sentences), atol=1e-5)
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for row, sentence in enumerate(sentences):
        ids = [teacher.tokenizer.cls_id, *sentence, teacher.tokenizer.sep_id]
        product = arrays["words"][ids] @ arrays["w0"]
        normal = (product - product.mean(-1, keepdims=True)) / product.std(-1, keepdims=True)
        expected = (normal * arrays["g0"] + arrays["b0"]).mean(axis=0)
        np.testing.assert_allclose(answers[row, 2:], expected, atol=1e-4)
    labels = label(teacher, sentences, tmp_path / "cache", "key", threads=1)
    assert labels.hints.shape == (50, 6) and labels.precision == "fp32"


def test_an_onnx_file_whose_states_cannot_be_read_tells_nothing(tmp_path):
    turned = load_teacher(put_onnx_teacher(tmp_path / "turned", onnx_network(False, length_first=True)),
                          tmp_path / "work")
    beside = put_onnx_teacher(tmp_path / "beside", onnx_network(False), save_as_external_data=True, location="weights",
                              size_threshold=500)
    for teacher in (turned, load_teacher(beside, tmp_path / "work")):
        assert not teacher.tells_hints and teacher.logits(random_sentences(5)).shape == (5, 2)
