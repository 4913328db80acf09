"""A page of another site, open in the browser of somebody who may use the service, changes nothing here."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from job_store.store import JobStore
from service.app import create_app
from service.settings import Settings
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, WorkerHand, live_service, spec

PATHS = create_app(Settings()).openapi()["paths"]
CHANGING = [(method, path) for path, methods in PATHS.items() for method in methods if method != "get"]
FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:9999"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
]


@pytest.fixture(scope="module")
def shared_keyless(valkey: EmbeddedValkey, hostile_log: Path) -> Iterator[LiveService]:
    """A service without keys, as on a laptop."""
    with live_service(valkey, hostile_log) as service:
        yield service


@pytest.fixture
def keyless(shared_keyless: LiveService, store: JobStore) -> LiveService:
    """It, over an empty store."""
    return shared_keyless


def test_every_route_that_is_not_a_get_is_among_those_tested() -> None:
    """Routes come and go."""
    assert len(CHANGING) >= 8 and ("post", "/v1/jobs/{job_id}/cancel") in CHANGING


@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_no_route_changes_anything_for_a_page_of_another_site(keyless: LiveService, method: str, path: str) -> None:
    """Whichever way the browser says so; nothing of the request is looked at."""
    job = keyless.client.post("/v1/jobs", json=spec()).json()["id"]
    path = path.replace("{job_id}", job).replace("{batch_id}", job.replace("job", "batch")).replace("{key}", "local")
    for headers in FOREIGN:
        answer = keyless.client.request(method, path, headers=headers, json=spec(1))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), headers
    assert [found["status"] for found in keyless.client.get("/v1/jobs").json()["data"]] == ["queued"]


def test_our_own_page_and_clients_without_a_browser_are_not_in_the_way(keyless: LiveService) -> None:
    """Also behind a proxy that sends another Host: what the browser concludes counts."""
    own = [
        {},
        {"Origin": keyless.url},
        {"Sec-Fetch-Site": "same-origin", "Origin": keyless.url},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://lab.example.org"},
        {"Sec-Fetch-Site": "none"},
    ]
    for seed, headers in enumerate(own):
        assert keyless.client.post("/v1/jobs", json=spec(seed), headers=headers).status_code == 202, headers
    assert keyless.client.get("/v1/jobs", headers=FOREIGN[3]).status_code == 200


def test_answers_are_for_our_own_pages_and_figures_for_no_site(keyless: LiveService, store: JobStore) -> None:
    """No other site can embed an answer, and a figure that is opened cannot act as whoever opens it."""
    job = keyless.client.post("/v1/jobs", json=spec()).json()
    WorkerHand(store).work_off()
    assert keyless.client.get("/v1/jobs").headers["cross-origin-resource-policy"] == "same-origin"
    for accept in ("text/html", "image/svg+xml"):
        policy = keyless.client.get(job["links"]["figure"], headers={"Accept": accept}).headers[
            "content-security-policy"
        ]
        assert "default-src 'none'" in policy and "sandbox" in policy and "allow-same-origin" not in policy


@pytest.fixture(scope="module")
def open_to_all(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveService, Path]]:
    """A service beyond loopback whose operator has switched keys off, and its log."""
    log = tmp_path_factory.mktemp("open") / "service.log"
    settings = {"auth": "off", "host": "127.1", "allowed_hosts": "lab.example.org"}  # loopback, but not to settings
    with live_service(valkey, log, **settings) as service:
        yield service, log


def test_a_service_without_keys_beyond_loopback_says_so_at_every_start(open_to_all: tuple[LiveService, Path]) -> None:
    """Nobody should find out later."""
    line = next(line for line in open_to_all[1].read_text().splitlines() if "PATHPATCH_AUTH is off" in line)
    assert '"level": "warning"' in line and "cancel and erase every job" in line


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("lab.example.org", 200),
        ("LAB.example.org:8000", 200),
        ("10.1.2.3:8000", 200),
        ("[::1]:8000", 200),
        ("localhost", 200),
        (socket.gethostname(), 200),
    ],
)
def test_a_service_without_keys_is_called_by_its_own_names_only(
    open_to_all: tuple[LiveService, Path], store: JobStore, host: str, status: int
) -> None:
    """A page whose name was made to mean this machine sends that name along."""
    assert httpx.get(f"{open_to_all[0].url}/v1/jobs", headers={"Host": host}).status_code == status
