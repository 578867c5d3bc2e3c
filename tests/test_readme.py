"""The README's Python runs as it stands there, imports included, in a folder that holds what its YAML names."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from reviews import write_reviews
from teachers import make_tiny_teacher

from paddleslim_bilstm.config import load_config

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
YAML = next(text for text in re.findall(r"^```yaml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
            if "bert_to_bilstm" in text)
QUICK = {"bert_to_bilstm": {"student": {"embed_dim": 8, "hidden_size": 8}, "train_alone": False},
         "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"epochs": 1}, "QuantBiLSTM": {"max_accuracy_drop": 1}}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with the README's ``sst2.yaml``, made quick, and what it names."""
    folder = tmp_path_factory.mktemp("readme")
    sections = {**yaml.safe_load(YAML), **QUICK}
    sections["Global"]["max_seq_length"] = 64
    (folder / "sst2.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
    make_tiny_teacher(folder / "teachers" / "minilm-sst2")
    write_reviews(folder / "data" / "sst2", train=70, dev=30)
    return folder


@pytest.fixture(scope="module")
def done(workplace) -> list[tuple[str, dict[str, Any], str]]:
    """All blocks, run one after another in the workplace: code, names it left, what it printed."""
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        patch.setenv("PADDLESLIM_BILSTM_CACHE", str(workplace / "cache"))
        for code in BLOCKS:
            names: dict[str, Any] = {"__name__": "__main__"}
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, f"README.md: {code.splitlines()[0]} ...", "exec"), names)
            results.append((code, names, printed.getvalue()))
    return results


def result(done, containing: str) -> tuple[dict[str, Any], str]:
    """Return names and output of the one block that contains a text."""
    found = [(names, printed) for code, names, printed in done if containing in code]
    assert len(found) == 1
    return found[0]


def test_the_yaml_is_valid():
    assert set(load_config(yaml.safe_load(YAML)).strategies) == {"QuantBiLSTM"}


def test_compress_shows_the_report(done):
    names, printed = result(done, "import compress")
    assert "distilled" in printed and printed.endswith(f"{names['result'].save_dir}\n")


def test_paddleslims_way_in_leaves_a_model(done, workplace):
    assert 'save_dir="out"' in "".join(BLOCKS) and (workplace / "out" / "model.pdmodel").is_file()


def test_predictor(done):
    _, printed = result(done, "Predictor(")
    assert len(printed.splitlines()) == 2


def test_serving_with_paddle_inference(done):
    names, _ = result(done, "create_predictor")
    assert names["logits"].shape == (2, 2)


def test_own_augmentation_hook(done):
    from paddleslim_bilstm.augment import check_hooks, hook_names
    from paddleslim_bilstm.config.schema import HookConfig
    result(done, "augmentation_hook")
    assert "forget" in hook_names()
    check_hooks([HookConfig("forget", {"p_forget": 0.2})])
