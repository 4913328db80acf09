"""Results as tables: pandas, xarray, the terminal and a notebook's HTML."""

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pathpatch.results.block import CELL_FIELDS, Block
from pathpatch.results.data import ResultData

if TYPE_CHECKING:
    import pandas
    import xarray

STATISTICS = ("mean", "sd", "sem", "median", "min", "max", "n")
_SHOWN_CELLS = 5
Rows = list[list[str]]


def format_number(value: Any) -> str:
    """A number for reading: four significant digits; a dash where there is none."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def summary_rows(block: Block) -> Rows:
    """Header and one row per run: mean, sd, sem, median, min, max, n."""
    runs = [(run, block.summary[run]) for run in ("orig", "patched", "new") if block.summary.get(run)]
    body = [[run, *(format_number(stats.get(name)) for name in STATISTICS)] for run, stats in runs]
    return [["", *STATISTICS], *body] if body else []


def strongest_rows(block: Block, count: int = _SHOWN_CELLS) -> Rows:
    """Header and the cells of largest absolute effect."""
    if block.axes in ((), ("example",)):
        return []
    effect = block.effect
    columns = {"effect": effect, "sem": block.on_cells("effect_sem"), "patched": block.patched,
               "orig": block.patched - effect, "exact effect": block.exact_effect}  # fmt: skip
    known = {name: values for name, values in columns.items() if values is not None}
    rows = [
        [block.name_of(place), *(format_number(float(values[place])) for values in known.values())]
        for place, _ in block.strongest(count)
    ]
    return [["cell", *known], *rows]


def heading(block: Block) -> str:
    """What the block holds, in one line."""
    axes = " x ".join(f"{axis} {size}" for axis, size in zip(block.axes, block.shape, strict=True))
    return f"{block.title} ({block.unit}), {axes or 'one cell'}, n = {block.n}"


def _aligned(rows: Rows) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  " + "  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in rows]


def to_text(result: ResultData) -> str:
    """The result for a terminal."""
    lines = [f"Result of {result.job_id or 'a job'} on {result.provenance.get('model', 'an unnamed model')}"]
    for block in result.blocks:
        lines.append(heading(block))
        for rows in (summary_rows(block), strongest_rows(block)):
            lines += _aligned(rows) if rows else []
    lines += [f"warning: {warning}" for warning in result.warnings]
    return "\n".join(lines)


def _html_table(rows: Rows) -> str:
    head, *body = [[escape(text) for text in row] for row in rows]
    titles = "".join(f"<th>{text}</th>" for text in head)
    cells = "".join("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in body)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{cells}</tbody></table>"


def to_html(result: ResultData) -> str:
    """The result for a notebook."""
    model = escape(str(result.provenance.get("model", "an unnamed model")))
    parts = [f"<p><strong>Result of {escape(result.job_id or 'a job')}</strong> on {model}</p>"]
    for block in result.blocks:
        parts.append(f"<p>{escape(heading(block))}</p>")
        parts += [_html_table(rows) for rows in (summary_rows(block), strongest_rows(block)) if rows]
    parts += [f"<p>Warning: {escape(warning)}</p>" for warning in result.warnings]
    return "".join(parts)


def _columns(block: Block) -> dict[str, Any]:
    places = list(block.indices())
    named = [block.coordinates_of(place) for place in places]
    columns: dict[str, Any] = {name: [row[name] for row in named] for name in (named[0] if named else {})}
    columns["patched"] = block.patched.ravel()
    orig = block.patched - block.effect
    columns |= {"orig": orig.ravel(), "effect": block.effect.ravel()}
    if block.new.shape in ((), block.shape) or "example" in block.axes:
        columns["new"] = np.broadcast_to(block.new, block.shape).ravel()
    for name in CELL_FIELDS:
        array = block.on_cells(name)
        if array is not None and block.axes != ("example",):  # of one cell they are in the summary
            columns[name] = array.ravel()
    return columns


def to_dataframe(result: ResultData) -> "pandas.DataFrame":
    """One row per entry of ``patched``; columns ``metric`` and ``title`` where there are several."""
    import pandas

    frames = [pandas.DataFrame(_columns(block)) for block in result.blocks]
    if len(frames) == 1:
        return frames[0]
    named = [
        frame.assign(metric=block.kind, title=block.title) for frame, block in zip(frames, result.blocks, strict=True)
    ]
    return pandas.concat(named, ignore_index=True)


def _variables(block: Block) -> dict[str, Any]:
    """Arrays with their dimensions: the block's axes, counted from the last."""
    arrays = {name: getattr(block, name) for name in ("patched", "orig", "new")}
    arrays["effect"] = block.effect
    variables: dict[str, Any] = {}
    for name, array in arrays.items():
        if array is None:
            continue
        fits = array.shape == block.shape[block.patched.ndim - array.ndim :]
        own_axes = tuple(f"{name}_{axis}" for axis in range(array.ndim))
        variables[name] = (block.axes[len(block.axes) - array.ndim :] if fits else own_axes, array)
    cell_axes = tuple(axis for axis in block.axes if axis != "example")
    cells = {name: getattr(block, name) for name in CELL_FIELDS}
    return variables | {name: (cell_axes, array) for name, array in cells.items() if array is not None}


def to_xarray(result: ResultData) -> "xarray.Dataset":
    """The arrays with named dimensions; each variable is prefixed by its metric where there are several.

    The prefix is the metric's kind, and its number too where two are of one kind (``attention_0_patched``).
    """
    import xarray

    datasets = []
    for block in result.blocks:
        coordinates = {
            name: (("cell",) if block.axes == ("cell",) else (name,), values)
            for name, values in block.coordinates.items()
        }
        attributes = {"unit": block.unit, "metric": block.kind, "title": block.title}
        datasets.append(xarray.Dataset(_variables(block), coords=coordinates, attrs=attributes))
    if len(datasets) == 1:
        return datasets[0].assign_attrs(job_id=result.job_id)
    kinds = [block.kind for block in result.blocks]
    prefixes = [kind if kinds.count(kind) == 1 else f"{kind}_{index}" for index, kind in enumerate(kinds)]
    named = [
        data.rename({name: f"{prefix}_{name}" for name in data.data_vars}).drop_attrs()
        for prefix, data in zip(prefixes, datasets, strict=True)
    ]
    return xarray.merge(named).assign_attrs(job_id=result.job_id)
