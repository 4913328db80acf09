"""JSON merge patches (RFC 7396): a change of a JSON document, written like the part of it that changes."""

from typing import Any


def merged(document: Any, patch: Any) -> Any:
    """The document with the patch applied; neither is changed.

    Objects are merged field by field, and null removes a field; anything else, lists too, replaces what was there.
    """
    if not isinstance(patch, dict):
        return patch
    fields = dict(document) if isinstance(document, dict) else {}
    for name, change in patch.items():
        if change is None:
            fields.pop(name, None)
        else:
            fields[name] = merged(fields.get(name), change)
    return fields


def difference(old: Any, new: Any) -> Any:
    """The smallest merge patch that makes ``new`` of ``old``; no patch can say a null inside ``new``."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    removed = dict.fromkeys(set(old) - set(new))
    changed = {name: value for name, value in new.items() if name not in old or old[name] != value}
    return removed | {name: difference(old.get(name), value) for name, value in changed.items()}
