"""Where settings come from: a YAML file or a dict, with overrides, each value with the place it was written."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

import yaml

from ..errors import UserError
from .checks import EXPONENT_NUMBER

Keys = tuple  # keys from the section down to a value: ("bert_to_bilstm", "student", "embed_dim")
_MOST_NESTED = 50  # lists and mappings in one another


@dataclass
class Source:
    """Sections as written, and for error messages the place of each value.

    ``places`` maps a tuple of keys to "FILE:LINE" or "-o OVERRIDE"; what is not in it has the place of what holds it.
    """

    values: dict[Any, Any]
    places: dict[Keys, str]

    def error(self, keys: Keys, problem: str) -> UserError:
        """Return the error for the value under ``keys``: place, dotted key, problem."""
        place = next(self.places[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in self.places)
        return UserError(": ".join(part for part in (place, ".".join(map(str, keys)), problem) if part))


def read_source(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Source:
    """Return the sections of a YAML file or dict with ``Section.key=value`` overrides put in.

    The YAML is plain data: text, numbers, lists and mappings; tags, aliases and duplicate keys are refused.

    Raises:
        UserError: the file is missing or no YAML, or an override is malformed.
    """
    if isinstance(source, Mapping):
        result = Source(copy.deepcopy(dict(source)), {(): "config"})
    else:
        places = {(): str(source)}
        result = Source(_read_yaml(_read_text(Path(source)), str(source), places), places)
        if not isinstance(result.values, dict):
            raise UserError(f"{source}: must hold sections such as Global and bert_to_bilstm, and holds none")
    for override in overrides:
        _put(result, override)
    return result


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: can't read the configuration ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = error.object[:error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: is not UTF-8; save the file as UTF-8") from None
    except ValueError:  # a NUL in the path
        raise UserError(f"{str(path)!r}: is no path of a configuration") from None


def _put(source: Source, override: str) -> None:
    """Put one ``Section.key=value`` into ``source``; the value is read as YAML."""
    name, equals, text = override.partition("=")
    keys = tuple(name.strip().split("."))
    if not equals or not all(keys):
        raise UserError(f"-o {override}: must be Section.key=value, such as Global.save_dir=out")
    places: dict[Keys, str] = {}
    value = _read_yaml(text, f"-o {override}", places)
    parent = source.values
    for depth, key in enumerate(keys[:-1], 1):
        if parent.get(key) is None:
            parent[key] = {}
            source.places[keys[:depth]] = f"-o {override}"
        parent = parent[key]
        if not isinstance(parent, dict):
            raise UserError(f"-o {override}: {'.'.join(keys[:depth])} has no keys; it is {parent!r}")
    parent[keys[-1]] = value
    source.places = {place: at for place, at in source.places.items() if place[:len(keys)] != keys}
    source.places[keys] = f"-o {override}"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases and deep nesting, whose expansion and time have no bound."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported; write the value out",
                                       problem_mark=self.peek_event().start_mark)
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise yaml.MarkedYAMLError(problem="lists and mappings are nested too deeply",
                                       problem_mark=self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT_NUMBER, list("-+.0123456789"))


def _read_yaml(text: str, name: str, places: dict[Keys, str]) -> Any:
    """Return the value of a YAML document; put "``name``:LINE" of each value into ``places``."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _value_of(loader, node, name, (), places)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark and not name.startswith("-o ") else ""
        raise UserError(f"{name}{line}: is no valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = f":{text.count(chr(10), 0, error.position) + 1}" if not name.startswith("-o ") else ""
        raise UserError(f"{name}{line}: is no valid YAML: the character #x{error.character:x} is not allowed") from None


def _value_of(loader: _Loader, node: yaml.Node, name: str, keys: Keys, places: dict[Keys, str]) -> Any:
    places[keys] = f"{name}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                raise _problem(key_node, "a key must be a name")
            if key in result:
                raise _problem(key_node, f"{key} stands here a second time; keep one")
            result[key] = _value_of(loader, value_node, name, (*keys, key), places)
            places[(*keys, key)] = f"{name}:{key_node.start_mark.line + 1}"
        return result
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_value_of(loader, item, name, (*keys, index), places) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        try:
            return loader.construct_object(node)
        except (ValueError, OverflowError):  # such as the date 2026-99-99, or a number of 10,000 digits
            raise _problem(node, f"can't read {node.value[:40]}; put it in quotes if it is text") from None
    raise _problem(node, f"the tag {node.tag} is not supported")


def _problem(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
