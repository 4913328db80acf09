"""A figure as a page of its own: it draws in a real browser under the strict policy that it is served with."""

from pathpatch.client import Client
from pathpatch.local import Stack
from tests.live_service import spec


def test_a_figure_that_is_opened_draws_and_belongs_to_no_site(page, client: Client, stack: Stack) -> None:
    """Plotly works in the sandbox; a script in it would have no origin to act from."""
    job = client.submit(spec(seed=77))
    job.wait()
    page.set_extra_http_headers({"Accept": "text/html"})
    page.goto(f"{stack.url}/v1/jobs/{job.id}/figure")
    page.wait_for_selector(".main-svg")
    assert page.evaluate("window.origin") == "null"
