"""The notebook that a newcomer opens first runs from top to bottom, and shows its figures."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "quickstart.ipynb"
FIGURE = "application/vnd.plotly.v1+json"


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of the kernel's sockets are no business of ours
def test_the_notebook_runs_and_draws(
    tmp_path: Path, processed_weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a kernel of its own, with a private stack, as it stands."""
    monkeypatch.setenv("PATHPATCH_DATA_DIR", str(processed_weights_dir))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    drawn = [output["data"][FIGURE] for output in outputs if FIGURE in output.get("data", {})]
    assert [figure["data"][0]["type"] for figure in drawn] == ["heatmap", "bar"]
    assert not [output for output in outputs if output.get("name") == "stderr"], "nothing that looks like a fault"


def test_the_notebook_is_kept_without_outputs() -> None:
    """Outputs are megabytes of plotly, and different every time."""
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
