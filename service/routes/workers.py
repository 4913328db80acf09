"""Workers, as their heartbeats describe them."""

from fastapi import APIRouter, Response

from api_schemas.jobs import ListOf, WorkerInfo
from job_store import workers
from service.accounts.keys import Reader
from service.http import documented as doc
from service.http.answers import json_answer
from service.http.representations import page
from service.parts import PartsOf

router = APIRouter(tags=["service"])


@router.get(
    "/v1/workers",
    summary="List workers",
    operation_id="list_workers",
    responses={**doc.answer(200, "The workers that are alive.", ListOf[WorkerInfo]), **doc.problems()},
)
async def list_workers(parts: PartsOf, caller: Reader) -> Response:
    """Device, memory and models of each, and what it runs. Another key's job is not named."""
    alive = await parts.store.run(workers.list_workers(caller.sees))
    return json_answer(page([worker.model_dump(mode="json") for worker in alive], has_more=False))
