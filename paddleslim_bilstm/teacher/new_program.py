"""What an exported program of Paddle 3's own kind (PIR, ``.json``) takes, returns and embeds; see `program`."""

from __future__ import annotations

import math
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np
import paddle

from ..errors import UserError
from ..export.file_names import NEW_PROGRAM
from ..old_programs import HAS_NEW_PROGRAMS
from ..tokens.framing import Feed

_SAME_IDS = ("cast", "assign", "reshape", "squeeze", "unsqueeze", "flatten", "share_data_")


class NewProgram:
    """An inference model ``<prefix>.json`` with its ``<prefix>.pdiparams``, loaded to be read within a ``with``.

    Raises:
        UserError: this Paddle has no such programs, or the files are damaged.
    """

    def __init__(self, prefix: Path):
        self._prefix, self._file = prefix, Path(f"{prefix}{NEW_PROGRAM}")
        if not HAS_NEW_PROGRAMS:
            raise UserError(f"{self._file}: a program of Paddle 3, and Paddle {paddle.__version__} is installed; take "
                            "Paddle 3, or export a .pdmodel or an ONNX file")
        self._scope = paddle.static.Scope()
        with self.open():
            try:
                self._program, self.feeds, self.outputs = paddle.static.load_inference_model(
                    str(prefix), paddle.static.Executor(paddle.CPUPlace()))
            except Exception as error:  # ValueError, RuntimeError, EnforceNotMet, ... by what is damaged
                self._scope._remove_from_pool()
                raise UserError(f"{self._file}: can't be loaded with its .pdiparams ({type(error).__name__}), one of "
                                "them is damaged; export the model again") from None
            self._operators = list(self._program.global_block().ops)

    def __enter__(self) -> NewProgram:
        return self

    def __exit__(self, *_: Any) -> None:
        self._scope._remove_from_pool()  # or Paddle keeps the weights to the end, see `scopes`

    @contextmanager
    def open(self) -> Iterator[None]:
        """While it is open, Paddle knows this kind of programs, within `old_programs`, too."""
        with paddle.pir_utils.IrGuard(), paddle.static.scope_guard(self._scope):
            yield

    @contextmanager
    def building(self) -> Iterator[None]:
        """While it is open, operators go behind those of the program."""
        with self.open(), paddle.static.program_guard(self._program):
            yield

    @property
    def data(self) -> dict[str, Any]:
        """The value of each input by its name."""
        return {op.attrs()["name"]: op.results()[0] for op in self._operators if op.name() == "pd_op.data"}

    def inputs(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Return each input's name, type of numbers and shape, in the model's order."""
        data = self.data
        return [(name, str(data[name].dtype).rsplit(".", 1)[-1], tuple(data[name].shape)) for name in self.feeds]

    def normalised(self) -> list[Any]:
        """Return what layer normalisations return, in order."""
        return [op.results()[0] for op in self._operators if op.name() == "pd_op.layer_norm"]

    def tables(self) -> dict[str, tuple[str, int]]:
        """Return the table in which each input is looked up, if it is: the parameter's name and its rows."""
        found: dict[str, tuple[str, int]] = {}
        for ids, table in self._lookups():
            origin = _origin(ids)
            if origin.name() == "pd_op.data" and table.name() == "builtin.parameter":
                found.setdefault(origin.attrs()["name"], (_parameter(table), table.results()[0].shape[0]))
        return found

    def positions(self, feeds: Sequence[Feed], batch: Sequence[np.ndarray]) -> tuple[int, int] | None:
        """Return the rows of the table of positions and the one of the first token; None where there is no table.

        Args:
            batch: one text, an array a feed.
        """
        own = {name for name, _ in self.tables().values()}
        others = [(table.results()[0].shape[0], ids) for ids, table in self._lookups()
                  if table.name() == "builtin.parameter" and _parameter(table) not in own]
        if not others:
            return None
        rows, ids = max(others, key=lambda one: one[0])
        try:
            with self.open():
                program = self._ending_with(ids)  # a fetch beside the model's own crashes Paddle 3.3 now and then
                fetch, = (op for op in program.global_block().ops if op.name() == "pd_op.fetch")
                found = paddle.static.Executor(paddle.CPUPlace()).run(
                    program, feed={feed.name: array for feed, array in zip(feeds, batch)},
                    fetch_list=[fetch.operand_source(0)])[0]
        except Exception:  # they come from nothing that can be asked for
            return rows, 0
        return rows, max(int(np.min(found)), 0) if np.size(found) else 0

    def is_probabilities(self, output: Any) -> bool:
        """Return whether ``output`` comes from a softmax."""
        return output.get_defining_op().name() == "pd_op.softmax"

    def parameter(self, name: str) -> np.ndarray:
        """Return one parameter, float32."""
        return np.array(self._scope.find_var(name).get_tensor()).astype(np.float32)

    def count_parameters(self) -> int:
        """Return how many weights it holds; tables of whole numbers are none."""
        return sum(math.prod(op.results()[0].shape) for op in self._operators if op.name() == "builtin.parameter"
                   and "float" in str(op.results()[0].dtype))

    def metric_by(self, evaluate: Any) -> float:
        """Run an ``eval_callback`` on the program."""
        with self.open():
            return float(evaluate(paddle.static.Executor(paddle.CPUPlace()), self._program, list(self.feeds),
                                  list(self.outputs)))

    def save_with(self, outputs: Sequence[Any], prefix: Path | None = None) -> None:
        """Save the files again with these ``outputs`` alone, at ``prefix`` or in place of what was loaded."""
        with self.open():
            data = self.data
            paddle.static.save_inference_model(str(prefix or self._prefix), [data[name] for name in self.feeds],
                                               list(outputs), paddle.static.Executor(paddle.CPUPlace()),
                                               program=self._program)

    def _ending_with(self, output: Any) -> Any:
        """Return a copy of the program with ``output`` as the only one, and the inputs that it takes."""
        inputs, pending, seen = [], [output.get_defining_op()], set()
        while pending:
            op = pending.pop()
            if op.id() in seen:
                continue
            seen.add(op.id())
            if op.name() == "pd_op.data":
                inputs.append(op.results()[0])
            pending += [source.get_defining_op() for source in op.operands_source()]
        return paddle.static.normalize_program(self._program, inputs, [output])

    def _lookups(self) -> Iterator[tuple[Any, Any]]:
        """Yield ids and table, as the operator that makes it, of each embedding."""
        for op in self._operators:
            if op.name() == "pd_op.embedding":
                yield op.operand_source(0), op.operand_source(1).get_defining_op()


def _origin(value: Any) -> Any:
    """Return the operator that made ``value``, or what it is the same ids as."""
    op = value.get_defining_op()
    while op.name().rpartition(".")[-1] in _SAME_IDS:
        op = op.operand_source(0).get_defining_op()
    return op


def _parameter(table: Any) -> str:
    return table.attrs()["parameter_name"]
