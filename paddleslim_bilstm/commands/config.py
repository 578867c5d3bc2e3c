"""``paddleslim-bilstm config``, and the arguments of every command that reads a configuration."""

from __future__ import annotations

import argparse
import json
from typing import Any

_EXAMPLES = """\
examples:
  paddleslim-bilstm config configs/sst2.yaml
  paddleslim-bilstm config configs/sst2.yaml -o bert_to_bilstm.student.hidden_size=300
  paddleslim-bilstm config --schema > schema.json
"""


def add_config_arguments(parser: argparse.ArgumentParser, sections: str, examples: str, **options: Any) -> None:
    """Add ``CONFIG`` and ``-o SECTION.KEY=VALUE ...`` (``arguments.config``, ``arguments.override``) to ``parser``."""
    parser.epilog = examples
    parser.add_argument("config", metavar="CONFIG", help=f"YAML file with {sections}", **options)
    parser.add_argument("-o", "--override", metavar="SECTION.KEY=VALUE", nargs="+", action="extend", default=[],
                        help="settings that win over CONFIG; the value is YAML; may be repeated")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``config`` to ``parser``."""
    add_config_arguments(parser, "the section bert_to_bilstm or Finetune", _EXAMPLES, nargs="?")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of all YAML files")


def run(arguments: argparse.Namespace) -> int:
    """Check a configuration and print it in full, as YAML; or print the JSON schema."""
    if arguments.schema:
        from ..config.schema import json_schema
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    if arguments.config is None:
        from ..errors import UserError
        raise UserError("CONFIG: missing; name a YAML file, or ask for the --schema")
    import yaml

    from ..augment import check_hooks
    from ..config.reading import load_config
    config = load_config(arguments.config, arguments.override)
    check_hooks(config.augmentation.hooks)
    print(yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True), end="")
    return 0
