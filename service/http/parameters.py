"""Parameters that several routes share, checked before anything else happens."""

import difflib
import re
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from fastapi.routing import APIRoute

from api_schemas.errors import FieldError, InvalidParameter, UnknownBatch, UnknownJob
from api_schemas.wording.values import shown
from service.results import drawing, formats

JOB_ID = re.compile(r"job_[0-9A-Z]{26}", re.ASCII)
BATCH_ID = re.compile(r"batch_[0-9A-Z]{26}", re.ASCII)
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)

MOST_TOLD = 8
"""Unknown parameters of one request that are told."""

BY_ACCEPT = {"result": formats.FORMATS, "figure": drawing.FORMATS, "events": ("application/json", "text/event-stream")}
"""Last part of a route's path -> the formats among which ``Accept`` chooses."""


async def only_known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have: a misspelled one would silently do nothing.

    The page takes any: mail and chat programs add marks of their own to a link.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or route.path == "/":
        return
    known = [parameter.alias for parameter in route.dependant.query_params]
    wrong = [name for name in request.query_params if name not in known][:MOST_TOLD]
    if wrong:
        raise InvalidParameter.listing(
            [FieldError(pointer=f"/query/{name[:80]}", message=_unknown(name, known, route.path)) for name in wrong]
        )
    repeated = [name for name in known if len(request.query_params.getlist(name)) > 1]
    if repeated:
        raise InvalidParameter(f"{repeated[0]!r} is given more than once", f"/query/{repeated[0]}")


def _unknown(name: str, known: list[str], path: str) -> str:
    close = difflib.get_close_matches(name[:80], known, n=1)
    allowed = f"this route takes {', '.join(known)}" if known else "this route takes no query parameters"
    if name == "format" and (media_types := BY_ACCEPT.get(path.rpartition("/")[2])):
        allowed = f"the format goes by the header Accept, one of {', '.join(media_types)}"
    return f"there is no parameter {shown(name)}: {f'did you mean {close[0]!r}? ' if close else ''}{allowed}"


async def job_id(
    request: Request,
    job_id: Annotated[str, Path(description="Identifier of the job.", examples=["job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])],
) -> str:
    """The id in the path, if it can be one."""
    if not JOB_ID.fullmatch(job_id):
        raise UnknownJob(job_id[:80])
    request.state.job_id = job_id
    return job_id


async def batch_id(
    batch_id: Annotated[
        str, Path(description="Identifier of the batch.", examples=["batch_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])
    ],
) -> str:
    """The id in the path, if it can be one."""
    if not BATCH_ID.fullmatch(batch_id):
        raise UnknownBatch(batch_id[:80])
    return batch_id


async def idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Names this request for 24 hours: sent again, it makes nothing new and gets the same answer.",
            examples=["night-sweep-7"],
        ),
    ] = None,
) -> str | None:
    """The header, if it makes sense."""
    if idempotency_key is not None and not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise InvalidParameter("an Idempotency-Key is 1 to 255 visible ASCII characters", "/header/Idempotency-Key")
    return idempotency_key


JobId = Annotated[str, Depends(job_id)]
BatchId = Annotated[str, Depends(batch_id)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
Limit = Annotated[int, Query(ge=1, le=100, description="Length of the page.")]
PreferHeader = Annotated[
    str | None,
    Header(
        description="`wait=n`: answer when the job has ended, or after n seconds (at most 60).", examples=["wait=10"]
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(description="An `ETag` seen before: answered with 304 if nothing changed.", examples=['W/"3-0"']),
]
