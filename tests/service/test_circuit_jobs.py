"""Circuit jobs over HTTP, on a real broker, service and workers."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from api_schemas.circuit_results import CircuitResult
from tests import golden_circuits
from tests.embedded_valkey import embedded_valkey
from tests.golden_cases import FOLDER
from tests.live_service import live_service
from tests.live_worker import live_workers

pytestmark = [pytest.mark.integration, pytest.mark.slow]
WAIT = {"Prefer": "wait=60"}
GRAPH = "application/vnd.eap-ig+json"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("stack")
    registry = f"golden={FOLDER / 'model'}"
    with (
        embedded_valkey(folder / "valkey") as valkey,
        live_workers(valkey.url, folder, "worker-1", MODELS=registry),
        live_service(valkey, folder / "service.log", models=registry) as service,
    ):
        service.client.timeout = httpx.Timeout(90)
        yield service.client


def run(client: httpx.Client, model: str, dataset: Any, patch: Any, **fields: Any) -> str:
    """A finished job's id."""
    spec = {"model": {"name": model}, "dataset": dataset, "metric": golden_circuits.METRIC, **fields}
    answer = client.post("/v1/jobs", json={**spec, "patch": {"kind": "circuit", **patch}}, headers=WAIT)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "succeeded", answer.text
    return str(answer.json()["id"])


def test_a_circuit_of_the_demo_model(client: httpx.Client) -> None:
    """Scores, circuits, tests, stability: the whole result, in its published form."""
    patch = {"choose": {"by": "greedy", "edges": [20, 60]}, "tests": ["random", "minimality"], "resamples": 20}
    job = run(client, "demo", {"kind": "ioi", "examples": 8}, patch)
    result = CircuitResult.model_validate_json(client.get(f"/v1/jobs/{job}/result").content)
    assert result.edges is not None and len(result.edges.scores) == result.graph.n_edges
    assert [circuit.name for circuit in result.circuits] == ["20", "60"]
    assert result.stability is not None and len(result.stability.jaccard) == 2
    assert result.tests is not None and result.tests.minimality is not None
    assert result.checks.one_edge_max_abs is not None and result.checks.one_edge_max_abs < 1e-3


def test_golden_scores_over_http_in_every_form(client: httpx.Client) -> None:
    """JSON, npz, CSV and EAP-IG's graph hold the same numbers, and the graph comes back as a circuit of one's own."""
    tokens = {"kind": "tokens", **golden_circuits.dataset().model_dump(exclude={"start"})}
    patch = {"score": {"method": "integrated"}, "choose": {"by": "greedy", "edges": [10, 30]}}
    job = run(client, "golden", tokens, patch)
    golden = golden_circuits.scores()["eap_ig_5"]
    whole = client.get(f"/v1/jobs/{job}/result").json()
    np.testing.assert_allclose(whole["edges"]["scores"], golden, atol=1e-5)
    npz = client.get(f"/v1/jobs/{job}/result", headers={"Accept": "application/x-npz"})
    with np.load(io.BytesIO(npz.content)) as arrays:
        np.testing.assert_allclose(arrays["0/edges/scores"], golden, atol=1e-5)
        assert json.loads(arrays["head"].tobytes())["circuits"][1]["name"] == "30"
    table = client.get(f"/v1/jobs/{job}/result", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(table.text)))
    np.testing.assert_allclose([float(row["score"]) for row in rows], golden, atol=1e-5)
    assert [index for index, row in enumerate(rows) if row["in 30"] == "1"] == whole["circuits"][1]["members"]
    graph = client.get(f"/v1/jobs/{job}/result", params={"circuit": 1}, headers={"Accept": GRAPH})
    assert graph.headers["content-type"] == GRAPH
    expected = golden_circuits.read("graph_example")
    found = graph.json()
    assert found["cfg"] == expected["cfg"]
    assert found["nodes"] == expected["nodes"]
    assert {name: edge["in_graph"] for name, edge in found["edges"].items()} == {
        name: edge["in_graph"] for name, edge in expected["edges"].items()
    }
    for name, edge in expected["edges"].items():
        assert found["edges"][name]["score"] == pytest.approx(edge["score"], abs=1e-5)
    again = client.get(f"/v1/jobs/{run(client, 'golden', tokens, {'edges': found})}/result").json()
    assert again["circuits"][0]["members"] == whole["circuits"][1]["members"]
    assert again["circuits"][0]["faithfulness"] == pytest.approx(whole["circuits"][1]["faithfulness"], abs=1e-5)


@pytest.mark.parametrize(
    ("score", "choose"),
    [
        ({"method": "attribution"}, {"by": "iterated", "edges": [40, 10], "rounds": 2}),
        (None, {"by": "acdc", "threshold": 0.05}),
    ],
)
def test_choices_that_take_several_phases(client: httpx.Client, score: Any, choose: dict[str, Any]) -> None:
    """In rounds on the queue, or test by test in one shard."""
    patch = {"choose": choose} | ({} if score is None else {"score": score})
    job = run(client, "demo", {"kind": "ioi", "examples": 2}, patch)
    result = CircuitResult.model_validate_json(client.get(f"/v1/jobs/{job}/result").content)
    assert (result.edges is None) == (score is None)
    assert 0 < result.circuits[0].n_edges < result.graph.n_edges


def test_a_circuit_that_there_is_not_is_told(client: httpx.Client) -> None:
    """And a result without circuits has no graph."""
    job = run(client, "demo", {"kind": "ioi", "examples": 2}, {"edges": {"mine": ["input->logits"]}})
    answer = client.get(f"/v1/jobs/{job}/result", params={"circuit": 1}, headers={"Accept": GRAPH})
    assert answer.status_code == 422, answer.text
    assert "0 is the only one" in answer.text
    picture = client.get(f"/v1/jobs/{job}/figure", headers={"Accept": "image/svg+xml"})
    assert picture.status_code == 200
    refused = client.get(f"/v1/jobs/{job}/figure", params={"kind": "ranks"})
    assert (refused.status_code, "patch.verify" in refused.text) == (422, True)


def test_paths_of_several_hops_over_http(client: httpx.Client) -> None:
    """From spec to result and figure: a cell per swept first node, and cells that cannot reach the second keep orig."""
    rest = [{"hook": "q", "layer": 3, "head": 0}, {"hook": "resid_post", "layer": 3}]
    spec = {
        "model": {"name": "demo"},
        "dataset": {"kind": "ioi", "examples": 4},
        "patch": {"paths": [[{"sweep": {"hook": "z"}}, *rest]]},
        "metric": golden_circuits.METRIC,
    }
    job = client.post("/v1/jobs", json=spec, headers=WAIT).json()
    assert job["status"] == "succeeded", job["error"]
    result = client.get(job["links"]["result"]).json()
    assert (result["axes"], result["shape"]) == (["sender_layer", "sender_head"], [4, 8])
    patched, reachable = (np.array(result[name]) for name in ("patched", "reachable"))
    assert reachable[:3].all() and not reachable[3].any()
    assert np.ptp(patched[:3]) > 1e-3
    np.testing.assert_allclose(patched[3], result["summary"]["orig"]["mean"], rtol=1e-7)
    picture = client.get(f"/v1/jobs/{job['id']}/figure", headers={"Accept": "image/svg+xml"})
    assert picture.status_code == 200 and "each z → q 3.0 → resid_post 3" in picture.text.replace("&#8594;", "→")
    again = client.post(f"/v1/jobs/{job['id']}/rerun", json={"dataset": {"seed": 1}}, headers=WAIT).json()
    assert again["status"] == "succeeded", again
