"""Models of the registry."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api_schemas.errors import NotFound
from api_schemas.jobs import ListOf, WorkerInfo
from api_schemas.models import ModelInfo
from job_store import workers
from service.accounts.keys import Reader
from service.http import documented as doc
from service.http.answers import json_answer
from service.http.representations import page
from service.models.names import hint
from service.parts import Parts, PartsOf, in_thread

router = APIRouter(tags=["models"])


async def _models(parts: Parts) -> list[ModelInfo]:
    alive = await parts.store.run(workers.list_workers())
    return [_with_workers(info, alive) for info in await in_thread(parts, parts.catalog.list)]


def _with_workers(info: ModelInfo, alive: tuple[WorkerInfo, ...]) -> ModelInfo:
    holders = [worker.id for worker in alive if info.name in worker.models]
    return info.model_copy(update={"workers": holders})


@router.get(
    "/v1/models",
    summary="List models",
    operation_id="list_models",
    responses={**doc.answer(200, "Every model of the registry.", ListOf[ModelInfo]), **doc.problems()},
)
async def list_models(parts: PartsOf, caller: Reader) -> Response:
    """Sizes, limits and revision of every model, and which workers hold it in memory."""
    return json_answer(page([info.model_dump(mode="json") for info in await _models(parts)], has_more=False))


@router.get(
    "/v1/models/{name}",
    summary="One model",
    operation_id="get_model",
    responses={**doc.answer(200, "The model.", ModelInfo), **doc.problems(not_found="There is no such model")},
)
async def get_model(
    name: Annotated[str, Path(max_length=128, description="Its name in the registry.", examples=["gpt2-small"])],
    parts: PartsOf,
    caller: Reader,
) -> Response:
    """Sizes, limits and revision of one model, and which workers hold it in memory."""
    found = await _models(parts)
    for info in found:
        if info.name == name:
            return json_answer(info.model_dump(mode="json"))
    known = [info.name for info in found]
    raise NotFound(f"There is no model {name!r}{hint(name, known)}: this server has {', '.join(known)}.")
