"""The one-machine stack with its real processes: it starts, serves, survives, and leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import pathpatch
from pathpatch.client import Client
from pathpatch.local import Stack, StackSettings
from pathpatch.presets import preset
from pathpatch.stack.broker import free_port
from pathpatch.stack.errors import NotReady, PortInUse, ProcessDied, StackFailed
from pathpatch.stack.guard import is_alive

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def tiny() -> dict[str, Any]:
    """The founding experiment on few prompts."""
    spec: dict[str, Any] = yaml.safe_load(preset("ioi-heads"))
    spec["dataset"]["examples"] = 8
    return spec


def until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Wait for something that happens soon."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@contextmanager
def up(data_dir: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """`pathpatch up` as a user runs it."""
    command = [sys.executable, "-m", "pathpatch.cli", "up", "--data-dir", str(data_dir), "--port", "0", *options]
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_until(process: "subprocess.Popen[str]", pattern: str) -> tuple[str, list[str]]:
    """The first match in its output, and all lines up to it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if match := re.search(pattern, line):
            return match[1], lines
    raise AssertionError(f"{pattern} never came:\n" + "\n".join(lines))


def leaders_of(process: "subprocess.Popen[str]") -> list[int]:
    """The process groups that `up` started."""
    return [child.pid for child in psutil.Process(process.pid).children()]


def test_up_serves_says_where_and_ends_cleanly(tmp_path: Path, processed_weights_dir: Path) -> None:
    """Ctrl-C ends service, workers and broker in this order, with exit code 0, and nothing is left."""
    with up(tmp_path) as process:
        url, lines = read_until(process, r"ready: (http://\S+)")
        assert any(line.startswith("broker") for line in lines) or any(line.startswith("service") for line in lines)
        leaders = leaders_of(process)
        assert len(leaders) == 4  # broker, worker, service, guard
        with Client(url) as client:
            assert client.run(tiny(), progress=False).shape == (8,)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        rest = process.stdout.read()
        assert process.wait(60) == 0
        assert "every process has ended" in rest
        assert not any(map(is_alive, leaders))


def test_nothing_is_left_after_kill_9_of_up_and_its_jobs_are_there_again(tmp_path: Path) -> None:
    """The worst end: no handler runs, yet no process stays, the folder is free, and jobs and results are kept."""
    with up(tmp_path) as process:
        url, _ = read_until(process, r"ready: (http://\S+)")
        with Client(url) as client:
            job = client.submit(tiny())
            kept = job.result(progress=False)
        time.sleep(1.5)  # the broker writes its file every second
        leaders = leaders_of(process)
        process.kill()
        process.wait()
        until(lambda: not any(map(is_alive, leaders)))
    with Stack(StackSettings(tmp_path, port=0, redis_url=None)) as again, Client(again.url) as client:
        assert client.result(job.id).to_json() == kept.to_json()


def test_a_second_up_on_the_same_folder_says_who_holds_it(stack: Stack) -> None:
    """And does not touch what runs there."""
    with up(stack.settings.data_dir) as second:
        said, _ = read_until(second, r"error: (The data folder .*)")
        assert f"process {os.getpid()}, which serves {stack.url}" in said
        assert second.wait(10) == 1


def test_a_taken_port_is_said_with_another_to_try(tmp_path: Path) -> None:
    """Before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"Port {port} .* --port {port + 1}"):
            Stack(StackSettings(tmp_path, port=port, redis_url=None)).start()


@pytest.mark.parametrize("name", ["broker", "worker-1", "service"])
def test_a_killed_process_is_started_again_and_jobs_run_on(stack: Stack, name: str) -> None:
    """Each of the three, one after the other, under a stack that goes on."""
    before = stack.processes[name]
    os.kill(before, signal.SIGKILL)
    until(lambda: stack.processes[name] != before)
    until(lambda: is_ready(stack.url))
    spec = {**tiny(), "use_cache": False}
    with Client(stack.url) as client:
        assert client.run(spec, progress=False, timeout_s=90).shape == (8,)


def is_ready(url: str) -> bool:
    """Whether the service says that a worker is there."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310
            report = json.load(answer)
    except OSError:
        return False
    return bool(report["ready"] and report["components"]["workers"]["ok"])


def test_a_server_of_ones_own_is_used_instead(stack: Stack, tmp_path: Path, processed_weights_dir: Path) -> None:
    """REDIS_URL: no broker is started, and both stacks see the same jobs."""
    broker = psutil.Process(stack.processes["broker"]).cmdline()
    assert not any("redis://" in part for part in broker)
    redis_url = psutil.Process(stack.processes["service"]).environ()["REDIS_URL"]
    settings = StackSettings(tmp_path, port=0, redis_url=redis_url, cache_dir=processed_weights_dir)
    with Stack(settings) as second, Client(second.url) as there, Client(stack.url) as here:
        assert "broker" not in second.processes
        job = there.submit(tiny())
        assert here.get(job.id).wait(progress=False, timeout_s=60).status == "succeeded"


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="Debian's redis-server is not installed")
def test_redis_serves_as_well_as_valkey(tmp_path: Path, processed_weights_dir: Path) -> None:
    """Labs have a Redis 7 running already: a job's whole life on Debian's."""
    port = free_port()
    command = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--appendonly",
        "yes",
        "--dir",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as redis:
        try:
            url = f"redis://127.0.0.1:{port}/0"
            settings = StackSettings(tmp_path / "data", port=0, redis_url=url, cache_dir=processed_weights_dir)
            with Stack(settings) as stack, Client(stack.url) as client:
                job = client.submit({**tiny(), "tags": {"on": "redis"}})
                assert job.result(progress=False, timeout_s=60).shape == (8,)
                assert [event.data.get("status") for event in job.follow()][-1] == "succeeded"
                assert [listed.id for listed in client.jobs(tag="on:redis")] == [job.id]
                assert (
                    client.run(tiny(), progress=False).job_id != job.id
                )  # another tag, the same numbers from the cache
                client.delete(job.id)
        finally:
            redis.terminate()


def test_a_process_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    """A wrong setting is shown with the process's own words, and everything else is ended again."""
    settings = StackSettings(tmp_path, port=0, redis_url=None, environment={"PATHPATCH_MODELS": "nonsense"})
    with pytest.raises(ProcessDied, match=r"(?s)ended with exit code \d+ while starting.*PATHPATCH_MODELS"):
        Stack(settings).start()


def test_a_stack_that_does_not_become_ready_says_what_it_waits_for(tmp_path: Path) -> None:
    """And is gone afterwards."""
    with pytest.raises(NotReady, match="still waiting for"):
        Stack(StackSettings(tmp_path, port=0, redis_url=None, ready_s=0.01)).start()


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    """In words, not as an errno."""
    with pytest.raises(StackFailed):
        Stack(StackSettings(tmp_path, host="not-a-host.invalid", port=8123, redis_url=None)).start()


def test_a_notebook_gets_a_private_stack(processed_weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`with pathpatch.local() as client:` is all it takes, whatever other service the environment is set for."""
    monkeypatch.setenv("PATHPATCH_DATA_DIR", str(processed_weights_dir))
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("PATHPATCH_ADMIN_KEY", "k" * 32)
    monkeypatch.setenv("PATHPATCH_API_KEY", "pp_of_another_service")
    with pathpatch.local() as client:
        assert client.run(tiny(), progress=False).shape == (8,)
        url = client.url
    assert not is_ready(url)


def test_large_contents_are_in_the_data_folder(stack: Stack) -> None:
    """Not in the broker's memory; only the owner can read them."""
    with Client(stack.url) as client:
        assert client.health().components["blobs"].detail == "in a folder"
    folder = stack.settings.data_dir / "blobs"
    assert (folder / "place").is_file() and folder.stat().st_mode & 0o77 == 0
