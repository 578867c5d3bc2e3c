"""The table of ``docs/versions.md``: builds an environment for each pair of Python and Paddle and tries all in it.

``python tests/versions FOLDER`` goes on where it was: what was tried is in a JSON file a cell in FOLDER, where 5 GB
must be free. It ends with the table, put into docs/versions.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cell as short_form
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "versions.md"
BEGIN, END = "<!-- tests/versions -->\n", "<!-- end of tests/versions -->\n"
PYTHONS, PADDLES = ("3.9", "3.11", "3.12", "3.13"), ("2.6.2", "3.1.1", "3.3.1")
MOVED, MOVED_WITH = ("2.6.2", "3.3.1"), "3.11"  # the Paddles between which a student is carried, and the Python
NO_WHEEL = "no wheel"
_SAME = 1e-4
_TIMEOUT_S = 3600


def main() -> int:
    """Try what is left to try, write the table, and return 1 where a cell that was asked for has failed."""
    parser = argparse.ArgumentParser(prog="python tests/versions", description=__doc__)
    parser.add_argument("folder", type=Path, help="where environments and results go")
    parser.add_argument("--python", nargs="*", default=[], metavar="VERSION=PATH",
                        help="interpreters that are not called python3.9 and so on")
    parser.add_argument("--only", nargs="*", default=[], metavar="PYTHON-PADDLE",
                        help="cells such as 3.13-3.3.1; docs/versions.md stays as it is")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    paths = dict(each.split("=", 1) for each in arguments.python)
    cells = arguments.only or [f"{python}-{paddle}" for python in PYTHONS for paddle in PADDLES]
    for cell in cells:
        python, paddle = cell.split("-")
        result = folder / f"{cell}.json"
        if not result.is_file():
            print(f"Python {python}, Paddle {paddle}", flush=True)
            result.write_text(json.dumps(try_cell(folder, cell, paths.get(python, f"python{python}"), paddle)))
        if cell not in [f"{MOVED_WITH}-{paddle}" for paddle in MOVED]:
            shutil.rmtree(folder / f"env-{cell}", ignore_errors=True)
    results = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    compare_logits(results)
    moves = {f"{source}-{target}": try_move(folder, source, target) for source, target in (MOVED, MOVED[::-1])
             if all(f"{MOVED_WITH}-{paddle}" in results for paddle in MOVED)}
    if arguments.only:
        results = {cell: result for cell, result in results.items() if cell in cells}
        print(table(results, moves), end="")
        answers = {said for result in results.values() for said in result["steps"].values()}
        return int(not answers <= {"yes", NO_WHEEL})
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table(results, moves)}{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


def try_cell(folder: Path, cell: str, python: str, paddle: str) -> dict[str, Any]:
    """Install the package and this Paddle with one pip command, and take the steps of the short form."""
    environment, work = folder / f"env-{cell}", folder / f"work-{cell}"
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([python, "-m", "venv", "--without-pip", str(environment)], check=True)
    done = subprocess.run([python, "-m", "pip", "--python", str(environment), "install", "--quiet",
                           "--disable-pip-version-check", f"{ROOT}[compress]", f"paddlepaddle=={paddle}"],
                          capture_output=True, text=True)
    if done.returncode:
        no_wheel = f"No matching distribution found for paddlepaddle=={paddle}" in done.stderr
        return {"steps": {"install": NO_WHEEL if no_wheel else done.stderr.strip().splitlines()[-1]}}
    with open(folder / f"{cell}.log", "w") as log:
        code = subprocess.run([*_short_form(folder, cell), "all", str(work)], stdout=log, stderr=log, cwd=folder,
                              timeout=_TIMEOUT_S).returncode
    result = json.loads((work / "steps.json").read_text())
    if code:
        result["steps"][short_form.STEPS[len(result["steps"])]] = f"the process ended with {code}"
    return {**result, "steps": {"install": "yes", **result["steps"]}}


def try_move(folder: Path, source: str, target: str) -> str:
    """Return what became of a student that one Paddle exported, in the other's Paddle Inference."""
    student = folder / f"work-{MOVED_WITH}-{source}" / "student"
    command = [*_short_form(folder, f"{MOVED_WITH}-{target}"), "answers", str(student)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]


def _short_form(folder: Path, cell: str) -> list[str]:
    return [str(folder / f"env-{cell}" / "bin" / "python"), str(Path(short_form.__file__).resolve())]


def compare_logits(results: dict[str, dict[str, Any]]) -> None:
    """Say of each cell whose teacher, of the same weights everywhere, answers otherwise than the first cell's."""
    reference = None
    for cell in sorted(results, key=_numbers):
        logits = np.array(results[cell].get("logits", []))
        if len(logits):
            reference = logits if reference is None else reference
            furthest = np.abs(logits - reference).max()
            if furthest > _SAME:
                results[cell]["steps"]["label"] = f"logits differ by {furthest:.2g} from the first cell's"


def table(results: dict[str, dict[str, Any]], moves: dict[str, str]) -> str:
    """Return the page's part in Markdown: a row a cell, what failed below, and what became of students that moved."""
    steps = ("install", *short_form.STEPS)
    lines = [f"| Python | Paddle | NumPy | {' | '.join(steps)} |", f"|---|---|---|{'---|' * len(steps)}"]
    problems = []
    for cell in sorted(results, key=_numbers):
        found = results[cell]["steps"]
        python, paddle = cell.split("-")
        if found["install"] == NO_WHEEL:
            lines.append(f"| {python} | {paddle} | | {NO_WHEEL} |{' |' * len(short_form.STEPS)}")
            continue
        problems += [f"- Python {python}, Paddle {paddle}, {name}: {said}" for name, said in found.items()
                     if said != "yes"]
        answers = [{"yes": "yes", None: ""}.get(found.get(name), "no") for name in steps]
        lines.append(f"| {python} | {paddle} | {results[cell].get('numpy', '')} | {' | '.join(answers)} |")
    lines += ["", *problems, ""] if problems else [""]
    lines += [f"- A student exported under Paddle {move.replace('-', ' in the Paddle Inference of ')}: {said}."
              for move, said in moves.items()]
    return "\n".join(lines) + "\n"


def _numbers(cell: str) -> list[int]:
    """``"3.11-2.6.2" -> [3, 11, 2, 6, 2]``."""
    return [int(number) for number in cell.replace("-", ".").split(".")]


if __name__ == "__main__":
    sys.exit(main())
