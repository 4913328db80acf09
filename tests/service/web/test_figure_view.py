"""Figures on the page: they fit their card, nothing lies on anything else, and the latest choice is the one shown."""

import re

import pytest

import pathpatch as pp

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.integration

SINGLE = pp.path_patch(pp.heads("1.0"), pp.query("2.1"), pp.ioi(40), pp.attention_diff("end", "IO", "S1"), model="demo")
PAIR = pp.tokens(
    [[11, 12, 13, 14], [21, 22, 23, 24]],
    [[15, 12, 16, 14], [25, 22, 26, 24]],
    roles={"end": [-1, -1]},
    answers={"IO": [11, 21], "S": [13, 23]},
)
HEADS = pp.path_patch(pp.sweep("z"), pp.resid(11), PAIR, pp.logit_diff(), model="impostor")
EDGES = pp.path_patch(pp.sweep("z"), pp.sweep("v"), PAIR, pp.logit_diff(), model="impostor")
WIDTHS = (1280, 900, 700, 390)


@pytest.fixture(scope="module")
def jobs(client):
    """One of each shape: a histogram, a heatmap of 12 x 12, a matrix of 144 x 144."""
    found = {"single": SINGLE, "heads": HEADS, "edges": EDGES}
    return {name: client.submit(spec).wait(timeout_s=120) for name, spec in found.items()}


def shown(page, stack, view, width=1280):
    """A view with its figures drawn, at this width."""
    page.set_viewport_size({"width": width, "height": 844})
    page.goto("about:blank")  # so that no figure of the view before is taken for this one's
    page.goto(f"{stack.url}/#/{view}")
    expect(page.locator(".canvas .main-svg").first).to_be_visible(timeout=60_000)


def boxes(page, selector):
    """Where each of these is that can be seen: [left, top, right, bottom]."""
    return page.evaluate(
        """(selector) => [...document.querySelectorAll(selector)].map((node) => node.getBoundingClientRect())
            .filter((box) => box.width && box.height).map((box) => [box.left, box.top, box.right, box.bottom])""",
        selector,
    )


def overlap(first, second, slack=0.5):
    """Whether two boxes share more than a hair."""
    return (
        min(first[2], second[2]) - max(first[0], second[0]) > slack
        and min(first[3], second[3]) - max(first[1], second[1]) > slack
    )


def overlapping(found):
    """Pairs of boxes that lie on one another."""
    return [(one, other) for i, one in enumerate(found) for other in found[i + 1 :] if overlap(one, other)]


@pytest.mark.parametrize("job", ["single", "heads", "edges"])
def test_a_figure_fits_its_card_at_every_width(page, stack, jobs, job):
    """Colour bar, last senders and tick labels included; also after the window was made narrower."""
    shown(page, stack, f"jobs/{jobs[job].id}")
    for width in (*WIDTHS, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        canvas = page.locator(".canvas")
        card = page.locator(".card", has=canvas).bounding_box()
        expect(canvas.locator(".main-svg").first).to_have_attribute("width", _close_to(canvas))
        parts = boxes(
            page, ".canvas .plot, .canvas .colorbar, .canvas .xtick text, .canvas .ytick text, .canvas .g-xtitle"
        )
        for left, _, right, _ in parts:
            assert card["x"] <= left and right <= card["x"] + card["width"], (width, left, right)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def _close_to(canvas):
    width = canvas.evaluate("(node) => node.clientWidth")
    return re.compile(rf"^({width - 1}|{width})(\.\d+)?$")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("view", ["job", "compare"])
def test_the_numbers_of_cells_do_not_lie_on_one_another(page, stack, jobs, width, view):
    """Where cells are too narrow for numbers they show signs."""
    job = jobs["heads"].id
    shown(page, stack, f"jobs/{job}" if view == "job" else f"compare/{job}/{job}", width)
    expect(page.locator(".canvas .heatmap-label text").first).to_be_visible()
    assert overlapping(boxes(page, ".canvas .heatmap-label text")) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_toolbar_title_and_legend_lie_apart(page, stack, jobs, width):
    """On phones the toolbar is always there."""
    shown(page, stack, f"jobs/{jobs['single'].id}", width)
    page.locator(".canvas").hover()
    expect(page.locator(".modebar-btn").first).to_be_visible()
    parts = [*boxes(page, ".gtitle"), *boxes(page, ".modebar-group"), *boxes(page, ".canvas .legend")]
    assert len(parts) >= 3
    groups = boxes(page, ".modebar-group")
    assert [pair for pair in overlapping(parts) if not (pair[0] in groups and pair[1] in groups)] == []
    canvas = boxes(page, ".canvas")[0]
    legend = boxes(page, ".canvas .legend")[0]
    assert canvas[0] <= legend[0] and legend[2] <= canvas[2]


def test_numbers_of_bars_lie_on_neither_ticks_nor_error_bars(page, stack, client):
    """A label on the axis reads as a tick."""
    spec = pp.path_patch(pp.sweep("mlp_out"), pp.resid(3), pp.ioi(30), pp.logit_diff(), model="demo")
    job = client.submit(spec).wait(timeout_s=60)
    for width in (1280, 390):
        shown(page, stack, f"jobs/{job.id}", width)
        numbers = boxes(page, ".canvas .annotation-text")
        assert len(numbers) == 4
        others = boxes(page, ".canvas .xtick text, .canvas .ytick text, .canvas .errorbar path")
        assert [(one, other) for one in numbers for other in others if overlap(one, other)] == []


def test_numbers_of_ranked_bars_lie_on_no_name(page, stack, jobs):
    """On a phone there is little room between the longest bar and its name."""
    shown(page, stack, f"jobs/{jobs['heads'].id}", 390)
    page.get_by_label("Kind of figure").select_option("bars")
    expect(page.locator(".gtitle")).to_have_text("Strongest effects on logit IO minus S", timeout=60_000)
    numbers = boxes(page, ".canvas .annotation-text")
    assert len(numbers) == 30
    names = boxes(page, ".canvas .ytick text")
    assert [(one, other) for one in numbers for other in names if overlap(one, other)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_graph_is_readable_on_every_ground(page, stack, jobs, scheme):
    """No axes; nodes in the page's colours; on a phone no numbers that would lie on one another."""
    page.emulate_media(color_scheme=scheme)
    for width, labels in ((1280, 20), (390, 0)):
        shown(page, stack, f"jobs/{jobs['heads'].id}", width)
        page.get_by_label("Kind of figure").select_option("graph")
        receiver = page.locator(".canvas .annotation-text", has_text="resid_post 11")
        expect(receiver).to_be_visible(timeout=60_000)
        notes = page.evaluate("document.querySelector('.canvas').layout.annotations")
        assert len([note for note in notes if "bordercolor" not in note]) == labels
        grounds = {note["bgcolor"] for note in notes if "bordercolor" in note}
        assert grounds == {"#1b1e23" if scheme == "dark" else "#ffffff"}
        assert page.locator(".canvas .xtick, .canvas .ytick, .canvas .crisp.xl").count() == 0


def test_the_later_of_two_quick_choices_is_shown(page, stack, jobs):
    """Also if the answer to the first comes last; until it is there, the figure says that it is being drawn."""

    held = []
    shown(page, stack, f"jobs/{jobs['single'].id}")
    page.route("**/figure?*kind=scatter*", lambda route: held.append(route))
    kind = page.get_by_label("Kind of figure")
    kind.select_option("scatter")
    expect(page.locator(".figure")).to_have_attribute("aria-busy", "true")
    kind.select_option("bars")
    expect(page.locator(".gtitle")).to_have_text("Attention end → IO minus end → S1, head 2.1", timeout=60_000)
    for route in held:
        route.continue_()
    page.wait_for_timeout(2500)
    expect(page.locator(".gtitle")).to_have_text("Attention end → IO minus end → S1, head 2.1")
    expect(page.locator(".figure")).not_to_have_attribute("aria-busy", "true")
    expect(kind).to_have_value("bars")


def test_only_kinds_that_fit_are_offered(page, stack, jobs):
    """A choice that answers with an error is none."""
    for job, kinds in (("single", ["histogram", "scatter", "bars"]), ("heads", ["heatmap", "bars", "graph"])):
        shown(page, stack, f"jobs/{jobs[job].id}")
        options = page.get_by_label("Kind of figure").locator("option")
        expect(options).to_have_count(len(kinds) + 1)
        offered = options.evaluate_all("all => all.map((one) => one.value)")
        assert offered == ["", *kinds]


@pytest.mark.parametrize(
    ("button", "begins"), [("Figure, PDF", b"%PDF"), ("Figure, PNG", b"\x89PNG"), ("Figure, SVG", b"<?xml")]
)
def test_the_figure_is_downloaded_for_a_paper(page, stack, jobs, button, begins):
    """Each format, as the service draws it."""
    shown(page, stack, f"jobs/{jobs['single'].id}")
    with page.expect_download() as caught:
        page.get_by_role("button", name=button).click()
    assert caught.value.path().read_bytes().startswith(begins)
