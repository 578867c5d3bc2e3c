"""The script behind the table of docs/versions.md, without its environments."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "versions"))
    monkeypatch.delitem(sys.modules, "cell", raising=False)
    specification = importlib.util.spec_from_file_location("versions_script", sys.path[0] + "/__main__.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_table_says_what_failed_and_what_has_no_wheel(script):
    good = {step: "yes" for step in ("install", *script.short_form.STEPS)}
    results = {"3.13-2.6.2": {"steps": {"install": "no wheel"}},
               "3.11-2.6.2": {"steps": dict(good), "logits": [[0.5, 0.1]], "numpy": "1.26.4"},
               "3.9-3.3.1": {"steps": {**good, "QuantAware": "ValueError: odd"}, "logits": [[0.5, 0.1]]},
               "3.12-3.3.1": {"steps": dict(good), "logits": [[0.5, 0.2]]},
               "3.12-3.1.1": {"steps": {"install": "no space left"}}}
    script.compare_logits(results)
    lines = script.table(results, {"2.6.2-3.3.1": "yes"}).splitlines()
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in lines[:7]]
    assert len({len(row) for row in rows}) == 1 and rows[0][:5] == ["Python", "Paddle", "NumPy", "install", "import"]
    assert [row[:2] for row in rows[2:]] == [["3.9", "3.3.1"], ["3.11", "2.6.2"], ["3.12", "3.1.1"], ["3.12", "3.3.1"],
                                             ["3.13", "2.6.2"]]
    assert rows[3][2:] == ["1.26.4", *["yes"] * len(good)] and rows[4][3:] == ["no", *[""] * (len(good) - 1)]
    assert rows[6][3] == "no wheel"
    assert rows[2].count("no") == rows[5].count("no") == 1
    assert lines[8:11] == ["- Python 3.9, Paddle 3.3.1, QuantAware: ValueError: odd",
                           "- Python 3.12, Paddle 3.1.1, install: no space left",
                           "- Python 3.12, Paddle 3.3.1, label: logits differ by 0.1 from the first cell's"]
    assert lines[-1] == "- A student exported under Paddle 2.6.2 in the Paddle Inference of 3.3.1: yes."
