"""What pydantic found wrong with a document, in plain words and in terms of the JSON that the client sent."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from api_schemas.errors import FieldError, Misfit
from api_schemas.nodes import ACTIVATION_HOOKS, RECEIVER_HOOKS, SENDER_HOOKS
from api_schemas.wording.faults import MOST_READ, Fault, faults_of
from api_schemas.wording.fields import Expected, expected_at
from api_schemas.wording.values import Suggestions, counted, first_errors, listed, shown, wrong

MOST_COMPARED = 8
"""Unknown fields beside a missing one that are compared with it."""

NOUNS = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a string",
    "string_unicode": "a string of Unicode text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
NOT_A_NODE_LIST = 'is neither a list of nodes, [{"hook": ..., "layer": ...}], nor a sweep, {"sweep": {"hook": ...}}'
BOUNDS = {
    "greater_than_equal": ("ge", "the least allowed is"),
    "greater_than": ("gt", "it must be greater than"),
    "less_than_equal": ("le", "the most allowed is"),
    "less_than": ("lt", "it must be less than"),
}
HOOKS = {"senders": ("sender", SENDER_HOOKS), "receivers": ("receiver", RECEIVER_HOOKS)}


def field_errors(exc: ValidationError, document: Any, root: type[BaseModel]) -> list[FieldError]:
    """One sentence per field that is wrong, each naming the value and what is allowed.

    Of a union, only the errors of the member that fits the value best are told. A required field is not reported as
    missing where a misspelled one beside it stands for it.

    Args:
        root: The record that the document should state.
    """
    are_more = exc.error_count() > MOST_READ
    return first_errors(_Report(faults_of(exc, document), document, root).errors(), are_more)


class _Report:
    """The sentences about one document."""

    def __init__(self, faults: list[Fault], document: Any, root: type[BaseModel]) -> None:
        self.document, self.root, self.suggestions, self.comparisons = document, root, Suggestions(), Suggestions(40)
        # where `sweep` is missing, the fields beside it are a node's: the missing list is the one thing wrong
        nodes = {fault.path[:-1] for fault in faults if fault.kind == "missing" and fault.path[-1] == "sweep"}
        self.faults = [fault for fault in faults if fault.kind != "extra_forbidden" or fault.path[:-1] not in nodes]
        self.unknown: defaultdict[tuple[str | int, ...], list[str]] = defaultdict(list)
        for fault in self.faults:
            if fault.kind == "extra_forbidden":
                self.unknown[fault.path[:-1]].append(str(fault.path[-1]))

    def errors(self) -> Iterator[FieldError]:
        for fault in self.faults:
            if not (fault.kind == "missing" and self.is_misspelled(fault)):
                yield from self.errors_of(fault)

    def expected(self, path: tuple[str | int, ...]) -> Expected:
        return expected_at(self.root, path, self.document)

    def is_misspelled(self, missing: Fault) -> bool:
        beside = self.unknown.get(missing.path[:-1], [])[:MOST_COMPARED]
        fields = self.expected(missing.path[:-1]).field_names() if beside else []
        return any(self.comparisons.closest(name, fields) == missing.path[-1] for name in beside)

    def errors_of(self, fault: Fault) -> Iterator[FieldError]:
        misfit = fault.context.get("error")
        if isinstance(misfit, Misfit):
            yield from (wrong((*fault.path, *path), message) for path, message in misfit.problems)
        elif fault.kind == "missing" and fault.path[-1] == "sweep":
            above = fault.path[:-1]
            yield wrong(above, f"{shown(self.expected(above).value)} {NOT_A_NODE_LIST}")
        elif fault.kind == "extra_forbidden":
            yield wrong(fault.path, self.unknown_field(fault))
        elif fault.kind in ("union_tag_invalid", "union_tag_not_found"):
            tag = str(fault.context.get("discriminator", "kind")).strip("'")
            yield wrong((*fault.path, tag), self.wrong_kind(self.expected(fault.path), tag))
        else:
            yield wrong(fault.path, self.sentence(fault, self.expected(fault.path)))

    def unknown_field(self, fault: Fault) -> str:
        fields, name = self.expected(fault.path[:-1]).field_names(), fault.path[-1]
        return self.suggestions.among(f"there is no field {shown(name)} here", name, fields, "the fields are")

    def wrong_kind(self, expected: Expected, tag: str) -> str:
        kinds, noun = expected.literals(), expected.name.removesuffix("s")
        if not isinstance(expected.value, dict) or tag not in expected.value:
            return f"{tag} is missing: a {noun} is one of {listed(kinds)}"
        kind = expected.value[tag]
        return self.suggestions.among(f"there is no {noun} {shown(kind)}", kind, kinds, f"the {tag}s are")

    def sentence(self, fault: Fault, expected: Expected) -> str:
        if fault.kind == "missing":
            example = f", such as {json.dumps(expected.example)}" if expected.example is not None else ""
            return f"{expected.name} is missing: {expected.description}{example}"
        if fault.is_key:
            return f"{shown(fault.path[-1])} cannot be a name here: a name has 1 to 64 characters"
        if fault.kind == "literal_error":
            return self.literal(fault, expected)
        about = f" ({expected.name}: {expected.description})" if expected.description else ""
        if fault.kind in NOUNS:
            return f"{shown(expected.value)} is not {NOUNS[fault.kind]}{self.such_as(expected)}{about}"
        if fault.kind in BOUNDS:
            key, words = BOUNDS[fault.kind]
            return f"{shown(expected.value)} is out of range: {words} {fault.context[key]}{about}"
        return SENTENCES.get(fault.kind, _impossible)(fault, expected.value) + about

    def such_as(self, expected: Expected) -> str:
        """What an object here looks like; nothing where no object belongs."""
        kinds = expected.literals()
        if kinds:
            kind = self.suggestions.closest(expected.value, kinds) or kinds[0]
            return f', such as {{"{expected.tag}": {shown(kind)}, ...}}'
        example = expected.object_example()
        return f", such as {json.dumps(example)}" if example else ""

    def literal(self, fault: Fault, expected: Expected) -> str:
        if expected.name == "hook":
            return self.hook(fault, expected.value)
        allowed, start = expected.literals(), f"{shown(expected.value)} is not possible"
        if expected.is_fixed():
            return self.suggestions.among(start, expected.value, allowed, "the choices are")
        meant = self.suggestions.closest(expected.value, allowed)
        question = f": did you mean {shown(meant)}?" if meant else ""
        return f"{start}{question} ({expected.name}: {expected.description})"

    def hook(self, fault: Fault, value: Any) -> str:
        """Sender and receiver hooks are told apart; of a misspelled full name the last part is compared."""
        noun, hooks = HOOKS.get(str(fault.path[1]) if len(fault.path) > 1 else "", ("node", ACTIVATION_HOOKS))
        start = f"hook {shown(value)} cannot be a {noun}"
        return self.suggestions.among(start, str(value).rpartition("hook_")[2], hooks, f"a {noun} is one of")


def _impossible(fault: Fault, value: Any) -> str:
    return f"{shown(value)} is not possible here"


def _too_long(fault: Fault, value: Any) -> str:
    count, most = fault.context.get("actual_length"), fault.context.get("max_length")
    size = counted(count, "entry").replace("entrys", "entries") if isinstance(count, int) else "too many entries"
    return f"{size} given: the most is {most}"


SENTENCES: dict[str, Callable[[Fault, Any], str]] = {
    "too_short": lambda fault, value: (
        f"the {'object' if isinstance(value, dict) else 'list'} is empty: give at least one entry"
    ),
    "too_long": _too_long,
    "string_too_short": lambda fault, value: "the string is empty",
    "string_too_long": lambda fault, value: f"{shown(value)} is longer than {fault.context['max_length']} characters",
    "value_error": lambda fault, value: str(fault.context.get("error", "the value is not possible")),
}
