"""Run every example on the demo model, through a real service, and write what came out: pictures, numbers, specs.

    python examples/make_figures.py [EXAMPLE ...]

One command after a change of the demo model, of a spec template or of the figures: writes ``spec*.yaml`` and
``gpt2-small*.yaml`` of each example, its pictures, and the parts of its README between ``<!-- begin ... -->`` and
``<!-- end -->``. Everything else in a README is written by hand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from experiments import FOLDER, written_specs
from matplotlib import rc_context
from matplotlib.figure import Figure

import pathpatch
from pathpatch.client import Client
from pathpatch.results import Block, CircuitResult, Result
from pathpatch.results.tables import format_number, strongest_rows, summary_rows
from pathpatch.static_figures import static_figure_for

IMAGES = FOLDER.parent / "docs" / "images"
STRONGEST = 5
_PART = "<!-- begin {name} -->\n{text}\n<!-- end -->"


@dataclass(frozen=True)
class Picture:
    """One spec of an example, and the picture of its result."""

    spec: str
    file: str
    kind: str | None = None
    """Kind of figure; None: the one that fits."""


PICTURES: dict[str, list[Picture]] = {
    "founding-experiment": [Picture("spec.yaml", "figure.svg")],
    "backup-heads": [Picture("spec.yaml", "figure.svg"), Picture("spec-denoising.yaml", "figure-denoising.svg")],
    "heads-to-logits": [Picture("spec.yaml", "figure.svg"), Picture("spec-skip-only.yaml", "figure-skip-only.svg")],
    "s-inhibition": [
        Picture("spec.yaml", "figure.svg"),
        Picture("spec-by-input.yaml", "figure-by-input.svg"),
        Picture("spec-values.yaml", "figure-values.svg"),
    ],
    "induction-heads": [Picture("spec.yaml", "figure.svg")],
    "activation-patching": [Picture("spec.yaml", "figure.svg"), Picture("spec-heads.yaml", "figure-heads.svg")],
    "edge-matrix": [Picture("spec.yaml", "figure.svg", "graph"), Picture("spec-matrix.yaml", "figure-matrix.svg")],
    "attribution": [Picture("spec.yaml", "figure.svg", "estimates")],
    "circuit": [Picture("spec.yaml", "figure.svg"), Picture("spec-iterated.yaml", "figure-iterated.svg")],
    "greater-than": [Picture("spec.yaml", "figure.svg")],
    "induction": [Picture("spec.yaml", "figure.svg")],
}
REAL_MODEL = "smollm2-135m"
REAL_PICTURES: dict[str, list[Picture]] = {
    "greater-than": [
        Picture("smollm2.yaml", "figure-smollm2.svg"),
        Picture("smollm2-mlps.yaml", "figure-smollm2-mlps.svg"),
    ],
    "induction": [Picture("smollm2.yaml", "figure-smollm2.svg")],
}
"""Made where the model was fetched (``pathpatch models fetch smollm2-135m``), and left as they are elsewhere."""


def write_specs() -> None:
    """All spec files, from their templates."""
    for path, text in written_specs().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def draw(client: Client, example: str, picture: Picture) -> Result:
    """Run one spec and write its picture."""
    spec = yaml.safe_load((FOLDER / example / picture.spec).read_text(encoding="utf-8"))
    result = client.run(spec)
    if isinstance(result, CircuitResult):
        image = static_figure_for(result)
    elif picture.kind == "estimates":
        image = draw_estimates(result.block)
    else:
        tokens = client.validate(spec).examples[0].orig if "position" in result.axes else None
        image = static_figure_for(result, prompt_tokens=tokens, kind=picture.kind)
    (FOLDER / example / picture.file).write_bytes(image)
    return result


def draw_estimates(block: Block) -> bytes:
    """Estimated against exact effects of the verified cells, as SVG."""
    estimate, exact = verified_effects(block)
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1, label="estimate = exact")
    axes.axhline(0, color="0.2", linestyle="--", linewidth=0.7)
    axes.axvline(0, color="0.2", linestyle="--", linewidth=0.7)
    axes.scatter(exact, estimate, s=18, color="#0072B2", alpha=0.7, linewidths=0, label="one edge")
    axes.set_xlabel(f"exact effect ({block.unit})")
    axes.set_ylabel(f"first-order estimate ({block.unit})")
    low, high = min(*exact, *estimate, 0), max(*exact, *estimate, 0)
    limits = (low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set_title(f"The {len(exact)} edges of largest estimate", fontsize=11)
    axes.legend(frameon=False)
    file = BytesIO()
    with rc_context({"svg.hashsalt": "pathpatch"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def verified_effects(block: Block) -> tuple[Any, Any]:
    """Estimated and exact effects (patched minus orig) of the verified cells."""
    if block.estimate is None or block.verified is None:
        raise ValueError("the result has no verified cells: its spec lacks `verify`")
    orig = float(np.nanmean(block.orig))
    return block.estimate - orig, block.verified - orig


def numbers(result: Result) -> str:
    """What came out, as a Markdown table: the runs of one cell, the strongest cells of a sweep, or circuits."""
    if isinstance(result, CircuitResult):
        fields = [one.fields for one in result.circuits]
        rows = [
            [f"{one['name']}", f"{one['n_edges']}", f"{one['n_nodes']}", f"{one['faithfulness']:.2f}"] for one in fields
        ]
        return _table([["edges chosen", "edges left", "nodes", "faithfulness"], *rows])
    block = result.block
    if block.estimate is not None:
        estimate, exact = verified_effects(block)
        cells = [block.name_of(tuple(place)) for place in block.verified_cells or []]
        rows = [[name, f"{e:+.3g}", f"{x:+.3g}"] for name, e, x in zip(cells, estimate, exact, strict=True)]
        return _table([["edge", "estimate", "exact"], *rows[:STRONGEST]])
    if block.axes == ("example",):
        return _table([row[:4] for row in summary_rows(block)])
    rows = strongest_rows(block, STRONGEST)
    return _table([[row[0], *row[1:]] for row in rows])


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)


def sources(results: Sequence[Result]) -> str:
    """One line that says what the numbers are of."""
    result = results[0]
    versions = result.provenance["versions"]
    model, weights = result.provenance["model"], result.provenance["weights_sha256"][:12]
    return (
        f"*Model `{model}`, weights `{weights}`, float32 on {result.provenance['device']}, "
        f"pathpatch {versions['pathpatch']}, torch {versions['torch']}.*"
    )


def generated_parts(client: Client, example: str) -> Iterator[tuple[str, str]]:
    """Name and text of each part of the README that is not written by hand; their pictures are drawn too."""
    for picture in PICTURES[example]:
        spec = (FOLDER / example / picture.spec).read_text(encoding="utf-8").rstrip()
        yield Path(picture.spec).stem, spec_block(spec, picture.spec)
    yield from result_parts(client, example, PICTURES[example], "sources")
    if example in REAL_PICTURES and client.model(REAL_MODEL).available:
        yield from result_parts(client, example, REAL_PICTURES[example], "smollm2 sources")


def result_parts(client: Client, example: str, pictures: Sequence[Picture], about: str) -> Iterator[tuple[str, str]]:
    """The parts with pictures and numbers, and under the name ``about`` what they are of."""
    results = [draw(client, example, picture) for picture in pictures]
    for picture, result in zip(pictures, results, strict=True):
        yield f"{Path(picture.spec).stem} result", f"![{alt_text(result)}]({picture.file})\n\n{numbers(result)}"
    yield about, sources(results)


def spec_block(spec: str, file: str) -> str:
    """The spec as a code block, without prompts by the hundred."""
    lines = spec.splitlines()
    if max(map(len, lines)) <= 140 and len(lines) <= 45:
        return f"```yaml\n{spec}\n```"
    long = [bool(re.match(r" {4,6}- [^{]", line)) for line in lines]
    what = "token ids, see" if "  kind: tokens" in lines else "see"
    kept = [
        f"{line} [...]    # {what} {file}" if is_headed else line
        for line, is_long, is_headed in zip(lines, long, [*long[1:], False], strict=True)
        if not is_long
    ]
    shown = [re.sub(r"^(    \w+: \[(?:\d+, ){4}).*", r"\1...]", line) for line in kept]
    return "```yaml\n" + "\n".join(shown) + "\n```"


def alt_text(result: Result) -> str:
    """What the picture shows, in a sentence."""
    if isinstance(result, CircuitResult):
        last = result.circuits[-1]
        return f"Faithfulness by number of edges, up to {last.faithfulness:.2f} with {last.name}."
    block = result.block
    if block.axes == ("example",):
        runs = ", ".join(f"{run} {format_number(block.summary[run]['mean'])}" for run in ("orig", "patched"))
        return f"Distribution over prompts; means: {runs}."
    best = ", ".join(f"{block.name_of(place)} {effect:+.2g}" for place, effect in block.strongest(3))
    return f"Effects of {block.patched.size} cells; strongest: {best}."


def fill(readme: str, name: str, text: str) -> str:
    """The README with the part of that name replaced."""
    pattern = re.compile(rf"<!-- begin {re.escape(name)} -->\n.*?<!-- end -->", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError(f"the README has no part {name!r}: <!-- begin {name} --> ... <!-- end -->")
    return pattern.sub(lambda _: _PART.format(name=name, text=text), readme, count=1)


def make(client: Client, example: str, say: Callable[[str], None] = print) -> None:
    """Pictures and README parts of one example."""
    path = FOLDER / example / "README.md"
    readme = path.read_text(encoding="utf-8")
    for name, text in generated_parts(client, example):
        readme = fill(readme, name, text)
    path.write_text(readme, encoding="utf-8")
    if example == "founding-experiment":
        IMAGES.mkdir(exist_ok=True)
        result = client.run(yaml.safe_load((FOLDER / example / "spec.yaml").read_text(encoding="utf-8")))
        (IMAGES / "histogram.png").write_bytes(static_figure_for(result, image_format="png"))
    say(f"{example}: {', '.join(picture.file for picture in PICTURES[example])}")


def main() -> None:
    """Make all examples, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", nargs="*", metavar="EXAMPLE", help=f"of {', '.join(PICTURES)}; by default all")
    chosen = parser.parse_args().examples or list(PICTURES)
    if unknown := sorted(set(chosen) - set(PICTURES)):
        parser.error(f"no example {', '.join(unknown)}: there are {', '.join(PICTURES)}")
    write_specs()
    with pathpatch.local() as client:
        for example in chosen:
            make(client, example)


if __name__ == "__main__":
    main()
