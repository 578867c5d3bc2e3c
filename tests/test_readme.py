"""The README's code runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest
from reviews import make_reviews
from teachers import make_tiny_teacher

from paddleslim_bilstm import compress

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def block(containing: str) -> str:
    """Return the one Python block of the README that contains a text."""
    found = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if containing in code]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    teacher = make_tiny_teacher(folder / "teacher")
    rows = make_reviews(100, seed=4)
    compress({"Global": {"model_dir": str(teacher), "save_dir": str(folder / "out"), "cache_dir": str(folder / "cache"),
                         "max_seq_length": 64},
              "bert_to_bilstm": {"student": {"embed_dim": 8, "hidden_size": 8}, "train_alone": False},
              "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"epochs": 1}, "QuantBiLSTM": {"max_accuracy_drop": 1}},
             train=rows[:70], dev=rows[70:])
    return folder / "out"


def test_serving_with_paddle_inference(output):
    names = {}
    exec(block("create_predictor").replace("output/sst2", str(output)), names)
    assert names["logits"].shape == (2, 2)


def test_predictor(output, capsys):
    exec(block("Predictor(").replace("output/sst2", str(output)), {})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_own_augmentation_hook():
    from paddleslim_bilstm.augment import check_hooks, hook_names
    from paddleslim_bilstm.config.schema import HookConfig
    exec(block("augmentation_hook"), {"np": np})
    assert "forget" in hook_names()
    check_hooks([HookConfig("forget", {"p_forget": 0.2})])
