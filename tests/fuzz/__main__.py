"""The long fuzzing run, from the root of the project:

    python tests/fuzz --cases 100000 [--seed 0] [--only "command line"]

spreads the cases evenly over the targets and prints the counts. The first failure of a target ends it, is shown with
its smallest case, and makes the exit code 1. The tests run the same targets for a moment.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from fuzz.run import fuzz  # noqa: E402
from fuzz.targets import TARGETS  # noqa: E402
from fuzz.workshop import Workshop  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the settings, the data files, the predictor and the commands.")
    parser.add_argument("--cases", type=int, default=100_000, help="in all, over all targets (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS, help="one target")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    targets = [arguments.only] if arguments.only else list(TARGETS)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PADDLESLIM_BILSTM_CACHE"] = str(Path(folder) / "cache")
        workshop = Workshop(Path(folder))
        os.chdir(folder)
        failed = [name for name in targets
                  if not _run(name, workshop, -(-arguments.cases // len(targets)), arguments.seed)]
        os.chdir("/")
    return 1 if failed else 0


def _run(name: str, workshop: Workshop, cases: int, seed: int) -> bool:
    started = time.perf_counter()
    try:
        outcomes = fuzz(TARGETS[name], workshop, cases, seed)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        traceback.print_exc()
        print(f"{name}: FAILED", flush=True)
        return False
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{name}: {sum(outcomes.values()):,} cases ({counts}) in {time.perf_counter() - started:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
