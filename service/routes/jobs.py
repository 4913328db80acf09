"""Jobs: submit, look ahead, list, watch, cancel, erase."""

from contextlib import nullcontext
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api_schemas.errors import InvalidParameter
from api_schemas.jobs import Job, JobStatus, ListOf, ValidationReport
from job_store import jobs
from job_store.records import Created
from service.accounts.keys import Caller, Reader, ReaderOrSubmitter, Submitter, require_priority
from service.accounts.rate_fields import rate_fields
from service.checkers.checker import Given, SpecText
from service.http import documented as doc
from service.http.answers import after_wait, job_answer, json_answer, retry_after
from service.http.bodies import MERGE_PATCH, has_body, json_text
from service.http.negotiation import wait_s
from service.http.parameters import JOB_ID, IdempotencyKey, IfNoneMatch, JobId, Limit, PreferHeader
from service.http.representations import job_document, job_etag, page
from service.jobs.idempotency import named, replay_headers, reserved
from service.jobs.intake import Intake, speeds_of
from service.jobs.listing import page_of_jobs
from service.jobs.submission import Submission, submit
from service.parts import Parts, PartsOf

LAST_ID = f"^{JOB_ID.pattern}$"

router = APIRouter(tags=["jobs"])

_SPEC_BODY = doc.json_body("JobSpec", doc.EXAMPLE_SPEC)
_HEADERS = {"Retry_After": doc.RETRY_AFTER, "ETag": doc.ETAG, "Preference_Applied": doc.PREFERENCE}
_SUBMIT_HEADERS = _HEADERS | {
    "Location": doc.LOCATION,
    "Idempotency_Replayed": doc.REPLAYED,
    "RateLimit": doc.RATE_LIMIT,
    "RateLimit_Policy": doc.RATE_POLICY,
}


def _submit_responses(unknown_job: str) -> dict[int | str, dict[str, Any]]:
    """What a request that makes a job may be answered."""
    ended = "With `Prefer: wait=n`: the job has ended already."
    return {
        **doc.answer(200, ended, Job, doc.example_job("succeeded"), **_SUBMIT_HEADERS),
        **doc.answer(202, "Accepted; `Location` is the job.", Job, doc.example_job("queued"), **_SUBMIT_HEADERS),
        **doc.problems(
            *doc.BODY,
            "invalid_spec",
            "idempotency_key_in_flight",
            "idempotency_key_reused",
            "quota_exceeded",
            "store_full",
            unknown_job=unknown_job,
        ),
    }


@router.post(
    "/v1/jobs",
    summary="Submit a job",
    operation_id="submit_job",
    status_code=202,
    openapi_extra=_SPEC_BODY,
    responses=_submit_responses("The job that this `Idempotency-Key` made was erased"),
)
async def submit_job(
    request: Request, parts: PartsOf, caller: Submitter, key: IdempotencyKey, prefer: PreferHeader = None
) -> Response:
    """Queue one experiment. An equal spec that has a result already is answered from it at once (`cached`)."""
    created = await _accept(request, parts, caller, key)
    return await _answer(request, parts, caller, created)


async def _answer(request: Request, parts: Parts, caller: Caller, created: Created) -> Response:
    """The job that was made, at once or when it has ended."""
    job_id = created.job_ids[0]
    request.state.job_id = job_id
    await parts.durability.confirm(*([] if created.replayed else [job_id]))
    seconds = wait_s(request, parts.settings.max_wait_s)
    record, applied = await after_wait(request, parts, caller, job_id, seconds, created.record)
    headers = {"Location": f"/v1/jobs/{job_id}"} | applied | replay_headers(created)
    headers |= await rate_fields(parts.store, caller)
    return job_answer(request, record, 200 if seconds is not None and record.is_done else 202, headers)


async def _accept(request: Request, parts: Parts, caller: Caller, key: str | None) -> Created:
    """Nothing of the spec stays in memory while a client waits."""
    async with json_text(request, parts) as body:
        idempotency = named(key, "/v1/jobs", body, parts.settings.idempotency_s)
        async with reserved(parts, caller, idempotency) as earlier:
            if earlier is not None:
                return earlier
            return await submit(parts, Submission(caller, Intake(parts, request, SpecText(body)), idempotency))


@router.post(
    "/v1/jobs/{job_id}/rerun",
    summary="Run a job's experiment again, with changes",
    operation_id="rerun_job",
    status_code=202,
    openapi_extra=doc.merge_patch_body({"dataset": {"seed": 4}}),
    responses=_submit_responses("There is no such job, or the one that this `Idempotency-Key` made was erased"),
)
async def rerun_job(
    request: Request,
    job_id: JobId,
    parts: PartsOf,
    caller: Submitter,
    key: IdempotencyKey,
    prefer: PreferHeader = None,
) -> Response:
    """Queue the job's spec with a JSON merge patch (RFC 7396) applied; without a body, as it was.

    The patch is applied to what was asked for: defaults that other fields imply follow the changed fields.
    """
    async with json_text(request, parts, MERGE_PATCH) if has_body(request) else nullcontext(b"{}") as body:
        idempotency = named(key, request.url.path, body, parts.settings.idempotency_s)
        async with reserved(parts, caller, idempotency) as earlier:
            created = earlier
            if created is None:
                record = await parts.store.run(jobs.get(job_id, caller.sees))
                intake = Intake(parts, request, SpecText(body, base=record.spec_json))
                created = await submit(parts, Submission(caller, intake, idempotency))
    return await _answer(request, parts, caller, created)


@router.post(
    "/v1/jobs:validate",
    summary="Look ahead: what would this spec do?",
    operation_id="validate_job",
    openapi_extra=_SPEC_BODY,
    responses={
        **doc.answer(200, "The spec can run; this is what it would do.", ValidationReport),
        **doc.problems(*doc.BODY, "invalid_spec"),
    },
)
async def validate_job(request: Request, parts: PartsOf, caller: ReaderOrSubmitter) -> Response:
    """Check a spec without queueing it: prompts with tokens and roles marked, cells, time, size, warnings."""
    async with json_text(request, parts) as body:
        intake = Intake(parts, request, SpecText(body))
        outlines = await intake.outlines()
        require_priority(caller, [outline.priority for outline in outlines])
        given = Given(await speeds_of(parts, outlines))
        return Response(await intake.report(given), media_type="application/json")


@router.get(
    "/v1/jobs",
    summary="List jobs, newest first",
    operation_id="list_jobs",
    responses={
        **doc.answer(
            200, "One page.", ListOf[Job], {"object": "list", "data": [doc.example_job("succeeded")], "has_more": False}
        ),
        **doc.problems(),
    },
)
async def list_jobs(
    parts: PartsOf,
    caller: Reader,
    limit: Limit = 20,
    after: Annotated[
        str | None, Query(pattern=LAST_ID, description="Last id of the page before.", examples=[doc.EXAMPLE_JOB_ID])
    ] = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
    model: Annotated[
        str | None, Query(max_length=128, description="Only jobs of this model.", examples=["demo"])
    ] = None,
    tag: Annotated[
        str | None,
        Query(max_length=322, description="`key:value`: only jobs with this tag.", examples=["experiment:first"]),
    ] = None,
    name: Annotated[
        str | None,
        Query(max_length=200, description="Only jobs with this in their name, in either case.", examples=["movers"]),
    ] = None,
) -> Response:
    """The jobs of this API key. A page of very large specs may be short: go on while `has_more`."""
    wanted = None if tag is None else _tag(tag)
    found = await page_of_jobs(
        parts.store, caller.sees, limit, after, status=status, model=model, tag=wanted, name=name
    )
    return json_answer(page([job_document(record) for record in found.records], found.has_more))


def _tag(given: str) -> tuple[str, str]:
    key, separator, value = given.partition(":")
    if not key or not separator:
        raise InvalidParameter(f"{given!r} is not a tag: write key:value", "/query/tag")
    return key, value


@router.get(
    "/v1/jobs/{job_id}",
    summary="One job",
    operation_id="get_job",
    responses={
        **doc.answer(200, "The job as it is now.", Job, doc.example_job("running"), **_HEADERS),
        **doc.answer(304, "Nothing changed since that `ETag`.", **_HEADERS),
        **doc.problems("unknown_job"),
    },
)
async def get_job(
    request: Request,
    job_id: JobId,
    parts: PartsOf,
    caller: Reader,
    prefer: PreferHeader = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """State, progress, place in the queue. With `Prefer: wait=n` the answer comes when the job has ended."""
    seconds = wait_s(request, parts.settings.max_wait_s)
    record, applied = await after_wait(request, parts, caller, job_id, seconds)
    return job_answer(request, record, headers=applied)


@router.post(
    "/v1/jobs/{job_id}/cancel",
    summary="Cancel a job",
    operation_id="cancel_job",
    responses={
        **doc.answer(200, "Cancelled, now or before.", Job, doc.example_job("cancelled"), ETag=doc.ETAG),
        **doc.answer(
            202,
            "Cancelling: its running shards are being stopped.",
            Job,
            doc.example_job("cancelling"),
            ETag=doc.ETAG,
            Retry_After=doc.RETRY_AFTER,
        ),
        **doc.problems("unknown_job", "job_not_cancellable"),
    },
)
async def cancel_job(job_id: JobId, parts: PartsOf, caller: Submitter) -> Response:
    """Stop a job. Cancelling twice is fine; a job that has succeeded or failed cannot be cancelled."""
    await parts.store.run(jobs.cancel(job_id, caller.sees))
    await parts.durability.confirm()
    record = await parts.store.run(jobs.get(job_id, caller.sees))
    headers = {"ETag": job_etag(record)} | ({} if record.is_done else {"Retry-After": retry_after(record)})
    return json_answer(job_document(record), 200 if record.is_done else 202, headers)


@router.delete(
    "/v1/jobs/{job_id}",
    summary="Erase a job",
    operation_id="delete_job",
    status_code=204,
    responses={
        **doc.answer(204, "Record, events and result are gone."),
        **doc.problems("unknown_job", "job_still_running"),
    },
)
async def delete_job(job_id: JobId, parts: PartsOf, caller: Submitter) -> Response:
    """Erase record, events and result of a job that is queued or has ended."""
    await parts.store.run(jobs.delete(job_id, caller.sees))
    await parts.durability.confirm()
    return Response(status_code=204)
