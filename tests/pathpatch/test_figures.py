"""Figures: the right picture for each result, readable without colour, safe, and needing no other host."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from api_schemas.metrics import Metric, title_of
from pathpatch.drawing.captions import caption_lines
from pathpatch.drawing.charting import KINDS, FigureDoesNotFit, chart_for, fitting_kind
from pathpatch.drawing.charts import Bars, Graph, Heatmap, Histogram, Words
from pathpatch.drawing.look import UnfitLook
from pathpatch.drawing.palette import RUN_COLOURS
from pathpatch.figures import circuit_graph, figure_for, histogram, to_html, to_json
from pathpatch.results import Result
from pathpatch.static_figures import matplotlib_figure_for, static_figure_for

RECORDED = Path("/work/shared/golden/recorded_10_7.json")
IOI = {"model": {"name": "gpt2-small"}, "dataset": {"kind": "ioi", "examples": 800, "seed": 0, "new": "abc"}}
ATTENTION = {
    "kind": "attention_diff", "query": "end", "key": "IO", "minus_key": "S1", "head": {"layer": 10, "head": 7}
}  # fmt: skip
LOGITS = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S", "position": "end"}
SINGLE = IOI | {
    "patch": {
        "senders": [{"hook": "z", "layer": 9, "head": 6}],
        "receivers": [{"hook": "q", "layer": 10, "head": 7}],
    },
    "metric": ATTENTION,
}
HEADS = IOI | {
    "patch": {"senders": {"sweep": {"hook": "z"}}, "receivers": [{"hook": "resid_post", "layer": 3}]},
    "metric": LOGITS,
}
EDGES = IOI | {
    "patch": {"senders": {"sweep": {"hook": "z"}}, "receivers": {"sweep": {"hook": ["q", "v"]}}},
    "metric": LOGITS,
}
POSITIONS = IOI | {
    "patch": {"kind": "activation", "nodes": {"sweep": {"hook": "resid_pre", "positions": "each"}}},
    "metric": LOGITS,
}


def result(axes, coordinates, patched, orig=0.0, spec=None, kind="logit_diff", unit="nats", **more):
    """A result as the service sends it."""
    patched = np.asarray(patched, dtype=float)
    title = title_of(TypeAdapter(Metric).validate_python((spec or HEADS)["metric"]))
    data = {
        "job_id": "job_1", "metric": {"kind": kind, "title": title, "unit": unit, "normalize": "none"}, "axes": axes,
        "shape": list(patched.shape), "coordinates": coordinates, "patched": patched.tolist(), "orig": orig, "new": 0.0,
        "summary": {"orig": {"mean": 0.0, "sd": 1.0, "sem": 0.1, "n": 800}}, "provenance": {"model": "gpt2-small"},
    }  # fmt: skip
    return Result.from_json(data | more, spec)


def examples(count=200):
    """Two distributions, as in the founding experiment."""
    draw = np.random.default_rng(0)
    orig, patched = draw.normal(0.6, 0.2, count), draw.normal(0.1, 0.15, count)
    places = {"example": list(range(count))}
    return result(["example"], places, patched, orig.tolist(), SINGLE, "attention_diff", "probability")


def heads(**more):
    """Four layers of four heads; 2.3 falls and 3.1 rises."""
    effect = np.zeros((4, 4))
    effect[2, 3], effect[3, 1] = -2.0, 1.5
    four = [0, 1, 2, 3]
    return result(
        ["sender_layer", "sender_head"], {"sender_layer": four, "sender_head": four}, effect, spec=HEADS, **more
    )


VERIFIED = [[None] * 4, [None] * 4, [None, None, None, -1.25], [None] * 4]
"""Of the heads, only 2.3 was computed exactly."""


def edges():
    """Heads into queries and values of heads."""
    two = [0, 1]
    axes = ["sender_layer", "sender_head", "receiver_hook", "receiver_layer", "receiver_head"]
    coordinates = dict.fromkeys(axes, two) | {"receiver_hook": ["q", "v"]}
    effect = np.zeros((2, 2, 2, 2, 2))
    effect[0, 1, 0, 1, 0], effect[0, 1, 1, 1, 0] = 0.75, -0.5
    reachable = np.zeros(effect.shape, dtype=bool)
    reachable[0, :, :, 1, :] = True
    return result(axes, coordinates, effect, spec=EDGES, reachable=reachable.tolist())


def positions():
    """Two layers of three positions."""
    places = {"layer": [0, 1], "position": [0, 1, 2]}
    return result(["layer", "position"], places, [[0, -3, 0], [0, 0, -1]], spec=POSITIONS)


CASES = {
    "histogram": (examples(), {}),
    "scatter": (examples(), {"kind": "scatter"}),
    "runs": (examples(), {"kind": "bars"}),
    "heads": (heads(), {}),
    "heads top": (heads(effect_sem=np.ones((4, 4)).tolist()), {"kind": "bars"}),
    "heads graph": (heads(), {"kind": "graph"}),
    "edges": (edges(), {}),
    "edges graph": (edges(), {"kind": "graph"}),
    "positions": (positions(), {"prompt_tokens": ["When", " Mary", " went"]}),
    "layers": (result(["layer"], {"layer": [0, 1]}, [1.0, -1.0]), {}),
    "cells": (result(["cell"], {"sender_layer": [1, 2], "sender_head": [0, 3]}, [1.0, -1.0]), {}),
    "one cell": (result([], {}, 1.0), {}),
    "verified": (heads(exact=VERIFIED), {}),
    "verified top": (heads(exact=VERIFIED), {"kind": "bars"}),
    "verified graph": (heads(exact=VERIFIED), {"kind": "graph"}),
    "all unreachable": (heads(reachable=np.zeros((4, 4), bool).tolist()), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_result_becomes_plotly_svg_png_and_pdf(case):
    """Axes, empty results and unreachable cells all have a picture in each format."""
    shown, options = CASES[case]
    figure = json.loads(to_json(figure_for(shown, **options)))
    assert figure["layout"]["title"]["text"] and figure["layout"]["meta"]["alt"]
    assert static_figure_for(shown, **options).startswith(b"<?xml")
    assert static_figure_for(shown, image_format="png", **options).startswith(b"\x89PNG")
    assert static_figure_for(shown, image_format="pdf", **options).startswith(b"%PDF")


@pytest.mark.parametrize(
    ("axes", "sizes", "kind"),
    [
        (["example"], [9], "histogram"),
        (["sender_layer", "sender_head"], [2, 2], "heatmap"),
        (["sender_layer", "sender_head", "example"], [2, 2, 3], "heatmap"),
        (["sender_layer", "receiver_layer"], [2, 2], "heatmap"),
        (["layer", "position"], [2, 5], "heatmap"),
        (["sender_layer"], [4], "bars"),
        (["cell"], [4], "bars"),
        ([], [], "bars"),
        (["layer", "neuron"], [2, 3072], "bars"),
    ],
)
def test_the_fitting_kind_follows_from_the_axes(axes, sizes, kind):
    """The service and the notebook draw without being told how."""
    coordinates = {axis: list(range(size)) for axis, size in zip(axes, sizes, strict=True)}
    assert fitting_kind(result(axes, coordinates, np.zeros(sizes)).block) == kind


def test_exact_effects_stand_beside_the_estimates():
    """A reader must see how far off an estimate is where that is known."""
    shown = heads(exact=VERIFIED)
    bars = chart_for(shown, kind="bars")
    assert (bars.names[0], bars.values[0], bars.exact[0]) == ("2.3", -2.0, -1.25) and np.isnan(bars.exact[1:]).all()
    assert "diamonds: exact" in bars.words.caption
    assert any("exact" in (trace.hovertemplate or "") for trace in figure_for(shown, kind="bars").data)
    assert "verified cells on hover" in chart_for(shown).words.caption
    assert chart_for(shown).cell_names[2][3] == "2.3, exact effect −1.2"
    graph = chart_for(shown, kind="graph")
    assert graph.edges[0].effect == 1.5 and {edge.effect for edge in graph.edges} >= {-1.25}
    assert chart_for(heads(), kind="bars").exact is None


def test_zero_is_an_edge_of_the_bins_and_a_dashed_line():
    """Bars left of the line are all below 0: the founding figure's question is what side the patched mass is on."""
    chart = chart_for(examples())
    assert isinstance(chart, Histogram)
    assert np.abs(chart.edges).min() < 1e-12
    below = (examples().patched < 0).sum()
    assert chart.series[1].counts[chart.edges[:-1] < -1e-9].sum() == below
    figure = histogram(examples())
    assert not any("e-" in label for label in figure.data[0].customdata)
    line = figure.layout.shapes[0]
    assert (line.x0, line.x1, line.line.dash) == (0, 0, "dash")


def test_every_example_is_in_a_bin_and_what_is_not_finite_is_counted():
    """A dropped value must show, else the histogram lies about n."""
    shown = examples()
    data = shown.to_json()
    data["patched"][0] = None
    chart = chart_for(data)
    assert isinstance(chart, Histogram)
    assert [series.counts.sum() for series in chart.series] == [200, 199]
    assert "1 values not finite" in chart.words.caption


@pytest.mark.parametrize("values", [[-2e-7, 0.0, 3e-7, 5e-7], [-2e-7, -1e-7, 0.0, 0.0], [0.0] * 4])
def test_rounding_alone_makes_no_negative_bin(values):
    """A divergence cannot be negative: bins begin at 0, each example is in one, the mean stays as computed."""
    shown = result(["example"], {"example": [0, 1, 2, 3]}, values, [0.0] * 4, SINGLE, "kl", "nats")
    chart = chart_for(shown)
    assert isinstance(chart, Histogram)
    assert chart.edges[0] == 0 and [series.counts.sum() for series in chart.series] == [4, 4]
    assert chart.series[1].mean == pytest.approx(np.mean(values))
    signed_metric = chart_for(result(["example"], {"example": [0, 1, 2, 3]}, values, [0.0] * 4, SINGLE))
    assert isinstance(signed_metric, Histogram) and signed_metric.edges[0] < 0


def test_a_normalised_divergence_may_be_negative():
    """With noising, -1 is new: these bins are not cut off."""
    metric = {"kind": "kl", "title": "KL from orig", "unit": "fraction", "normalize": "noising"}
    shown = result(["example"], {"example": [0, 1]}, [-0.9, -0.8], [0.0, 0.0], SINGLE, metric=metric)
    chart = chart_for(shown)
    assert isinstance(chart, Histogram) and chart.edges[0] <= -0.9


def large():
    """A matrix of 144 x 144 cells, its largest effects in known places."""
    places = list(range(12))
    axes = ["sender_layer", "sender_head", "receiver_layer", "receiver_head"]
    effect = np.full((12,) * 4, 0.01)
    effect[0, 1, 1, 0], effect[11, 11, 11, 11] = 2.0, -1.5
    return result(axes, dict.fromkeys(axes, places), effect, spec=EDGES)


def test_signs_of_a_large_matrix_lie_on_their_cells():
    """Beside its cell, a sign says something of the next one."""
    marks = figure_for(large()).data[1]
    assert list(zip(marks.x, marks.y, marks.marker.symbol, strict=True)) == [
        (1, 12, "cross-thin-open"), (143, 143, "line-ew-open"),
    ]  # fmt: skip
    axes = matplotlib_figure_for(large()).axes[0]
    drawn = [(line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in axes.lines]
    assert drawn == [(1, 12, "+"), (143, 143, "_")]


def test_kinds_that_fit_are_named_in_the_figure():
    """The page offers these; each of them can be drawn, and no other."""
    for shown, options in CASES.values():
        fitting = figure_for(shown, **options).layout.meta["kinds"]
        for kind in KINDS:
            if kind in fitting:
                chart_for(shown, kind=kind)
            else:
                with pytest.raises(FigureDoesNotFit):
                    chart_for(shown, kind=kind)


def test_a_graph_has_no_axes_and_no_tick_has_a_letter():
    """A stray line reads as data; "100µ" must be worked out."""
    graph = figure_for(heads(), kind="graph").layout
    for axis in (graph.xaxis, graph.yaxis):
        assert (axis.showline, axis.zeroline, axis.showgrid, axis.showticklabels) == (False,) * 4
    for shown, options in CASES.values():
        figure = figure_for(shown, **options)
        assert {figure.layout.xaxis.exponentformat, figure.layout.yaxis.exponentformat} == {"power"}
        bars = [trace.colorbar.exponentformat for trace in figure.data if trace.type == "heatmap"]
        assert set(bars) <= {"power"}


def test_numbers_of_bars_stand_clear_of_error_bars_and_axes():
    """Between the end of the error bar and the end of the axis, in pixels from it."""
    figure = figure_for(heads(effect_sem=np.full((4, 4), 0.5).tolist()), kind="bars")
    numbers = {note.text: note for note in figure.layout.annotations}
    assert (numbers["−2"].x, numbers["−2"].xanchor, numbers["−2"].xshift) == (-2.5, "right", -4)
    assert (numbers["+1.5"].x, numbers["+1.5"].xanchor, numbers["+1.5"].xshift) == (2.0, "left", 4)
    low, high = figure.layout.xaxis.range
    assert low < -2.5 - 0.5 and high > 2.0 + 0.5


def test_of_many_bars_side_by_side_only_large_ones_carry_numbers():
    """Thirty layers' numbers lay on one another; in a ranked list each has a line of its own."""
    values = np.array([0.001] * 29 + [-0.2])
    names = [str(layer) for layer in range(30)]
    chart = Bars(Words("", "", ""), names, values, None, "layer", "effect", is_ranked=False)
    assert chart.numbers == [""] * 29 + ["−0.2"]
    assert replace(chart, is_ranked=True).numbers[0] == "+0.001"


def test_numbers_of_bars_stand_beyond_the_exact_effects():
    """A diamond on a number hides it."""
    figure = figure_for(heads(exact=[[None] * 4, [None] * 4, [None, None, None, -2.75], [None] * 4]), kind="bars")
    numbers = {note.text: note.x for note in figure.layout.annotations}
    assert numbers["−2"] == -2.75 and figure.layout.xaxis.range[0] < -2.75


def test_title_and_caption_are_text_of_the_html_page():
    """Plotly cuts a title that is wider than the window, and lays its toolbar on it."""
    page = to_html(figure_for(heads(), title="Heads & more <b>"))
    assert "<h1>Heads &amp; more &lt;b&gt;</h1>" in page
    assert "<p>unit: nats · n = 800" in page and "font-size:11px" not in page


LOOK = {"title": "Name movers", "x_label": "head", "y_label": "layer of $it$", "colour_limit": 4, "size": (5, 3)}


def test_title_labels_limit_and_size_are_the_users():
    """Two figures of a paper share a scale, a size and its words."""
    layout = figure_for(heads(), **LOOK).layout
    assert (layout.title.text, layout.yaxis.title.text) == ("Name movers", "layer of $it$")
    assert layout.xaxis.title.text.startswith("head<br>") and (layout.width, layout.height) == (480, 288)
    assert (figure_for(heads(), **LOOK).data[0].zmin, figure_for(heads(), **LOOK).data[0].zmax) == (-4, 4)
    figure = heads().figure(**LOOK)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("head", r"layer of \$it\$")
    assert figure.get_suptitle() == "Name movers" and tuple(figure.get_size_inches()) == (5, 3)
    assert axes.images[0].get_clim() == (-4, 4)


def test_the_matplotlib_figure_can_be_changed_and_saved(tmp_path):
    """What no option says is said to matplotlib itself; a notebook shows the figure without pyplot."""
    figure = heads().figure()
    figure.axes[0].set_title("changed")
    figure.savefig(tmp_path / "changed.pdf")
    assert (tmp_path / "changed.pdf").read_bytes().startswith(b"%PDF")
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"colour_limit": 0}, "colour_limit: a number above 0, such as 0.5, not 0"),
        ({"colour_limit": float("nan")}, "colour_limit: a number above 0"),
        (
            {"colour_limit": 1, "kind": "bars"},
            "colour_limit: goes with a heatmap only, and this figure is of kind bars",
        ),
        ({"size": (0, 4)}, "size: width and height in inches, each 1 to 40"),
        ({"size": 6}, "size: width and height in inches, each 1 to 40"),
        ({"title": "x" * 501}, "title: a text of at most 500 characters"),
    ],
)
def test_a_look_that_cannot_be_names_the_option_and_what_is_allowed(options, words):
    """In every drawing alike."""
    for draw in (figure_for, static_figure_for):
        with pytest.raises(UnfitLook, match=re.escape(words)):
            draw(heads(), **options)


def test_an_unknown_image_format_names_the_known_ones():
    """Also for whoever calls it from a script."""
    with pytest.raises(ValueError, match="no image format 'gif': it is one of svg, png, pdf"):
        static_figure_for(heads(), image_format="gif")


def test_the_scale_is_centred_at_zero_and_unreachable_cells_are_blank():
    """White must mean no effect, and no path must not look like no effect."""
    reachable = np.ones((4, 4), dtype=bool)
    reachable[3] = False
    figure = figure_for(heads(reachable=reachable.tolist()))
    trace = figure.data[0]
    assert (trace.zmin, trace.zmid, trace.zmax) == (-2.0, 0, 2.0)
    assert np.isnan(np.asarray(trace.z)[3]).all()
    assert "grey: no path" in figure.layout.meta["caption"]


def test_heads_are_named_on_hover_and_strong_cells_carry_their_sign():
    """In black and white the two ends of the scale look alike: the numbers tell them apart."""
    chart = chart_for(heads())
    assert isinstance(chart, Heatmap)
    assert chart.cell_names[2][3] == "2.3"
    text = np.asarray(figure_for(heads()).data[0].text)
    assert (text[2, 3], text[3, 1], text[0, 0]) == ("−2", "+1.5", "")


def test_positions_carry_the_prompts_tokens():
    """A position's number alone says nothing."""
    figure = figure_for(positions(), prompt_tokens=["When", " Mary", " went"])
    assert list(figure.layout.xaxis.ticktext) == ["When  0", "·Mary  1", "·went  2"]


def test_the_edge_matrix_puts_senders_across_and_receivers_down():
    """Rows read as: what reaches this receiver."""
    chart = chart_for(edges())
    assert isinstance(chart, Heatmap)
    assert chart.column_names == ["0.0", "0.1", "1.0", "1.1"]
    row, column = chart.row_names.index("q 1.0"), 1
    assert chart.values[row, column] == 0.75 and chart.cell_names[row][column] == "0.1 → q 1.0"


def test_the_circuit_joins_what_a_head_reads_and_what_it_writes():
    """One node per head, lower layers lower, one curve per hook that is read."""
    chart = chart_for(edges(), kind="graph", strongest=2)
    assert isinstance(chart, Graph)
    heights = {node.name: node.height for node in chart.nodes}
    assert heights["0.1"] < heights["1.0"]
    assert [edge.label for edge in chart.edges] == ["q +0.75", "v −0.5"]
    dashes = [trace.line.dash for trace in circuit_graph(edges(), strongest=2).data]
    assert dashes == ["solid", "6px,4px"]


def test_labels_of_many_edges_cover_neither_each_other_nor_nodes():
    """A circuit whose numbers lie on one another cannot be read."""
    eight = list(range(8))
    axes = ["sender_layer", "sender_head", "receiver_layer", "receiver_head"]
    coordinates = {"sender_layer": [1], "sender_head": [0, 1], "receiver_layer": [2], "receiver_head": eight}
    effect = -np.linspace(0.1, 0.3, 16).reshape(1, 2, 1, 8)
    chart = chart_for(result(axes, coordinates, effect, spec=EDGES), kind="graph")
    assert isinstance(chart, Graph) and len(chart.edges) == 16
    width, height = 7.0, 1.0
    taken = [edge.label_point for edge in chart.edges] + [(node.column, node.height) for node in chart.nodes]
    for place, (column, level) in enumerate(taken[:16]):
        for other_column, other_level in taken[place + 1 :]:
            is_apart = abs(column - other_column) > 0.08 * width or abs(level - other_level) > 0.04 * height
            assert is_apart, chart.edges[place].name


def test_the_means_of_the_runs_have_the_runs_colours_and_no_sign():
    """A mean is no effect: blue would say that it falls."""
    chart = chart_for(examples(), kind="bars")
    assert isinstance(chart, Bars)
    assert chart.colours == list(RUN_COLOURS.values()) and len(set(chart.hatches)) == 3
    assert not chart.numbers[0].startswith("+")


def test_error_bars_are_of_the_effect():
    """What varies between examples in both runs alike is no doubt about the effect."""
    chart = chart_for(
        heads(patched_sem=np.ones((4, 4)).tolist(), effect_sem=np.full((4, 4), 0.1).tolist()), kind="bars"
    )
    assert isinstance(chart, Bars) and chart.errors is not None
    assert (chart.errors == 0.1).all()
    assert "sem of the effect" in chart.words.caption


def test_long_captions_break_between_their_parts():
    """A line must not begin with the seed's number."""
    lines = caption_lines("unit: nats · n = 800 · ioi prompts, abc, seed 0", 22)
    assert lines == ["unit: nats · n = 800", "ioi prompts, abc, seed", "0"]
    assert caption_lines("unit: nats · n = 800 · seed 0", 24) == ["unit: nats · n = 800", "seed 0"]


def test_the_title_names_the_head_whose_attention_was_read():
    """By default it is the receiver's, and the spec does not say so again."""
    assert figure_for(examples()).layout.title.text.startswith("Attention end → IO minus end → S1, head 10.7")


def test_the_caption_says_unit_n_model_and_spec():
    """A figure that has left its notebook must still say what it shows."""
    caption = figure_for(examples()).layout.meta["caption"]
    for part in ("probability", "n = 800", "gpt2-small", "z 9.6 → q 10.7", "skip connections only", "ioi prompts, abc"):
        assert part in caption


def test_a_figure_that_does_not_fit_says_what_it_needs():
    """The service turns this into an answer, not a traceback."""
    with pytest.raises(FigureDoesNotFit, match="figure 'histogram' needs the single axis example"):
        figure_for(heads(), kind="histogram")
    with pytest.raises(ValueError, match=f"one of {', '.join(KINDS)}"):
        figure_for(heads(), kind="pie")


def test_the_html_asks_no_other_host_and_text_cannot_break_out():
    """Tags, tokens and model names come from users; plotly.js comes from the package."""
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    shown = result(
        ["layer"], {"layer": [0]}, [1.0], spec=HEADS | {"model": {"name": nasty}}, provenance={"model": nasty}
    )
    page = to_html(figure_for(shown), title=nasty)
    found = _Tags(page)
    assert not found.attributes & {"src", "href"}
    assert "img" not in found.names and page.count("alert(1)") > 0
    assert not re.search(r"alert\(\d\)", found.scripts_outside_json)


class _Tags(HTMLParser):
    """Tags and attributes of a page, as a browser sees them."""

    def __init__(self, page):
        super().__init__()
        self.names, self.attributes, self.scripts_outside_json = set(), set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._in_script = tag == "script"

    def handle_data(self, data):
        if data.strip().startswith("alert"):
            self.scripts_outside_json += data


def test_the_same_result_gives_the_same_bytes():
    """A figure in a repository must not change when nothing did."""
    for image_format in ("svg", "png", "pdf"):
        first, second = (static_figure_for(heads(), image_format=image_format) for _ in range(2))
        assert first == second
    assert to_json(figure_for(heads())) == to_json(figure_for(heads()))


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded curves are not on this machine")
def test_the_recorded_curves_draw_as_the_notebook_drew_them():
    """800 values per curve, means 0.595 and 0.088."""
    curves = json.loads(RECORDED.read_text())
    shown = result(
        ["example"], {"example": list(range(800))}, curves["patched"], curves["orig"], SINGLE, "attention_diff"
    )
    names = [trace.name for trace in histogram(shown).data]
    assert names == ["orig, mean 0.595", "patched, mean 0.0875"]


KEYS = IOI | {
    "patch": {"senders": {"sweep": {"hook": "z"}}, "receivers": {"sweep": {"hook": "k"}}},
    "metric": LOGITS,
}


def grouped(**more):
    """Thirty layers of nine query heads into three key-value heads of each, as SmolLM2's."""
    layers = list(range(30))
    coordinates = {
        "sender_layer": layers,
        "sender_head": [*range(9)],
        "receiver_layer": layers,
        "receiver_head": [0, 1, 2],
    }
    patched = np.zeros((30, 9, 30, 3))
    patched[9, 6, 10, 1], patched[10, 1, 20, 2] = 1.0, -0.5
    return result([*coordinates], coordinates, patched, spec=KEYS, provenance={"model": "s", "n_kv_heads": 3}, **more)


def test_heads_of_keys_are_called_what_they_are():
    """Head 1 of the keys is not head 1 of the queries; where each query head has its own, heads are heads."""
    chart = chart_for(grouped())
    assert (chart.row_label, chart.column_label) == ("receiver layer.key-value head", "sender layer.head")
    plain = replace(grouped(), provenance={"model": "s"})
    assert chart_for(plain).row_label == "receiver layer.head"


def test_a_key_value_head_is_a_node_of_its_own():
    """The edge into the keys of 10 ends at "kv 10.1", and the edge from head 10.1 begins at "10.1"."""
    names = {node.name for node in chart_for(grouped(), kind="graph").nodes}
    assert {"9.6", "kv 10.1", "10.1", "kv 20.2"} <= names
