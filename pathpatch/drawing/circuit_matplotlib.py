"""Charts of circuit jobs as matplotlib figures."""

import numpy as np
from matplotlib.axes import Axes

from pathpatch.drawing.charts import Curve, Ranks
from pathpatch.drawing.palette import BLUE, GREY, INK


def matplotlib_curve(axes: Axes, chart: Curve) -> None:
    """Faithfulness with error bars; the area under it, which is CPR on a linear axis, is shaded."""
    shown = np.maximum(chart.sizes, 1)  # a logarithm has no 0
    axes.fill_between(shown, chart.values, color=BLUE, alpha=0.12, linewidth=0)
    errors = np.nan_to_num(chart.errors)
    axes.errorbar(shown, chart.values, yerr=errors, color=BLUE, ecolor=INK, marker="o", markersize=4, capsize=2)
    for height in (0.0, 1.0):
        axes.axhline(height, color=GREY, linestyle="--", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(chart.ticks, [f"{size:,}" for size in chart.ticks])
    axes.minorticks_off()
    axes.set_xlabel(chart.size_label)
    axes.set_ylabel(chart.value_label)
    axes.spines[["top", "right"]].set_visible(False)


def matplotlib_ranks(axes: Axes, chart: Ranks) -> None:
    """Estimates over exact scores."""
    both = np.concatenate([chart.exact, chart.estimate])
    both = both[np.isfinite(both)]
    ends = [float(both.min()), float(both.max())] if both.size else [0.0, 1.0]
    axes.plot(ends, ends, color=GREY, linewidth=0.8)
    axes.plot(chart.exact, chart.estimate, linestyle="", marker="o", markersize=5, color=BLUE, alpha=0.6)
    axes.axvline(0, color=INK, linestyle="--", linewidth=0.8)
    axes.axhline(0, color=INK, linestyle="--", linewidth=0.8)
    axes.set_xlabel(f"exact score ({chart.unit})")
    axes.set_ylabel(f"estimated score ({chart.unit})")
    axes.spines[["top", "right"]].set_visible(False)
