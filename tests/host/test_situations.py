"""What PaddleSlim's users have in their scripts, whole runs of ``AutoCompression`` on a tiny BERT.

Two kinds of script: those of PaddleNLP's models (ids and types of any width) and those of Hugging Face's (``x0`` ids,
``x1`` mask, ``x2`` types, padded to a fixed width). Both write more into their config than PaddleSlim reads.
On Paddle 3 they do all of it within ``old_programs()``, as docs/versions.md says.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddleslim.auto_compression import AutoCompression
from reviews import make_reviews
from teacher_folders import write_teacher_folders

from paddleslim_bilstm.old_programs import old_programs

WIDTH = 32
TEXTS = [text for text, _ in make_reviews(140, seed=3)]
TRAIN, DEV = TEXTS[:100], TEXTS[100:]
PRUNING = {"UnstructurePrune": {"prune_mode": "ratio", "ratio": 0.5}}
CALIBRATION = {"QuantPost": {"batch_nums": 1, "quantize_op_types": ["matmul_v2"]}}


@dataclass(frozen=True)
class Script:
    """A script around an exported BERT: it makes the loaders and the evaluation, and calls ``AutoCompression``.

    Its labels of ``DEV`` are the BERT's own answers, so that the BERT, which nobody trained, is always right.
    """

    model_dir: Path
    model_filename: str
    params_filename: str
    feeds: tuple[str, ...]
    width: int | None = None

    def batch(self, texts) -> list[np.ndarray]:
        """Return ids, the mask if the model has one, and types, as the examples' tokenizer makes them."""
        from paddlenlp.transformers import BertTokenizer
        tokenizer = BertTokenizer.from_pretrained(str(self.model_dir))
        encoded = tokenizer(texts, padding="max_length" if self.width else True, max_length=self.width,
                            return_attention_mask=True)
        masks = ["attention_mask"] * (len(self.feeds) == 3)
        return [np.array(encoded[name], np.int64) for name in ("input_ids", *masks, "token_type_ids")]

    def loader(self, texts):
        with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
            feeds = [paddle.static.data(name, [-1, -1], "int64") for name in self.feeds]
        return paddle.io.DataLoader(texts, feed_list=feeds, batch_size=20, return_list=False, collate_fn=self.batch,
                                    places=paddle.CPUPlace())

    def load(self, folder: Path):
        """Return ``(executor, program, feed names, outputs)`` of a model under this script's file names."""
        executor = paddle.static.Executor(paddle.CPUPlace())
        return executor, *paddle.static.load_inference_model(
            str(folder), executor, model_filename=self.model_filename, params_filename=self.params_filename)

    def answers(self, executor, program, feed_names, fetch_targets) -> np.ndarray:
        """Return the classes that a model gives ``DEV``, fed by position with what the loader yields by name."""
        answers = []
        for batch, in self.loader(DEV)():
            feed = {model: np.array(batch[own]) for model, own in zip(feed_names, self.feeds)}
            answers.append(executor.run(program, feed=feed, fetch_list=fetch_targets)[0].argmax(1))
        return np.concatenate(answers)

    def evaluation(self):
        labels = self.answers(*self.load(self.model_dir))
        return lambda *model: float((self.answers(*model) == labels).mean())

    def measured(self, folder: Path) -> float:
        """Return what the script's evaluation says of the model in ``folder``, which is to take the same feeds."""
        evaluate = self.evaluation()  # before the other model: both are loaded into the same scope
        model = self.load(folder)
        assert tuple(model[2]) == self.feeds
        return evaluate(*model)

    def compress(self, out: Path, sections: dict, train: dict | None = None, **global_) -> list[tuple[str, float]]:
        """Run the script; return the report's models with their metrics, in order."""
        config = {"Global": {"max_seq_length": WIDTH, **global_},
                  "bert_to_bilstm": {"student": {"embed_dim": 8, "hidden_size": 8}},
                  "DataAugmentation": {"n_iter": 1}, **sections,
                  "TrainConfig": {"epochs": 1, "eval_iter": 10, **(train or {})}}
        AutoCompression(model_dir=str(self.model_dir), model_filename=self.model_filename,
                        params_filename=self.params_filename, save_dir=str(out), config=config,
                        train_dataloader=self.loader(TRAIN), eval_callback=self.evaluation(),
                        eval_dataloader=self.loader(DEV)).compress()
        models = json.loads((out / "report.json").read_text(encoding="utf-8"))["models"]
        return [(model["name"], model["metric"]) for model in models]


@pytest.fixture(scope="module", autouse=True)
def as_on_paddle_2():
    with old_programs():
        yield


@pytest.fixture(scope="module", autouse=True)
def one_cache(tmp_path_factory):
    """The same student for all tests: they differ in what stands around it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDLESLIM_BILSTM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def teachers(tiny_teacher, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teachers")
    checkpoint = tiny_teacher(seed=2)  # one whose answers are of both classes
    write_teacher_folders(str(checkpoint), folder, WIDTH)
    return folder


@pytest.fixture(scope="module")
def nlp(teachers) -> Script:
    return Script(teachers / "nlp", "inference.pdmodel", "inference.pdiparams", ("input_ids", "token_type_ids"))


@pytest.fixture(scope="module")
def hugging_face(teachers) -> Script:
    return Script(teachers / "pytorch_huggingface", "model.pdmodel", "model.pdiparams", ("x0", "x1", "x2"), WIDTH)


def no_decay(name: str) -> bool:
    return "b_0" in name or "norm" in name


SCRIPTS_OWN = {"dataset": "glue", "task_name": "sst-2", "batch_size": 20, "padding": "max_length",
               "input_names": ["x0", "x1", "x2"], "return_attention_mask": True}
OPTIMIZER = {"optimizer_builder": {"optimizer": {"type": "AdamW"}, "weight_decay": 0.01,
                                   "apply_decay_param_fun": no_decay}}


@pytest.mark.parametrize("sections", [{}, {**PRUNING, **CALIBRATION}], ids=["alone", "pruned_and_calibrated"])
def test_a_script_of_paddlenlps_models(nlp, tmp_path, sections):
    """With a function for PaddleSlim's optimizer, the BERT's metric, and keys in ``Global`` that are the script's own.

    The student is far from the BERT's metric, at which PaddleSlim's pruning would stop.
    """
    models = nlp.compress(tmp_path / "out", sections, {**OPTIMIZER, "origin_metric": 1.0}, **SCRIPTS_OWN)
    assert [name for name, _ in models] == ["teacher", "distilled", *sections]
    assert models[0][1] == 1.0 and models[1][1] < 0.9
    assert nlp.measured(tmp_path / "out") == pytest.approx(models[-1][1])


def test_a_script_of_hugging_faces_models(hugging_face, tmp_path):
    models = hugging_face.compress(tmp_path / "out", CALIBRATION, OPTIMIZER, **SCRIPTS_OWN)
    assert [name for name, _ in models] == ["teacher", "distilled", "QuantPost"]
    assert hugging_face.measured(tmp_path / "out") == pytest.approx(models[-1][1])


def test_a_model_with_keys_and_values_beside_its_logits(tiny_teacher, tmp_path):
    """As PaddleNLP exports a checkpoint whose config says ``use_cache``."""
    caching = tiny_teacher("exported", seed=2, use_cache=True)
    script = Script(caching, "inference.pdmodel", "inference.pdiparams", ("input_ids", "token_type_ids"))
    models = script.compress(tmp_path / "out", {})
    assert [name for name, _ in models] == ["teacher", "distilled"]
    assert models[0][1] == 1.0 and models[1][1] < 0.9


@pytest.mark.parametrize("text", [
    "QuantPost:\n  batch_nums: 1\n  quantize_op_types: !!python/tuple [matmul_v2]\n",
    "Global:\n  task: sst-2\n  seed: from the clock\nQuantPost: {batch_nums: 1, quantize_op_types: [matmul_v2]}\n"],
    ids=["a_tag_of_pythons", "our_keys_with_another_meaning"])
def test_a_config_without_our_sections_is_paddleslims_alone(nlp, tmp_path, text):
    shutil.copytree(nlp.model_dir, tmp_path / "model")  # PaddleSlim writes into it
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    AutoCompression(model_dir=str(tmp_path / "model"), model_filename=nlp.model_filename,
                    params_filename=nlp.params_filename, save_dir=str(tmp_path / "out"),
                    config=str(tmp_path / "own.yaml"), train_dataloader=nlp.loader(TRAIN),
                    eval_callback=nlp.evaluation()).compress()
    _, program, feed_names, _ = nlp.load(tmp_path / "out")
    assert tuple(feed_names) == nlp.feeds
    assert any("quantize" in operator.type for operator in program.global_block().ops)
