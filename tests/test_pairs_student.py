"""The siamese student: every runtime splits a padded batch of pairs alike, and it learns to compare."""

import json
from dataclasses import replace

import numpy as np
import paddle
import pytest
from student_reference import random_student, reference_logits
from test_student import TOKENIZER, VOCABULARY, adam, plan, weights_for

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.int8 import quantize_student, round_layers
from paddleslim_bilstm.export.onnx_model import probe, write_onnx
from paddleslim_bilstm.export.paddle_model import export_paddle_model
from paddleslim_bilstm.predict.runtimes import onnx_logits, paddle_logits
from paddleslim_bilstm.report.measure import DevSet, measure_model
from paddleslim_bilstm.student.spec import StudentSpec, read_spec, write_spec
from paddleslim_bilstm.student.train import TrainingSet, metric_on, train_student
from paddleslim_bilstm.student.weights import num_features
from paddleslim_bilstm.tokens import BERT_FEEDS, Feed, Framing, Sentences
from paddleslim_bilstm.tokens.framing import TYPES
from paddleslim_bilstm.tokens.sentences import padded_rows, plan_batches, widths


@pytest.fixture(autouse=True)
def static_mode():
    paddle.enable_static()


def random_pairs(count, seed=0, longest=12):
    rng = np.random.default_rng(seed)
    return Sentences.from_sides(Sentences.from_lists(
        [rng.integers(5, VOCABULARY, rng.integers(0, longest)).tolist() for _ in range(2 * count)]))


def runtimes(folder, weights, spec):
    """The student in each of its forms, by name."""
    paddle_run = paddle_logits(export_paddle_model(folder, spec, weights))
    write_onnx(folder / "model.onnx", weights, spec, reference=paddle_run)
    write_onnx(folder / "model.int8.onnx", round_layers(weights, spec), spec)
    (folder / "int8").mkdir()
    in_int8 = export_paddle_model(folder / "int8", spec, round_layers(weights, spec, ["embedding"]))
    return {"paddle": paddle_run, "onnx": onnx_logits(folder / "model.onnx"),
            "int8": onnx_logits(folder / "model.int8.onnx"), "int8 in Paddle": paddle_logits(in_int8)}


@pytest.mark.parametrize("sizes", [{"num_layers": 1}, {"num_layers": 2, "pad_id": 3, "classes": 2},
                                   {"num_layers": 1, "pooling": "last"}, {"encoder": "bigru", "pooling": "attention"},
                                   {"matches": True}, {"matches": True, "num_layers": 2, "encoder": "bigru"}])
def test_all_runtimes_agree_with_the_book_wherever_the_second_side_begins(tmp_path, sizes):
    weights, spec = random_student(hidden_size=20, pairs=True, **sizes)
    batch, types = probe(80, spec)
    starts, used = types.argmax(axis=1), (batch != spec.pad_id).sum(axis=1)
    assert (starts[types.any(axis=1)] == 2).any() and (types.sum(axis=1) < 2).any()  # a side is empty
    by_the_book = reference_logits(weights, spec, batch, types)
    assert np.ptp(by_the_book, axis=0).min() > 0.1 and used.max() == 131
    for name, run in runtimes(tmp_path, weights, spec).items():
        np.testing.assert_allclose(run(batch, types), by_the_book, err_msg=name,
                                   atol=0.1 * np.ptp(by_the_book) if name.startswith("int8") else 1e-5)


@pytest.mark.parametrize("matches", [False, True])
def test_a_padded_batch_is_answered_as_each_pair_alone(tmp_path, matches):
    weights, spec = random_student(vocab=VOCABULARY, pairs=True, matches=matches)
    pairs = random_pairs(24)
    assert (pairs.split == 0).any() and (pairs.split == pairs.lengths).any()
    together = TOKENIZER.framing.batch(pairs, np.arange(len(pairs)))
    for name, run in runtimes(tmp_path, weights, spec).items():
        answers = run(*together)
        assert np.isfinite(answers).all()
        alone = np.concatenate([run(*TOKENIZER.framing.batch(pairs, np.array([row]))) for row in range(len(pairs))])
        np.testing.assert_allclose(answers, alone, err_msg=name,
                                   atol=0.05 * np.ptp(alone) if name.startswith("int8") else 1e-5)


def test_swapped_sides_are_the_same_but_for_the_first_two_blocks_of_features(tmp_path):
    """[h1, h2, |h1 - h2|, h1 * h2]: with these blocks of the weights swapped, too, the answers are the same."""
    weights, spec = random_student(vocab=VOCABULARY, pairs=True)
    pairs = random_pairs(9, seed=2)
    swapped = Sentences.from_sides(pairs.sides().take(np.arange(18).reshape(9, 2)[:, ::-1].reshape(-1)))
    block = num_features(spec) // 4
    first, second, rest = np.split(weights["hidden.weight"], [block, 2 * block])
    mirrored = {**weights, "hidden.weight": np.concatenate([second, first, rest])}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours, theirs = runtimes(tmp_path / "a", weights, spec), runtimes(tmp_path / "b", mirrored, spec)
    index = np.arange(9)
    for name in ("paddle", "onnx"):
        answers = ours[name](*TOKENIZER.framing.batch(pairs, index))
        np.testing.assert_allclose(theirs[name](*TOKENIZER.framing.batch(swapped, index)), answers, atol=1e-5)
        assert np.abs(ours[name](*TOKENIZER.framing.batch(swapped, index)) - answers).max() > 1e-3


@pytest.mark.parametrize("matches", [False, True])
def test_a_single_sentence_in_its_feeds_counts_as_a_pair_without_second_side(tmp_path, matches):
    weights, spec = random_student(vocab=VOCABULARY, pairs=True, matches=matches)
    ids = np.array([[2, 7, 8, 3], [2, 3, 0, 0], [2, 0, 0, 0]])
    for name, run in runtimes(tmp_path, weights, spec).items():
        answers = run(ids, np.zeros_like(ids))
        assert np.isfinite(answers).all(), name
        np.testing.assert_allclose(answers[1], run(ids[1:2, :2], np.zeros((1, 2), np.int64))[0], atol=0.01)


def test_it_learns_whether_two_sides_share_their_kind():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, (600, 2))
    sides = [rng.integers(5 + 17 * kind, 22 + 17 * kind, rng.integers(1, 6)).tolist() for kind in kinds.reshape(-1)]
    labels = (kinds[:, 0] == kinds[:, 1]).astype(np.int64)
    pairs = Sentences.from_sides(Sentences.from_lists(sides))
    spec = StudentSpec(12, 8, 1, ("other", "same"), TOKENIZER.pad_id, 32, pairs=True)
    train, dev = np.arange(450), np.arange(450, 600)
    trained = train_student(spec, weights_for(spec), TrainingSet(pairs.take(train), None, labels[train]), plan(200),
                            None, adam, metric_on(pairs.take(dev), labels[dev], TOKENIZER.framing))
    assert trained.metric > 0.95


def test_with_matches_it_learns_whether_two_sides_share_a_token():
    """Of tokens that it never met before, which nothing else can tell."""
    rng = np.random.default_rng(0)
    sides, labels = [], rng.integers(0, 2, 600)
    for number, shared in enumerate(labels):
        known = np.arange(5, 22) if number < 450 else np.arange(22, 39)
        first, second = np.split(rng.permutation(known)[:8], 2)
        if shared:
            second[rng.integers(4)] = rng.choice(first)
        sides += [first.tolist(), second.tolist()]
    pairs = Sentences.from_sides(Sentences.from_lists(sides))
    train, dev = np.arange(450), np.arange(450, 600)
    found = []
    for matches in (True, False):
        spec = StudentSpec(12, 8, 1, ("other", "same"), TOKENIZER.pad_id, 32, pairs=True, matches=matches)
        trained = train_student(spec, weights_for(spec), TrainingSet(pairs.take(train), None, labels[train]), plan(200),
                                None, adam, metric_on(pairs.take(dev), labels[dev], TOKENIZER.framing))
        found.append(trained.metric)
    assert found[0] > 0.95 and found[1] < 0.7


@pytest.mark.parametrize("scale", [0.2, 1.0, 30.0, 0.0])
def test_matches_stand_beside_int8_embeddings_of_any_range(tmp_path, scale):
    weights, spec = random_student(vocab=80, pairs=True, matches=True, hidden_size=20)
    weights["embedding"] *= np.float32(scale)
    for direction in ("forward", "backward"):
        weights[f"lstm.0.{direction}.weight_ih"][:, 1:] /= scale or 1
    batch = probe(80, spec)
    write_onnx(tmp_path / "model.onnx", weights, spec)
    expected = onnx_logits(tmp_path / "model.onnx")(*batch)
    for layers in (None, ["lstm.0"], ["embedding"]):
        write_onnx(tmp_path / "model.int8.onnx", round_layers(weights, spec, layers), spec)
        answers = onnx_logits(tmp_path / "model.int8.onnx")(*batch)
        assert np.abs(answers - expected).max() < 0.1 * np.ptp(expected), layers


def test_training_batches_hold_all_first_sides_then_all_second_sides_with_little_padding():
    pairs = Sentences.from_sides(Sentences.from_lists([[5], [6, 7], [8, 9, 10], []]))
    tokens, lengths = padded_rows(pairs, np.array([1, 0]))
    assert tokens.tolist() == [[8, 9, 10], [5, 0, 0], [0, 0, 0], [6, 7, 0]] and lengths.tolist() == [3, 1, 0, 2]
    rng = np.random.default_rng(0)
    many = Sentences.from_sides(Sentences.from_lists(
        [[5] * length for base in rng.integers(5, 40, 2000) for length in (base, base + rng.integers(0, 3))]))
    rows = [padded_rows(many, batch) for batch in plan_batches(widths(many), 64, rng)]
    assert sum(lengths.sum() for _, lengths in rows) > 0.9 * sum(tokens.size for tokens, _ in rows)


def test_int8_guard_and_student_json(tmp_path):
    weights, spec = random_student(vocab=VOCABULARY, pairs=True)
    pairs = random_pairs(60, seed=3)
    labels = reference_logits(weights, spec, *TOKENIZER.framing.batch(pairs, np.arange(60))).argmax(axis=1)
    result = quantize_student(tmp_path / "model.int8.onnx", weights, spec, pairs, labels, TOKENIZER.framing, 0.0)
    assert result.metric_before == result.metric_after == 1.0
    write_spec(tmp_path, spec)
    assert read_spec(tmp_path) == spec


@pytest.mark.parametrize("changes, message", [
    ({"matches": "yes"}, "matches is 'yes'; it must be true or false"), ({"pairs": False}, "needs pairs"),
    ({"embed_dim": 1}, "embed_dim of at least 2")])
def test_student_json_says_whether_sides_see_what_both_have(tmp_path, changes, message):
    _, spec = random_student(pairs=True, matches=True)
    write_spec(tmp_path, spec)
    assert read_spec(tmp_path) == spec
    values = json.loads((tmp_path / "student.json").read_text())
    (tmp_path / "student.json").write_text(json.dumps({**values, **changes}))
    with pytest.raises(UserError, match=message):
        read_spec(tmp_path)


BERT, ROBERTA = Framing(BERT_FEEDS, 0, 2, 3), Framing(BERT_FEEDS[:1], 1, 0, 2, separators=2)


@pytest.mark.parametrize("framing", [BERT, ROBERTA, replace(BERT, feeds=BERT_FEEDS[:1]), replace(
    BERT, feeds=(BERT_FEEDS[0], Feed("x2", TYPES, "int32")))], ids=["BERT", "RoBERTa", "ids alone", "strange name"])
def test_flops_count_both_sides_once(tmp_path, framing):
    weights, spec = random_student(pairs=True, embed_dim=12, hidden_size=8, classes=3)
    spec = replace(spec, **{name: getattr(framing, name) for name in ("feeds", "pad_id", "sep_id", "separators")})
    dev = DevSet(random_pairs(30), None, None, 3, framing)
    prefix = export_paddle_model(tmp_path, spec, weights)
    lstm = 2 * 2 * (4 * 8 * 12 + 4 * 8 * 8)  # a step of both directions
    inner = int(np.median(dev.sentences.lengths))
    assert measure_model("student", prefix, dev).flops == (inner + inner % 2) * lstm + 2 * (128 * 8 + 8 * 3)
