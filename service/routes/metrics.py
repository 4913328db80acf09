"""Prometheus metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api_schemas.errors import StoreUnavailable
from service.accounts.keys import identified, needs
from service.http import documented as doc
from service.parts import PartsOf
from service.telemetry.prometheus import StoreState, exposition

router = APIRouter(tags=["service"])

_read = needs("read")
_EXAMPLE = (
    "# HELP pathpatch_queued_shards Shards waiting for a worker\n# TYPE pathpatch_queued_shards gauge\n"
    'pathpatch_queued_shards{model="demo"} 8.0\n'
)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    operation_id="get_metrics",
    response_class=Response,
    openapi_extra={"security": [{"ApiKey": ["read"]}, {}]},
    responses={
        200: {
            "description": "Requests, jobs, queues, shards and workers, in Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        },
        **doc.problems(),
    },
)
async def get_metrics(request: Request, parts: PartsOf) -> Response:
    """For scrapers. Needs a key with the scope `read`, unless the operator opened it (`PATHPATCH_OPEN_METRICS`)."""
    if not parts.settings.open_metrics:
        await _read(await identified(request))
    try:
        state = await StoreState.read(parts.store)
    except StoreUnavailable:
        state = None
    return Response(exposition(parts.metrics, state), media_type=CONTENT_TYPE_PLAIN_0_0_4)
