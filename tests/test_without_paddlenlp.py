"""What runs where PaddleNLP isn't installed, in a process that can't import it, and what asks for it in one line."""

from __future__ import annotations

import json
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


def run(folder: Path, *arguments: str, code: str = "sys.exit(main(sys.argv[1:]))") -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", BLOCK + code, *arguments], cwd=folder, capture_output=True, text=True,
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


NEEDS = {
    "Global.dataset=[glue,sst-2]": "Global.dataset: needs PaddleNLP",
    "Finetune.model=bert-base-uncased": "no folder bert-base-uncased, and a model's name needs PaddleNLP",
    "bert_to_bilstm.student.embeddings=glove.wiki2014-gigaword.target.word-word.dim50.en":
        "dim50.en is no file, and a TokenEmbedding's name needs PaddleNLP"}


@pytest.fixture(scope="module")
def refusals(folder) -> dict[str, tuple[str, str]]:
    """The last line that each of ``NEEDS`` ends with, and its exit code; all in one process."""
    each = [["compress", "run.yaml", "-o", override, "Global.model_dir=another",
             *(["Global.train_file=null", "Global.dev_file=null"] if "dataset" in override else [])]
            for override in NEEDS]
    done = run(folder, json.dumps(each), code="import json\nfor arguments in json.loads(sys.argv[1]):\n"
                                              "    print('exit code', main(arguments), file=sys.stderr)")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    ends = [number for number, line in enumerate(lines) if line.startswith("exit code ")]
    return {override: (lines[end - 1], lines[end]) for override, end in zip(NEEDS, ends)}


@pytest.mark.parametrize("override", NEEDS)
def test_what_needs_it_says_so_in_one_line(refusals, override):
    last, code = refusals[override]
    assert code == "exit code 2"
    assert last.startswith("error: ") and NEEDS[override] in last
    assert 'pip install "paddleslim-bilstm[paddlenlp]" (Python 3.12 at most), or name' in last
