"""The command-line arguments of every command that reads a configuration."""

from __future__ import annotations

import argparse


def add_config_arguments(parser: argparse.ArgumentParser, sections: str, examples: str) -> None:
    """Add ``CONFIG`` and ``-o SECTION.KEY=VALUE ...`` (``arguments.config``, ``arguments.override``) to ``parser``."""
    parser.epilog = examples
    parser.add_argument("config", metavar="CONFIG", help=f"YAML file with {sections}")
    parser.add_argument("-o", "--override", metavar="SECTION.KEY=VALUE", nargs="+", action="extend", default=[],
                        help="settings that win over CONFIG; the value is YAML; may be repeated")
