"""``paddleslim-bilstm finetune CONFIG``."""

from __future__ import annotations

import argparse

from .. import ranks
from ..stopping import end_on_sigterm
from .config import add_config_arguments, add_verbose, quiet_run

_EXAMPLES = """\
examples:
  paddleslim-bilstm finetune configs/quickstart.yaml
  paddleslim-bilstm finetune configs/quickstart.yaml -o Finetune.epochs=5 Finetune.learning_rate=2e-5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``finetune`` to ``parser``."""
    add_config_arguments(parser, "the sections Global and Finetune", _EXAMPLES)
    add_verbose(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune, and print where the teacher is and how good."""
    from ..config import load_config

    config = load_config(arguments.config, arguments.override)  # a wrong setting is told before Paddle is imported
    from ..task import metrics_by_name
    end_on_sigterm()
    with quiet_run(config, arguments.verbose):
        from ..host.versions import before_paddle
        before_paddle()
        from ..finetune.finetune import best_dev_metric, finetune
        end_on_sigterm()  # Paddle has put its own handler in place
        folder = finetune(config)
    if not ranks.is_first():
        return 0
    metric = metrics_by_name()[config.global_.chosen_metric].title
    print(f"Fine-tuned teacher: {folder} ({metric} on the dev set {best_dev_metric(folder):.4f})")
    return 0
