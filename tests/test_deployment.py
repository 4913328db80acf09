"""The container files keep their promises: nothing runs as root, nothing can write where it need not."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
STAGES = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_is_hardened(name: str) -> None:
    """A way into one process must not be a way into the machine."""
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert "privileged" not in service


@pytest.mark.parametrize("stage", [stage for stage in STAGES if "CMD" in stage], ids=lambda stage: stage.split()[2])
def test_every_image_runs_as_a_user(stage: str) -> None:
    """Also without compose."""
    user = re.search(r"^USER (\d+)", stage, re.MULTILINE)
    assert user is not None
    assert int(user[1]) > 0


def test_only_the_service_is_reachable_and_only_from_this_machine() -> None:
    """The broker has no door to the outside; who wants more puts TLS in front."""
    ports = {name: service.get("ports", []) for name, service in COMPOSE["services"].items()}
    assert {name for name, published in ports.items() if published} == {"service"}
    assert all(port.startswith("127.0.0.1:") for port in ports["service"])


def test_images_take_the_pinned_versions() -> None:
    """What was tested is what is deployed."""
    text = (ROOT / "Dockerfile").read_text()
    assert text.count("-c constraints.txt") == 2
    pinned = (ROOT / "constraints.txt").read_text()
    assert re.search(r"^torch==([\d.]+)$", pinned, re.MULTILINE)[1] == "2.13.0"  # type: ignore[index]
    assert "torch==2.13.0" in text


def test_make_setup_installs_the_pinned_torch_first() -> None:
    """An open range would download gigabytes of CUDA libraries."""
    assert "TORCH := torch==2.13.0" in (ROOT / "Makefile").read_text()
