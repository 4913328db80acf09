"""Batches: many jobs in one request, accepted all or none."""

from fastapi import APIRouter, Request, Response

from api_schemas.jobs import Batch
from job_store import jobs
from job_store.ids import new_batch_id
from service.accounts.keys import Reader, Submitter
from service.accounts.rate_fields import rate_fields
from service.checkers.checker import SpecText
from service.http import documented as doc
from service.http.answers import json_answer
from service.http.bodies import json_text
from service.http.parameters import BatchId, IdempotencyKey
from service.http.representations import batch_document
from service.jobs.idempotency import named, replay_headers, reserved
from service.jobs.intake import Intake
from service.jobs.submission import Submission, submit
from service.parts import PartsOf

router = APIRouter(tags=["batches"])

_EXAMPLE = {"jobs": [doc.EXAMPLE_SPEC]}


@router.post(
    "/v1/batches",
    summary="Submit many jobs",
    operation_id="submit_batch",
    status_code=202,
    openapi_extra=doc.json_body("BatchRequest", _EXAMPLE),
    responses={
        **doc.answer(
            202,
            "All were accepted.",
            Batch,
            Location=doc.LOCATION,
            Idempotency_Replayed=doc.REPLAYED,
            RateLimit=doc.RATE_LIMIT,
            RateLimit_Policy=doc.RATE_POLICY,
        ),
        **doc.problems(
            *doc.BODY,
            "invalid_spec",
            "idempotency_key_in_flight",
            "idempotency_key_reused",
            "quota_exceeded",
            "store_full",
            unknown_batch="The batch that this `Idempotency-Key` made has expired",
        ),
    },
)
async def submit_batch(request: Request, parts: PartsOf, caller: Submitter, key: IdempotencyKey) -> Response:
    """Queue 1 to 1000 experiments, all or none; errors of all of them are told at once."""
    async with json_text(request, parts) as body:
        idempotency = named(key, "/v1/batches", body, parts.settings.idempotency_s)
        async with reserved(parts, caller, idempotency) as earlier:
            if earlier is None:
                intake = Intake(parts, request, SpecText(body, is_batch=True))
                created = await submit(parts, Submission(caller, intake, idempotency, new_batch_id()))
            else:
                created = earlier
    assert created.batch_id is not None
    request.state.batch_id = created.batch_id
    await parts.durability.confirm(*([] if created.replayed else created.job_ids))
    record = await parts.store.run(jobs.batch(created.batch_id, caller.sees))
    headers = {"Location": f"/v1/batches/{created.batch_id}"} | replay_headers(created)
    return json_answer(batch_document(record), 202, headers | await rate_fields(parts.store, caller))


@router.get(
    "/v1/batches/{batch_id}",
    summary="One batch",
    operation_id="get_batch",
    responses={**doc.answer(200, "The batch as it is now.", Batch), **doc.problems("unknown_batch")},
)
async def get_batch(batch_id: BatchId, parts: PartsOf, caller: Reader) -> Response:
    """Its jobs, and how many are in each state."""
    return json_answer(batch_document(await parts.store.run(jobs.batch(batch_id, caller.sees))))


@router.post(
    "/v1/batches/{batch_id}/cancel",
    summary="Cancel a batch",
    operation_id="cancel_batch",
    responses={
        **doc.answer(200, "Every job has ended.", Batch),
        **doc.answer(202, "Some jobs are still being stopped.", Batch),
        **doc.problems("unknown_batch"),
    },
)
async def cancel_batch(batch_id: BatchId, parts: PartsOf, caller: Submitter) -> Response:
    """Stop whichever of its jobs have not ended."""
    document = batch_document(await parts.store.run(jobs.cancel_batch(batch_id, caller.sees)))
    await parts.durability.confirm()
    return json_answer(document, 200 if document["done"] else 202)
