"""Figures of one cell's examples: histogram and scatter."""

import numpy as np

from pathpatch.drawing.captions import unit_words
from pathpatch.drawing.charts import Histogram, Scatter, Series, Words
from pathpatch.drawing.subject import Subject, sentence
from pathpatch.results.block import Floats

_MOST_BINS = 50
_NEVER_NEGATIVE = frozenset({"kl", "js"})
"""Metrics that float32's rounding alone takes below 0; their bins begin at 0, their means are as computed."""


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
    runs = {"orig": np.broadcast_to(block.orig, block.shape), "patched": block.patched}
    finite = {name: values[np.isfinite(values)] for name, values in runs.items()}
    dropped = sum(values.size for values in runs.values()) - sum(values.size for values in finite.values())
    means = {name: _mean(values) for name, values in finite.items()}
    never_negative = block.kind in _NEVER_NEGATIVE and block.normalize == "none"
    if never_negative:
        finite = {name: np.maximum(values, 0.0) for name, values in finite.items()}
    edges = _bin_edges(np.concatenate([*finite.values()]))
    edges = edges[edges >= 0] if never_negative else edges
    series = [
        Series(name, np.histogram(values, edges)[0].astype(np.float64), means[name]) for name, values in finite.items()
    ]
    alt = f"Histogram of {subject.words}: mean {means['orig']:.3g} in orig, {means['patched']:.3g} patched."
    note = f"{dropped} values not finite" if dropped else ""
    words = Words(sentence(f"{subject.words}, orig and patched"), subject.caption(note), alt)
    return Histogram(words, f"{block.title} ({unit_words(block)})", edges, series)


def scatter(subject: Subject) -> Scatter:
    """Each example's (or each cell's) patched value against its orig."""
    block = subject.block
    names = [block.name_of(index) for index in block.indices()]
    moved = float(np.nanmean(block.effect))
    alt = f"Scatter of {subject.words}: patched against orig, {len(names)} points, mean effect {moved:.3g}."
    words = Words(sentence(f"{subject.words}, patched against orig"), subject.caption(), alt)
    return Scatter(words, block.orig.ravel(), block.patched.ravel(), names, unit_words(block))
