"""The page on a service that wants an API key."""

import pytest

import pathpatch as pp
from pathpatch.local import StackSettings
from tests.conftest import told_stack

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.integration
KEY = "pp_test_" + "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def stack(tmp_path_factory, processed_weights_dir):
    """A stack whose service wants this key."""
    settings = StackSettings(
        tmp_path_factory.mktemp("keyed"),
        port=0,
        redis_url=None,
        device="cpu",
        cache_dir=processed_weights_dir,
        environment={"PATHPATCH_ADMIN_KEY": KEY},
    )
    with told_stack(settings) as running:
        yield running


def test_the_key_is_asked_for_kept_for_the_tab_and_sent_with_events(page, stack):
    """Without it nothing is shown; with it jobs, live progress and figures are; a new tab asks again."""
    page.goto(f"{stack.url}/")
    expect(page.get_by_label("API key, kept")).to_be_visible()
    expect(page.locator(".problem")).to_be_visible()
    page.get_by_label("API key, kept").fill(KEY)
    page.get_by_role("button", name="Use").click()
    expect(page.locator("main")).to_contain_text("No jobs yet")
    spec = pp.path_patch(pp.heads("1.0"), pp.resid(3), pp.ioi(10), pp.logit_diff(), model="demo")
    with pp.Client(stack.url, KEY) as client:
        job = client.submit(spec)
        page.goto(f"{stack.url}/#/jobs/{job.id}")
        expect(page.locator(".state .badge.succeeded")).to_be_visible(timeout=60_000)
        expect(page.locator(".canvas .main-svg").first).to_be_visible(timeout=60_000)
    page.get_by_text("Events", exact=True).click()
    expect(page.locator(".events li").first).to_be_visible()
    assert KEY not in page.content()
    assert page.evaluate("sessionStorage.getItem('pathpatch-key')") == KEY
    assert page.evaluate("JSON.stringify(localStorage)").find(KEY) == -1
    other = page.context.browser.new_context().new_page()
    other.goto(f"{stack.url}/")
    expect(other.get_by_label("API key, kept")).to_be_visible()
    other.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_wrong_key_is_told_and_has_no_tick(page, stack, width):
    """The panel with the field lies beside the error, not on it."""
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{stack.url}/")
    page.get_by_label("API key, kept").fill(f"{KEY[:-1]}x")
    page.get_by_role("button", name="Use").click()
    expect(page.locator("#key-panel summary")).to_have_text("API key ✕")
    expect(page.locator(".problem")).to_be_visible()
    if width == 390:
        panel, problem = page.locator("#key-form").bounding_box(), page.locator(".problem").bounding_box()
        assert panel["y"] + panel["height"] <= problem["y"]
    page.get_by_label("API key, kept").fill(KEY)
    page.get_by_role("button", name="Use").click()
    expect(page.locator("#key-panel summary")).to_have_text("API key ✓")
