"""Who am I, and API keys for administrators."""

import time
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError

from api_schemas.accounts import CreatedKey, KeyInfo, Me, NewKey
from api_schemas.errors import InvalidParameter, NotFound
from api_schemas.jobs import ListOf
from api_schemas.wording.sentences import field_errors
from api_schemas.wording.values import listed
from job_store import keys
from job_store.records import Limits
from service.accounts.keys import Admin, ReaderOrSubmitter
from service.http import documented as doc
from service.http.answers import json_answer
from service.http.bodies import json_document
from service.http.representations import key_document, page, timestamp
from service.parts import Parts, PartsOf

router = APIRouter(tags=["keys"])


@router.get(
    "/v1/me",
    summary="Who am I?",
    operation_id="get_me",
    responses={**doc.answer(200, "The caller's key.", Me), **doc.problems()},
)
async def get_me(parts: PartsOf, caller: ReaderOrSubmitter) -> Response:
    """The key's name, scopes, limits, use and end."""
    used = await parts.store.run(keys.usage(caller.owner, caller.limits))
    left = None if used.submits is None else max(0, used.submits.remaining)
    return json_answer(
        {
            "object": "me",
            "id": caller.owner,
            "name": caller.name,
            "scopes": list(caller.scopes),
            "expires_at": timestamp(caller.expires_ms),
            "limits": asdict(caller.limits),
            "use": {
                "queued_jobs": used.queued_jobs,
                "running_shards": used.running_shards,
                "submits_left": left,
                "compute_s_today": used.compute_s_today,
                "store_bytes": used.store_bytes,
            },
        }
    )


@router.get(
    "/v1/keys",
    summary="List API keys",
    operation_id="list_keys",
    responses={**doc.answer(200, "Every key, without secrets.", ListOf[KeyInfo]), **doc.problems()},
)
async def list_keys(parts: PartsOf, caller: Admin) -> Response:
    """Oldest first, revoked ones too. Needs the scope `admin`."""
    found = await parts.store.run(keys.list_keys())
    return json_answer(page([key_document(key) for key in found], has_more=False))


@router.post(
    "/v1/keys",
    summary="Create an API key",
    operation_id="create_key",
    status_code=201,
    openapi_extra=doc.json_body("NewKey", {"name": "ana-laptop", "scopes": ["read", "submit"]}),
    responses={**doc.answer(201, "The key, with its secret.", CreatedKey), **doc.problems(*doc.BODY)},
)
async def create_key(request: Request, parts: PartsOf, caller: Admin) -> Response:
    """The secret is shown in this answer and never again. Needs the scope `admin`."""
    wanted = await _read_new_key(request, parts)
    secret = keys.new_secret()
    expires_ms = None
    if wanted.expires_after_s is not None:
        expires_ms = round((time.time() + wanted.expires_after_s) * 1000)
    limits = Limits(**wanted.limits.model_dump())
    key = await parts.store.run(
        keys.create_key(wanted.name, keys.sha256_of(secret), scopes=wanted.scopes, limits=limits, expires_ms=expires_ms)
    )
    await parts.durability.confirm()
    return json_answer(key_document(key) | {"secret": secret}, 201, {"Cache-Control": "no-store"})


async def _read_new_key(request: Request, parts: Parts) -> NewKey:
    document = await json_document(request, parts)
    try:
        return NewKey.model_validate(document)
    except ValidationError as exc:
        raise InvalidParameter.listing(field_errors(exc, document, NewKey)) from None


@router.delete(
    "/v1/keys/{key}",
    summary="Revoke an API key",
    operation_id="revoke_key",
    status_code=204,
    responses={**doc.answer(204, "It opens nothing any more."), **doc.problems(not_found="There is no such key")},
)
async def revoke_key(
    key: Annotated[
        str,
        Path(max_length=128, description="Its id, or its name if no other valid key has it.", examples=["ana-laptop"]),
    ],
    parts: PartsOf,
    caller: Admin,
) -> Response:
    """Takes effect within seconds; jobs of the key go on. Needs the scope `admin`."""
    named = await parts.store.run(keys.revoke_key(key))
    if not named:
        raise NotFound(f"There is no valid API key {key!r}.")
    if len(named) > 1:
        raise InvalidParameter(f"{len(named)} keys are named {key!r}: give the id, one of {listed(named)}", "/path/key")
    parts.keyring.forget()
    await parts.durability.confirm()
    return Response(status_code=204)
