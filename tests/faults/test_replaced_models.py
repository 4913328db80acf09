"""Model folders that change while service and workers run: weights replaced, and one folder that is broken."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.embedded_valkey import embedded_valkey
from tests.live_service import live_service
from tests.live_worker import LiveWorker, live_workers, until
from tests.tiny_models import tiny_shape, write_gpt2_folder

SPEC: dict[str, Any] = {
    "model": {"name": "mine"},
    "dataset": {"kind": "tokens", "orig": [[1, 2, 3]], "new": [[1, 4, 3]], "answers": {"a": [5]}},
    "patch": {"senders": [{"hook": "z", "layer": 0, "head": 1}], "receivers": [{"hook": "q", "layer": 1, "head": 1}]},
    "metric": {"kind": "logit", "answer": "a"},
}
NOTICED_S = 5.0


class Running(NamedTuple):
    """What runs, and the folder that changes."""

    client: httpx.Client
    worker: LiveWorker
    folder: Path
    place: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Broker, one worker and the service; the model `mine` and four broken ones are registered."""
    place = tmp_path_factory.mktemp("replaced")
    folder = write_gpt2_folder(place / "mine", tiny_shape(), seed=1)
    broken = {name: place / name for name in ("pipe", "deep", "gone", "loop", "panic")}
    for name in ("pipe", "deep", "loop", "panic"):
        write_gpt2_folder(broken[name], tiny_shape())
    tokenizer = json.loads((broken["panic"] / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    (broken["panic"] / "tokenizer.json").write_text(json.dumps(tokenizer | {"pre_tokenizer": split}))
    (broken["pipe"] / "model.safetensors").unlink()
    os.mkfifo(broken["pipe"] / "model.safetensors")
    (broken["deep"] / "config.json").write_text("[" * 100_000)
    (broken["loop"] / "config.json").unlink()
    (broken["loop"] / "config.json").symlink_to("config.json")
    registry = ",".join(f"{name}={path}" for name, path in {"mine": folder, **broken}.items())
    with (
        embedded_valkey(place / "valkey") as valkey,
        live_workers(valkey.url, place, "worker-1", MODELS=registry) as workers,
        live_service(valkey, place / "service.log", models=registry) as service,
    ):
        service.client.timeout = httpx.Timeout(90)
        yield Running(service.client, workers[0], folder, place)


def run(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    """Submit the spec, and give the job and, if it succeeded, its result."""
    answer = client.post("/v1/jobs", json={**SPEC, **changes}, headers={"Prefer": "wait=60"})
    assert answer.status_code in (200, 202), answer.text
    job: dict[str, Any] = answer.json()
    if job["status"] == "succeeded":
        job["result"] = client.get(f"/v1/jobs/{job['id']}/result").json()
    return job


def revision(client: httpx.Client) -> str | None:
    found: str | None = client.get("/v1/models/mine").json()["revision"]
    return found


def replace_weights(running: Running, seed: int) -> str:
    """Save other weights under the same name; the revision once the service shows it."""
    before = revision(running.client)
    made = write_gpt2_folder(running.place / f"made-{seed}", tiny_shape(), seed=seed)
    shutil.copyfile(made / "model.safetensors", running.folder / "model.safetensors")

    def shown() -> str | None:
        now = revision(running.client)
        return None if now == before else now

    found: str = until(shown, NOTICED_S)
    return found


def test_new_weights_under_the_same_name_are_run_within_seconds(running: Running) -> None:
    """Train, save, submit again: what everybody who fine-tunes does. Nothing is restarted; `use_cache` is on."""
    client = running.client
    first = run(client)
    second_revision = replace_weights(running, seed=2)
    second = run(client)
    assert [job["status"] for job in (first, second)] == ["succeeded", "succeeded"]
    assert second["result"]["provenance"]["revision"] == second_revision
    assert not second["cached"] and second["result"]["patched"] != first["result"]["patched"]
    assert second["result"]["provenance"]["weights_sha256"] != first["result"]["provenance"]["weights_sha256"]
    assert run(client)["cached"]

    third_revision = replace_weights(running, seed=1)
    again = run(client)
    assert third_revision == first["result"]["provenance"]["revision"]
    assert again["cached"] and again["result"]["patched"] == first["result"]["patched"]  # its own revision answers


def test_a_job_that_was_queued_runs_the_revision_it_was_accepted_for(running: Running) -> None:
    """Also when the worker was started again in between: its processed weights are kept by revision."""
    client, worker = running.client, running.worker
    expected = run(client, use_cache=False)
    worker.terminate()
    queued = client.post("/v1/jobs", json={**SPEC, "use_cache": False}).json()
    replace_weights(running, seed=5)
    worker.start()
    done = client.get(f"/v1/jobs/{queued['id']}", headers={"Prefer": "wait=60"}).json()
    assert done["status"] == "succeeded"
    result = client.get(f"/v1/jobs/{queued['id']}/result").json()
    assert result["patched"] == expected["result"]["patched"]
    assert result["provenance"]["revision"] == expected["result"]["provenance"]["revision"]
    assert run(client)["result"]["patched"] != expected["result"]["patched"]


def test_a_job_whose_revision_is_gone_fails_saying_so_and_the_next_one_runs(running: Running) -> None:
    """Never other weights than it was accepted for, and never `model_changed` for ever."""
    client, worker = running.client, running.worker
    replace_weights(running, seed=6)
    worker.terminate()
    queued = client.post("/v1/jobs", json={**SPEC, "use_cache": False}).json()
    accepted = revision(client)
    now = replace_weights(running, seed=7)
    worker.start()
    done = client.get(f"/v1/jobs/{queued['id']}", headers={"Prefer": "wait=60"}).json()
    assert (done["status"], done["error"]["code"]) == ("failed", "model_changed")
    assert str(accepted) in done["error"]["detail"] and now in done["error"]["detail"]
    after = run(client)
    assert after["status"] == "succeeded" and after["result"]["provenance"]["revision"] == now


def test_weights_that_are_half_written_are_unavailable_until_they_are_whole(running: Running) -> None:
    """`save_pretrained` writes for minutes on a slow disk."""
    client = running.client
    weights = running.folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    until(lambda: not client.get("/v1/models/mine").json()["available"], NOTICED_S)
    refused = client.post("/v1/jobs", json=SPEC)
    assert refused.status_code == 422 and "model.safetensors is truncated" in refused.text
    weights.write_bytes(whole)
    until(lambda: client.get("/v1/models/mine").json()["available"], NOTICED_S)
    assert run(client, use_cache=False)["status"] == "succeeded"


def test_broken_folders_are_unavailable_with_a_reason_and_harm_nothing_else(running: Running) -> None:
    """One model's fault never touches another, the list, or readiness."""
    client = running.client
    listed = {model["name"]: model for model in client.get("/v1/models").json()["data"]}
    reasons = {name: listed[name]["reason"] for name in ("pipe", "deep", "gone", "loop")}
    assert reasons["pipe"] == "model.safetensors is not a regular file."
    assert reasons["deep"] == "config.json is nested deeper than 32 levels."
    assert reasons["gone"] == "its folder does not exist."
    assert "config.json" in reasons["loop"] and not listed["loop"]["available"]
    assert listed["mine"]["available"] and listed["demo"]["available"]
    assert client.get("/readyz").status_code == 200
    for name in reasons:
        refused = client.post("/v1/jobs", json={**SPEC, "model": {"name": name}})
        assert refused.status_code == 422, refused.text
        assert json.loads(refused.text)["errors"][0]["pointer"] == "/model/name"


def test_a_tokenizer_that_panics_on_a_text_is_told_and_harms_nothing_else(running: Running) -> None:
    """Its pattern tries without end, the library gives up with a panic; token ids still work."""
    client = running.client
    model = {"name": "panic"}
    until(lambda: client.get("/v1/models/panic").json()["available"])
    prompts = {"kind": "prompts", "orig": ["x" * 40], "new": ["x" * 40]}
    kl = {"kind": "kl", "position": 0}
    refused = client.post("/v1/jobs", json={**SPEC, "model": model, "dataset": prompts, "metric": kl})
    assert refused.status_code == 422, refused.text
    assert "the tokenizer of model 'panic' broke down on this text" in refused.text and "'tokens'" in refused.text
    assert run(client, model=model)["status"] == "succeeded"
    assert client.get("/readyz").status_code == 200
