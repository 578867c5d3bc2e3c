"""``paddleslim-bilstm compress CONFIG``."""

from __future__ import annotations

import argparse

from ..stopping import end_on_sigterm
from .config import add_config_arguments, add_verbose, quiet_run

_EXAMPLES = """\
examples:
  paddleslim-bilstm compress configs/sst2.yaml
  paddleslim-bilstm compress configs/sst2.yaml -o Global.save_dir=out Global.seed=1
  paddleslim-bilstm compress configs/sst2.yaml -o bert_to_bilstm.student.hidden_size=158
  paddleslim-bilstm compress configs/sst2.yaml -o "DataAugmentation.hooks=[masking]"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``compress`` to ``parser``."""
    add_config_arguments(parser, "the section bert_to_bilstm", _EXAMPLES)
    parser.add_argument("--fresh", action="store_true", help="start over: compute everything again, replace the cache")
    add_verbose(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compress as the YAML says and print the report's table."""
    from ..config import load_config
    from ..config.source import read_source
    source = read_source(arguments.config, arguments.override)  # once, as it may be a pipe
    settings = load_config(source)  # a wrong one is told at once, before Paddle comes
    end_on_sigterm()
    with quiet_run(settings, arguments.verbose):
        from .. import compress
        end_on_sigterm()  # Paddle has put its own handler in place
        result = compress(source, fresh=arguments.fresh)
    if result.report is not None:  # the first of several ranks
        print(f"{result.table}\n\n{result.report.headline}\nModel and report: {result.save_dir}\n"
              f"To look at: {result.save_dir / 'report.html'}")
    return 0
