"""Teachers that Paddle 3 has saved as its own programs, ``.json``."""

import shutil

import numpy as np
import paddle
import pytest
from teachers import VOCABULARY
from test_teacher_load import TEXTS, answers, refused

from paddleslim_bilstm import compress
from paddleslim_bilstm.old_programs import HAS_NEW_PROGRAMS
from paddleslim_bilstm.report.costs import teacher_parameters
from paddleslim_bilstm.stages import _metric_by
from paddleslim_bilstm.teacher import load_teacher

pytestmark = pytest.mark.skipif(not HAS_NEW_PROGRAMS, reason="Paddle 2 has no programs of this kind")


@pytest.fixture(scope="module")
def folders(tiny_teacher):
    return {kind: tiny_teacher(kind, label_names=["negative", "positive"]) for kind in ("json", "exported")}


def test_it_answers_as_the_pdmodel_of_the_same_classifier(folders, tmp_path):
    assert not list(folders["json"].glob("*.pdmodel"))
    new, old = (load_teacher(folders[kind], tmp_path) for kind in ("json", "exported"))
    assert new.model_file.suffix == ".json" and old.model_file.suffix == ".pdmodel"
    np.testing.assert_allclose(answers(new), answers(old), atol=1e-5)
    sentences = new.tokenizer.encode(TEXTS)
    np.testing.assert_array_equal(new.logits(sentences, threads=2), new.logits(sentences, threads=1))
    np.testing.assert_array_equal(new.embeddings, old.embeddings)
    assert new.embeddings.shape[0] == len(VOCABULARY)
    assert [feed.role for feed in new.framing.feeds] == [feed.role for feed in old.framing.feeds]
    assert (new.max_length, new.num_classes) == (old.max_length, old.num_classes)
    assert teacher_parameters(new) == teacher_parameters(old)
    np.testing.assert_allclose(new.hinting().logits(sentences), old.hinting().logits(sentences), atol=1e-4)
    assert [path.name for path in new.prefix.parent.glob("hints*")] == ["hints.json"]


class Masked(paddle.nn.Layer):
    """x0 are ids, x1 the mask, x2 the types; returns embeddings beside the logits."""

    def __init__(self):
        super().__init__()
        self.words, self.types = paddle.nn.Embedding(len(VOCABULARY), 8), paddle.nn.Embedding(2, 8)
        self.output = paddle.nn.Linear(8, 2)

    def forward(self, x0, x1, x2):
        embedded = self.words(x0) + self.types(x2)
        shares = paddle.unsqueeze(paddle.cast(x1, "float32"), -1)
        return embedded, self.output(paddle.sum(embedded * shares, axis=1) / paddle.sum(shares, axis=1))


def test_logits_are_found_among_other_outputs_and_a_mask_among_the_feeds(tmp_path):
    paddle.disable_static()
    feeds = [paddle.static.InputSpec([None, None], "int64", name) for name in ("x0", "x1", "x2")]
    paddle.jit.save(paddle.jit.to_static(Masked(), feeds, full_graph=True), str(tmp_path / "many" / "model"))
    paddle.enable_static()
    (tmp_path / "many" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    teacher = load_teacher(tmp_path / "many", tmp_path / "work")
    assert teacher.model_file.suffix == ".json"
    assert [feed.role for feed in teacher.framing.feeds] == ["ids", "mask", "types"]
    assert answers(teacher).shape == (len(TEXTS), 2)
    alone = np.concatenate([answers(teacher, [text]) for text in TEXTS])
    np.testing.assert_allclose(answers(teacher), alone, atol=1e-5)


class BehindPadding(paddle.nn.Layer):
    """As in RoBERTa, the first token's position is 2."""

    def __init__(self):
        super().__init__()
        self.words, self.positions = paddle.nn.Embedding(len(VOCABULARY), 8), paddle.nn.Embedding(64, 8)
        self.output = paddle.nn.Linear(8, 2)

    def forward(self, input_ids):
        positions = paddle.cumsum(paddle.ones_like(input_ids), axis=1) + 1
        return self.output((self.words(input_ids) + self.positions(positions)).mean(axis=1))


def test_the_first_tokens_position_is_found(tmp_path):
    paddle.disable_static()
    feed = paddle.static.InputSpec([None, None], "int64", "input_ids")
    paddle.jit.save(paddle.jit.to_static(BehindPadding(), [feed], full_graph=True), str(tmp_path / "far" / "model"))
    paddle.enable_static()
    (tmp_path / "far" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    assert load_teacher(tmp_path / "far", tmp_path / "work").max_length == 64 - 2


def test_a_callback_gets_the_program(folders, tmp_path):
    teacher = load_teacher(folders["json"], tmp_path)
    batch = teacher.framing.batch(teacher.tokenizer.encode(TEXTS), np.arange(len(TEXTS)))

    def evaluate(executor, program, feed_names, fetch_targets):
        logits, = executor.run(program, feed=dict(zip(feed_names, batch)), fetch_list=fetch_targets)
        return float(logits.sum())
    assert abs(_metric_by(evaluate, teacher) - answers(teacher).sum()) < 1e-3


def test_damaged_files_are_refused(folders, tmp_path):
    folder = shutil.copytree(folders["json"], tmp_path / "cut")
    weights = folder / "inference.pdiparams"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:500])
    refused(folder, tmp_path, "inference.pdiparams: is cut or damaged")
    weights.write_bytes(whole)
    (folder / "inference.json").write_text("{}")
    refused(folder, tmp_path, "inference.json: can't be loaded with its .pdiparams")


def test_a_whole_run(folders, review_files, tmp_path):
    result = compress({
        "Global": {"model_dir": str(folders["json"]), "train_file": str(review_files / "train.tsv"),
                   "dev_file": str(review_files / "dev.tsv"), "save_dir": str(tmp_path / "out"),
                   "cache_dir": str(tmp_path / "cache"), "max_seq_length": 64},
        "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16}, "train_alone": False},
        "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"epochs": 1}})
    teacher = result.report.models[0]
    assert teacher.flops is None and teacher.size_bytes > 0 and teacher.latency_ms.p50 > 0 and teacher.parameters > 0
    assert (tmp_path / "out" / "model.pdmodel").is_file() and not (tmp_path / "out" / "model.json").exists()
