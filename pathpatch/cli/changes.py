"""Changes of a spec on the command line: ``--seed 3 --set model.name=gpt2-medium``."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from api_schemas.merge_patch import merged
from pathpatch.cli.spec_files import read_value
from pathpatch.cli.terminal import CommandFailed

Seed = Annotated[int | None, typer.Option("--seed", help="Draw the prompts with this seed: sets dataset.seed.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change a field, such as model.name=gpt2-medium or patch.senders.0.head=3; null removes it. Repeatable.",
    ),
]


def changed(spec: dict[str, Any], seed: int | None, sets: Sequence[str] | None) -> dict[str, Any]:
    """The spec with the changes; the first is made first.

    Raises:
        CommandFailed: A change is not FIELD=VALUE, or names an entry that a list does not have.
    """
    for change in [*([] if seed is None else [f"dataset.seed={seed}"]), *(sets or [])]:
        field, separator, value = change.partition("=")
        if not separator or not all(field.split(".")):
            raise CommandFailed(f"--set {change}: write FIELD=VALUE, such as model.name=gpt2-medium.")
        spec = merged(spec, _patch(spec, field.split("."), read_value(value), field))
    return spec


def _patch(document: Any, steps: Sequence[str], value: Any, field: str) -> Any:
    """The merge patch that sets a field; of a list, which a merge patch can only replace, the whole list."""
    first, rest = steps[0], steps[1:]
    if isinstance(document, list):
        if not first.isdecimal() or int(first) >= len(document):
            last = len(document) - 1
            raise CommandFailed(f"--set {field}: {first!r} is no entry of a list whose entries are 0 to {last}.")
        entry = document[int(first)]
        new = merged(entry, _patch(entry, rest, value, field)) if rest else value
        return [*document[: int(first)], new, *document[int(first) + 1 :]]
    inner = document.get(first) if isinstance(document, dict) else None
    return {first: _patch(inner, rest, value, field) if rest else value}
