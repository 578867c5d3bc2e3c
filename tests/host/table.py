"""The results as a Markdown table each."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from unit_runs import counts, differences, why


def unit_table(both: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Return the table of the unit tests: a row a file, and below it each test whose outcome the plugin changed."""
    rows, changed = [], []
    for name, (plain, plugin) in both.items():
        found = differences(plain, plugin)
        changed += [f"- {name}: {line}" for line in found]
        rows.append([name, counts(plain), counts(plugin), f"**{len(found)} differ**" if found else "same", why(plain)])
    hosts = {" ".join(reversed(side["paddleslim"])) for results in both.values() for side in results
             if side["paddleslim"]}
    passing = sum(outcome == "passed" for plain, _ in both.values() for outcome, _ in plain["tests"].values())
    head = ["tests", "without the plugin", "with it", "", "why tests don't pass without it"]
    return "\n".join([*_table(head, rows), "",
                      f"{len(both)} files, {passing} tests that pass without the plugin, {len(changed)} differences; "
                      f"paddleslim {', '.join(sorted(hosts))}", *changed])


def example_table(results: Mapping[str, dict[str, Any]]) -> str:
    """Return the table of the examples: a row a run, with what each part measured or what went wrong."""
    rows = []
    for name, result in results.items():
        report = ", ".join(f"{model} {_percent(metric)}" for model, metric in result.get("report", {}).items())
        rows.append([name, *(_cell(result.get(part), done) for part, done in
                             (("compress", "done"), ("evaluate", ""), ("inference", ""))), report])
    return "\n".join(_table(["example", "run.py", "run.py --eval", "paddle_inference_eval.py", "our report"], rows))


def _cell(part: dict[str, Any] | None, done: str) -> str:
    if part is None:
        return ""
    if part["fault"]:
        return part["fault"]
    return done or (_percent(part["accuracy"]) if part["accuracy"] is not None else "printed no accuracy")


def _percent(metric: float | None) -> str:
    return "-" if metric is None else f"{100 * metric:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells):
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ")[:200] for cell in cells) + " |"
    return [line(head), "|" + "---|" * len(head), *map(line, rows)]
