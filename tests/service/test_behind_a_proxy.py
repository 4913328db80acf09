"""A service below a path of a reverse proxy, and called by pages of other sites."""

from collections.abc import Iterator

import httpx
import pytest

import pathpatch as pp
from job_store.store import JobStore
from service.http.prefix import is_prefix
from service.settings import BadSetting, Settings
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, WorkerHand, live_service, spec
from tests.small_proxy import small_proxy

NOTEBOOKS = "https://notebooks.example.org"


@pytest.fixture(scope="module")
def below_a_path(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service that knows its path, and one other site."""
    log = tmp_path_factory.mktemp("proxy") / "service.log"
    with live_service(
        valkey, log, root_path="/lab/pathpatch", cors_origins=f"{NOTEBOOKS}, http://localhost:8888"
    ) as one:
        yield one


@pytest.fixture(params=["knows its path", "knows, and the proxy leaves it", "is told"])
def address(
    request: pytest.FixtureRequest, service: LiveService, below_a_path: LiveService, store: JobStore
) -> Iterator[str]:
    """Of a service behind a proxy, in the three ways that proxies have."""
    is_told = request.param == "is told"
    target = service if is_told else below_a_path
    with small_proxy(target.url, "/lab/pathpatch", "leaves" not in request.param, is_told) as url:
        yield url


def test_whatever_a_service_says_is_found_through_its_proxy(address: str) -> None:
    """Location, OpenAPI's servers, problems, the page and its files."""
    site = httpx.URL(address)
    with httpx.Client(base_url=address + "/", follow_redirects=False) as proxy:
        submitted = proxy.post("v1/jobs", json=spec())
        assert submitted.status_code == 202
        location = submitted.headers["location"]
        assert location == f"/lab/pathpatch/v1/jobs/{submitted.json()['id']}"
        assert proxy.get(site.join(location)).json()["id"] == submitted.json()["id"]
        assert proxy.get("openapi.json").json()["servers"] == [{"url": "/lab/pathpatch"}]
        problem = proxy.get("v1/jobs/job_nobody").json()
        assert problem["instance"] == "/lab/pathpatch/v1/jobs/job_nobody"
        assert proxy.put("v1/jobs").headers["allow"] == "GET, HEAD, OPTIONS, POST"
        for name in ("", "web/app.js", "web/presets.json", "docs", "docs/swagger-ui.css", "livez", "openapi.json"):
            assert proxy.get(name).status_code == 200, name


def test_the_client_takes_an_address_with_a_path(address: str, store: JobStore) -> None:
    """`PATHPATCH_URL=https://lab.example.org/pathpatch`."""
    with pp.Client(address) as client:
        job = client.submit(spec(seed=5))
        assert client.get(job.id).id == job.id
        WorkerHand(store).work_off()
        assert job.wait().status == "succeeded"
        assert "demo" in [model.name for model in client.models()]


def test_the_paths_own_address_leads_to_the_page(below_a_path: LiveService) -> None:
    """Without a slash at its end, the page's files would be looked for beside it."""
    with small_proxy(below_a_path.url, "/lab/pathpatch", strips=False) as url:
        page = httpx.get(url)
        assert (page.status_code, page.headers["location"]) == (307, "/lab/pathpatch/")
        assert httpx.get(url, follow_redirects=True).text.startswith("<!doctype html>")


def test_probes_reach_the_service_without_the_path(below_a_path: LiveService) -> None:
    """They do not come through the proxy."""
    assert below_a_path.client.get("/readyz").status_code == 200


@pytest.mark.parametrize("told", ["https://evil.example", "//evil.example", "/a/../b", "/a b", "/" + "a" * 300, "a"])
def test_a_prefix_that_is_no_path_is_not_believed(service: LiveService, told: str) -> None:
    """A Location may lead nowhere else."""
    assert not is_prefix(told)
    answer = service.client.post("/v1/jobs", json=spec(), headers={"X-Forwarded-Prefix": told})
    assert answer.headers["location"].startswith("/v1/jobs/")


def test_pages_of_listed_sites_may_call(below_a_path: LiveService) -> None:
    """From a notebook's page: a preflight, a submit, and the headers that a script needs."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}
    client = below_a_path.client
    preflight = client.options("/v1/jobs", headers={"Origin": NOTEBOOKS, **asked})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == NOTEBOOKS
    assert "POST" in preflight.headers["access-control-allow-methods"]
    made = client.post("/v1/jobs", json=spec(), headers={"Origin": NOTEBOOKS, "Sec-Fetch-Site": "cross-site"})
    assert made.status_code == 202
    assert made.headers["access-control-allow-origin"] == NOTEBOOKS
    assert {"Location", "ETag", "Retry-After"} <= set(made.headers["access-control-expose-headers"].split(", "))
    lost = client.get("/v1/jobs/job_nobody", headers={"Origin": "http://localhost:8888"})
    assert lost.headers["access-control-allow-origin"] == "http://localhost:8888", "errors can be read, too"


def test_pages_of_other_sites_may_not(below_a_path: LiveService, service: LiveService) -> None:
    """By default nobody's; and never with cookies."""
    for one, origin in ((below_a_path, "https://evil.example"), (service, NOTEBOOKS)):
        refused = one.client.post("/v1/jobs", json=spec(), headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
        assert "access-control-allow-credentials" not in refused.headers


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PATHPATCH_ROOT_PATH", "pathpatch"),
        ("PATHPATCH_ROOT_PATH", "/pathpatch/"),
        ("PATHPATCH_ROOT_PATH", "https://lab.example.org/pathpatch"),
        ("PATHPATCH_CORS_ORIGINS", "*"),
        ("PATHPATCH_CORS_ORIGINS", "notebooks.example.org"),
        ("PATHPATCH_CORS_ORIGINS", "https://notebooks.example.org/"),
    ],
)
def test_what_makes_no_sense_is_refused_at_start(variable: str, value: str) -> None:
    """With the variable, its value and what it may be."""
    with pytest.raises(BadSetting, match=f"{variable} is '"):
        Settings.read({variable: value})
