"""PaddleSlim's own unit tests and examples, with this package in them.

    PADDLESLIM_BILSTM_HOST_CHECKOUT=PaddleSlim python tests/host output/host
    ... python tests/host output/host --teacher teachers/minilm-sst2 --data data/sst2 --rounds 20 --epochs 2
    ... python tests/host output/host --only unit --files act/test_act_api.py

The second is SST-2 in full. The checkout is PaddleSlim's repository at a version near 2.6.0; what is tested is the
installed paddleslim. The checkout is left as it is: unit tests run in copies, twice, with the plugin imported and
without (`unit_runs`), examples on local data (`example_runs`). Packages that PaddleSlim would install with pip in the
midst of a test are refused.

The first argument is the folder for results. Give the same command again to go on: what is finished isn't repeated,
unless the package, the checkout or the sizes have changed. Every process has a time limit, and they run one at a time.
The tables go to the screen and to ``table.md``. The exit status is 1 where the plugin changes a unit test's outcome or
an example's part fails.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from example_runs import HUGGING_FACE, NLP, Sizes, example_names, run_examples
from table import example_table, unit_table
from unit_runs import differences, run_unit_files, unit_files

CHECKOUT = "PADDLESLIM_BILSTM_HOST_CHECKOUT"


def main(arguments: list[str] | None = None) -> int:
    options = _options().parse_args(arguments)
    if not os.environ.get(CHECKOUT):
        sys.exit(f"name the checkout of PaddleSlim in ${CHECKOUT}")
    checkout, results = Path(os.environ[CHECKOUT]).resolve(), Path(options.results).resolve()
    tables, changed, failed = [], 0, 0
    if options.only != "examples":
        both = {}

        def on_file(name, *sides):
            both[name] = sides
            print(f"{name}: {len(differences(*sides)) or 'no'} differences", flush=True)
        run_unit_files(checkout, results, options.limit_s, options.files or unit_files(checkout), on_file)
        tables.append(unit_table(both))
        changed = sum(len(differences(*sides)) for sides in both.values())
    if options.only != "unit":
        runs = {}

        def on_example(name, result):
            runs[name] = result
            print(f"{name}: {', '.join(_faults(result)) or 'done'}", flush=True)
        sizes = Sizes(options.teacher and str(Path(options.teacher).resolve()) or Sizes.teacher,
                      options.data and str(Path(options.data).resolve()), options.rows, options.rounds,
                      options.epochs, options.batch_size)
        run_examples(checkout, results, sizes, options.example_limit_s,
                     [name for name in example_names() if name.split()[0] in options.examples], on_example)
        tables.append(example_table(runs))
        failed = sum(bool(_faults(result)) for result in runs.values())
    text = "\n\n".join(tables) + "\n"
    (results / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    return int(bool(changed or failed))


def _faults(result: dict) -> list[str]:
    return [f"{part}: {told['fault']}" for part, told in result.items() if isinstance(told, dict) and told.get("fault")]


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python tests/host", description=__doc__.splitlines()[0])
    parser.add_argument("results", help="folder for the results")
    parser.add_argument("--only", choices=["unit", "examples"])
    parser.add_argument("--files", nargs="+", metavar="FILE", help="unit tests below the checkout's tests/; all")
    parser.add_argument("--limit-s", type=float, default=600, help="seconds for a file of unit tests")
    parser.add_argument("--examples", nargs="+", default=[NLP.name, HUGGING_FACE.name],
                        choices=[NLP.name, HUGGING_FACE.name],
                        help="both; the second pads every sentence to 128 tokens, so its teacher labels slowly")
    parser.add_argument("--teacher", help="fine-tuned BERT, Hugging Face or PaddleNLP; a tiny one is made")
    parser.add_argument("--data", help="folder with its train.tsv and dev.tsv, columns sentence and label 0 or 1")
    parser.add_argument("--rows", type=int, default=Sizes.rows, help="of train.tsv; all")
    parser.add_argument("--rounds", type=int, default=Sizes.rounds, help="of augmentation")
    parser.add_argument("--epochs", type=int, default=Sizes.epochs, help="of the student")
    parser.add_argument("--batch-size", type=int, default=Sizes.batch_size, help="of the example's loaders")
    parser.add_argument("--example-limit-s", type=float, default=4 * 3600, help="seconds for a script of an example")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the running process is ended, too
    sys.exit(main())
