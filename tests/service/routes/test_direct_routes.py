"""The short way of a route answers as FastAPI does."""

import httpx
import pytest
from fastapi.routing import APIRoute

from service.app import create_app
from service.http.direct import DirectRoute
from service.settings import Settings
from tests.live_service import spec

APP = create_app(Settings())
DIRECT = {
    (method, route.path) for route in APP.router.routes if isinstance(route, DirectRoute) for method in route.methods
}


def test_the_routes_of_every_job_are_direct() -> None:
    """A parameter of another type would quietly send them the long way."""
    for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs/{job_id}"), ("GET", "/v1/jobs/{job_id}/result")):
        assert (method, path) in DIRECT


def test_a_direct_route_comes_after_no_other_of_its_path() -> None:
    """What FastAPI would answer first must not be answered by a later route."""
    documented = [route for route in APP.state.routes if isinstance(route, APIRoute)]
    for direct in (route for route in APP.router.routes if isinstance(route, DirectRoute)):
        example = direct.path.replace("{", "").replace("}", "")
        first = next(
            route for route in documented if route.path_regex.match(example) and route.methods & direct.methods
        )
        assert first.path == direct.path


@pytest.mark.integration
def test_both_ways_give_the_same_answer(client: httpx.Client) -> None:
    """With a query that says what is the default, the request goes FastAPI's way."""
    job = client.post("/v1/jobs", json=spec(17), headers={"Idempotency-Key": "both-ways"}).json()
    short, long = client.get("/v1/jobs"), client.get("/v1/jobs?limit=20")
    assert short.json() == long.json() and short.json()["data"][0]["id"] == job["id"]
    replayed = client.post("/v1/jobs", json=spec(17), headers={"Idempotency-Key": "both-ways"})
    assert replayed.json()["id"] == job["id"] and replayed.headers["idempotency-replayed"] == "true"
    unknown = client.post("/v1/jobs?colour=red", json=spec(18))
    assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_parameter")
    refused = client.post("/v1/jobs", json=spec(18), headers={"Idempotency-Key": "a b"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/header/Idempotency-Key")
