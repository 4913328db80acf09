"""Figures of effects over cells: heatmap, bars and graph."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pathpatch.drawing.captions import effect_unit, signed, unit_words
from pathpatch.drawing.charts import Bars, Graph, Heatmap, Words
from pathpatch.drawing.circuit import circuit
from pathpatch.drawing.subject import (
    Subject,
    alt_text,
    averaged,
    axis_label,
    axis_names,
    sentence,
    tick_note,
)
from pathpatch.results.block import Floats
from pathpatch.results.cells import side_of

_MOST_NUMBERS = 400
_MOST_SIGNS = 20
_STRONGEST = 30
_STRONGEST_EDGES = 20


def row_axes(axes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Rows and columns of the matrix: receivers against senders where both sweep, else all but the last axis."""
    senders = [axis for axis in axes if side_of(axis) == "sender_"]
    receivers = [axis for axis in axes if side_of(axis) == "receiver_"]
    return (receivers, senders) if senders and receivers else (list(axes[:-1]), list(axes[-1:]))


def _marked(values: Floats, limit: float) -> Any:
    """Which cells carry their number (in a large matrix: their sign), so that the sign shows without colour."""
    size = np.nan_to_num(np.abs(values))
    threshold = 0.1 * limit
    if values.size > _MOST_NUMBERS:
        threshold = max(threshold, float(np.sort(size, axis=None)[-_MOST_SIGNS]))
    return size >= threshold


def heatmap(subject: Subject) -> Heatmap:
    """Effects as a matrix, symmetric colour scale around 0; grey where no path leads from sender to receiver."""
    subject = replace(subject, block=averaged(subject.block))
    block = subject.block
    rows, columns = row_axes(block.axes)
    order = [block.axes.index(axis) for axis in [*rows, *columns]]
    shape = (int(np.prod([len(block.coordinates[axis]) for axis in rows])), -1)
    effect = block.effect
    if block.reachable is not None and block.reachable.shape == effect.shape:
        effect = np.where(block.reachable, effect, np.nan)
    values = effect.transpose(order).reshape(shape)
    size = np.abs(values[np.isfinite(values)])
    limit = float(size.max()) if size.size and size.max() > 0 else 1.0
    names = np.array([_hover_name(subject, index) for index in block.indices()], dtype=object)
    cell_names = names.reshape(effect.shape).transpose(order).reshape(shape).tolist()
    row_label, column_label = axis_label(subject, rows), axis_label(subject, columns)
    verified = "" if block.exact_effect is None else "exact effects of verified cells on hover"
    grey = "grey: no path" if np.isnan(values).any() else ""
    notes = ("effect: patched minus orig", grey, verified, tick_note(subject))
    words = Words(sentence(f"effect on {subject.words}"), subject.caption(*notes), alt_text(subject))
    return Heatmap(
        words, values, axis_names(subject, rows), axis_names(subject, columns), row_label, column_label,
        effect_unit(block), cell_names, limit, _marked(values, limit),
        shows_numbers=values.size <= _MOST_NUMBERS,
    )  # fmt: skip


def _hover_name(subject: Subject, index: tuple[int, ...]) -> str:
    """A cell's name, with its exact effect where that was verified."""
    name = subject.block.name_of(index, subject.tokens)
    exact = subject.block.exact_effect
    if exact is None or not np.isfinite(exact[index]):
        return name
    return f"{name}, exact effect {signed(float(exact[index]))}"


def bars(subject: Subject, strongest: int = _STRONGEST) -> Bars:
    """One axis in its order; anything else as the strongest cells, ranked. One cell: its runs side by side."""
    subject = replace(subject, block=averaged(subject.block))
    block = subject.block
    if block.patched.ndim == 0 or block.axes == ("example",):
        return _runs(subject)
    is_ranked = block.axes == ("cell",) or len(block.axes) > 1
    places = [place for place, _ in block.strongest(strongest)] if is_ranked else list(block.indices())
    axis = block.axes[0]
    names = [block.name_of(p, subject.tokens) for p in places] if is_ranked else axis_names(subject, [axis])
    sem = block.on_cells("effect_sem")
    errors = None if sem is None else np.array([sem[place] for place in places])
    effect = block.effect
    title = f"strongest effects on {subject.words}" if is_ranked else f"effect on {subject.words}"
    known = block.exact_effect
    exact = None if known is None else np.array([known[place] for place in places])
    notes = ["effect: patched minus orig"]
    notes += ["error bars: ± sem of the effect"] if errors is not None else []
    notes += ["diamonds: exact, where verified"] if exact is not None else []
    words = Words(sentence(title), subject.caption(*notes), alt_text(subject))
    label = "cell" if is_ranked else axis_label(subject, [axis])
    values = np.array([effect[place] for place in places])
    return Bars(words, names, values, errors, label, effect_unit(block), is_ranked, exact=exact)


def _runs(subject: Subject) -> Bars:
    """The means of the runs of one cell."""
    block = subject.block
    runs = {"orig": block.orig, "patched": block.patched, "new": block.new}
    means = np.array([float(np.nanmean(values)) if np.isfinite(values).any() else np.nan for values in runs.values()])
    said = [(block.summary.get(run) or {}).get("sem") for run in runs]
    errors = np.array([np.nan if sem is None else sem for sem in said])
    listed = ", ".join(f"{name} {mean:.3g}" for name, mean in zip(runs, means, strict=True))
    words = Words(sentence(subject.words), subject.caption("error bars: ± sem"), f"Means of {subject.words}: {listed}.")
    return Bars(words, list(runs), means, errors, "run", f"mean ({unit_words(block)})", is_ranked=False,
                shows_runs=True)  # fmt: skip


def graph(subject: Subject, strongest: int = _STRONGEST_EDGES) -> Graph:
    """The strongest edges as a circuit."""
    subject = replace(subject, block=averaged(subject.block))
    known = subject.block.exact
    if known is not None:
        best = np.where(np.isfinite(known), known, subject.block.patched)
        subject = replace(subject, block=replace(subject.block, patched=best))
    nodes, edges = circuit(subject.block, subject.spec, strongest, is_grouped=subject.is_grouped)
    note = f"{len(edges)} strongest edges; solid: the metric rises, dashed: it falls"
    note += "" if known is None else "; exact where verified"
    words = Words(sentence(f"strongest effects on {subject.words}"), subject.caption(note), alt_text(subject))
    return Graph(words, nodes, edges, effect_unit(subject.block))
