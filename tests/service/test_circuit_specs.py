"""Circuit specs that a model or the service cannot do, sent to a running service: refused by field, nothing queued."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from job_store.store import JobStore
from tests import golden_circuits
from tests.embedded_valkey import EmbeddedValkey
from tests.golden_cases import FOLDER
from tests.live_service import live_service, spec
from tests.tiny_families import write_family_folder

METRIC = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}
TOKENS = {"kind": "tokens", **golden_circuits.dataset().model_dump(exclude={"start"})}
PARALLEL = {
    "model": {"name": "parallel"},
    "dataset": {"kind": "tokens", "orig": [[1, 2]], "new": [[1, 3]], "answers": {"IO": [4], "S": [5]}},
}
OTHER = golden_circuits.read("graph_example")
OTHER = {**OTHER, "cfg": {**OTHER["cfg"], "n_heads": 12}}


@pytest.fixture(scope="module")
def running(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that knows a model whose attention and MLPs are parallel, and the golden one."""
    folder = tmp_path_factory.mktemp("parallel")
    write_family_folder(folder / "model", "gpt_neox")
    models = f"parallel={folder / 'model'},golden={FOLDER / 'model'}"
    with live_service(valkey, folder / "log", models=models) as service:
        yield service.client


def circuit(patch: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return spec(**{"metric": METRIC, "patch": {"kind": "circuit", **patch}, **changes})


@pytest.mark.parametrize(
    ("patch", "changes", "pointer", "sentence"),
    [
        ({"edges": {"mine": ["a9.h9->logits"]}}, {}, "/patch/edges/mine/0", "this model has layers 0 to 3"),
        ({"edges": {"mine": ["m1 to logits"]}}, {}, "/patch/edges/mine/0", "'m1 to logits' is no edge: an edge is"),
        ({"edges": {"a": [], "b": ["m1->m2", "m3->a0.h0<q>"]}}, {}, "/patch/edges/b/1", "<q>' leads backwards"),
        ({"edges": {"mine": ["a0.h0->m0"]}}, PARALLEL, "/patch/edges/mine/0", "m0 reads before a0.h0 writes"),
        ({"edges": {"mine": ["m0->a0.h0<q>"]}}, PARALLEL, "/patch/edges/mine/0", "a0.h0<q> reads before m0 writes"),
        (
            {"edges": OTHER}, {"model": {"name": "golden"}, "dataset": TOKENS}, "/patch/edges/cfg/n_heads",
            "this is a graph of another model: its n_heads is 12, and here it is 4",
        ),
        (
            {}, {"dataset": {"kind": "ioi", "examples": 6600}}, "/patch/score",
            "1,519 edges x 6,600 examples are 10,025,400 patched runs, and at most 5,000,000 are allowed",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_by_field_before_anything_is_queued(
    running: httpx.Client, store: JobStore, patch: dict[str, Any], changes: dict[str, Any], pointer: str, sentence: str
) -> None:
    """Status, field and sentence of each; the same spec is refused by the look-ahead too."""
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        answer = running.post(path, json=circuit(patch, **changes))
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "invalid_spec"), problem
        assert [one["pointer"] for one in problem["errors"]] == [pointer]
        assert sentence in problem["errors"][0]["message"]
    assert running.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        ({"score": {"method": "attribution"}}, "the gradient of kl at orig is 0, so score 'attribution' is 0"),
        ({"choose": {"rank": "signed"}}, "rank 'signed' seeks the circuit with the largest kl"),
    ],
)
def test_choices_that_mean_little_with_kl_are_warned_of(
    running: httpx.Client, store: JobStore, patch: dict[str, Any], sentence: str
) -> None:
    """They run: somebody may want them."""
    answer = running.post("/v1/jobs:validate", json=circuit(patch, metric={"kind": "kl"}))
    assert answer.status_code == 200, answer.text
    (warning,) = answer.json()["warnings"]
    assert sentence in warning
