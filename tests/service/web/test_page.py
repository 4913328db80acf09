"""The page as a researcher uses it: start, watch, look, cancel, compare; with mistakes, by keyboard, with a key."""

import json
import re

import pytest

import pathpatch as pp
from pathpatch.presets import PRESETS
from tests.specs_of_demo import METRICS

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.integration

SPEC = pp.path_patch(
    pp.heads("1.0", "1.1"), pp.query("2.1"), pp.ioi(40), pp.logit_diff(), model="demo", tags={"test": "page"}
)
SWEEP = pp.path_patch(pp.sweep("z"), pp.resid(3), pp.ioi(20), pp.logit_diff(), model="demo", per_example=True)
NUMBERS_OF_CELLS = "() => [...document.querySelectorAll('.canvas .heatmap-label text')].map((text) => text.textContent)"
"""The texts in the cells of the heatmap on the page."""
LONG = pp.path_patch(
    pp.sweep("z"), pp.sweep("v"), pp.ioi(2000), pp.logit_diff(), model="demo", tags={"test": "long"}, use_cache=False
)


@pytest.fixture(scope="module")
def done(client):
    """Two jobs that have succeeded."""
    return [client.submit(spec).wait(timeout_s=60) for spec in (SPEC, SWEEP)]


def test_an_experiment_is_started_watched_and_seen(page, stack):
    """The new user's path on the page: form, preview, start, figure."""
    page.goto(f"{stack.url}/#/new")
    page.get_by_label("Experiment").select_option("heads-to-logits")
    page.get_by_label("Model").select_option("demo")
    page.get_by_label("Examples").fill("30")
    expect(page.locator(".verdict .token.role").first).to_be_visible()
    expect(page.locator(".verdict .tiles")).to_contain_text("32")
    page.get_by_role("button", name="Start the experiment").click()
    expect(page).to_have_url(re.compile(r"#/jobs/job_"))
    expect(page.locator(".state .badge.succeeded")).to_be_visible(timeout=60_000)
    expect(page.locator(".canvas .main-svg").first).to_be_visible(timeout=60_000)
    expect(page.locator(".figure figcaption")).to_contain_text("n = 30")
    assert "Effects on logit IO minus S of 32 cells" in page.locator(".canvas").get_attribute("aria-label")
    expect(page.get_by_role("region", name="Checks")).to_contain_text("must be 0")


def test_the_same_experiment_runs_with_the_next_seed(page, stack, client, done):
    """One click; everything else stays, the name and the tags too."""
    page.goto(f"{stack.url}/#/jobs/{done[1].id}")
    page.get_by_role("button", name="Run with the next seed").click()
    expect(page).not_to_have_url(re.compile(done[1].id))
    expect(page.locator(".state .badge.succeeded")).to_be_visible(timeout=60_000)
    before, after = (client.get(one).job.spec for one in (done[1].id, page.url.rsplit("/", 1)[-1]))
    assert after == before.model_copy(update={"dataset": before.dataset.model_copy(update={"seed": 1})})


def test_a_cancelled_experiment_is_run_again_as_it_was(page, stack, client):
    """From its own page, which says that this is what to do."""
    job = client.submit(LONG)
    job.cancel()
    page.goto(f"{stack.url}/#/jobs/{job.id}")
    expect(page.locator(".state .badge.cancelled")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Run again", exact=True).click()
    expect(page).not_to_have_url(re.compile(job.id))
    again = client.get(page.url.rsplit("/", 1)[-1])
    assert again.job.spec == client.get(job.id).job.spec
    again.cancel()


def test_positions_of_the_preset_carry_the_prompts_tokens(page, stack):
    """The heatmap by layer and position is read by its words."""
    page.goto(f"{stack.url}/#/new?preset=residual-by-position")
    page.get_by_label("Model").select_option("demo")
    expect(page.locator(".verdict .tiles")).to_contain_text("16 positions")
    expect(page.locator(".verdict .notice")).to_have_count(0)
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.locator(".canvas .xtick text", has_text="·library")).to_be_visible(timeout=60_000)
    assert any(text.startswith("−") and len(text) > 1 for text in page.evaluate(NUMBERS_OF_CELLS))
    page.set_viewport_size({"width": 360, "height": 800})
    expect(page.locator(".canvas .xtick text").first).to_be_visible()
    expect(page.locator(".canvas .heatmap-label text").first).to_have_text(re.compile("^[+−]$"))
    assert set(page.evaluate(NUMBERS_OF_CELLS)) <= {"+", "−"}, "numbers that lie on one another"
    card, canvas = (page.locator(place).bounding_box() for place in (".card:has(.canvas)", ".canvas"))
    assert card["x"] <= canvas["x"] and canvas["x"] + canvas["width"] <= card["x"] + card["width"], (
        "wider than its card"
    )


def test_the_preview_shows_roles_and_the_same_in_code(page, stack):
    """Roles are coloured and named; what differs between orig and new is underlined."""
    page.goto(f"{stack.url}/#/new")
    expect(page.locator(".token.role sub", has_text="IO").first).to_be_visible()
    expect(page.locator(".token.differs").first).to_be_visible()
    python = page.locator("figure.code", has_text="Python").locator("code").inner_text()
    assert 'senders=pp.heads("2.0", "2.1", ' in python
    namespace = {}
    exec(python.split("result =")[0], namespace)  # noqa: S102
    curl = page.locator("figure.code", has_text="curl").locator("code").inner_text()
    sent = json.loads(curl.split("-d '")[1].rstrip("'"))
    assert namespace["spec"] == pp.specs.as_spec(sent)


def test_every_metric_of_the_schema_can_be_chosen(page, stack):
    """A new metric needs no change of the page."""
    page.goto(f"{stack.url}/#/new")
    expect(page.get_by_label("Metric")).to_be_visible()
    assert _offered(page.get_by_label("Metric")) == list(METRICS)
    page.get_by_label("Metric").select_option("rank")
    python = page.locator("figure.code", has_text="Python").locator("code")
    expect(python).to_contain_text('metric=pp.rank("IO")')
    namespace = {}
    exec(python.inner_text().split("result =")[0], namespace)  # noqa: S102
    assert namespace["spec"].metric.kind == "rank"


def test_every_preset_is_a_spec_that_runs(page, stack, client):
    """Nobody starts from a form that refuses its own suggestion; greater-than says which tokenizer it needs."""
    page.goto(f"{stack.url}/#/new")
    page.get_by_text("The whole spec as JSON").click()
    assert _offered(page.get_by_label("Experiment")) == [*PRESETS, ""]
    for preset in PRESETS:
        page.get_by_label("Experiment").select_option(preset)
        if preset == "greater-than":
            expect(page.locator(".verdict .problem")).to_contain_text("needs years that are two tokens")
            continue
        report = client.validate(json.loads(page.get_by_label("Spec", exact=True).input_value()))
        expect(page.locator(".verdict .tiles dd").first).to_have_text(str(report.cells))
        expect(page.locator(".verdict .problem")).to_have_count(0)


def _offered(select):
    """The values of a drop-down list."""
    return select.locator("option").evaluate_all("all => all.map((option) => option.value)")


def test_a_mistake_is_shown_where_it_was_made(page, stack):
    """Before anything is queued, with the field marked for eyes and for screen readers."""
    page.goto(f"{stack.url}/#/new")
    page.get_by_label("Receiver names").fill("2.99")
    problem = page.locator(".verdict .problem")
    expect(problem).to_contain_text("99")
    expect(page.get_by_label("Receiver names")).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.locator("form .problem")).to_contain_text("/patch/receivers")
    page.get_by_label("Receiver names").fill("2.1")
    expect(page.locator(".verdict .example").first).to_be_visible()
    expect(page.get_by_label("Receiver names")).not_to_have_attribute("aria-invalid", "true")


def test_the_json_and_the_fields_follow_each_other(page, stack):
    """The JSON can say everything; the fields show what they can."""
    page.goto(f"{stack.url}/#/new")
    page.get_by_text("The whole spec as JSON").click()
    box = page.get_by_label("Spec", exact=True)
    spec = json.loads(box.input_value())
    spec["patch"]["senders"] = [{"hook": "z", "layer": 0, "head": 3}]
    spec["dtype"] = "float32"
    box.fill(json.dumps(spec))
    expect(page.get_by_label("Sender names")).to_have_value("0.3")
    page.get_by_label("Sender names").fill("0.4")
    after = json.loads(box.input_value())
    assert after["patch"]["senders"] == [{"hook": "z", "layer": 0, "head": 4}]
    assert after["dtype"] == "float32"
    box.fill("{")
    expect(page.locator(".verdict .problem")).to_contain_text("not JSON yet")
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.locator("form .problem")).to_contain_text("not JSON yet")
    expect(page).to_have_url(re.compile("#/new"))


def test_a_draft_of_any_kind_is_shown_and_run_again(page, stack, client):
    """What the fields cannot say they leave alone."""
    prompts = pp.prompts(["When Mary and John left"], ["When John and Mary left"])
    spec = pp.activation_patch(pp.heads("1.0", positions=2), prompts, [pp.loss(), pp.kl(2)], model="demo")
    job = client.submit(spec)
    page.goto(f"{stack.url}/#/jobs/{job.id}")
    page.get_by_role("button", name="Run again with changes").click()
    expect(page.locator(".verdict .tiles")).to_contain_text("Cells")
    expect(page.get_by_label("Sender names")).to_be_disabled()
    expect(page.get_by_label("Metric")).to_have_value("loss")
    expect(page.get_by_label("Prompts of orig")).to_have_value("When Mary and John left")
    expect(page.get_by_label("Measured").locator("option")).to_contain_text(["1 of 2: loss", "2 of 2: kl"])
    page.get_by_label("Model").select_option("demo")
    again = json.loads(page.get_by_label("Spec", exact=True).input_value())
    assert pp.specs.as_spec(again).patch == job.spec.patch
    assert pp.specs.as_spec(again).metrics == job.spec.metrics
    assert "prepend_bos" not in again["dataset"], "which another model may do otherwise"


def test_a_running_job_is_cancelled(page, stack, client):
    """The button works while the shards run, and the page follows to the end."""
    job = client.submit(LONG)
    page.goto(f"{stack.url}/#/jobs/{job.id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".state .badge.cancelled")).to_be_visible(timeout=60_000)
    expect(page.locator("main")).to_contain_text("it has no result")
    assert client.get(job.id).status == "cancelled"


def test_progress_moves_without_reloading(page, stack, client):
    """Server-sent events: the row of the list and the state of the job change by themselves."""
    page.goto(f"{stack.url}/#/jobs")
    spec = pp.path_patch(pp.sweep("z"), pp.resid(3), pp.ioi(35), pp.logit_diff(), model="demo", tags={"live": "yes"})
    job = client.submit(spec)
    row = page.locator(f"#row-{job.id}")
    expect(row.locator(".badge.succeeded")).to_be_visible(timeout=60_000)


def test_jobs_are_filtered_by_state_and_tag(page, stack, done):
    """A day's jobs are many."""
    page.goto(f"{stack.url}/#/jobs")
    page.get_by_label("Tag").fill("test:page")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("State").select_option("failed")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("main")).to_contain_text("No job fits these filters")


def test_two_jobs_are_compared_side_by_side(page, stack, done):
    """Chosen in the list; figures beside each other, and where the specs differ."""
    page.goto(f"{stack.url}/#/jobs")
    for job in done:
        page.locator(f"#row-{job.id} input").check()
    page.get_by_role("button", name="Compare selected").click()
    expect(page.locator(".canvas .main-svg").first).to_be_visible(timeout=60_000)
    expect(page.locator(".pair .canvas")).to_have_count(2, timeout=60_000)
    expect(page.get_by_role("table", name="Where the specs differ")).to_contain_text("/patch/senders")


def test_two_heatmaps_are_compared_on_one_scale(page, stack, done, client):
    """Else the same blue would be two numbers."""
    weaker = pp.path_patch(pp.sweep("z"), pp.resid(1), pp.ioi(20), pp.logit_diff(), model="demo", per_example=True)
    other = client.submit(weaker).wait(timeout_s=60)
    page.goto(f"{stack.url}/#/compare/{done[1].id}/{other.id}")
    expect(page.locator("main")).to_contain_text("the same colour scale", timeout=60_000)
    limits = page.evaluate("[...document.querySelectorAll('.canvas')].map((canvas) => canvas.data[0].zmax)")
    largest = max(abs(one.result().effect.mean(-1)).max() for one in (done[1], other))
    assert limits == pytest.approx([largest, largest])


def test_a_job_that_ran_out_of_time_says_so(page, stack, client):
    """It ended without a result, and not by anybody's hand."""
    job = client.submit(LONG.model_copy(update={"expires_after_s": 0.2})).wait(timeout_s=60)
    assert job.status == "expired"
    page.goto(f"{stack.url}/#/jobs/{job.id}")
    expect(page.locator(".state .badge.expired")).to_be_visible()
    expect(page.locator("main")).to_contain_text("it has no result")


def test_another_figure_and_the_files_can_be_had(page, stack, done):
    """The kind is chosen on the page, among those that fit; downloads carry the right bytes."""
    page.goto(f"{stack.url}/#/jobs/{done[0].id}")
    kind = page.get_by_label("Kind of figure")
    expect(page.locator(".canvas .main-svg").first).to_be_visible(timeout=60_000)
    kind.select_option("scatter")
    expect(page.locator(".gtitle")).to_contain_text("patched against orig", timeout=60_000)
    assert _offered(kind) == ["", "histogram", "scatter", "bars"], "a kind that does not fit is offered"
    with page.expect_download() as caught:
        page.get_by_role("button", name="Result, npz").click()
    assert pp.Result.load(_saved(caught.value, "npz")).shape == (40,)


def _saved(download, ending):
    path = download.path()
    return path.rename(path.with_suffix(f".{ending}"))


def test_code_is_copied_or_at_least_selected(page, stack):
    """Browsers keep the clipboard from pages that come over plain http from another machine."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{stack.url}/#/new")
    code = page.locator("figure.code", has_text="curl").locator("code")
    page.get_by_role("button", name="Copy curl").click()
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == code.inner_text()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("button", name="Copy curl").click()
    assert page.evaluate("getSelection().toString()").strip() == code.inner_text()


def test_the_page_is_used_by_keyboard_alone(page, stack, done):
    """Skip link, focus on the new view's heading, a row's link by Enter, the key panel closed by Escape."""
    page.goto(f"{stack.url}/#/jobs")
    expect(page.locator("tbody tr").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.locator(f"#row-{done[0].id} th > a").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_be_focused()
    expect(page.locator("h1")).to_contain_text("logit IO minus S")
    page.locator("#key-panel summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("API key, kept")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_label("API key, kept")).to_be_hidden()


def test_every_control_has_a_name(page, stack, done):
    """A screen reader must have something to say for each of them."""
    for view in ("jobs", "new", f"jobs/{done[0].id}", f"compare/{done[0].id}/{done[1].id}"):
        page.goto(f"{stack.url}/#/{view}")
        expect(page.locator("main h1")).to_be_visible()
        expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("input, select, textarea, button")].filter((control) =>
                !control.labels?.length && !control.getAttribute("aria-label") && !control.textContent.trim()
            ).map((control) => control.outerHTML)"""
        )
        assert nameless == [], view


def test_nothing_is_cut_off_in_any_view(page, stack, done):
    """No sideways scrolling of the page on a phone."""
    for view in ("jobs", "new", f"jobs/{done[1].id}", f"compare/{done[0].id}/{done[1].id}"):
        page.goto(f"{stack.url}/#/{view}")
        expect(page.locator("main h1")).to_be_visible()
        if view != "jobs" and view != "new":
            expect(page.locator(".canvas .main-svg").first).to_be_visible(timeout=60_000)
        for width in (1200, 700, 360):
            page.set_viewport_size({"width": width, "height": 800})
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, (view, width, overflow)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(page, stack, done, scheme):
    """In light and in dark, by the system's choice and by the page's own; 4.5 is what WCAG AA asks of small text."""
    page.emulate_media(color_scheme="light" if scheme == "dark" else "dark", reduced_motion="reduce")
    for view in ("jobs", "new", f"jobs/{done[1].id}"):
        page.goto(f"{stack.url}/#/{view}")
        page.get_by_label("Theme").select_option(scheme)
        expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")
        expect(page.locator(".badge, .verdict .token, .numbers").first).to_be_visible()
        faint = {
            f"{text!r} {ink} on {ground}"
            for text, ink, ground in page.evaluate(TEXTS_AND_GROUNDS)
            if _contrast(ink, ground) < 4.5
        }
        assert faint == set(), view


TEXTS_AND_GROUNDS = """() => {
    const groundOf = (node) => {
        const ground = getComputedStyle(node).backgroundColor;
        return ground === "rgba(0, 0, 0, 0)" && node.parentElement ? groundOf(node.parentElement) : ground;
    };
    return [...document.querySelectorAll("body *")]
        .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
        .filter((node) => node.checkVisibility() && !node.closest("svg, :disabled, option, .unseen, .skip"))
        .map((node) => [node.textContent.trim().slice(0, 30), getComputedStyle(node).color, groundOf(node)]);
}"""
"""Each text on the page, its colour, and that of the nearest ground below it."""


def _contrast(first, second):
    """Contrast ratio as WCAG defines it."""

    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_of_users_stays_text(page, stack, client):
    """Tags come from other people's scripts."""
    nasty = '<img src=x onerror="document.title=1">'
    spec = pp.path_patch(pp.heads("0.1"), pp.resid(3), pp.ioi(5), pp.logit_diff(), model="demo", tags={"note": nasty})
    job = client.submit(spec).wait(timeout_s=60)
    page.goto(f"{stack.url}/#/jobs")
    expect(page.locator(f"#row-{job.id} small")).to_contain_text(nasty)
    page.goto(f"{stack.url}/#/jobs/{job.id}")
    expect(page.locator(".canvas .main-svg").first).to_be_visible(timeout=60_000)
    assert page.locator("img").count() == 0


def test_a_job_that_is_not_there_says_so(page, stack):
    """An old link must not show an empty page."""
    page.goto(f"{stack.url}/#/jobs/job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E")
    expect(page.locator(".problem")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
