"""Runs quickstart.ipynb and keeps its outputs in it, with pictures that any page shows.

    python examples/run_notebook.py [--model smollm2-135m --output FILE]

Interactive figures are megabytes that GitHub does not show: the notebook keeps each as a still picture of the same
result. Whoever runs the notebook gets the interactive ones.
"""

import argparse
import copy
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "quickstart.ipynb"
STILL = {"result.heatmap()": "result.figure(kind='heatmap')", "result.histogram()": "result.figure(kind='histogram')"}
"""What is run in place of a cell that draws."""
ASKED = 'MODEL = "demo"\n'
"""The line of the notebook that names the model."""


def of_model(notebook: nbformat.NotebookNode, model: str) -> nbformat.NotebookNode:
    """The notebook on another model."""
    changed = copy.deepcopy(notebook)
    cell = next(cell for cell in changed.cells if ASKED in cell.source)
    cell.source = cell.source.replace(ASKED, f'MODEL = "{model}"\n')
    return changed


def with_outputs(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with what its cells answer; each must run."""
    running = copy.deepcopy(notebook)
    for cell in running.cells:
        cell.source = STILL.get(cell.source, cell.source)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(running, timeout=300, kernel_name="python3", resources=resources).execute()
    kept = copy.deepcopy(notebook)
    for cell, run in zip(kept.cells, running.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = _settled(run.outputs), run.execution_count
    return kept


def _settled(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with each stream in one piece, of whose overwritten lines the last is kept."""
    settled: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and settled and settled[-1].get("name") == output.name:
            settled[-1].text += output.text
        else:
            settled.append(output)
    for output in settled:
        if output.output_type == "stream":
            output.text = "\n".join(line.rpartition("\r")[2] for line in output.text.split("\n"))
    return settled


def main() -> None:
    """Of the demo model into the notebook itself, of another one into a file of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--output", type=Path, help="default: the notebook, or quickstart-MODEL.ipynb here")
    options = parser.parse_args()
    default = NOTEBOOK if options.model == "demo" else Path(f"quickstart-{options.model}.ipynb")
    notebook = of_model(nbformat.read(NOTEBOOK, as_version=4), options.model)
    nbformat.write(with_outputs(notebook), options.output or default)


if __name__ == "__main__":
    main()
