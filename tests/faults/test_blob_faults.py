"""The bucket of large contents away, one of its blobs missing, or a folder's disk full; with a real S3 server."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from blob_store.place import BlobStore
from job_store import jobs
from job_store.store import JobStore
from tests.blackhole import Blackhole
from tests.blob_fixtures import s3
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_service import LiveService, live_service, spec
from tests.live_worker import arrays_of, demo_job, ended, live_workers, until
from tests.s3_server import S3Server
from tests.stored_jobs import submit

__all__ = ["s3"]


class BlobDeployment:
    """A service and a worker whose contents are all in a bucket, behind a line that can be cut."""

    def __init__(self, s3: S3Server, folder: Path, resources: ExitStack) -> None:
        self.line = Blackhole(int(s3.address.rpartition(":")[2]))
        resources.callback(self.line.close)
        address = f"http://127.0.0.1:{self.line.port}"
        patch = resources.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("AWS_ENDPOINT_URL", address)
        self.valkey: EmbeddedValkey = resources.enter_context(embedded_valkey(folder / "valkey"))
        blobs = {"BLOBS": s3.url, "BLOBS_LEAST_BYTES": "0"}
        self.service: LiveService = resources.enter_context(
            live_service(self.valkey, folder / "service.log", **{name.lower(): value for name, value in blobs.items()})
        )
        settings = {**blobs, "SHARD_DELAY_S": "0.3"}
        (self.worker,) = resources.enter_context(live_workers(self.valkey.url, folder, "a", **settings))
        patch.setenv("AWS_ENDPOINT_URL", s3.address)
        self.blobs = BlobStore(s3.url, least_bytes=0)
        self.store = JobStore.connect(self.valkey.url, self.blobs)


@pytest.fixture(scope="module")
def session_in_bucket(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobDeployment]:
    """All processes, for the tests of this module."""
    with ExitStack() as resources:
        yield BlobDeployment(s3, tmp_path_factory.mktemp("blob-faults"), resources)


@pytest.fixture
def in_bucket(session_in_bucket: BlobDeployment) -> BlobDeployment:
    """The line whole again."""
    session_in_bucket.line.pass_on()
    return session_in_bucket


def test_a_running_job_waits_for_a_bucket_that_is_away(in_bucket: BlobDeployment) -> None:
    """Readiness, a submit and a result say 503 meanwhile; then the job ends with the undisturbed job's numbers."""
    store, client = in_bucket.store, in_bucket.service.client
    submit(store, undisturbed := demo_job(shards=3, seed=50))
    ended(store, undisturbed.id)
    submit(store, job := demo_job(shards=3, seed=50))
    until(lambda: store.run(jobs.get(job.id)).done >= 1)
    in_bucket.line.reset()
    refused = client.post("/v1/jobs", json=spec(seed=50))
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    assert "blob store" in refused.json()["detail"] and "Retry-After" in refused.headers
    ready = client.get("/readyz")
    assert ready.status_code == 503 and not ready.json()["components"]["blobs"]["ok"]
    assert client.get(f"/v1/jobs/{undisturbed.id}/result").status_code == 503
    assert not store.run(jobs.get(job.id)).is_done
    in_bucket.line.pass_on()
    assert ended(store, job.id).status == "succeeded"
    assert arrays_of(store, job.id) == arrays_of(store, undisturbed.id)
    assert client.get(f"/v1/jobs/{undisturbed.id}/result").status_code == 200
    assert client.get("/readyz").json()["components"]["blobs"] == {"ok": True, "detail": "in a bucket"}


@pytest.mark.parametrize("part", ["result", "figure"])
def test_a_missing_blob_is_gone_with_the_reason(in_bucket: BlobDeployment, part: str) -> None:
    """410, and the same spec is computed again; never a number."""
    store, client = in_bucket.store, in_bucket.service.client
    job = client.post("/v1/jobs", json=spec(seed=51)).json()
    ended(store, job["id"])
    path = f"/v1/jobs/{job['id']}/{part}"
    assert client.get(path, headers={"Accept": "*/*"}).status_code == 200
    in_bucket.blobs.erase(f"results/{job['id']}")
    gone = client.get(path, headers={"Accept": "*/*"})
    assert (gone.status_code, gone.json()["code"]) == (410, "result_expired")
    assert "is missing from the blob store" in gone.json()["detail"]
    again = client.post("/v1/jobs", json=spec(seed=51))
    assert again.status_code == 202 and not again.json()["cached"]
    assert ended(store, again.json()["id"]).status == "succeeded"
    client.delete(f"/v1/jobs/{again.json()['id']}")
    assert until(lambda: f"results/{again.json()['id']}" not in in_bucket.blobs.prefixes("results"))


def test_a_shard_whose_input_is_missing_fails_its_job(in_bucket: BlobDeployment) -> None:
    """With the reason, and at the first attempt: trying again would not bring it back."""
    store = in_bucket.store
    submit(store, busy := demo_job(shards=4, seed=52), job := demo_job(shards=4, seed=53))
    in_bucket.blobs.erase(f"work/{job.id}")
    failed = ended(store, job.id)
    assert (failed.status, failed.error_code) == ("failed", "damaged_data")
    assert failed.error_detail is not None and "is missing from the blob store" in failed.error_detail
    assert ended(store, busy.id).status == "succeeded"


def test_a_full_disk_refuses_new_jobs(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Before they are accepted; readiness says so too."""
    settings = {"blobs": f"file://{tmp_path}/blobs", "blobs_reserve_bytes": str(10**18)}
    with live_service(valkey, tmp_path / "service.log", **settings) as service:
        refused = service.client.post("/v1/jobs", json=spec(seed=54))
        assert (refused.status_code, refused.json()["code"]) == (503, "store_full")
        ready: httpx.Response = service.client.get("/readyz")
        assert ready.status_code == 503 and "are free" in ready.json()["components"]["blobs"]["detail"]
