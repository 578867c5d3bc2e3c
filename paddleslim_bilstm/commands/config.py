"""``paddleslim-bilstm config``, and the arguments of every command that reads a configuration."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ContextManager

from .. import ranks
from ..errors import UserError
from ..progress import RUN_LOG, quiet_libraries
from ..storage import make_writable_folder

if TYPE_CHECKING:
    from ..config import Config

_EXAMPLES = """\
examples:
  paddleslim-bilstm config configs/sst2.yaml
  paddleslim-bilstm config configs/sst2.yaml -o bert_to_bilstm.student.hidden_size=300
  paddleslim-bilstm config --schema > schema.json
"""


def add_config_arguments(parser: argparse.ArgumentParser, sections: str, examples: str, **options: Any) -> None:
    """Add ``CONFIG`` and ``-o SECTION.KEY=VALUE ...`` (``arguments.config``, ``arguments.override``) to ``parser``."""
    parser.epilog = examples
    parser.usage = "%(prog)s CONFIG [options]"  # -o would take a CONFIG behind it for a setting
    parser.add_argument("config", metavar="CONFIG", help=f"YAML file with {sections}", **options)
    parser.add_argument("-o", "--override", metavar="SECTION.KEY=VALUE", nargs="+", action="extend", default=[],
                        help="settings that win over CONFIG; the value is YAML; may be repeated")


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add ``-v`` of the commands that run `quiet_run`."""
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="show what PaddleSlim and Paddle say, too; else it goes to run.log in Global.save_dir")


def quiet_run(settings: Config, verbose: bool) -> ContextManager[None]:
    """Return what keeps libraries off the screen while a run of ``settings`` works.

    Not where ``save_dir`` is a teacher's folder, which a run refuses and leaves as it is, nor in other ranks than the
    first, whose output the launcher puts into files of their own.
    """
    folders = {Path(folder).resolve() for folder in settings.global_.teacher_folders}
    folder = Path(settings.global_.save_dir)
    if verbose or not ranks.is_first() or folder.resolve() in folders:
        return quiet_libraries(None)
    return quiet_libraries(make_writable_folder(folder, "Global.save_dir") / RUN_LOG)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``config`` to ``parser``."""
    add_config_arguments(parser, "the section bert_to_bilstm or Finetune", _EXAMPLES, nargs="?")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of all YAML files")


def run(arguments: argparse.Namespace) -> int:
    """Check a configuration and print it in full, as YAML; or print the JSON schema."""
    if arguments.schema:
        if arguments.config is not None or arguments.override:
            raise UserError("--schema: is that of all YAML files; leave out CONFIG and -o")
        from ..config.schema import json_schema
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    if arguments.config is None:
        raise UserError("CONFIG: missing; name a YAML file, or ask for the --schema")
    from ..augment import check_hooks
    from ..config.reading import load_config
    from ..config.source import dumped
    config = load_config(arguments.config, arguments.override)
    check_hooks(config.augmentation.hooks)
    in_utf8 = (sys.stdout.encoding or "").lower() in ("utf-8", "utf8")
    print(dumped(config.to_dict(), sort_keys=False, allow_unicode=in_utf8), end="")
    return 0
