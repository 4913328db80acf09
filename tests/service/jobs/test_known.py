"""What the service remembers of bodies that were sent: exactly what their check gave, and nothing of another key."""

import json
from dataclasses import replace

import httpx
import pytest

from checkpoints.registry import read_registry
from job_store.store import JobStore
from service.checkers.checker import Checker, Given, SpecText
from service.checkers.models import KnownModels
from service.jobs import known
from service.jobs.known import KnownSpec, KnownSpecs
from service.jobs.speeds import Speed
from service.models.catalog import CatalogModel, ModelCatalog
from service.settings import Settings
from service.specs.limits import SpecLimits
from tests.live_service import WorkerHand, spec

FAST, SLOW = Speed(1e13, 1e13), Speed(1e6, 1e6)


@pytest.fixture(scope="module")
def model() -> CatalogModel:
    return ModelCatalog(read_registry("")).get("demo")


def _checked(model: CatalogModel, body: bytes, speed: Speed = FAST) -> tuple[KnownSpec, Given]:
    checker = Checker(Settings(), SpecLimits(), KnownModels({"demo": model}))
    specs = checker.specs(SpecText(body))
    given = Given({"demo": speed}, checker.outlines(specs, Given()), [False])
    found = KnownSpec(specs[0], given.outlines[0], model)
    found.keep(given, checker.new_jobs(specs, given)[0])
    return found, given


def _body(seed: int = 0, examples: int = 4) -> bytes:
    return json.dumps(spec(seed, dataset={"kind": "ioi", "examples": examples, "seed": seed})).encode()


def test_a_remembered_job_is_the_checked_one_under_another_id(model: CatalogModel) -> None:
    """The numbers that come of it are the same."""
    found, given = _checked(model, _body(examples=40))
    (first,) = found.jobs.values()
    again = found.job(replace(given, trace={"traceparent": "00-1"}))
    assert again is not None and again.id != first.id
    assert replace(again, id=first.id, trace=first.trace) == first
    assert again.trace == {"traceparent": "00-1"}
    assert found.job(replace(given, speeds={"demo": SLOW})) is None, "shards are cut by the nominal rate"
    assert found.job(replace(given, answered=[True])) is None


def test_only_the_key_that_sent_it_finds_it(model: CatalogModel) -> None:
    """Else the time of an answer would tell what another key has sent."""
    specs = KnownSpecs({"demo": model}.get)
    specs.remember("ana", _body(), _checked(model, _body())[0])
    assert specs.find("ana", _body()) is not None
    assert specs.find("ben", _body()) is None
    assert specs.find("ana", _body(1)) is None
    assert specs.find("ana", _body() + b" ") is None


def test_another_model_under_the_same_name_is_checked_again(model: CatalogModel) -> None:
    """Its files may have changed at any time."""
    models = {"demo": model}
    specs = KnownSpecs(models.get)
    specs.remember("ana", _body(), _checked(model, _body())[0])
    models["demo"] = replace(model)
    assert specs.find("ana", _body()) is None
    models.clear()
    assert specs.find("ana", _body()) is None


def test_bytes_are_bounded_per_key_and_in_all(model: CatalogModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that runs for months must not grow, and a key that sends much pushes out its own first."""
    found, _ = _checked(model, _body())
    size = found.size_with(_body())
    monkeypatch.setattr(known, "BYTES_PER_KEY", 3 * size + 100)
    monkeypatch.setattr(known, "BYTES_IN_ALL", 5 * size + 100)
    specs = KnownSpecs({"demo": model}.get)
    specs.remember("ben", b"0" * len(_body()), found)
    bodies = [b"%d" % seed * len(_body()) for seed in range(5)]
    for body in bodies:
        specs.remember("ana", body, found)
    assert [specs.find("ana", body) is not None for body in bodies] == [False, False, True, True, True]
    assert specs.find("ben", bodies[0]) is not None
    for body in bodies[:3]:
        specs.remember("eve", body, found)
    assert specs._known._bytes_in_all == sum(specs._known._bytes_of.values()) <= 5 * size + 100
    assert specs.find("eve", bodies[2]) is not None
    monkeypatch.setattr(known, "LARGEST_BYTES", size - 1)
    specs = KnownSpecs({"demo": model}.get)
    specs.remember("eve", bodies[2], found)
    assert specs.find("eve", bodies[2]) is None


@pytest.mark.integration
def test_the_same_body_again_makes_the_same_job(client: httpx.Client, store: JobStore, worker: WorkerHand) -> None:
    """Also before and after there is a result; and what is not a spec stays wrong."""
    body, headers = _body(1234), {"Content-Type": "application/json"}
    jobs = [client.post("/v1/jobs", content=body, headers=headers).json() for _ in range(3)]
    assert len({job["id"] for job in jobs}) == 3
    assert jobs[0]["spec"] == jobs[1]["spec"] == jobs[2]["spec"]
    inputs = {store.client.hget(f"pp:job:{job['id']}:inputs", "0") for job in jobs}
    facts = {store.client.hget(f"pp:job:{job['id']}", "facts") for job in jobs}
    assert len(inputs) == len(facts) == 1
    worker.work_off()
    answers = [client.post("/v1/jobs", content=body, headers=headers).json() for _ in range(3)]
    assert [answer["cached"] for answer in answers] == [True] * 3
    wrong = [client.post("/v1/jobs", content=body.replace(b"IO", b"XX"), headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in wrong] == [422, 422]
    assert wrong[0].json()["errors"] == wrong[1].json()["errors"]
