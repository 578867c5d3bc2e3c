"""``paddleslim-bilstm augment CONFIG``."""

from __future__ import annotations

import argparse

from ..stopping import end_on_sigterm
from .config import add_config_arguments, add_verbose, quiet_run

_EXAMPLES = """\
examples:
  paddleslim-bilstm augment elsewhere.yaml --output texts --tokens
  paddleslim-bilstm compress elsewhere.yaml -o Global.teacher_labels=texts

The YAML is one without model_dir: the texts are then made of words, or of the tokens of Global.tokenizer_dir, whose
files are put beside them. So are those of a model_dir, which compress doesn't need then.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``augment`` to ``parser``."""
    add_config_arguments(parser, "the section bert_to_bilstm", _EXAMPLES)
    parser.add_argument("--output", metavar="FOLDER", help="where to write; augmented in Global.save_dir by default")
    parser.add_argument("--tokens", action="store_true",
                        help="write the token ids, too, for a labeller with the same tokenizer")
    add_verbose(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the texts, and print where they are."""
    from ..config import load_config
    from ..config.source import read_source
    source = read_source(arguments.config, arguments.override)  # once, as it may be a pipe
    settings = load_config(source)  # a wrong one is told at once, before Paddle comes
    end_on_sigterm()
    with quiet_run(settings, arguments.verbose):
        from ..host.versions import before_paddle
        before_paddle()
        from ..pipeline import augment
        end_on_sigterm()  # Paddle has put its own handler in place
        folder = augment(source, output=arguments.output, tokens=arguments.tokens)
    print(f"Texts to label, and what to give back (README.md): {folder}")
    return 0
