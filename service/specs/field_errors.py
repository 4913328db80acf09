"""What pydantic found wrong with a spec, in plain words and in terms of the JSON that the client sent."""

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from api_schemas.errors import FieldError, Misfit
from api_schemas.nodes import NODE_HOOKS, RECEIVER_HOOKS, SENDER_HOOKS
from api_schemas.spec import JobSpec
from service.specs.branches import Fault, fitting_branches, located
from service.specs.fields import Place, place_at
from service.specs.limits import Limits, knob
from service.specs.wording import among, closest, counted, listed, shown, wrong

MOST_SHOWN = 100
MOST_READ = 10_000
NESTING = frozenset({dict, list})
LONGEST_OTHER_LIST = 10_000
"""Lists that are not one entry per example, such as a prompt's tokens or a layer's neurons, are shorter than this."""

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


def field_errors(exc: ValidationError, document: Any, root: type[BaseModel] = JobSpec) -> list[FieldError]:
    """One sentence per field that is wrong, each naming the value and what is allowed.

    Of a union, only the errors of the member that fits the value best are told. A required field is not reported as
    missing where a misspelled one beside it stands for it.
    """
    found = exc.errors(include_url=False, include_input=False)[:MOST_READ]
    faults = [located(error, document, order) for order, error in enumerate(found)]
    chosen = fitting_branches(faults, document)
    unknown = {fault.path for fault in chosen if fault.kind == "extra_forbidden"}
    errors: list[FieldError] = []
    for fault in _without_noise_of_sweeps(chosen):
        if not (fault.kind == "missing" and _is_misspelled(fault, unknown, root, document)):
            errors += _sentences(fault, root, document)
    return _capped(list(dict.fromkeys(errors)), exc.error_count())


def _without_noise_of_sweeps(faults: list[Fault]) -> list[Fault]:
    """Where ``sweep`` is missing, the fields beside it are a node's: the missing list is the one thing wrong."""
    sites = {fault.path[:-1] for fault in faults if fault.kind == "missing" and fault.path[-1] == "sweep"}
    return [fault for fault in faults if not (fault.kind == "extra_forbidden" and fault.path[:-1] in sites)]


def refuse_long_lists(document: Any, limits: Limits) -> list[FieldError]:
    """Lists longer than any that a spec may hold: told before each of their items is validated."""
    most = max(limits.max_examples, LONGEST_OTHER_LIST)
    found: list[FieldError] = []
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, list) and len(value) > most:
            allowed = f"the most is {most:,} ({knob('max_examples')})"
            found.append(wrong(path, f"the list has {counted(len(value), 'item')}: {allowed}"))
        elif isinstance(value, dict):
            waiting += [((*path, str(key)), item) for key, item in value.items() if isinstance(item, dict | list)]
        elif isinstance(value, list) and not NESTING.isdisjoint(map(type, value)):
            waiting += [((*path, index), item) for index, item in enumerate(value) if isinstance(item, dict | list)]
    return sorted(found, key=lambda error: error.pointer)[:MOST_SHOWN]


def _capped(errors: list[FieldError], count: int) -> list[FieldError]:
    if len(errors) <= MOST_SHOWN and count <= MOST_READ:
        return errors
    last = errors[:MOST_SHOWN][-1]
    more = FieldError(pointer=last.pointer, message=last.message + " (More fields are wrong; the first are listed.)")
    return [*errors[: MOST_SHOWN - 1], more]


def _is_misspelled(fault: Fault, unknown: set[tuple[str | int, ...]], root: type[BaseModel], document: Any) -> bool:
    beside = [str(path[-1]) for path in unknown if path[:-1] == fault.path[:-1]]
    fields = place_at(root, fault.path[:-1], document).field_names()
    return any(closest(name, fields) == fault.path[-1] for name in beside)


def _sentences(fault: Fault, root: type[BaseModel], document: Any) -> list[FieldError]:
    if fault.kind == "value_error" and isinstance(fault.context.get("error"), Misfit):
        return [wrong((*fault.path, *place), message) for place, message in fault.context["error"].problems]
    place = place_at(root, fault.path, document)
    if fault.kind == "missing" and place.name == "sweep":
        return [wrong(fault.path[:-1], f"{shown(place_at(root, fault.path[:-1], document).value)} {NOT_A_NODE_LIST}")]
    if fault.kind == "missing":
        example = f", such as {json.dumps(place.example)}" if place.example is not None else ""
        return [wrong(fault.path, f"{place.name} is missing: {place.description}{example}")]
    if fault.kind == "extra_forbidden":
        return [wrong(fault.path, _unknown_field(fault, root, document))]
    if fault.kind in ("union_tag_invalid", "union_tag_not_found"):
        return [wrong((*fault.path, "kind"), _kind(place))]
    return [wrong(fault.path, _sentence(fault, place))]


def _unknown_field(fault: Fault, root: type[BaseModel], document: Any) -> str:
    fields = place_at(root, fault.path[:-1], document).field_names()
    name = fault.path[-1]
    return among(f"there is no field {shown(name)} here", name, fields, "the fields are")


def _kind(place: Place) -> str:
    kinds, noun = place.literals(), place.name.removesuffix("s")
    if not isinstance(place.value, dict) or "kind" not in place.value:
        return f"kind is missing: a {noun} is one of {listed(kinds)}"
    kind = place.value["kind"]
    return among(f"there is no {noun} {shown(kind)}", kind, kinds, "the kinds are")


def _sentence(fault: Fault, place: Place) -> str:
    if fault.is_key:
        return f"{shown(fault.path[-1])} cannot be a name here: a name has 1 to 64 characters"
    value, about = shown(place.value), f" ({place.name}: {place.description})" if place.description else ""
    if fault.kind in NOUNS:
        return f"{value} is not {NOUNS[fault.kind]}{_object_example(place)}{about}"
    if fault.kind in BOUNDS:
        key, words = BOUNDS[fault.kind]
        return f"{value} is out of range: {words} {fault.context[key]}{about}"
    if fault.kind == "literal_error":
        return _literal(fault, place)
    write: Callable[[Fault, Place], str] | None = SENTENCES.get(fault.kind)
    return write(fault, place) + about if write else f"{value} is not possible here{about}"


def _object_example(place: Place) -> str:
    kinds = place.literals()
    if kinds:
        return f', such as {{"kind": {shown(closest(place.value, kinds) or kinds[0])}, ...}}'
    example = place.object_example()
    return f", such as {json.dumps(example)}" if example else ""


def _literal(fault: Fault, place: Place) -> str:
    if place.name == "hook":
        return _hook(fault, place)
    allowed = place.literals()
    if place.is_fixed():
        return among(f"{shown(place.value)} is not possible", place.value, allowed, "the choices are")
    meant = closest(place.value, allowed)
    question = f": did you mean {shown(meant)}?" if meant else ""
    return f"{shown(place.value)} is not possible{question} ({place.name}: {place.description})"


def _hook(fault: Fault, place: Place) -> str:
    """Sender and receiver hooks are told apart; of a misspelled full name the last part is compared."""
    end = str(fault.path[1]) if len(fault.path) > 1 else ""
    hooks = list({"senders": SENDER_HOOKS, "receivers": RECEIVER_HOOKS}.get(end, NODE_HOOKS))
    noun = {"senders": "sender", "receivers": "receiver"}.get(end, "node")
    start = f"hook {shown(place.value)} cannot be a {noun}"
    return among(start, str(place.value).rpartition("hook_")[2], hooks, f"a {noun} is one of")


def _too_long(fault: Fault, place: Place) -> str:
    count, most = fault.context.get("actual_length"), fault.context.get("max_length")
    size = counted(count, "entry").replace("entrys", "entries") if isinstance(count, int) else "too many entries"
    return f"{size} given: the most is {most}"


def _empty(fault: Fault, place: Place) -> str:
    what = "object" if isinstance(place.value, dict) else "list"
    return f"the {what} is empty: give at least one entry"


SENTENCES: dict[str, Callable[[Fault, Place], str]] = {
    "too_short": _empty,
    "too_long": _too_long,
    "string_too_short": lambda fault, place: "the string is empty",
    "string_too_long": lambda fault, place: (
        f"{shown(place.value)} is longer than {fault.context['max_length']} characters"
    ),
    "value_error": lambda fault, place: str(fault.context.get("error", "the value is not possible")),
}
