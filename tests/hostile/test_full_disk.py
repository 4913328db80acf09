"""A disk that fills up: no accepted job is lost, and nobody is told that jobs can be accepted when they cannot."""

from pathlib import Path

from tests.embedded_valkey import embedded_valkey
from tests.live_service import live_service, spec
from tests.live_worker import until


def test_what_was_accepted_survives_a_full_disk_and_a_kill_of_the_broker(tmp_path: Path) -> None:
    """The job that meets the full disk is the one that used to be lost: it must not be answered with 202."""
    with embedded_valkey(tmp_path / "valkey") as valkey, live_service(valkey, tmp_path / "service.log") as service:
        client = service.client
        accepted = [client.post("/v1/jobs", json=spec(seed)).json()["id"] for seed in range(3)]
        valkey.fill_disk(room=5_000)
        for seed in range(3, 20):
            answer = client.post("/v1/jobs", json=spec(seed))
            if answer.status_code != 202:
                break
            accepted.append(answer.json()["id"])
        assert (answer.status_code, answer.json()["code"]) == (503, "store_full") and "retry-after" in answer.headers
        ready = client.get("/readyz")
        assert ready.status_code == 503 and "disk" in ready.json()["components"]["store"]["detail"]
        valkey.kill()
        valkey.start()
        assert until(lambda: client.get("/readyz").status_code == 200)
        listed = {job["id"] for job in client.get("/v1/jobs", params={"limit": 100}).json()["data"]}
        assert set(accepted) <= listed


def test_a_store_without_memory_is_not_ready(tmp_path: Path) -> None:
    """Probes send no submits where submits would be refused; erasing works, and makes room."""
    with (
        embedded_valkey(tmp_path / "valkey", extra=("--maxmemory", "3mb")) as valkey,
        live_service(valkey, tmp_path / "service.log") as service,
    ):
        client, made = service.client, []
        for seed in range(500):
            answer = client.post("/v1/jobs", json=spec(seed, tags={str(n): "x" * 250 for n in range(20)}))
            if answer.status_code != 202:
                break
            made.append(answer.json()["links"]["self"])
        assert answer.json()["code"] == "store_full"
        assert until(lambda: client.get("/readyz").status_code == 503, 5)
        assert all(client.delete(path).status_code == 204 for path in made)
        assert until(lambda: client.get("/readyz").status_code == 200, 5)
