"""``make audit``: what the list of known vulnerabilities says decides; where there is no list, nothing fails."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

KNOWN = {"id": "PYSEC-2030-1", "fix_versions": ["1.1"]}


@pytest.fixture
def audit() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[1] / ".ci" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([{"name": "a", "version": "1.0", "vulns": [KNOWN]}], 1, "a 1.0: PYSEC-2030-1, fixed in 1.1"),
        ([{"name": "a", "version": "1.0", "vulns": []}], 0, "1 of 1 pinned packages looked up, 0 known"),
        ([{"name": "a", "skip_reason": "no list"}], 0, "skipped"),
        (None, 0, "skipped"),
    ],
)
def test_only_a_known_vulnerability_fails(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    packages: list[dict[str, Any]] | None,
    code: int,
    said: str,
) -> None:
    """Without a network ``make lint`` must still tell what else is wrong."""
    told = "" if packages is None else json.dumps({"dependencies": packages})
    answer = subprocess.CompletedProcess([], 0, told, "")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: answer)
    assert audit.main() == code
    assert said in capsys.readouterr().out
