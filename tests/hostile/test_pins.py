"""What is fetched from elsewhere is what was looked at: actions by commit, packages of the containers by hash."""

import re

import pytest
import yaml

from tests.live_service import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HASHES = sorted((ROOT / "hashes").glob("*.txt"))
LINE = re.compile(r"^([\w.-]+)(?:\[.*?\])?==([^\s\\;]+)")


def _versions(text: str) -> dict[str, str]:
    lines = filter(None, map(LINE.match, text.splitlines()))
    return {line[1].lower().replace("_", "-"): line[2] for line in lines}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(workflow) -> None:
    """A tag can be moved to other code by whoever owns it; the comment says which version it was."""
    uses = re.findall(r"uses: (.*)", workflow.read_text())
    assert uses and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", used) for used in uses), uses


@pytest.mark.parametrize("file", HASHES, ids=lambda path: path.name)
def test_every_package_of_a_container_has_hashes_and_the_version_of_the_constraints(file) -> None:
    """So that a container is what was tested."""
    entries = re.split(r"\n(?=\S)", file.read_text().strip())
    assert len(entries) > 50 and all("--hash=sha256:" in entry for entry in entries)
    pinned = _versions((ROOT / "constraints.txt").read_text())
    ours = _versions(file.read_text())
    assert {name: version for name, version in ours.items() if pinned.get(name, version) != version} == {}
    assert f"--require-hashes --no-deps -r hashes/{file.name}" in (ROOT / "Dockerfile").read_text()


def test_flower_asks_for_a_password_and_images_that_do_not_move_have_a_digest() -> None:
    """Flower can purge queues; who reaches loopback is not always who runs the service."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert '--basic-auth="flower:$$FLOWER_PASSWORD"' in services["flower"]["command"][-1]
    assert services["flower"]["environment"]["FLOWER_PASSWORD"].startswith("${FLOWER_PASSWORD:-")
    assert re.fullmatch(r"prom/prometheus:v[\d.]+@sha256:[0-9a-f]{64}", services["prometheus"]["image"])
