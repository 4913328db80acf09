"""Colours and hatches that colour-blind eyes (Okabe and Ito), and black and white print, tell apart."""

BLUE = "#0072B2"
VERMILION = "#D55E00"
ORANGE = "#E69F00"
INK = "#333333"
GREY = "#8a8a8a"
UNREACHABLE = "#dcdcdc"
RUN_COLOURS = {"orig": BLUE, "patched": ORANGE, "new": GREY}
HATCH = {"orig": "", "patched": "/", "new": "x"}
DIVERGING: list[tuple[float, str]] = [
    (0.0, "#053061"), (0.15, "#2166ac"), (0.3, "#67a9cf"), (0.42, "#d1e5f0"), (0.5, "#ffffff"),
    (0.58, "#fde0c5"), (0.7, "#f4a261"), (0.85, "#d55e00"), (1.0, "#8c3500"),
]  # fmt: skip
"""Blue (the metric falls) through white (no effect) to orange (it rises)."""
MOST_EDGE_LABELS = 20
"""A circuit with more edges shows no numbers on them."""
