"""The container files keep their promises; what can be run of them without Docker is run."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_schemas.models import parse_registry
from job_store import jobs
from job_store.broker import queue_of
from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_service import live_service
from tests.stored_jobs import new_job, submit, work_off

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = {stage.split()[2]: stage for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]}
STARTED = [name for name, stage in STAGES.items() if "\nCMD " in stage]
SETTINGS = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_is_hardened(name: str) -> None:
    """A way into one process must not be a way into the machine."""
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert "privileged" not in service


def test_there_is_an_image_of_the_service_and_of_workers_on_cpu_and_gpu() -> None:
    """Each is made in a stage of its own, runs as a user, and says whether it is alive."""
    assert STARTED == ["service", "worker", "worker-cuda"]
    for name in STARTED:
        user = re.search(r"^USER (\d+)", STAGES[name], re.MULTILINE)
        assert user is not None and int(user[1]) > 0
        assert f"COPY --from=build-{name} " in STAGES[name] and "pip install" not in STAGES[name]
        assert "HEALTHCHECK" in STAGES[name]


def test_only_this_machine_reaches_what_is_published() -> None:
    """The broker has no door to the outside; who wants more puts TLS in front."""
    ports = {name: service.get("ports", []) for name, service in COMPOSE["services"].items()}
    assert {name for name, published in ports.items() if published} == {"service", "prometheus", "flower"}
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)
    assert all(COMPOSE["services"][name]["profiles"] == ["monitoring"] for name in ("prometheus", "flower"))


def test_workers_can_be_scaled_and_the_gpu_file_only_changes_them() -> None:
    """A fixed name or port would allow only one of them."""
    assert not {"container_name", "ports"} & set(COMPOSE["services"]["worker"])
    assert list(GPU["services"]) == ["worker"] and GPU["services"]["worker"]["build"]["target"] in STAGES
    (device,) = GPU["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_every_setting_in_the_container_files_exists() -> None:
    """A misspelled variable would silently do nothing."""
    named = set(re.findall(r"\bPATHPATCH_[A-Z_]+", DOCKERFILE + (ROOT / "docker-compose.yml").read_text()))
    assert named - {"PATHPATCH_METRICS_KEY"} <= SETTINGS


def test_the_example_of_the_environment_has_exactly_what_compose_reads() -> None:
    """Whoever fills it in has done all there is to do."""
    read = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    offered = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert offered == read


def test_git_leaves_passwords_and_checkpoints_alone() -> None:
    """They lie in the folder of the container files."""
    assert {"/.env", "/docker-compose.override.yml", "/models/"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_torch_is_not_fetched_again_for_a_change_of_ours() -> None:
    """Several GB: it is installed before anything of this folder is copied."""
    for name in ("build-worker", "build-worker-cuda"):
        assert STAGES[name].index("install torch") < STAGES[name].index("COPY . .")
    assert "COPY" not in STAGES["build"]


@pytest.mark.parametrize("name", STARTED)
def test_an_edit_of_ours_installs_nothing_of_others_again(name: str) -> None:
    """Dependencies come before our code, and what pip has fetched is kept between builds."""
    before, after = STAGES[f"build-{name}"].split("COPY . .")
    assert "-c constraints.txt" in before and "-c constraints.txt" not in after
    assert re.findall("pip install (.*)", after) == ["--no-deps --force-reinstall ."]
    installs = [line for line in STAGES[f"build-{name}"].splitlines() if "pip install" in line]
    assert all(line.startswith("RUN --mount=type=cache,target=/root/.cache/pip ") for line in installs)


def test_every_package_of_ours_is_copied() -> None:
    """A new one that the list of what is let through forgets would be missing in the containers alone."""
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{pattern.removesuffix('*')}" for pattern in included} <= set(ignored)


def test_images_have_names_and_the_gpu_file_gives_its_worker_another() -> None:
    """A build of one must not replace the other on a machine that has both."""
    names = [COMPOSE["services"][name]["image"] for name in ("service", "worker")] + [
        GPU["services"]["worker"]["image"]
    ]
    assert len(set(names)) == 3


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_logs_are_kept_as_docker_and_podman_both_can_and_bounded(name: str) -> None:
    """Podman refuses the driver `local`."""
    logging = COMPOSE["services"][name]["logging"]
    assert logging["driver"] == "json-file" and set(logging["options"]) == {"max-size", "max-file"}


def test_images_take_the_pinned_versions() -> None:
    """What was tested is what is deployed."""
    assert DOCKERFILE.count("-c constraints.txt") == len(STARTED)
    pinned = re.search(r"^torch==([\d.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None and set(re.findall(r"torch==([\d.]+)", DOCKERFILE)) == {pinned[1]}
    assert f"TORCH := torch=={pinned[1]}" in (ROOT / "Makefile").read_text()


def _health_command(stage: str) -> list[str]:
    found = re.search(r"HEALTHCHECK .*\\\n  CMD (\[.*\])", STAGES[stage])
    assert found is not None
    command: list[str] = json.loads(found[1])
    return command


@pytest.mark.integration
def test_the_health_check_of_the_service_passes_only_while_it_lives(tmp_path: Path) -> None:
    """Docker starts again what fails it."""
    with embedded_valkey(tmp_path / "valkey") as valkey, live_service(valkey, tmp_path / "log") as service:
        program = _health_command("service")[2].replace(":8000/", f":{service.port}/")
        command = [sys.executable, "-c", program]
        assert subprocess.run(command, check=False).returncode == 0
        valkey.kill()
        assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode != 0


def test_the_health_check_of_a_worker_goes_by_the_age_of_its_file(tmp_path: Path) -> None:
    """Heartbeats touch it."""
    file = tmp_path / "alive"
    assert "PATHPATCH_HEALTH_FILE=/tmp/alive" in STAGES["worker"]
    command = [part.replace("/tmp/alive", str(file)) for part in _health_command("worker")]  # noqa: S108
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode != 0
    file.touch()
    assert subprocess.run(command, check=False).returncode == 0
    os.utime(file, (time.time() - 200,) * 2)
    assert subprocess.run(command, check=False).returncode != 0


def _written(name: str, folder: Path, **environment: str) -> str:
    """What a container's script writes into its only file, before it starts its program."""
    script: str = COMPOSE["services"][name]["command"][-1].partition("\nexec ")[0]
    script = script.replace("$$", "$").replace("/tmp/", f"{folder}/")  # noqa: S108
    before = set(folder.iterdir())
    subprocess.run(["sh", "-c", script], env={"PATH": os.environ["PATH"], **environment}, check=True)
    (file,) = set(folder.iterdir()) - before
    return file.read_text()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_compose_need_not_write_into_a_container(name: str) -> None:
    """It cannot if the root is read-only: "container rootfs is marked read-only", and nothing comes up."""
    assert not {"configs", "secrets"} & set(COMPOSE["services"][name])


@pytest.mark.integration
def test_the_brokers_configuration_is_one_that_valkey_takes(tmp_path: Path) -> None:
    """Password, append-only file, and no eviction: otherwise jobs could be read, or lost."""
    with embedded_valkey(tmp_path / "valkey") as server:
        server.stop()
        given = _written("broker", tmp_path, REDISCLI_AUTH=server.password, MAXMEMORY="2gb").replace(
            "/data", str(server.folder)
        )
        (tmp_path / "moved.conf").write_text(given)
        server.start_with(tmp_path / "moved.conf")
        store = JobStore.connect(server.url)
        for name, value in (
            ("appendonly", "yes"),
            ("maxmemory", str(2 << 30)),
            ("maxmemory-policy", "noeviction"),
            ("requirepass", server.password),
        ):
            assert store.client.config_get(name)[name] == value
        store.close()


def test_prometheus_reads_the_service_with_a_key(tmp_path: Path) -> None:
    """Without one it would only ever be refused."""
    (job,) = yaml.safe_load(_written("prometheus", tmp_path, METRICS_KEY="pp_key"))["scrape_configs"]
    assert job["authorization"] == {"credentials": "pp_key"}
    assert job["static_configs"] == [{"targets": ["service:8000"]}]


def test_flower_is_told_the_queue_of_every_model(tmp_path: Path) -> None:
    """Workers do not answer when it asks for them, and it would show none of ours."""
    models = "mine=/models/mine, other=/models/other"
    read: dict[str, Any] = {}
    exec(_written("flower", tmp_path, PATHPATCH_MODELS=models), read)  # noqa: S102
    assert {queue.name for queue in read["task_queues"]} == {queue_of(model) for model in parse_registry(models)}


@pytest.mark.integration
def test_a_copy_of_the_append_only_folder_is_a_backup(tmp_path: Path) -> None:
    """As docs/deploy.md tells, while jobs come in; the copy serves jobs and results, and queued jobs can go on."""
    with embedded_valkey(tmp_path / "valkey") as server:
        store = JobStore.connect(server.url)
        finished, queued = new_job(), new_job()
        submit(store, finished)
        work_off(store)
        submit(store, queued)
        time.sleep(1.1)  # appendfsync everysec
        store.client.config_set("auto-aof-rewrite-percentage", 0)
        shutil.copytree(server.folder / "appendonlydir", tmp_path / "copy" / "appendonlydir")
        store.client.config_set("auto-aof-rewrite-percentage", 100)
        store.close()
    with embedded_valkey(tmp_path / "copy") as restored:
        _check_backup(restored, finished.id, queued.id)


def _check_backup(restored: EmbeddedValkey, finished: str, queued: str) -> None:
    store = JobStore.connect(restored.url)
    assert store.run(jobs.result(finished)) is not None
    work_off(store)
    assert store.run(jobs.get(queued)).status == "succeeded"
    store.close()


def test_fetched_models_are_served_in_containers() -> None:
    """Service and workers look where the folder of `pathpatch models fetch` is mounted, and cannot write to it."""
    for name in ("service", "worker"):
        folder = COMPOSE["services"][name]["environment"]["PATHPATCH_MODEL_DIR"]
        assert f"${{PATHPATCH_MODEL_DIR:-./models}}:{folder}:ro" in COMPOSE["services"][name]["volumes"]
