"""The notebook that a newcomer opens first runs from top to bottom, and shows its figures."""

from base64 import b64decode
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
    assert _founding_line(notebook) == _founding_line(nbformat.read(NOTEBOOK, as_version=4))


def test_the_notebook_is_kept_with_pictures_that_any_page_shows() -> None:
    """GitHub shows no plotly figures, which are megabytes besides: python examples/run_notebook.py keeps pictures."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run from top to bottom"
    shown = {cell.source: [output.get("data", {}) for output in cell.outputs] for cell in cells}
    for drawing in ("result.heatmap()", "result.histogram()"):
        (data,) = shown[drawing]
        assert b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert all(FIGURE not in data for answers in shown.values() for data in answers)
    assert NOTEBOOK.stat().st_size < 300_000


def _founding_line(notebook: nbformat.NotebookNode) -> str:
    """What the notebook prints of the founding experiment."""
    streams = [output.text for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output]
    (line,) = [line for text in streams for line in text.splitlines() if line.endswith(" patched")]
    return line.rpartition("\r")[2]
