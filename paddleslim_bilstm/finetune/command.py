"""``paddleslim-bilstm finetune CONFIG``."""

from __future__ import annotations

import argparse

_EXAMPLES = """\
examples:
  paddleslim-bilstm finetune configs/quickstart.yaml
  paddleslim-bilstm finetune configs/quickstart.yaml -o Finetune.epochs=5 Finetune.learning_rate=2e-5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``finetune`` to ``parser``."""
    parser.epilog = _EXAMPLES
    parser.add_argument("config", metavar="CONFIG", help="YAML file with the sections Global and Finetune")
    parser.add_argument("-o", "--override", metavar="SECTION.KEY=VALUE", nargs="+", action="extend", default=[],
                        help="settings that win over CONFIG; the value is YAML; may be repeated")


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune, and print where the teacher is and how good."""
    from ..config import load_config

    config = load_config(arguments.config, arguments.override)  # a wrong setting is told before Paddle is imported
    from .finetune import best_dev_accuracy, finetune

    folder = finetune(config)
    print(f"Fine-tuned teacher: {folder} (dev accuracy {best_dev_accuracy(folder):.2%})")
    return 0
