"""A bare FastAPI + Celery application, to which the service is compared: nothing is checked, kept or made durable."""

import os
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from fastapi import FastAPI

URL = os.environ["BARE_URL"]
celery = Celery("bare", broker=URL, backend=URL)
api = FastAPI()


@celery.task(name="bare.run")  # type: ignore[untyped-decorator]
def run(spec: dict[str, Any]) -> dict[str, Any]:
    """The work, which is none."""
    return {"examples": spec["dataset"]["examples"]}


@api.post("/v1/jobs", status_code=202)
def submit(spec: dict[str, Any]) -> dict[str, str]:
    """Queue it."""
    return {"id": celery.send_task("bare.run", [spec]).id}


@api.get("/v1/jobs/{job_id}")
def job(job_id: str) -> dict[str, Any]:
    """State and result."""
    found = AsyncResult(job_id, app=celery)
    return {"state": found.state, "result": found.result if found.ready() else None}
