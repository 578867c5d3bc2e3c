"""``paddleslim-bilstm compress CONFIG``."""

from __future__ import annotations

import argparse

_EXAMPLES = """\
examples:
  paddleslim-bilstm compress configs/sst2.yaml
  paddleslim-bilstm compress configs/sst2.yaml -o Global.save_dir=out Global.seed=1
  paddleslim-bilstm compress configs/sst2.yaml -o bert_to_bilstm.student.hidden_size=150
  paddleslim-bilstm compress configs/sst2.yaml -o "DataAugmentation.hooks=[masking]"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``compress`` to ``parser``."""
    parser.epilog = _EXAMPLES
    parser.add_argument("config", metavar="CONFIG", help="YAML file with the section bert_to_bilstm")
    parser.add_argument("-o", "--override", metavar="SECTION.KEY=VALUE", nargs="+", action="extend", default=[],
                        help="settings that win over CONFIG; the value is YAML; may be repeated")


def run(arguments: argparse.Namespace) -> int:
    """Compress as the YAML says and print the report's table."""
    from .config import load_config
    load_config(arguments.config, arguments.override)  # a wrong setting is told at once, before Paddle is imported
    from .pipeline import compress
    result = compress(arguments.config, overrides=arguments.override)
    print(f"{result.table}\n\n{result.report.headline}\nModel and report: {result.save_dir}")
    return 0
