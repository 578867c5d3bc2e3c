"""One file of PaddleSlim's unit tests in a process of its own: ``unit_file.py FILE RESULT SIDE``.

``SIDE`` is ``plugin``, which is imported first, or ``plain``. ``RESULT`` is JSON: ``paddleslim``, the folder and
version that was imported, and ``tests``, the outcome of each test by its id: ``[outcome, reason]``. It is written anew
after each test, so that it holds what a crash or a timeout left.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import unittest
from importlib import metadata
from pathlib import Path

LOADING = "(loading the file)"


class RecordingResult(unittest.TextTestResult):
    """Keeps ``{test id: [outcome, reason]}`` in ``outcomes`` and calls ``on_change`` whenever that changes."""

    outcomes: dict[str, list[str]]
    on_change = staticmethod(lambda: None)

    def _record(self, test, outcome, error=None):
        self.outcomes[test.id()] = [outcome, _in_a_line(error[1]) if error else ""]
        self.on_change()

    def startTest(self, test):
        super().startTest(test)
        self._record(test, "unfinished")

    def addSuccess(self, test):
        super().addSuccess(test)
        self._record(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._record(test, "failed", err)

    def addError(self, test, err):
        super().addError(test, err)
        self._record(test, "error", err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._record(test, "skipped")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._record(test, "failed" if issubclass(err[0], test.failureException) else "error", err)


def _in_a_line(error: BaseException) -> str:
    return " ".join([f"{type(error).__name__}:", *str(error).strip().splitlines()[-1:]])[:300]


def _bind(self, address, bind=socket.socket.bind):
    """As ``socket.bind``, also to a port that the same test of the other side, with the same seed, has just left."""
    self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bind(self, address)


def main(file: Path, result: Path, with_plugin: bool) -> None:
    os.chdir(file.parent)  # the files append "../" to sys.path and write beside themselves
    sys.path[0], sys.argv = str(file.parent), [file.name]
    outcomes: dict[str, list[str]] = {LOADING: ["unfinished", ""]}

    def write() -> None:
        slim = sys.modules.get("paddleslim")
        host = [str(Path(slim.__file__).parent), metadata.version("paddleslim")] if slim else None
        result.write_text(json.dumps({"paddleslim": host, "tests": outcomes}, indent=1), encoding="utf-8")

    write()
    if with_plugin:
        import paddleslim_bilstm  # noqa: F401
    import numpy as np
    random.seed(0)
    np.random.seed(0)
    socket.socket.bind = _bind
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(file.stem)
    except (Exception, SystemExit) as error:
        outcomes[LOADING] = ["error", _in_a_line(error)]
        write()
        raise
    del outcomes[LOADING]
    RecordingResult.outcomes, RecordingResult.on_change = outcomes, staticmethod(write)
    unittest.TextTestRunner(resultclass=RecordingResult, verbosity=2).run(suite)
    write()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), with_plugin=sys.argv[3] == "plugin")
