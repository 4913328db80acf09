"""The client while the service is ended and started again: waits go on, and what never was there is told."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import pathpatch as pp
from job_store.store import JobStore
from pathpatch.client import retries
from pathpatch.problems import Unreachable, WaitTimedOut
from pathpatch.results import Result
from tests.embedded_valkey import EmbeddedValkey, free_port
from tests.live_service import LiveService, WorkerHand, live_service, spec
from tests.live_worker import until

pytestmark = pytest.mark.integration
ENDS = (signal.SIGKILL, signal.SIGTERM)
UNCACHED = spec(use_cache=False)


@pytest.fixture
def service(valkey: EmbeddedValkey, store: JobStore, tmp_path: Path) -> Iterator[LiveService]:
    """The service, which does not."""
    with live_service(valkey, tmp_path / "service.log") as service:
        yield service


def work_off(store: JobStore) -> None:
    """Wait for a job, and do it."""
    until(lambda: store.client.keys("pp:job:*:inputs"))
    WorkerHand(store).work_off()


@contextmanager
def beside(call: Callable[[], Any]) -> Iterator[Future[Any]]:
    """A call that goes on while the block runs."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call)


def run(url: str) -> Result:
    with pp.Client(url) as client:
        return client.run(UNCACHED, progress=False, timeout_s=60)


def run_async(url: str) -> Result:
    async def awaited() -> Result:
        async with pp.AsyncClient(url) as client:
            return await client.run(UNCACHED, progress=False, timeout_s=60)

    return asyncio.run(awaited())


def wait_without_limit(url: str) -> Result:
    with pp.Client(url) as client:
        return client.submit(UNCACHED).result(progress=False)


def follow(url: str) -> Result:
    with pp.Client(url) as client:
        job = client.submit(UNCACHED)
        assert [event.data["status"] for event in job.follow() if event.type == "status"][-1] == "succeeded"
        return job.result()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("wait", [run, run_async, wait_without_limit, follow])
def test_a_wait_goes_on_after_a_restart(
    wait: Callable[[str], Result], how: signal.Signals, service: LiveService, store: JobStore, tmp_path: Path
) -> None:
    """An upgrade of the service ends nobody's night run."""
    with beside(lambda: wait(service.url)) as waiting:
        until(lambda: store.client.keys("pp:job:*:inputs"))
        time.sleep(0.2)
        service.end(how)
        time.sleep(0.5)
        assert not waiting.done()
        service.start(tmp_path / "service.log")
        work_off(store)
        assert waiting.result(20).shape == (4,)


def test_following_misses_no_end_that_comes_between_two_requests(service: LiveService, store: JobStore) -> None:
    """Whoever lost a stream asks whether more follows, in two requests; here the job ends between them."""

    class LosesAStream(httpx.HTTPTransport):
        """Its first stream is lost; after the request that follows, the job is done."""

        requests = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            self.requests += 1
            if self.requests == 1:
                raise httpx.ReadError("lost", request=request)
            response = super().handle_request(request)
            response.read()
            if self.requests == 2:
                work_off(store)
            return response

    with pp.Client(service.url) as client:
        job = client.submit(UNCACHED)
        seen = job.events()[-1].id
    with pp.Client(service.url, transport=LosesAStream()) as client:
        statuses = [event.data["status"] for event in client.follow(job.id, seen) if event.type == "status"]
    assert statuses[-1] == "succeeded"


@pytest.mark.parametrize("how", ENDS)
def test_a_submit_waits_for_the_service_to_be_back(
    how: signal.Signals, service: LiveService, store: JobStore, tmp_path: Path
) -> None:
    """A script of many runs meets the restart between two of them; and makes one job."""
    with pp.Client(service.url) as client:
        client.version()
        service.end(how)
        with beside(lambda: client.submit(UNCACHED)) as submitting:
            time.sleep(1.0)
            service.start(tmp_path / "service.log")
            submitted = submitting.result(20)
        assert [job.id for job in client.jobs()] == [submitted.id]


def test_the_command_line_goes_on_after_a_restart(service: LiveService, store: JobStore, tmp_path: Path) -> None:
    """`run` of one spec, `wait` for several."""
    specs = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for seed, path in enumerate(specs):
        path.write_text(yaml.safe_dump(spec(seed, use_cache=False)))
    command = [sys.executable, "-m", "pathpatch.cli"]
    at = ["--url", service.url]
    submitted = subprocess.run([*command, "submit", *specs, *at], capture_output=True, text=True, check=True)
    jobs = [["wait", submitted.stdout.strip()], ["run", str(specs[0])]]
    started = [
        subprocess.Popen([*command, *job, *at], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for job in jobs
    ]
    until(lambda: len(store.client.keys("pp:job:*:inputs")) == 3)
    time.sleep(1.0)
    service.end(signal.SIGKILL)
    time.sleep(1.0)
    service.start(tmp_path / "service.log")
    work_off(store)
    for process in started:
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 0, said


def test_a_service_that_stays_away_is_told_when_the_timeout_is_over(service: LiveService, store: JobStore) -> None:
    """With the job's name, to wait for it later; neither at once nor never."""
    with pp.Client(service.url) as client:
        job = client.submit(UNCACHED)
        service.end(signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(Unreachable, match=rf"went away and was not back after 2 s \(.*; job {job.id} goes on"):
            job.result(progress=False, timeout_s=2)
        assert 1.9 < time.monotonic() - started < 3.0


def test_without_a_timeout_an_outage_is_told_after_minutes(
    service: LiveService, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here after a second; waiting, and submitting."""
    monkeypatch.setattr(retries, "OUTAGE_S", 1.0)
    with pp.Client(service.url) as client:
        job = client.submit(UNCACHED)
        service.end(signal.SIGKILL)
        for call in (lambda: job.wait(progress=False), lambda: client.submit(UNCACHED)):
            started = time.monotonic()
            with pytest.raises(Unreachable, match="not back after 1 s"):
                call()
            assert 0.9 < time.monotonic() - started < 2.0


def test_what_nobody_waits_for_is_told_at_once(service: LiveService, store: JobStore) -> None:
    """A listing has no job to wait for."""
    with pp.Client(service.url) as client:
        client.version()
        service.end(signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(Unreachable, match="pathpatch up"):
            client.jobs()
        assert time.monotonic() - started < 2.0


def test_a_service_that_never_was_there_is_told_at_once() -> None:
    """However long the wait may be: it is a wrong address, or nobody started it."""
    with pp.Client(f"http://127.0.0.1:{free_port()}") as client:
        started = time.monotonic()
        with pytest.raises(Unreachable, match="pathpatch up"):
            client.run(UNCACHED, timeout_s=600)
        assert time.monotonic() - started < 2.0


def test_a_wait_through_a_restart_keeps_its_limit(service: LiveService, store: JobStore, tmp_path: Path) -> None:
    """The time without a service counts; the request after it is not held for the time that was left before it."""
    with pp.Client(service.url) as client:
        job = client.submit(UNCACHED)
        started = time.monotonic()
        with beside(lambda: job.wait(progress=False, timeout_s=6)) as waiting:
            service.end(signal.SIGKILL)
            service.start(tmp_path / "service.log")
            with pytest.raises(WaitTimedOut, match="still queued after 6 s"):
                waiting.result(20)
        assert 5.9 < time.monotonic() - started < 8.0
