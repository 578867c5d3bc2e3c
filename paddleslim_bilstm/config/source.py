"""Where settings come from: a YAML file or a dict, with overrides, each value with the place it was written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import yaml

from ..errors import UserError, short

# YAML 1.1 takes 1e-3 for text (it wants 1.0e-3); everybody means the number.
EXPONENT_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
Keys = tuple  # keys from the section down to a value: ("bert_to_bilstm", "student", "embed_dim")
_MOST_NESTED = 50  # lists and mappings in one another
_MOST_VALUES = 10_000  # aliases written out; a configuration has a hundred
_TOO_DEEP = "lists and mappings are nested too deeply"
_TAG = "tag:yaml.org,2002:"


@dataclass
class Source:
    """Sections as written, and for error messages the place of each value.

    ``places`` maps a tuple of keys to "FILE:LINE" or "-o OVERRIDE"; what is not in it has the place of what holds it.
    ``folder`` is that of the file, or the working directory.
    """

    values: dict[Any, Any]
    places: dict[Keys, str]
    folder: Path = Path()

    def place(self, keys: Keys) -> str:
        """Return where the value under ``keys`` is written."""
        return next(self.places[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in self.places)

    def error(self, keys: Keys, problem: str) -> UserError:
        """Return the error for the value under ``keys``: place, dotted key, problem."""
        return UserError(": ".join(part for part in (self.place(keys), ".".join(map(str, keys)), problem) if part))

    def with_values(self, section: str, values: Mapping[str, Any], place: str) -> Source:
        """Return the same with ``values`` in ``section``, written at ``place``; what is no section stays as it is."""
        written = self.values.get(section)
        if not isinstance(written or {}, Mapping):
            return self
        places = {keys: at for keys, at in self.places.items() if keys[:1] != (section,) or keys[1:2] not in
                  [(key,) for key in values]}
        return replace(self, values={**self.values, section: {**(written or {}), **values}},
                       places={**places, **{(section, key): place for key in values}})


def read_source(source: str | Path | Mapping[str, Any] | Source, overrides: Sequence[str] = ()) -> Source:
    """Return the sections of a YAML file or dict with ``Section.key=value`` overrides put in.

    What has been read before stays as it is but for the overrides.

    The YAML is plain data: text, numbers, lists and mappings, with anchors, aliases and merge keys (``<<``); tags and
    duplicate keys are refused.

    Raises:
        UserError: the source is neither path nor dict, the file is missing or no YAML, or an override is malformed.
    """
    check_overrides(overrides)
    if isinstance(source, Source):
        result = replace(source, values=_copied(source.values), places=dict(source.places))
    elif isinstance(source, Mapping):
        try:
            result = Source(_copied(source), {(): "config"})
        except RecursionError:
            raise UserError(f"config: {_TOO_DEEP}") from None
    elif not isinstance(source, (str, os.PathLike)):
        raise UserError(f"config: must be the path of a YAML file, or its content as a dict, not {short(repr(source))}")
    else:
        places = {(): str(source)}
        result = Source(_read_yaml(_read_text(Path(source)), str(source), places), places, Path(source).parent)
        if not isinstance(result.values, dict):
            raise UserError(f"{source}: must hold sections such as Global and bert_to_bilstm, and holds none")
    for override in overrides:
        _put(result, override)
    return result


def check_overrides(overrides: Any) -> None:
    """Refuse overrides that are no list of texts, such as one text, whose items are letters.

    Raises:
        UserError: naming what they are.
    """
    if (isinstance(overrides, str) or not isinstance(overrides, Sequence)
            or not all(isinstance(one, str) for one in overrides)):
        raise UserError(f'overrides: must be a list, ["Section.key=value", ...], not {short(repr(overrides))}')


def names_in(config: Any) -> tuple[str, ...]:
    """Return the names of the sections of a config as PaddleSlim takes it: a YAML file, a dict or a list of names."""
    if isinstance(config, (str, os.PathLike)):
        return section_names(config)
    names = config if isinstance(config, (dict, list, tuple, set)) else ()
    return tuple(name for name in names if isinstance(name, str))


def section_names(path: str | Path) -> tuple[str, ...]:
    """Return the names of a YAML file's sections, whatever is in them; none where the file can't be read."""
    try:
        node = yaml.compose(Path(path).read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return ()
    names, mappings, seen = [], [node], set()
    while mappings:  # the document, and what << brings into it
        mapping = mappings.pop()
        if not isinstance(mapping, yaml.MappingNode) or id(mapping) in seen:
            continue
        seen.add(id(mapping))
        for key, value in mapping.value:
            if key.tag == f"{_TAG}merge":
                mappings += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif isinstance(key, yaml.ScalarNode):
                names.append(key.value)
    return tuple(dict.fromkeys(names))


def read_sections(path: str | Path, names: Sequence[str]) -> Source:
    """Return some sections of a YAML file whose others may hold what we don't read, such as tags: those are None.

    Raises:
        UserError: as `read_source`, for these sections alone.
    """
    places = {(): str(path)}
    values = {name: _read_yaml(_read_text(Path(path)), str(path), places, only=name) for name in names}
    return Source({**dict.fromkeys(section_names(path)), **values}, places, Path(path).parent)


def _copied(value: Any) -> Any:
    """Return a copy of the dicts, lists and tuples in ``value``, NumPy's numbers in them as Python's; a script's
    functions and objects stay the same.
    """
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list) or type(value) is tuple:
        copies = [_copied(item) for item in value]
        return copies if isinstance(value, list) else tuple(copies)
    return value.item() if isinstance(value, np.generic) else value


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
    """PyYAML's safe loader without deep nesting, whose time has no bound."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes what `_Loader` would read as a number."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(f"{_TAG}float", EXPONENT_NUMBER, list("-+.0123456789"))


def dumped(value: Any, **options: Any) -> str:
    """Return plain data as YAML that is read the same again; ``options`` as of ``yaml.dump``."""
    return yaml.dump(value, Dumper=_Dumper, **options)


def _read_yaml(text: str, name: str, places: dict[Keys, str], only: str | None = None) -> Any:
    """Return the value of a YAML document, or of its section ``only``; put "``name``:LINE" of each into ``places``."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        reader = _Reader(loader, name, places)
        if only is not None and node is not None:
            node = reader.entries(node).get(only, (None, None))[1]
        return None if node is None else reader.value_of(node, () if only is None else (only,))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark and not name.startswith("-o ") else ""
        raise UserError(f"{name}{line}: is no valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = f":{text.count(chr(10), 0, error.position) + 1}" if not name.startswith("-o ") else ""
        raise UserError(f"{name}{line}: is no valid YAML: the character #x{error.character:x} is not allowed") from None


class _Reader:
    """Makes values of the nodes of a document, aliases written out, and notes where each stands."""

    def __init__(self, loader: _Loader, name: str, places: dict[Keys, str]):
        self._loader, self._name, self._places = loader, name, places
        self._values = 0
        self._around: list[yaml.Node] = []  # the nodes that hold the one being read

    def value_of(self, node: yaml.Node, keys: Keys) -> Any:
        """Return the value of a node that stands under ``keys``."""
        self._places[keys] = f"{self._name}:{node.start_mark.line + 1}"
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            result = {}
            for key, (key_node, value_node) in self.entries(node).items():
                result[key] = self._inside(node, self.value_of, value_node, (*keys, key))
                self._places[(*keys, key)] = f"{self._name}:{key_node.start_mark.line + 1}"
            return result
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._inside(node, self.value_of, item, (*keys, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            try:
                return self._loader.construct_object(node)
            except (ValueError, LookupError, OverflowError, AttributeError):  # as of 2026-99-99, !!bool maybe
                raise _problem(node, f"can't read {node.value[:40]}; put it in quotes if it is text") from None
        raise _problem(node, f"the tag {node.tag} is not supported")

    def entries(self, node: yaml.Node) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return the nodes of a mapping's keys and values by key; its own win over those that ``<<`` brings in."""
        if not isinstance(node, yaml.MappingNode):
            raise _problem(node, "<< takes a mapping, or a list of mappings")
        own, merged = {}, {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                raise _problem(key_node, "a key must be a name")
            if key_node.tag == f"{_TAG}merge":
                for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    merged = {**self._inside(node, self.entries, source), **merged}
            elif key in own:
                raise _problem(key_node, f"{key} stands here a second time; keep one")
            else:
                own[key] = key_node, value_node
        return {**{key: entry for key, entry in merged.items() if key not in own}, **own}

    def _inside(self, holder: yaml.Node, read: Callable[..., Any], node: yaml.Node, *arguments: Any) -> Any:
        """Return what ``read`` makes of a node in ``holder``, within the bounds on depth and number."""
        self._values += 1
        if self._values > _MOST_VALUES:
            raise _problem(node, f"with its aliases (*name) written out this has more than {_MOST_VALUES:,} values")
        self._around.append(holder)
        if any(node is one for one in self._around):
            raise _problem(node, "an alias (*name) stands inside of what it names")
        if len(self._around) > _MOST_NESTED:
            raise _problem(node, _TOO_DEEP)
        result = read(node, *arguments)
        self._around.pop()
        return result


def _problem(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
