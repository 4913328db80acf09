"""Jobs on the command line by what people type: `last`, the beginning of an id, several at once."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import pathpatch as pp
from pathpatch.cli.job_names import complete_job
from pathpatch.local import Stack
from pathpatch.presets import preset
from pathpatch.stack.broker import free_port
from tests.commands import Command

pytestmark = pytest.mark.integration


@pytest.fixture
def client(stack: Stack) -> Iterator[pp.Client]:
    with pp.Client(stack.url) as talking:
        yield talking


def spec(**changes: Any) -> dict[str, Any]:
    """The founding experiment on few prompts."""
    spec: dict[str, Any] = yaml.safe_load(preset("ioi-heads"))
    spec["dataset"]["examples"] = 8
    return {**spec, **changes}


def test_last_is_the_newest_job(to_service: Command, client: pp.Client) -> None:
    """Nobody copies an id to look at what was just submitted."""
    job = client.submit(spec()).wait()
    assert json.loads(to_service("status", "last", "--json")[1])["id"] == job.id
    assert to_service("wait", "last")[0] == 0
    assert json.loads(to_service("result", "last", "-o", "-")[1])["job_id"] == job.id


def test_the_beginning_of_an_id_will_do(to_service: Command, client: pp.Client) -> None:
    """As with git: as much of it as no other job has, with or without `job_`."""
    one, other = (client.submit(spec()).wait() for _ in range(2))
    common = next(i for i, pair in enumerate(zip(one.id, other.id, strict=True)) if pair[0] != pair[1])
    for begin in (other.id[: common + 1], other.id[: common + 1].removeprefix("job_").lower()):
        assert json.loads(to_service("status", begin, "--json")[1])["id"] == other.id
    code, _, said = to_service("status", other.id[:common])
    assert code == 1
    assert one.id in said and other.id in said and "Type more of it" in said
    code, _, said = to_service("cancel", "job_ZZZ")
    assert code == 1
    assert "No job's id begins with 'job_ZZZ'" in said


def test_several_jobs_are_waited_for_and_erased_at_once(to_service: Command, client: pp.Client) -> None:
    """A seed a job, and one line to wait for all."""
    jobs = [job.id for job in client.submit_all([spec() for _ in range(3)])]
    code, output, _ = to_service("wait", *jobs, "--json")
    assert code == 0
    assert [job["id"] for job in json.loads(output)] == jobs
    code, output, _ = to_service("delete", *jobs, "--json")
    assert json.loads(output) == [{"id": job, "deleted": True} for job in jobs]
    for job in jobs:
        assert to_service("status", job)[0] == 1


def test_several_jobs_are_cancelled_at_once(to_service: Command, client: pp.Client) -> None:
    """And the wait for what was cancelled does not succeed."""
    long = spec(use_cache=False)
    long["dataset"]["examples"] = 4000
    jobs = [job.id for job in client.submit_all([long] * 3)]
    code, output, _ = to_service("cancel", *jobs, "--json")
    assert code == 0
    assert {job["status"] for job in json.loads(output)} <= {"cancelling", "cancelled"}
    code, output, _ = to_service("wait", *jobs)
    assert code == 1
    assert output.count("cancelled") == 3


def test_ids_are_completed_with_what_each_job_asks(
    client: pp.Client, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TAB in a shell; where no service answers, nothing is offered and nothing is said."""
    job = client.submit(spec())
    monkeypatch.setenv("PATHPATCH_URL", stack.url)
    monkeypatch.delenv("PATHPATCH_API_KEY", raising=False)
    offered = dict(complete_job("job_"))
    assert "q 3.0" in offered[job.id]
    assert "q 3.0" in dict(complete_job("la"))["last"]
    begin = job.id.removeprefix("job_")[:20].lower()
    (bare,) = [name for name, _ in complete_job(begin) if name.upper() == job.id.removeprefix("job_")]
    assert bare.startswith(begin), "a shell drops what does not begin as it was typed"
    assert complete_job("nonsense") == []
    monkeypatch.setenv("PATHPATCH_URL", f"http://127.0.0.1:{free_port()}")
    assert complete_job("job_") == []


def test_the_list_says_what_each_job_asks(to_service: Command, client: pp.Client) -> None:
    """Model and state alone are the same in forty rows."""
    named = client.submit(spec(name="the negative name mover"))
    (row,) = to_service("list", "--name", "Negative")[1].splitlines()[1:]
    assert named.id in row and "the negative name mover" in row and "→ q 3.0" not in row
    job = client.submit(spec())
    (row,) = [line for line in to_service("list")[1].splitlines() if job.id in line]
    assert "→ q 3.0" in row and "attention end → IO minus end → S1" in row and "seed 0" in row


def test_a_job_runs_again_with_changes(to_service: Command, client: pp.Client) -> None:
    """`--seed` and `--set` say what is different; all else is the job's."""
    job = client.submit(spec(name="first")).wait()
    layer = job.spec.patch.senders[0].layer  # type: ignore[union-attr, index]
    change = ("--seed", "4", "--set", "name=second", "--set", "patch.senders.0.head=0")
    code, output, said = to_service("rerun", job.id, *change, "--json")
    assert code == 0, said
    again = json.loads(output)["spec"]
    assert again["dataset"]["seed"] == 4 and again["name"] == "second"
    assert again["patch"]["senders"][0] == {"hook": "z", "layer": layer, "head": 0}
    assert len(again["patch"]["senders"]) == len(job.spec.patch.senders)  # type: ignore[union-attr, arg-type]


def test_a_spec_is_changed_before_it_is_sent(to_service: Command) -> None:
    """The same options for `run`, `submit` and `validate`."""
    text = json.dumps(spec())
    assert (
        json.loads(to_service("validate", "-", "--seed", "5", "--json", stdin=text)[1])["spec"]["dataset"]["seed"] == 5
    )
    change = ("--seed", "5", "--set", "dataset.examples=3", "--json")
    assert json.loads(to_service("run", "-", *change, stdin=text)[1])["spec"]["dataset"]["examples"] == 3
    submitted = json.loads(to_service("submit", "-", *change, stdin=text)[1])
    assert submitted["spec"]["dataset"] == submitted["spec"]["dataset"] | {"seed": 5, "examples": 3}


def _piped(stack: Stack, *command: str, stdin: str = "") -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "pathpatch.cli", *command, "--url", stack.url], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    process.stdin = None
    return process


def test_a_watched_list_shows_what_changes_and_ends_with_ctrl_c(stack: Stack, client: pp.Client) -> None:
    """Piped, each change is a table of its own."""
    watching = _piped(stack, "list", "--watch", "--limit", "1")
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("job")
    job = client.submit(spec())
    while job.id not in watching.stdout.readline():
        pass
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=20) == 0
    watching.communicate()


def test_ctrl_c_of_a_piped_run_tells_the_jobs_id(stack: Stack, client: pp.Client) -> None:
    """The job goes on; without its id nobody could stop it or come back to it."""
    long = spec(use_cache=False)
    long["dataset"]["examples"] = 4000
    running = _piped(stack, "run", "-", stdin=json.dumps(long))
    assert running.stderr is not None
    submitted = running.stderr.readline()
    job_id = re.search(r"job_\w{26}", submitted)[0]  # type: ignore[index]
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    output, said = running.communicate(timeout=20)
    assert running.returncode == 130
    assert output == "" and f"pathpatch cancel {job_id}" in said
    assert client.cancel(job_id).id == job_id


def test_the_version_is_an_option_too(to_service: Command, tmp_path: Path) -> None:
    """As of every other program."""
    assert to_service("--version") == (0, f"pathpatch {pp.__version__}\n", "")
