"""A job's result, as JSON, npz or CSV, and its figure."""

import hashlib
import logging
from dataclasses import replace
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Query, Request, Response

from api_schemas.circuit_results import CircuitResult
from api_schemas.circuits import CircuitPatch
from api_schemas.errors import DamagedData, InvalidParameter, NoResult, ResultExpired
from api_schemas.results import MultiMetricResult, Result
from job_store import jobs
from job_store.records import JobRecord
from job_store.script import Step
from planning.circuit_sets import n_circuits
from service.accounts.keys import Caller, Reader
from service.http import documented as doc
from service.http.answers import file_answer, job_answer
from service.http.clients import while_connected
from service.http.negotiation import VARY, accepts_gzip, coded, compressed, is_unchanged, media_type
from service.http.parameters import IfNoneMatch, JobId
from service.jobs.intake import first_prompt_of
from service.parts import Parts, PartsOf, in_thread
from service.results import drawing, formats
from service.results.circuits import EAP_IG
from service.results.rendering import Order
from service.version import package_version

LOGGER = logging.getLogger("service.routes.job_results")
Found = TypeVar("Found")
router = APIRouter(tags=["results"])

_ALONE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'unsafe-inline'; "
POLICIES = {
    drawing.HTML: {
        "Content-Security-Policy": _ALONE + "img-src data: blob:; script-src 'unsafe-inline' 'unsafe-eval'; "
        "worker-src blob:; sandbox allow-scripts allow-downloads"
    },
    drawing.SVG: {"Content-Security-Policy": _ALONE + "img-src data:; font-src data:; sandbox"},
}
"""A figure in a browser's tab belongs to no site: nothing in it can act as whoever looks at it, or ask any host."""
LARGE_BYTES = 2**19
"""Stored results beyond this are encoded by a process of their own."""
SMALL_BYTES = 2**14
"""Stored results up to this are encoded within a millisecond or two, in the event loop; others in a thread."""

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_CSV = _TEXT | {
    "example": f"metric,title,example,{','.join(formats.CSV_ARRAYS)}\r\n"
    'attention_diff,"attention end → IO minus end → S1, head 3.0",0,'
    "0.0812,0.6634,0.0127,0.0611,0.0204,0.0014,0.0021,,,\r\n"
}
_GRAPH = {
    "schema": {"type": "object"},
    "example": {
        "cfg": {"n_layers": 1, "n_heads": 1, "parallel_attn_mlp": False, "d_model": 64},
        "nodes": {"input": {"in_graph": True}, "logits": {"in_graph": True}},
        "edges": {"input->logits": {"score": 0.25, "in_graph": True}},
    },
}
_PLOTLY_JSON = {
    "schema": {"type": "object"},
    "example": {"data": [{"type": "bar", "name": "orig", "y": [3, 1]}], "layout": {"title": {"text": "attention"}}},
}
_HTML = _TEXT | {"example": "<!doctype html><html><body><div id='figure'></div><script>…</script></body></html>"}
_SVG = _TEXT | {"example": '<svg xmlns="http://www.w3.org/2000/svg" width="640pt" height="400pt">…</svg>'}
_OTHERS = {
    **doc.answer(
        202,
        "Not finished: the job as it is now. Ask again after `Retry-After`.",
        None,
        ETag=doc.ETAG,
        Location=doc.LOCATION,
        Retry_After=doc.RETRY_AFTER,
    ),
    **doc.answer(304, "Nothing changed since that `ETag`.", ETag=doc.ETAG, Vary=doc.CACHED_BY),
    **doc.problems(
        "unknown_job",
        "not_acceptable",
        "no_result",
        "result_expired",
        rate_limited="As many figures or large results of this key are being made, or wait, as are allowed",
    ),
}
_JOB = {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}, "example": doc.example_job("running")}}


@router.get(
    "/v1/jobs/{job_id}/result",
    summary="A job's result",
    operation_id="get_result",
    responses={
        **_OTHERS,
        200: {
            "description": "Arrays with named axes, and everything needed to trust them.",
            "headers": {"ETag": doc.ETAG, "Vary": doc.CACHED_BY, "Content-Disposition": doc.ATTACHMENT},
            "model": Result | MultiMetricResult | CircuitResult,
            "content": {formats.NPZ: _BINARY, formats.CSV: _CSV, EAP_IG: _GRAPH},
        },
        202: {**_OTHERS[202], "content": _JOB},
    },
)
async def get_result(
    request: Request,
    job_id: JobId,
    parts: PartsOf,
    caller: Reader,
    circuit: Annotated[
        int, Query(ge=0, le=999, description="Which circuit, where the form holds one: its index in `circuits`.")
    ] = 0,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The result by `Accept`: JSON, `application/x-npz` (arrays, and a JSON `head`) or `text/csv` (tidy); of a circuit
    job also `application/vnd.eap-ig+json`, the graph as EAP-IG and MIB read it."""
    media = media_type(request, formats.CIRCUIT_FORMATS)
    most = LARGE_BYTES if if_none_match is None else 0
    record, stored = await _undamaged(parts, job_id, jobs.get_with_result(job_id, caller.sees, most_bytes=most))
    if record.spec_fields["patch"]["kind"] != "circuit":
        media = media_type(request, formats.FORMATS)
    elif circuit >= (several := _n_circuits(record)):
        known = "0 is the only one" if several == 1 else f"0 to {several - 1} are"
        raise InvalidParameter(f"{circuit} is not a circuit of this result: {known}", "/query/circuit")
    if unfinished := _unfinished(request, record):
        return unfinished
    form = f"{media}.{circuit}" if media == EAP_IG else media
    headers = {"ETag": _etag(record, form), "Vary": VARY}
    if is_unchanged(request, headers["ETag"]):
        return Response(None, 304, headers)
    if media != formats.JSON:
        suffix = f"{circuit}.json" if media == EAP_IG else media.rpartition("/")[2].removeprefix("x-")
        headers["Content-Disposition"] = f'attachment; filename="{job_id}.{suffix}"'
    if record.result_bytes > LARGE_BYTES:
        order = Order(job_id, media, _is_gzipped(request, media), circuit=circuit)
        return await while_connected(request, _rendered(parts, caller, order, headers))
    stored = stored or await _undamaged(parts, job_id, jobs.result(job_id, caller.sees))
    if stored is None:
        raise ResultExpired("The result was erased a moment ago.")
    if record.result_bytes <= SMALL_BYTES:
        body = formats.encode(stored, record, media, circuit)
    else:
        body = await in_thread(parts, formats.encode, stored, record, media, circuit)
    return await compressed(request, body, headers, media, is_worth_it=media != formats.NPZ)


@router.get(
    "/v1/jobs/{job_id}/figure",
    summary="A job's figure",
    operation_id="get_figure",
    responses={
        **_OTHERS,
        200: {
            "description": "The result as a picture: a Plotly figure as JSON or as one HTML page that needs no other "
            "host, or SVG, PNG or PDF.",
            "headers": {"ETag": doc.ETAG, "Vary": doc.CACHED_BY, "Content-Security-Policy": doc.ALONE},
            "content": {
                drawing.PLOTLY_JSON: _PLOTLY_JSON,
                drawing.HTML: _HTML,
                drawing.SVG: _SVG,
                drawing.PNG: _BINARY | {"example": "\x89PNG\r\n…"},
                drawing.PDF: _BINARY | {"example": "%PDF-1.4…"},
            },
        },
        202: {**_OTHERS[202], "content": _JOB},
    },
)
async def get_figure(
    request: Request,
    job_id: JobId,
    parts: PartsOf,
    caller: Reader,
    kind: Annotated[drawing.Kind | None, Query(description="Another figure than the one that fits best.")] = None,
    block: Annotated[int, Query(ge=0, le=15, description="Which metric, where there are several.")] = 0,
    title: Annotated[
        str | None, Query(max_length=500, description="Title; empty for none.", examples=["Name movers"])
    ] = None,
    x_label: Annotated[
        str | None, Query(max_length=500, description="Label of the horizontal axis.", examples=["head"])
    ] = None,
    y_label: Annotated[
        str | None, Query(max_length=500, description="Label of the vertical axis.", examples=["layer"])
    ] = None,
    colour_limit: Annotated[
        float | None,
        Query(
            gt=0,
            allow_inf_nan=False,
            description="End of a heatmap's symmetric colour scale, in the effect's unit.",
            examples=[0.5],
        ),
    ] = None,
    width: Annotated[
        float | None, Query(ge=1, le=40, description="Inches, together with `height`.", examples=[6])
    ] = None,
    height: Annotated[
        float | None, Query(ge=1, le=40, description="Inches, together with `width`.", examples=[4])
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Histogram, heatmap, bars, graph or scatter, whichever fits the result; of a circuit job faithfulness, circuit or
    ranks."""
    media = media_type(request, drawing.FORMATS)
    record = await parts.store.run(jobs.get(job_id, caller.sees))
    if unfinished := _unfinished(request, record):
        return unfinished
    if block >= (several := len(record.spec.all_metrics)):
        known = "0 is the only one" if several == 1 else f"0 to {several - 1} are"
        raise InvalidParameter(f"{block} is not a block of this result: {known}", "/query/block")
    look = {"title": title, "x_label": x_label, "y_label": y_label, "colour_limit": colour_limit}
    options = {"kind": kind, "block": block, **look, "size": _size(width, height)}
    headers = {"ETag": _etag(record, f"figure.{media}.{_digest(options)}"), "Vary": VARY}
    if is_unchanged(request, headers["ETag"]):
        return Response(None, 304, headers)
    order = Order(job_id, media, _is_gzipped(request, media), options)
    return await while_connected(request, _drawn(parts, caller, record, order, headers))


async def _drawn(parts: Parts, caller: Caller, record: JobRecord, order: Order, headers: dict[str, str]) -> Response:
    tokens = await first_prompt_of(parts, caller.owner, record)
    return await _rendered(parts, caller, replace(order, prompt_tokens=tokens), headers)


async def _rendered(parts: Parts, caller: Caller, order: Order, headers: dict[str, str]) -> Response:
    """Made by a process of its own, a few at a time, and sent from disk, at whatever speed the client reads."""
    try:
        async with parts.renderings.taken(caller.owner):
            file = await parts.drawers.render(order)
    except DamagedData as damage:
        raise await _dropped(parts, order.job_id, damage) from None
    headers = headers | POLICIES.get(order.media, {})
    return file_answer(file, coded(headers) if order.is_gzipped else headers, order.media)


def _is_gzipped(request: Request, media: str) -> bool:
    return media not in (formats.NPZ, drawing.PNG, drawing.PDF) and accepts_gzip(request)


def _size(width: float | None, height: float | None) -> tuple[float, float] | None:
    if width is not None and height is not None:
        return width, height
    if width is not None or height is not None:
        missing = "width" if width is None else "height"
        raise InvalidParameter("width and height go together, and only one of them is given", f"/query/{missing}")
    return None


def _digest(options: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(options)).hexdigest()[:12]


def _unfinished(request: Request, record: JobRecord) -> Response | None:
    """What there is to say while there is no result.

    Raises:
        ResultExpired, NoResult: There is none any more, or there never will be.
    """
    if not record.is_done:
        return job_answer(request, record, 202, {"Location": f"/v1/jobs/{record.id}"})
    if record.result_expired:
        raise ResultExpired(
            "Results are kept for a limited time after a job's end, and this one's is over: submit it again."
        )
    if record.status == "expired":
        raise ResultExpired(
            f"The job did not finish within its expires_after_s = {record.spec.expires_after_s:g}, so it has no result."
        )
    if record.status != "succeeded":
        why = f": {record.error_detail}" if record.error_detail else ""
        raise NoResult(f"The job is {record.status}, so it has no result{why}")
    return None


async def _undamaged(parts: Parts, job_id: str, step: Step[Found]) -> Found:
    try:
        return await parts.store.run(step)
    except DamagedData as damage:
        raise await _dropped(parts, job_id, damage) from None


async def _dropped(parts: Parts, job_id: str, damage: DamagedData) -> ResultExpired:
    """A damaged result is no result: nobody is answered from it any more."""
    LOGGER.error("a stored result was damaged, and is dropped", extra={"job_id": job_id, "damage": damage.detail})
    await parts.store.run(jobs.drop_damaged(job_id))
    return ResultExpired(f"{damage.detail} The result was dropped: submit the job again.")


def _n_circuits(record: JobRecord) -> int:
    assert isinstance(record.spec.patch, CircuitPatch)
    return n_circuits(record.spec.patch)


def _etag(record: JobRecord, form: str) -> str:
    """A finished job's result never changes, and its form only with the version of this service."""
    name = form.replace("application/", "").replace("text/", "").replace("image/", "")
    return f'"{record.id[4:]}-{record.facts.spec_sha256[:12]}-{name}-{package_version()}"'
