"""``paddleslim-bilstm compress CONFIG``."""

from __future__ import annotations

import argparse

from .config.arguments import add_config_arguments

_EXAMPLES = """\
examples:
  paddleslim-bilstm compress configs/sst2.yaml
  paddleslim-bilstm compress configs/sst2.yaml -o Global.save_dir=out Global.seed=1
  paddleslim-bilstm compress configs/sst2.yaml -o bert_to_bilstm.student.hidden_size=150
  paddleslim-bilstm compress configs/sst2.yaml -o "DataAugmentation.hooks=[masking]"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``compress`` to ``parser``."""
    add_config_arguments(parser, "the section bert_to_bilstm", _EXAMPLES)


def run(arguments: argparse.Namespace) -> int:
    """Compress as the YAML says and print the report's table."""
    from .config import load_config
    load_config(arguments.config, arguments.override)  # a wrong setting is told at once, before Paddle is imported
    from .pipeline import compress
    result = compress(arguments.config, overrides=arguments.override)
    print(f"{result.table}\n\n{result.report.headline}\nModel and report: {result.save_dir}")
    return 0
