"""The harness tells what the plugin changes, and runs the checkout that is named in the environment."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import pytest

from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.config.source import read_source, section_names
from paddleslim_bilstm.errors import UserError

main = runpy.run_path(str(Path(__file__).with_name("__main__.py")))["main"]

CHECKOUT = "PADDLESLIM_BILSTM_HOST_CHECKOUT"
TOLD_APART = """
import sys, time, unittest
class Test(unittest.TestCase):
    def test_alone(self):
        self.assertNotIn("paddleslim_bilstm", sys.modules)
    def test_beside_the_file(self):
        open("written.txt", "w").close()
"""
BROKEN = "import no_such_module\n"
ENDLESS = """
import time, unittest
class Test(unittest.TestCase):
    def test_first(self):
        pass
    def test_second(self):
        time.sleep(60)
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with three files of tests."""
    tests = tmp_path / "checkout" / "tests"
    tests.mkdir(parents=True)
    for name, source in (("test_apart.py", TOLD_APART), ("test_broken.py", BROKEN), ("test_endless.py", ENDLESS)):
        (tests / name).write_text(source)
    monkeypatch.setenv(CHECKOUT, str(tests.parent))
    return tests.parent


def run(checkout, results, capsys, *options):
    status = main([str(results), "--only", "unit", *options])
    return status, capsys.readouterr().out


def test_an_outcome_that_the_plugin_changes_is_flagged(checkout, tmp_path, capsys):
    status, out = run(checkout, tmp_path / "results", capsys, "--files", "test_apart.py")
    assert status == 1
    assert "| test_apart.py | 2 passed | 1 passed, 1 failed | **1 differ** |" in out
    assert "test_alone: passed without" in out
    assert out.strip().endswith((tmp_path / "results" / "table.md").read_text().strip())
    assert sorted(path.name for path in (checkout / "tests").iterdir()) == \
        ["test_apart.py", "test_broken.py", "test_endless.py"]


def test_what_fails_on_both_sides_is_the_same_and_says_why(checkout, tmp_path, capsys):
    status, out = run(checkout, tmp_path / "results", capsys, "--files", "test_broken.py")
    assert status == 0
    assert "| test_broken.py | 1 error | 1 error | same | " in out and "no_such_module" in out


def test_a_file_without_end_is_cut_and_not_run_again(checkout, tmp_path, capsys):
    limit = ["--files", "test_endless.py", "--limit-s", "4"]
    status, out = run(checkout, tmp_path / "results", capsys, *limit)
    assert status == 0
    assert re.search(r"timed out \| .*timed out \| same", out)
    kept = tmp_path / "results" / "unit" / "plain" / "test_endless.json"
    before = kept.stat().st_mtime_ns
    run(checkout, tmp_path / "results", capsys, *limit)
    assert kept.stat().st_mtime_ns == before
    (checkout / "tests" / "test_endless.py").write_text(ENDLESS.replace("60", "61"))
    run(checkout, tmp_path / "results", capsys, *limit)
    assert kept.stat().st_mtime_ns > before


@pytest.mark.skipif(not os.environ.get(CHECKOUT), reason=f"needs a checkout of PaddleSlim, named in ${CHECKOUT}")
def test_the_hosts_own_tests_and_examples(tmp_path):
    """Hours long; $PADDLESLIM_BILSTM_HOST_RESULTS names a folder to go on in."""
    assert main([os.environ.get("PADDLESLIM_BILSTM_HOST_RESULTS", str(tmp_path))]) == 0


@pytest.mark.skipif(not os.environ.get(CHECKOUT), reason=f"needs a checkout of PaddleSlim, named in ${CHECKOUT}")
def test_every_configuration_of_the_examples_goes_with_our_section_or_says_why_not():
    configs = [path for path in Path(os.environ[CHECKOUT], "example", "auto_compression").rglob("*.y*ml")
               if {"Global", "TrainConfig"} & set(section_names(path))]
    refusals = []
    for path in configs:
        written = read_source(path)
        written.values["bert_to_bilstm"] = None
        try:
            load_config(written, inside_paddleslim=True, has_loader=True)
        except UserError as refusal:
            refusals.append(str(refusal))
    assert len(configs) > 80 and len(refusals) < len(configs) / 5
    assert all(re.search(r"yaml:\d+: (ChannelPrune|TransformerPrune): ", refusal) for refusal in refusals)
