"""`pathpatch doctor` finds what is wrong with a real broker, service and folder, and says what to do."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blob_store.place import BlobStore
from job_store.store import JobStore
from pathpatch.doctor import blobs, broker, machine, models
from pathpatch.doctor.finding import Finding
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_service import live_service
from tests.stored_jobs import new_job, submit
from tests.tiny_models import tiny_shape, write_gpt2_folder

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A broker whose settings are changed."""
    with embedded_valkey(tmp_path_factory.mktemp("doctor") / "valkey") as server:
        yield server


def found(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def run(url: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and findings of the command itself."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PATHPATCH_", "REDIS_"))}
    command = [sys.executable, "-m", "pathpatch.cli", "doctor", "--json", "--url", url]
    done = subprocess.run(
        command, cwd=ROOT, env={**inherited, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.stdout, done.stderr
    return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("setting", "wrong", "right", "check", "advice"),
    [
        ("appendonly", "no", "yes", "append-only file", "CONFIG SET appendonly yes"),
        ("maxmemory-policy", "allkeys-lru", "noeviction", "eviction", "CONFIG SET maxmemory-policy noeviction"),
    ],
)
def test_settings_under_which_jobs_are_lost_are_faults(
    valkey: EmbeddedValkey, setting: str, wrong: str, right: str, check: str, advice: str
) -> None:
    """They work for weeks, and then a restart or a full memory loses results in silence."""
    store = JobStore.connect(valkey.url)
    assert found(broker.examine(valkey.url))[check].state == "ok"
    store.client.config_set(setting, wrong)
    finding = found(broker.examine(valkey.url))[check]
    store.client.config_set(setting, right)
    store.close()
    assert finding.state == "fault" and advice in finding.advice
    assert valkey.password not in str(finding)


def test_a_broker_that_is_not_there_is_a_fault_without_its_password() -> None:
    """What is printed ends in tickets."""
    (finding,) = broker.examine("redis://:secret@127.0.0.1:1/0")
    assert finding.state == "fault" and "redis://127.0.0.1:1 does not answer" in finding.detail
    assert "secret" not in str(finding)


def test_a_clock_that_is_off_says_by_how_much() -> None:
    """Deadlines and retention go by it."""
    assert broker.clock("the broker", 1.0).state == "ok"
    assert broker.clock("the broker", -90.0).detail == "the broker is 90 s behind this machine"


def test_models_are_read_as_the_service_reads_them(tmp_path: Path) -> None:
    """A broken folder is told here before the service meets it."""
    sound, broken = (write_gpt2_folder(tmp_path / name, tiny_shape()) for name in ("sound", "broken"))
    (broken / "model.safetensors").write_bytes(b"short")
    findings = found(models.examine(f"sound={sound},broken={broken}"))
    assert "2 layers x 2 heads, revision local-" in findings["model sound"].detail
    assert findings["model broken"].state == "fault" and "truncated" in findings["model broken"].detail
    assert findings["model demo"].state == "ok"
    (twice,) = models.examine(f"a={sound},a={broken}")
    assert twice.state == "fault" and "twice" in twice.detail


def test_a_data_folder_that_others_may_read_is_told(tmp_path: Path) -> None:
    """It holds jobs, results and the digests of keys."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    assert found(machine.examine(folder))["permissions"].advice == f"run: chmod 700 {folder}"
    folder.chmod(0o700)
    findings = found(machine.examine(folder))
    assert findings["permissions"].state == "ok" and findings["disk"].detail.endswith(f"GB free for {folder}")
    assert "pathpatch " in findings["versions"].detail and "torch " in findings["devices"].detail


def test_the_command_ends_with_1_for_a_fault_and_says_where_to_look(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """A service without a worker accepts jobs that nobody will run."""
    data = {"PATHPATCH_DATA_DIR": str(tmp_path / "data"), "REDIS_URL": valkey.url}
    with live_service(valkey, tmp_path / "log") as service:
        code, findings = run(service.url, **data)
        assert code == 1 and findings["service's workers"]["state"] == "fault"
        assert findings["service"]["state"] == findings["broker"]["state"] == findings["API key"]["state"] == "ok"
        assert findings["clock"]["state"] == "ok"
    code, findings = run(service.url, **data)
    assert code == 1 and "nothing answers at" in findings["service"]["detail"]


def test_blobs_are_written_and_read_where_the_store_has_them(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """A folder that cannot be used, or is not the one of service and workers, loses no job but stops them all."""
    store = JobStore.connect(valkey.url, BlobStore(f"file://{tmp_path}/right", least_bytes=0))
    submit(store, new_job())
    right, wrong = ({"PATHPATCH_BLOBS": f"file://{tmp_path}/{name}"} for name in ("right", "wrong"))
    (finding,) = blobs.examine(right, valkey.url)
    assert finding.state == "ok" and not list((tmp_path / "right" / "work").glob("doctor*"))
    (finding,) = blobs.examine(wrong, valkey.url)
    assert finding.state == "fault" and "is not the place" in finding.detail
    (finding,) = blobs.examine({**right, "PATHPATCH_BLOBS_RESERVE_BYTES": "1" + 18 * "0"}, valkey.url)
    assert finding.state == "fault" and "are free" in finding.detail and finding.advice
    (finding,) = blobs.examine({"PATHPATCH_BLOBS": "ftp://x"}, None)
    assert finding.state == "fault" and "file:///folder or s3://bucket" in finding.detail
    (finding,) = blobs.examine({}, valkey.url)
    assert finding.state == "ok"
    store.client.flushall()
    store.close()
