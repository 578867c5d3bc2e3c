"""Counting and timing exported models: a tiny transformer and a tiny Bi-LSTM built on the spot."""

import json
import logging
import math
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddleslim_bilstm.old_programs import old_programs
from paddleslim_bilstm.report import costs
from paddleslim_bilstm.report import measure as latency
from paddleslim_bilstm.report.measure import DevSet, measure_model
from paddleslim_bilstm.teacher import load_teacher
from paddleslim_bilstm.tokens import Sentences, Tokenizer

pytestmark = pytest.mark.usefixtures("in_old_programs")

VOCAB, EMBED, HIDDEN, CLASSES = 50, 8, 6, 2
WIDTH, HEADS, FEED_FORWARD, TRANSFORMER_LAYERS = 16, 2, 32, 2


TOKENIZER = Tokenizer(None, [], pad_id=0, unk_id=1, cls_id=2, sep_id=3, mask_id=None)


@old_programs()
def _save(folder, network):
    """Build ``network(input_ids, token_type_ids) -> logits`` as a static program and export it."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    main.random_seed = startup.random_seed = 1
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()), paddle.static.program_guard(main, startup), \
            paddle.utils.unique_name.guard():
        feeds = [paddle.static.data(name, [None, None], "int64") for name in ("input_ids", "token_type_ids")]
        logits = network(*feeds)
        executor.run(startup)
        paddle.static.save_inference_model(str(folder / "model"), feeds, [logits], executor, program=main)
    return folder / "model"


def _bilstm(layers, token_map=False):
    def network(input_ids, token_type_ids):
        lengths = paddle.cast(input_ids != 0, "int32").sum(-1).astype("int32")
        if token_map:
            table = paddle.static.create_parameter([VOCAB], "int32", name="token_map",
                                                   default_initializer=paddle.nn.initializer.Constant(1))
            flat = paddle.gather(table, paddle.reshape(input_ids, [-1]))
            input_ids = paddle.cast(paddle.reshape(flat, paddle.shape(input_ids)), "int64")
        embedded = paddle.nn.Embedding(VOCAB, EMBED)(input_ids)
        lstm = paddle.nn.LSTM(EMBED, HIDDEN, num_layers=layers, direction="bidirect")
        _, (last, _) = lstm(embedded, sequence_length=lengths)
        features = paddle.concat([last[-2], last[-1]], -1)
        logits = paddle.nn.Linear(HIDDEN, CLASSES)(paddle.tanh(paddle.nn.Linear(2 * HIDDEN, HIDDEN)(features)))
        return logits + 0.0 * paddle.cast(token_type_ids, "float32").sum(-1, keepdim=True)
    return network


def _transformer(input_ids, token_type_ids):
    hidden = paddle.nn.Embedding(VOCAB, WIDTH)(input_ids) + paddle.nn.Embedding(2, WIDTH)(token_type_ids)
    layer = paddle.nn.TransformerEncoderLayer(WIDTH, HEADS, FEED_FORWARD, dropout=0.0)
    hidden = paddle.nn.TransformerEncoder(layer, TRANSFORMER_LAYERS)(hidden)
    return paddle.nn.Linear(WIDTH, CLASSES)(hidden[:, 0])


@pytest.fixture(scope="module", autouse=True)
def static_mode():
    paddle.enable_static()


@pytest.fixture(scope="module")
def bilstm(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("bilstm"), _bilstm(layers=1))


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("transformer"), _transformer)


def _lstm_weights(layers):
    """Weights that take part in one step, by the closed formula: 4 gates, input and recurrent, two directions."""
    inputs = [EMBED] + [2 * HIDDEN] * (layers - 1)
    return sum(2 * 4 * HIDDEN * (size + HIDDEN) for size in inputs)


HEAD_WEIGHTS = 2 * HIDDEN * HIDDEN + HIDDEN * CLASSES


@pytest.mark.parametrize("layers, token_map", [(1, False), (2, True)])
@pytest.mark.parametrize("tokens", [1, 22])
def test_flops_of_a_bilstm_follow_the_closed_formula(tmp_path, layers, token_map, tokens):
    prefix = _save(tmp_path, _bilstm(layers, token_map))
    assert costs.flops(prefix, tokens) == 2 * (tokens * _lstm_weights(layers) + HEAD_WEIGHTS)


@pytest.mark.parametrize("tokens", [3, 64])
def test_flops_of_a_transformer_follow_the_closed_formula(transformer, tokens):
    projections = tokens * (4 * WIDTH * WIDTH + 2 * WIDTH * FEED_FORWARD)
    attention = 2 * tokens * tokens * WIDTH
    expected = 2 * (TRANSFORMER_LAYERS * (projections + attention) + WIDTH * CLASSES)
    assert costs.flops(transformer, tokens) == expected


def test_flops_and_parameters_of_a_real_bert_follow_its_configuration(shared, tmp_path):
    folder = shared / "teachers" / "minilm-sst2"
    teacher = load_teacher(folder, tmp_path, None, None, None)
    bert = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    width, feed_forward, layers = bert["hidden_size"], bert["intermediate_size"], bert["num_hidden_layers"]
    keys_and_values = 24 * 2 * width * width
    a_token = 2 * width * width + 2 * width * feed_forward + 2 * 24 * width  # query, output, feed-forward, attention
    head = width * width + width * teacher.num_classes
    read_tokens = 24 * (layers - 1) + 1  # of the last layer, only the first token is read
    assert costs.flops(teacher.prefix, tokens=24) == 2 * (layers * keys_and_values + read_tokens * a_token + head)
    tables = bert["vocab_size"] + bert["max_position_embeddings"] + bert["type_vocab_size"]
    layer = 4 * width * width + 2 * width * feed_forward + 9 * width + feed_forward
    expected = tables * width + 2 * width + layers * layer + head + width + teacher.num_classes
    assert costs.parameters(teacher.prefix) == expected


def test_flops_count_convolutions(tmp_path):
    def network(input_ids, token_type_ids):
        embedded = paddle.nn.Embedding(VOCAB, EMBED)(input_ids + token_type_ids)
        maps = paddle.nn.Conv2D(1, 5, (3, EMBED))(paddle.unsqueeze(embedded, 1))
        return maps.max(axis=[2, 3])
    assert costs.flops(_save(tmp_path, network), tokens=10) == 2 * (10 - 2) * 5 * 3 * EMBED


def test_an_operator_that_is_not_counted_is_named(tmp_path, caplog):
    def network(input_ids, token_type_ids):
        embedded = paddle.nn.Embedding(VOCAB, EMBED)(input_ids + token_type_ids).sum(1)
        return paddle.nn.Bilinear(EMBED, EMBED, CLASSES)(embedded, embedded)
    with caplog.at_level(logging.WARNING):
        costs.flops(_save(tmp_path, network), tokens=5)
    assert "bilinear" in caplog.text


def test_known_models_are_counted_without_a_warning(bilstm, transformer, caplog):
    with caplog.at_level(logging.WARNING):
        costs.flops(bilstm, 5), costs.flops(transformer, 5)
    assert not caplog.records


def test_parameters_are_the_float_weights_and_not_the_token_map(tmp_path):
    prefix = _save(tmp_path, _bilstm(layers=1, token_map=True))
    biases = 2 * 2 * 4 * HIDDEN + HIDDEN + CLASSES
    assert costs.parameters(prefix) == VOCAB * EMBED + _lstm_weights(1) + HEAD_WEIGHTS + biases


@pytest.mark.parametrize("onnx_format", [True, False])
def test_a_quantized_model_counts_as_in_float(bilstm, tmp_path, onnx_format):
    from paddle.static.quantization import PostTrainingQuantization
    with paddle.static.program_guard(paddle.static.Program()):
        feeds = [paddle.static.data(name, [None, None], "int64") for name in ("input_ids", "token_type_ids")]
    rows = [(np.full(7, 5, np.int64), np.zeros(7, np.int64))] * 2
    loader = paddle.io.DataLoader(rows, feed_list=feeds, batch_size=2, return_list=False, places=[paddle.CPUPlace()])
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()):
        quantization = PostTrainingQuantization(
            executor, str(bilstm.parent), model_filename="model.pdmodel", params_filename="model.pdiparams",
            data_loader=loader, batch_nums=1, algo="abs_max", onnx_format=onnx_format,
            quantizable_op_type=["matmul_v2"])
        quantization.quantize()
        quantization.save_quantized_model(str(tmp_path), "model.pdmodel", "model.pdiparams")
    assert costs.flops(tmp_path / "model", 9) == costs.flops(bilstm, 9)
    assert costs.parameters(tmp_path / "model") == costs.parameters(bilstm)


def test_size_is_that_of_both_files(bilstm):
    files = [bilstm.with_suffix(".pdmodel"), bilstm.with_suffix(".pdiparams")]
    assert costs.size_bytes(bilstm) == sum(len(file.read_bytes()) for file in files)


def _sentences(lengths):
    generator = np.random.default_rng(0)
    return Sentences.from_lists([generator.integers(4, VOCAB, length).tolist() for length in lengths])


class Clockwork:
    """An engine with a clock of its own: a batch takes ``ms_per_token`` for each column of its padded width."""

    def __init__(self, monkeypatch, ms_per_token=0.2):
        self.now_ms, self.ms_per_token, self.feeds = 0.0, ms_per_token, []
        monkeypatch.setattr(latency, "_BUDGET_S", 20.0)  # other tests measure less
        monkeypatch.setattr(latency, "_FEWEST_SENTENCES", 40)
        monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: self.now_ms / 1000))

    def __call__(self, input_ids, token_type_ids):
        assert input_ids.dtype == token_type_ids.dtype == np.int64 and input_ids.shape == token_type_ids.shape
        self.feeds.append(input_ids)
        self.now_ms += input_ids.shape[1] * self.ms_per_token

    def measure(self, sentences):
        return latency.measure_speed(self, sentences, TOKENIZER.framing, "clockwork")


def test_latency_shows_the_median_sentence_and_the_long_ones(monkeypatch):
    speed = Clockwork(monkeypatch).measure(_sentences([3] * 95 + [48] * 5))
    assert speed.latency_ms.p50 == pytest.approx(5 * 0.2)
    assert speed.latency_ms.p99 == pytest.approx(50 * 0.2)
    assert speed.runtime == "clockwork"


def test_a_moment_when_the_machine_is_busy_does_not_count(monkeypatch):
    class Interrupted(Clockwork):
        def __call__(self, input_ids, token_type_ids):
            super().__call__(input_ids, token_type_ids)
            self.now_ms += 1000 if len(self.feeds) == 150 else 0

    assert Interrupted(monkeypatch).measure(_sentences([3] * 100)).latency_ms.p99 == pytest.approx(5 * 0.2)


def test_throughput_is_measured_on_full_batches_of_similar_length(monkeypatch):
    engine = Clockwork(monkeypatch)
    speed = engine.measure(_sentences([8, 18] * 64))
    assert {ids.shape for ids in engine.feeds if len(ids) > 1} == {(32, 10), (32, 20)}
    assert speed.sentences_per_s == pytest.approx(32 / (15 * 0.2 / 1000))


def test_sentences_are_fed_one_by_one_between_cls_and_sep(monkeypatch):
    engine = Clockwork(monkeypatch)
    sentences = _sentences([4])
    engine.measure(sentences)
    assert engine.feeds[0].tolist() == [[TOKENIZER.cls_id, *sentences[0].tolist(), TOKENIZER.sep_id]]


def test_a_slow_model_is_measured_on_fewer_sentences(monkeypatch):
    engine = Clockwork(monkeypatch, ms_per_token=20)
    engine.measure(_sentences([4] * 200))
    singles = sum(len(ids) == 1 for ids in engine.feeds)
    assert 3 * 40 <= singles < 3 * 200


@pytest.mark.parametrize("labelled", [True, False])
def test_a_row_holds_every_figure_of_a_real_model(bilstm, labelled):
    sentences = _sentences([1, 5, 9, 20, 7])
    labels = np.array([0, 1, 1, 0, 1])
    dev = DevSet(sentences, labels if labelled else None, np.array([0, 1, 0, 0, 1]), CLASSES, TOKENIZER.framing)
    row = measure_model("distilled", bilstm, dev, file="model", metric=None if labelled else 0.5,
                        predictions=np.array([1, 1, 0, 0, 1]))
    assert (row.name, row.file, row.agreement) == ("distilled", "model", 0.8)
    assert row.metric == (None if labelled else 0.5)
    if labelled:  # 3 of 5; two of three ones found, two of three answers "one" right
        assert (row.accuracy, row.f1) == (0.6, pytest.approx(2 / 3))
    else:
        assert row.accuracy is None and row.f1 is None
    assert row.flops_tokens == 7 + 2
    assert row.flops == costs.flops(bilstm, 9)
    assert (row.parameters, row.size_bytes) == (costs.parameters(bilstm), costs.size_bytes(bilstm))
    assert 0 < row.latency_ms.p50 <= row.latency_ms.p99 and row.sentences_per_s > 0
    assert "1 thread" in row.runtime and paddle.__version__ in row.runtime


def test_predictions_come_from_the_model_when_none_are_given(bilstm):
    sentences = _sentences([3, 12, 6])
    dev = DevSet(sentences, np.zeros(3, np.int64), None, CLASSES, TOKENIZER.framing)
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, names, targets = paddle.static.load_inference_model(str(bilstm), executor)
        logits = []
        for index in range(3):
            ids = TOKENIZER.framing.batch(sentences, np.array([index]))[0]
            feed = {name: ids if name == "input_ids" else np.zeros_like(ids) for name in names}
            logits.append(executor.run(program, feed=feed, fetch_list=targets)[0][0])
    row = measure_model("student", bilstm, dev)
    assert row.accuracy == pytest.approx(np.mean(np.argmax(logits, -1) == 0))
    assert row.agreement is None and not math.isnan(row.accuracy)
