"""Specs from files and standard input. What is written is what is read: no key twice, no surprises of YAML 1.1."""

import json
import re
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NoReturn

import yaml

from pathpatch.cli.terminal import CommandFailed


def read_spec(source: str) -> dict[str, Any]:
    """A spec from a JSON or YAML file, or from standard input.

    Raises:
        CommandFailed: It cannot be read, or is no mapping, or gives a key twice.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise CommandFailed(f"{source} cannot be read: {why}. `pathpatch new` writes specs to start from.") from exc
    spec = _parsed(source, text.removeprefix("\ufeff"))
    if not isinstance(spec, dict):
        raise CommandFailed(f"{source} holds no spec: it must be a mapping with model, dataset, patch and metric.")
    return spec


def read_value(text: str) -> Any:
    """A value as YAML reads it: a number, ``true``, ``null``, a list or mapping in brackets, else the text itself.

    Raises:
        CommandFailed: It begins like a list, a mapping or a quoted text, and is none.
    """
    if text[:1] in tuple("[{\"'"):
        return _from_yaml(repr(text), text)
    try:
        value = _from_yaml(repr(text), text)
    except CommandFailed:
        return text
    return text if isinstance(value, dict | list) else value


def _parsed(source: str, text: str) -> Any:
    if source.endswith(".json") or text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_mapping_of(source), parse_constant=_no_number(source))
        except json.JSONDecodeError as exc:
            if source.endswith(".json"):
                place = f"line {exc.lineno}, column {exc.colno}"
                raise CommandFailed(f"{source} is not JSON: {exc.msg} at {place}.") from exc
    return _from_yaml(source, text)


def _mapping_of(source: str) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise CommandFailed(f"{source}: the key {key!r} is given twice in one object; keep one.")
        return dict(pairs)

    return mapping


def _no_number(source: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise CommandFailed(f"{source}: {constant} is not a number of JSON.")

    return refuse


def _from_yaml(source: str, text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Yaml)  # noqa: S506
    except yaml.MarkedYAMLError as exc:
        raise CommandFailed(f"{source} is not YAML: {exc.problem}{_place(exc.problem_mark)}.") from exc
    except yaml.YAMLError as exc:
        raise CommandFailed(f"{source} is not YAML: {exc}") from exc


def _place(mark: Any) -> str:
    return f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""


class _Yaml(yaml.SafeLoader):
    """YAML 1.2's core schema: ``on``, ``010`` and ``2024-01-01`` are read as written. A key given twice is an error."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping, if each of its keys is given once."""
        first: dict[str, Any] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in first:
                again = f"the key {key.value!r} is given twice, first{_place(first[key.value])} and again"
                raise yaml.constructor.ConstructorError(None, None, again, key.start_mark)
            first[key.value] = key.start_mark
        return super().construct_mapping(node, deep)


def _read_as(tag: str, pattern: str, first: str) -> None:
    _Yaml.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


_read_as("merge", "<<", "<")
_read_as("null", "~|null|Null|NULL|", "~nN")
_Yaml.yaml_implicit_resolvers.setdefault("", _Yaml.yaml_implicit_resolvers["~"])  # an empty value is null
_read_as("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_read_as("int", "[-+]?[0-9]+", "-+0123456789")
_read_as("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789")


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)  # yaml's own takes 010 for 8


_Yaml.add_constructor("tag:yaml.org,2002:int", _whole_number)
