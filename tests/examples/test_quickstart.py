"""The notebook that a newcomer opens first runs from top to bottom."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbmake")

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "quickstart.ipynb"


@pytest.mark.integration
@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, processed_weights_dir: Path) -> None:
    """In a process of its own, by nbmake: its kernel's sockets are no business of our own warnings."""
    command = [sys.executable, "-m", "pytest", "--nbmake", "--nbmake-timeout=120", "-p", "no:cacheprovider", "-q"]
    alone = ["-c", str(tmp_path / "pytest.ini"), "--rootdir", str(NOTEBOOK.parent), str(NOTEBOOK)]
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    environment = {**os.environ, "PATHPATCH_DATA_DIR": str(processed_weights_dir), "IPYTHONDIR": str(tmp_path)}
    run = subprocess.run([*command, *alone], env=environment, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]


def test_the_notebook_is_kept_without_outputs() -> None:
    """Outputs are megabytes of plotly, and different every time."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    for cell in cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
