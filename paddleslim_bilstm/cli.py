"""``paddleslim-bilstm COMMAND``: picks the command, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import shlex
import sys
import warnings
from dataclasses import dataclass
from typing import Sequence

from . import __version__, ranks
from .errors import UserError
from .host.versions import UnsupportedVersion
from .stopping import Terminated
from .storage import is_write_error

USER_ERROR = 2
INTERRUPTED, TERMINATED = 130, 143  # as shells count a process that SIGINT or SIGTERM ended

_EXTRAS = {"paddle": "cpu", "paddleslim": "cpu", "pydantic": "cpu", "paddlenlp": "paddlenlp", "onnxruntime": "predict",
           **dict.fromkeys(("filelock", "jieba", "jinja2", "matplotlib", "onnx", "pkg_resources", "textblob"),
                           "compress")}


@dataclass(frozen=True)
class Command:
    """A subcommand: its one-line summary, and the module with ``add_arguments(parser)`` and ``run(arguments) -> int``.

    The module is imported only when the command is picked, so that ``predict`` doesn't load Paddle. ``goes_on`` says
    that the command takes up what an interrupted run has left.
    """

    summary: str
    module: str
    goes_on: bool = False


COMMANDS = {
    "init": Command("Look at your data and write a configuration for it", "commands.init"),
    "compress": Command("Distil a BERT classifier into a Bi-LSTM", "commands.compress", goes_on=True),
    "augment": Command("Write the texts to label where the teacher is elsewhere", "commands.augment", goes_on=True),
    "finetune": Command("Fine-tune a pretrained BERT into a teacher", "commands.finetune", goes_on=True),
    "quickstart": Command("Make a small corpus and a teacher, and distil that", "commands.quickstart", goes_on=True),
    "predict": Command("Label texts with a distilled Bi-LSTM", "commands.predict"),
    "config": Command("Check a configuration and print it in full, or print the JSON schema", "commands.config"),
    "cache": Command("List or clear what earlier runs have computed", "commands.cache"),
    "evaluate": Command("Measure a distilled Bi-LSTM on labelled text", "commands.evaluate"),
    "explain": Command("List the texts on which a student and its teacher differ", "commands.explain"),
}

_EXAMPLES = """\
examples:
  paddleslim-bilstm init reviews.csv --teacher teachers/mine
  paddleslim-bilstm compress configs/sst2.yaml
  paddleslim-bilstm compress configs/sst2.yaml -o Global.save_dir=out DataAugmentation.n_iter=3
  paddleslim-bilstm predict out --input reviews.txt

paddleslim-bilstm COMMAND --help lists the options of a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 2 after an error of the user's, 130 and 143 after a signal."""
    argv = list(sys.argv[1:] if argv is None else argv)
    _make_output_writable()
    _show_messages()
    _quieten_libraries()
    try:
        arguments = _parser(argv).parse_args(argv)
        code = arguments.run(arguments)
        sys.stdout.flush()  # here, where what fails is told
        return code
    except UserError as error:
        return _fail(f"{error}{_without_fresh(argv)}")
    except ranks.OtherRankFailed as other:
        _fail(f"{other}{_without_fresh(argv)}")
        return other.code
    except UnsupportedVersion as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        return _fail(f"{error.name} is not installed: pip install \"paddleslim-bilstm[{_EXTRAS[error.name]}]\"")
    except KeyboardInterrupt as stop:
        if ranks.is_first():
            print(f"interrupted{f'; this goes on: {_again(argv)}' if _goes_on(argv) else ''}", file=sys.stderr)
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except BrokenPipeError:  # the reader, such as `| head`, has what it wanted
        _drop_output()
        return USER_ERROR if _goes_on(argv) else 0
    except ImportError as error:
        if "cannot open shared object file" not in str(error):
            raise
        return _fail(f"{error}: a library of the system is missing; install it (libgomp.so.1 is in libgomp1)")
    except MemoryError as error:  # Paddle's, too, of a GPU
        said = f" ({' '.join(lines[-1].split())[:200]})" if (lines := str(error).strip().splitlines()) else ""
        return _fail(f"the memory is full{said}; lower Global.max_seq_length or the batch_size of bert_to_bilstm or "
                     "Finetune (--batch-size of predict and evaluate), or take a machine with more")
    except OSError as error:  # a name that is too long, no permission, a full disk
        if error.filename is None and is_write_error(error):
            _drop_output()
            return _fail(f"{error.strerror} where this command writes; make room, or restore access, and give it again")
        return _fail(str(UserError(f"{error.filename}: {error.strerror}" if error.filename else str(error))))


def _goes_on(argv: Sequence[str]) -> bool:
    return any(name in argv for name, command in COMMANDS.items() if command.goes_on)


def _again(argv: Sequence[str]) -> str:
    """Return the command line that goes on where this one has stopped."""
    again = shlex.join(["paddleslim-bilstm", *(argument for argument in argv if argument != "--fresh")])
    return again if ranks.count() == 1 else f"the launcher with {again}"


def _without_fresh(argv: Sequence[str]) -> str:
    """Return what to know behind an error of a run that has started over: the same command would do so again."""
    return f" (what it has computed is kept: {_again(argv)})" if "--fresh" in argv and _goes_on(argv) else ""


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paddleslim-bilstm", description="Distil a fine-tuned BERT into a fast Bi-LSTM with PaddleSlim.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"paddleslim-bilstm {__version__}")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    picked = next((argument for argument in argv if not argument.startswith("-")), None)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.summary, description=command.summary, allow_abbrev=False,
                                          formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == picked:
            module = importlib.import_module(f".{command.module}", __package__)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def _make_output_writable() -> None:
    """Let standard output take any name or label, whatever its encoding, also where it is closed (``>&-``)."""
    sys.stderr = sys.stderr or open(os.devnull, "w", errors="backslashreplace")
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", errors="backslashreplace")
    elif hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Drop what standard output can't take, or Python would fail once more when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    print("error:", message, file=sys.stderr)
    return USER_ERROR


class _Plain(logging.Formatter):
    """News as they are, warnings behind "warning: "."""

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        return f"{record.levelname.lower()}: {message}" if record.levelno >= logging.WARNING else message


def _show_messages() -> None:
    """Show the package's news (which stage runs) and warnings on standard error; of several ranks the first does."""
    logger = logging.getLogger(__package__)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Plain())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if ranks.is_first() else logging.ERROR)
        logger.propagate = False


def _quieten_libraries() -> None:
    """Keep Paddle's C++ log and the libraries' Python warnings off the screen; ours come through logging."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
