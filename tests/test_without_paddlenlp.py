"""What runs where PaddleNLP isn't installed, in a process that can't import it, and what asks for it in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_finetune import huggingface_bert, write_reviews

ROOT = Path(__file__).resolve().parents[1]
BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "paddlenlp":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from paddleslim_bilstm.cli import main
sys.exit(main(sys.argv[1:]))
"""
CONFIG = """
Global:
  model_dir: teacher
  train_file: train.tsv
  dev_file: dev.tsv
  save_dir: out
  cache_dir: cache
  max_seq_length: 32
Finetune: {model: bert, epochs: 1, learning_rate: 0.003}
bert_to_bilstm: {student: {embed_dim: 8, hidden_size: 8}}
DataAugmentation: {n_iter: 1}
TrainConfig: {train_iter: 10, eval_iter: 10}
QuantPost: {weight_bits: 8}
QuantBiLSTM: {}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A pretrained encoder, text and a configuration."""
    folder = tmp_path_factory.mktemp("without_paddlenlp")
    huggingface_bert(folder / "bert")
    write_reviews(folder / "train.tsv", 160, 1)
    write_reviews(folder / "dev.tsv", 40, 2)
    (folder / "run.yaml").write_text(CONFIG)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", BLOCK, *arguments], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.slow
def test_a_whole_run_from_a_pretrained_folder_does_without(folder):
    """Fine-tuning, labelling, training, a chain, int8 and the report."""
    done = run(folder, "compress", "run.yaml")
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "model.int8.onnx").is_file() and (folder / "out" / "steps" / "QuantPost").is_dir()
    (folder / "texts.txt").write_text("the film is good\nthe story was dull .\n")
    done = run(folder, "predict", "out", "--input", "texts.txt")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, done.stderr


@pytest.mark.parametrize("override, message", [
    ("Global.dataset=[glue,sst-2]", "Global.dataset: needs PaddleNLP"),
    ("Finetune.model=bert-base-uncased", "no folder bert-base-uncased, and a model's name needs PaddleNLP"),
    ("bert_to_bilstm.student.embeddings=glove.wiki2014-gigaword.target.word-word.dim50.en",
     "dim50.en is no file, and a TokenEmbedding's name needs PaddleNLP"),
])
def test_what_needs_it_says_so_in_one_line(folder, override, message):
    others = ["Global.train_file=null", "Global.dev_file=null"] if "dataset" in override else []
    done = run(folder, "compress", "run.yaml", "-o", override, *others, "Global.model_dir=another")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert 'pip install "paddleslim-bilstm[paddlenlp]" (Python 3.12 at most), or name' in last
