"""From a result to the chart that fits it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from pathpatch.captions import Spec, caption, effect_unit, plain, signed, unit_words
from pathpatch.charts import Bars, Chart, Graph, Heatmap, Histogram, Labels, Scatter, Series, Words
from pathpatch.circuit import circuit
from pathpatch.results.block import Block, Floats
from pathpatch.results.cells import cell_name, part_of, place_name, side_of
from pathpatch.results.data import ResultData

_MOST_BINS = 50
_MOST_CELLS = 250_000
_MOST_COLUMNS = 400
_MOST_NUMBERS = 400
_MOST_SIGNS = 20
_STRONGEST = 30
_STRONGEST_EDGES = 20


class FigureDoesNotFit(ValueError):
    """A figure was asked for that the result's axes cannot fill."""

    def __init__(self, kind: str, axes: Sequence[str], needed: str) -> None:
        said = ", ".join(axes) or "none (one cell)"
        super().__init__(f"a {kind} needs {needed}; this result's axes: {said}")


@dataclass(frozen=True)
class Subject:
    """One block of a result, its spec, and the prompt's tokens, if they are known."""

    result: ResultData
    block: Block
    spec: Spec | None
    tokens: Sequence[str] | None

    @property
    def words(self) -> str:
        return self.block.title

    def caption(self, *extra: str) -> str:
        return caption(self.result, self.block, self.spec, *extra)


def averaged(block: Block) -> Block:
    """The block with its ``example`` axis averaged away."""
    if "example" not in block.axes or len(block.axes) == 1:
        return block
    orig = np.broadcast_to(block.orig, block.shape) if block.orig.ndim else np.full(block.shape, block.orig)
    return replace(block, axes=block.axes[:-1], patched=block.patched.mean(axis=-1), orig=orig.mean(axis=-1))


def _bin_edges(values: Floats) -> Floats:
    """Bins of a round width, so placed that 0 is the edge of one, or would be."""
    if not values.size or values.min() == values.max():
        middle = 0.0 if not values.size else float(values[0])
        return np.array([middle - 0.5, middle, middle + 0.5])
    low, high = float(values.min()), float(values.max())
    raw = (high - low) / np.clip(2 * np.sqrt(values.size / 2), 10, _MOST_BINS)
    magnitude = 10.0 ** np.floor(np.log10(raw))
    width = magnitude * next(step for step in (1, 2, 2.5, 5, 10) if step * magnitude >= raw * 0.999)
    first, last = np.floor(low / width + 1e-9), np.ceil(high / width - 1e-9)
    edges: Floats = np.arange(first, last + 1) * width
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return edges


def _mean(values: Floats) -> float:
    """The mean; 0 where that is float32's rounding alone, as for orig once normalised."""
    if not values.size:
        return float("nan")
    mean = float(values.mean())
    return mean if abs(mean) > np.finfo(np.float32).eps * np.abs(values).max() else 0.0


def histogram(subject: Subject) -> Histogram:
    """Distributions of orig and patched over the examples."""
    block = subject.block
    if block.axes != ("example",):
        raise FigureDoesNotFit("histogram", block.axes, "the single axis example (one cell, with per_example)")
    runs = {"orig": np.broadcast_to(block.orig, block.shape), "patched": block.patched}
    finite = {name: values[np.isfinite(values)] for name, values in runs.items()}
    dropped = sum(values.size for values in runs.values()) - sum(values.size for values in finite.values())
    edges = _bin_edges(np.concatenate([*finite.values()]))
    means = {name: _mean(values) for name, values in finite.items()}
    series = [
        Series(name, np.histogram(values, edges)[0].astype(np.float64), means[name]) for name, values in finite.items()
    ]
    alt = f"Histogram of {subject.words}: mean {means['orig']:.3g} in orig, {means['patched']:.3g} patched."
    note = f"{dropped} values not finite" if dropped else ""
    words = Words(_sentence(f"{subject.words}, orig and patched"), subject.caption(note), alt)
    return Histogram(words, f"{block.title} ({unit_words(block)})", edges, series)


def scatter(subject: Subject) -> Scatter:
    """Each example's (or each cell's) patched value against its orig."""
    block = subject.block
    if block.orig.shape != block.shape or not block.axes:
        raise FigureDoesNotFit("scatter", block.axes, "one orig value per point (per_example, or a metric per cell)")
    names = [block.name_of(index) for index in block.indices()]
    moved = float(np.nanmean(block.effect))
    alt = f"Scatter of {subject.words}: patched against orig, {len(names)} points, mean effect {moved:.3g}."
    words = Words(_sentence(f"{subject.words}, patched against orig"), subject.caption(), alt)
    return Scatter(words, block.orig.ravel(), block.patched.ravel(), names, unit_words(block))


def _axis_names(subject: Subject, axes: Sequence[str]) -> Labels:
    """Names of the rows or columns of a matrix: the product of some axes."""
    coordinates = subject.block.coordinates
    combined = [dict(zip(axes, place, strict=True)) for place in product(*(coordinates[axis] for axis in axes))]
    if [part_of(axis) for axis in axes] == ["position"]:
        return [_position_name(place[axes[0]], subject.tokens) for place in combined]
    if len(axes) == 1 and part_of(axes[0]) != "hook":
        return [str(place[axes[0]]) for place in combined]
    side = side_of(axes[0])
    same_side = all(side_of(axis) == side for axis in axes)
    return [place_name(place, side) if same_side else cell_name(place) for place in combined]


def _position_name(position: int | str, tokens: Sequence[str] | None) -> str:
    if tokens is None or isinstance(position, str) or position >= len(tokens):
        return str(position)
    return f"{tokens[position].replace(' ', '·', 1)}  {position}"


def _tick_note(subject: Subject) -> str:
    """Whose tokens the positions carry, where that is not plain."""
    places = [subject.block.coordinates[axis][0] for axis in subject.block.axes if part_of(axis) == "position"]
    has_ticks = subject.tokens is not None and any(isinstance(place, int) for place in places)
    return "ticks: tokens of the first prompt" if has_ticks and subject.block.n > 1 else ""


def _axis_label(axes: Sequence[str]) -> str:
    """``sender head`` for one axis, ``sender layer.head`` for a product."""
    side = side_of(axes[0])
    if all(side_of(axis) == side for axis in axes):
        return f"{side.rstrip('_')} {'.'.join(part_of(axis) for axis in axes)}".strip()
    return ", ".join(axis.replace("_", " ") for axis in axes)


def _row_axes(axes: Sequence[str]) -> tuple[list[str], list[str]]:
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
    if len(block.axes) < 2:
        raise FigureDoesNotFit("heatmap", block.axes, "a sweep of two axes or more")
    rows, columns = _row_axes(block.axes)
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
    row_label, column_label = _axis_label(rows), _axis_label(columns)
    verified = "" if block.exact_effect is None else "exact effects of verified cells on hover"
    grey = "grey: no path" if np.isnan(values).any() else ""
    notes = ("effect: patched minus orig", grey, verified, _tick_note(subject))
    words = Words(_sentence(f"effect on {subject.words}"), subject.caption(*notes), _alt(subject))
    return Heatmap(
        words, values, _axis_names(subject, rows), _axis_names(subject, columns), row_label, column_label,
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


def _alt(subject: Subject) -> str:
    top = [f"{subject.block.name_of(place)} {effect:+.3g}" for place, effect in subject.block.strongest(3)]
    return f"Effects on {subject.words} of {subject.block.patched.size} cells; strongest: {', '.join(top) or 'none'}."


def bars(subject: Subject, strongest: int = _STRONGEST) -> Bars:
    """One axis in its order; anything else as the strongest cells, ranked. One cell: its runs side by side."""
    subject = replace(subject, block=averaged(subject.block))
    block = subject.block
    if block.patched.ndim == 0 or block.axes == ("example",):
        return _runs(subject)
    is_ranked = block.axes == ("cell",) or len(block.axes) > 1
    places = [place for place, _ in block.strongest(strongest)] if is_ranked else list(block.indices())
    axis = block.axes[0]
    names = [block.name_of(p, subject.tokens) for p in places] if is_ranked else _axis_names(subject, [axis])
    sem = block.on_cells("effect_sem")
    errors = None if sem is None else np.array([sem[place] for place in places])
    effect = block.effect
    title = f"strongest effects on {subject.words}" if is_ranked else f"effect on {subject.words}"
    known = block.exact_effect
    exact = None if known is None else np.array([known[place] for place in places])
    notes = ["effect: patched minus orig"]
    notes += ["error bars: ± sem of the effect"] if errors is not None else []
    notes += ["diamonds: exact, where verified"] if exact is not None else []
    words = Words(_sentence(title), subject.caption(*notes), _alt(subject))
    label = "cell" if is_ranked else _axis_label([axis])
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
    words = Words(
        _sentence(subject.words), subject.caption("error bars: ± sem"), f"Means of {subject.words}: {listed}."
    )
    return Bars(words, list(runs), means, errors, "run", f"mean ({unit_words(block)})", is_ranked=False,
                shows_runs=True)  # fmt: skip


def graph(subject: Subject, strongest: int = _STRONGEST_EDGES) -> Graph:
    """The strongest edges as a circuit."""
    subject = replace(subject, block=averaged(subject.block))
    if subject.block.axes in ((), ("example",)):
        raise FigureDoesNotFit("graph", subject.block.axes, "a sweep")
    known = subject.block.exact
    if known is not None:
        best = np.where(np.isfinite(known), known, subject.block.patched)
        subject = replace(subject, block=replace(subject.block, patched=best))
    nodes, edges = circuit(subject.block, subject.spec, strongest)
    note = f"{len(edges)} strongest edges; solid: the metric rises, dashed: it falls"
    note += "" if known is None else "; exact where verified"
    words = Words(_sentence(f"strongest effects on {subject.words}"), subject.caption(note), _alt(subject))
    return Graph(words, nodes, edges, effect_unit(subject.block))


def fitting_kind(block: Block) -> str:
    """The kind of chart that shows a block best."""
    axes = tuple(axis for axis in block.axes if axis != "example") or block.axes
    if axes == ("example",):
        return "histogram"
    if len(axes) < 2 or axes == ("cell",):
        return "bars"
    sizes = [len(block.coordinates[axis]) for axis in axes]
    _, columns = _row_axes(axes)
    too_wide = part_of(axes[-1]) == "neuron" and len(columns) == 1 and sizes[-1] > _MOST_COLUMNS
    return "bars" if too_wide or int(np.prod(sizes)) > _MOST_CELLS else "heatmap"


_BUILDERS: dict[str, Callable[..., Chart]] = {
    "histogram": histogram, "scatter": scatter, "heatmap": heatmap, "bars": bars, "graph": graph,
}  # fmt: skip
KINDS = tuple(_BUILDERS)


def chart_for(
    result: Any,
    spec: Any = None,
    prompt_tokens: Sequence[str] | None = None,
    kind: str | None = None,
    block: int | str = 0,
    **options: Any,
) -> Chart:
    """The chart of a result (a ``Result`` or the service's JSON), of the fitting kind or the one asked for.

    Raises:
        FigureDoesNotFit: The result's axes cannot fill that kind.
        ValueError: There is no such kind.
    """
    whole = result if isinstance(result, ResultData) else ResultData.from_json(result)
    said = plain(spec) if spec is not None else whole.spec
    chosen = whole[block]
    tokens = prompt_tokens if prompt_tokens is not None else whole.prompt_tokens
    subject = Subject(whole, chosen, said, tokens)
    name = kind or fitting_kind(chosen)
    if name not in _BUILDERS:
        raise ValueError(f"no figure kind {name!r}: it is one of {', '.join(KINDS)}")
    return _BUILDERS[name](subject, **options)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
