"""Webhook deliveries that were given up."""

from fastapi import APIRouter, Response

from api_schemas.accounts import DeadWebhook
from api_schemas.jobs import ListOf
from job_store import webhooks
from service.accounts.keys import Admin
from service.http import documented as doc
from service.http.answers import json_answer
from service.http.parameters import Limit
from service.http.representations import page, timestamp
from service.parts import PartsOf

router = APIRouter(tags=["webhooks"])


@router.get(
    "/v1/webhooks/dead",
    summary="List dead webhook deliveries",
    operation_id="list_dead_webhooks",
    responses={**doc.answer(200, "Newest first.", ListOf[DeadWebhook]), **doc.problems()},
)
async def list_dead_webhooks(parts: PartsOf, caller: Admin, limit: Limit = 100) -> Response:
    """What could not be delivered after all attempts, and why. Needs the scope `admin`."""
    found = await parts.store.run(webhooks.dead(limit=limit))
    documents = [
        {
            "id": dead.id,
            "object": "dead_webhook",
            "job_id": dead.job_id,
            "url": dead.url,
            "attempts": dead.attempts,
            "error": dead.error,
            "died_at": timestamp(dead.died_ms),
        }
        for dead in found
    ]
    return json_answer(page(documents, has_more=False))
