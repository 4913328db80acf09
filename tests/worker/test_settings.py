"""What the worker reads from its environment."""

import os
import subprocess
import sys

import pytest

from tests.live_worker import ROOT
from worker.settings import BadSetting, WorkerSettings


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PATHPATCH_LEASE_S": "2"}, r"PATHPATCH_LEASE_S is '2, with PATHPATCH_HEARTBEAT_S 3'.*more than"),
        ({"PATHPATCH_HEARTBEAT_S": "0"}, "more than 0"),
        ({"PATHPATCH_LOG_LEVEL": "LOUD"}, "PATHPATCH_LOG_LEVEL is 'LOUD': it must be one of .*WARNING"),
        ({"PATHPATCH_THREADS": "-2"}, "PATHPATCH_THREADS is '-2': it must be a number, 0 or more"),
        ({"PATHPATCH_SERVE": "gpt3"}, r"PATHPATCH_SERVE is 'gpt3': it must be among demo, .*\(not gpt3\)"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_what_it_may_be(environment: dict[str, str], said: str) -> None:
    """A lease that is shorter than a heartbeat would have every shard lost."""
    with pytest.raises(BadSetting, match=said):
        WorkerSettings.read(environment)


def test_a_worker_says_in_one_line_what_it_cannot_use() -> None:
    """As the service does, without a traceback, and with the exit code of a wrong call."""
    command = [sys.executable, "-m", "worker"]
    environment = {**os.environ, "PATHPATCH_LOG_LEVEL": "LOUD"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stderr.startswith("worker: PATHPATCH_LOG_LEVEL is 'LOUD'")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(("chosen", "used"), [(None, "passive"), ("active", "active")])
def test_threads_that_wait_leave_the_processor_to_others(chosen: str | None, used: str) -> None:
    """OpenMP reads it when torch is imported, in the child; an operator's own choice stays."""
    environment = {**os.environ, "PATHPATCH_LOG_LEVEL": "LOUD"}
    environment.pop("OMP_WAIT_POLICY", None)
    environment |= {"OMP_WAIT_POLICY": chosen} if chosen else {}
    code = (
        "import os, sys, worker.__main__ as w; w.main(); print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.stdout.split() == [used, "False"]
