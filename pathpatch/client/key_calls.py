"""Requests about API keys, for administrators; as plain data, like those of :mod:`pathpatch.client.wire`."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from api_schemas.accounts import CreatedKey, KeyInfo, NewKey
from api_schemas.jobs import ListOf
from pathpatch.client.calls import Answer, Call, check, reader
from pathpatch.specs.building import build

Limits = Mapping[str, float | None]
"""``queued_jobs``, ``running_shards``, ``submits_per_minute``, ``compute_s_per_day``, ``store_bytes``.

None is the server's default.
"""


def create_key(
    name: str, scopes: Sequence[str], expires_after_s: float | None = None, limits: Limits | None = None
) -> Call[CreatedKey]:
    """Make a key; the answer is the only one that shows its secret.

    Raises:
        SpecError: The name, a scope or a limit cannot be.
    """
    wanted = build(NewKey, name=name, scopes=list(scopes), expires_after_s=expires_after_s, limits=limits)
    content = json.dumps(wanted.model_dump(mode="json", exclude_none=True)).encode()
    headers = {"content-type": "application/json"}
    return Call("POST", "/v1/keys", reader(CreatedKey), headers=headers, content=content, is_repeatable=False)


def list_keys() -> Call[list[KeyInfo]]:
    """All keys, without secrets."""
    return Call("GET", "/v1/keys", lambda answer: list(reader(ListOf[KeyInfo])(answer).data))


def revoke_key(key: str) -> Call[None]:
    """Make a key useless, by its id, or by its name if no other valid key has it."""
    return Call("DELETE", f"/v1/keys/{quote(key, safe='')}", _nothing)


def _nothing(answer: Answer) -> None:
    check(answer)
