"""Results and figures over HTTP: formats, compression, and what there is to say when there is no result."""

import gzip
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest

from api_schemas.results import Result
from tests.live_service import HandMade, WorkerHand, spec

pytestmark = pytest.mark.integration


@pytest.fixture
def links(client: httpx.Client) -> dict[str, str]:
    """Links of a queued job."""
    links: dict[str, str] = client.post("/v1/jobs", json=spec()).json()["links"]
    return links


def test_the_result_comes_as_json_npz_and_csv(client: httpx.Client, worker: WorkerHand, links: dict[str, str]) -> None:
    """The same numbers for a program, for numpy and for a spreadsheet."""
    worker.work_off()
    answer = client.get(links["result"])
    result = Result.model_validate_json(answer.content)
    assert result.patched[2] is None and result.checks.nonfinite == 1
    npz = client.get(links["result"], headers={"Accept": "application/x-npz"})
    assert npz.headers["content-type"] == "application/x-npz"
    with np.load(io.BytesIO(npz.content), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["0/orig"], HandMade().arrays["0/orig"])
    table = client.get(links["result"], headers={"Accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.splitlines()[0].startswith("metric,title,example,patched")


@pytest.mark.parametrize(
    ("link", "media"), [("result", "text/csv"), ("figure", "text/html"), ("events", "text/event-stream")]
)
def test_a_format_in_the_query_is_told_to_go_into_accept(
    client: httpx.Client, links: dict[str, str], link: str, media: str
) -> None:
    """Half of all APIs take it there."""
    (error,) = client.get(f"{links[link]}?format=csv").json()["errors"]
    assert error["pointer"] == "/query/format" and "header Accept" in error["message"] and media in error["message"]


def test_a_format_that_is_not_offered_is_406(client: httpx.Client, links: dict[str, str]) -> None:
    """Also before the job has ended, so that a client learns of its mistake early."""
    answer = client.get(links["result"], headers={"Accept": "application/pdf"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_an_unfinished_job_answers_202_with_the_job(client: httpx.Client, links: dict[str, str]) -> None:
    """Polling the result alone is a way to wait."""
    for link in ("result", "figure"):
        answer = client.get(links[link])
        assert answer.status_code == 202
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["status"] == "queued"


def test_a_failed_or_cancelled_job_answers_409(client: httpx.Client, worker: WorkerHand, links: dict[str, str]) -> None:
    """There never will be a result, and the reason is told."""
    worker.fail(worker.take())
    cancelled = client.post("/v1/jobs", json=spec(1)).json()["links"]
    client.post(cancelled["cancel"])
    for job in (links, cancelled):
        answer = client.get(job["result"])
        assert (answer.status_code, answer.json()["code"]) == (409, "no_result")
    assert "identity" in client.get(links["result"]).json()["detail"]


def test_the_etag_of_a_result_answers_304(client: httpx.Client, worker: WorkerHand, links: dict[str, str]) -> None:
    """A result never changes; each format has its own tag."""
    worker.work_off()
    tags = set()
    for accept in ("application/json", "application/x-npz", "text/csv"):
        tag = client.get(links["result"], headers={"Accept": accept}).headers["etag"]
        again = client.get(links["result"], headers={"Accept": accept, "If-None-Match": tag})
        assert again.status_code == 304 and again.content == b""
        tags.add(tag)
    assert len(tags) == 3


def _raw(client: httpx.Client, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    with client.stream("GET", path, headers=headers) as answer:
        return answer, b"".join(answer.iter_raw())


def test_large_results_are_gzipped_where_accepted(
    client: httpx.Client, worker: WorkerHand, links: dict[str, str]
) -> None:
    """Numbers as text shrink to a third."""
    made = HandMade()
    made.head["blocks"][0] |= {"shape": [2000], "coordinates": {"example": list(range(2000))}}
    made.arrays = {name: np.zeros(2000, dtype=np.float32) for name in made.arrays}
    worker.work_off(made)
    zipped, body = _raw(client, links["result"], **{"Accept-Encoding": "gzip"})
    plain, text = _raw(client, links["result"], **{"Accept-Encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert len(body) < len(text) / 3 and gzip.decompress(body) == text
    assert zipped.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("accept", "begins"),
    [
        ("application/json", '{"data":'),
        ("text/html", "<!doctype html>"),
        ("image/svg+xml", "<?xml"),
        ("image/png", "\ufffdPNG"),
        ("application/pdf", "%PDF"),
    ],
)
def test_the_figure_comes_in_each_of_its_formats(
    client: httpx.Client, worker: WorkerHand, links: dict[str, str], accept: str, begins: str
) -> None:
    """One picture for the web page, for a mail and for a paper."""
    worker.work_off()
    answer = client.get(links["figure"], headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.text.startswith(begins)
    again = client.get(links["figure"], headers={"Accept": accept})
    assert again.headers["etag"] == answer.headers["etag"] and again.content == answer.content


def test_a_figure_takes_the_title_labels_and_size_that_are_asked_for(
    client: httpx.Client, worker: WorkerHand, links: dict[str, str]
) -> None:
    """As the client sends them, for a paper; another look is another answer to a cache."""
    worker.work_off()
    plain = client.get(links["figure"])
    asked = {"title": "Head 10.7 & more", "x_label": "", "y_label": "prompts", "width": "5", "height": "4"}
    answer = client.get(links["figure"], params=asked)
    layout = answer.json()["layout"]
    assert (layout["title"]["text"], layout["yaxis"]["title"]["text"]) == ("Head 10.7 &amp; more", "prompts")
    assert layout["xaxis"]["title"]["text"].startswith("<br>")
    assert (layout["width"], layout["height"]) == (480, 384)
    assert answer.headers["etag"] != plain.headers["etag"]
    svg = client.get(links["figure"], params=asked, headers={"Accept": "image/svg+xml"}).text
    assert 'width="360pt" height="288pt"' in svg


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ("colour_limit=0", "/query/colour_limit", "greater than 0"),
        ("colour_limit=nan", "/query/colour_limit", "finite"),
        ("colour_limit=1", "/query/colour_limit", "goes with a heatmap only, and this figure is of kind histogram"),
        ("width=5", "/query/height", "width and height go together"),
        ("width=99&height=5", "/query/width", "40"),
    ],
)
def test_a_look_that_no_figure_can_take_is_refused_by_its_parameter(
    client: httpx.Client, worker: WorkerHand, links: dict[str, str], query: str, pointer: str, words: str
) -> None:
    """Not drawn in some other way instead."""
    worker.work_off()
    answer = client.get(f"{links['figure']}?{query}")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer and words in error["message"]


def test_the_html_figure_asks_no_other_host(client: httpx.Client, worker: WorkerHand, links: dict[str, str]) -> None:
    """Lab machines are often offline, and nobody else needs to know."""
    worker.work_off()
    text = client.get(links["figure"], headers={"Accept": "text/html"}).text
    assert 'src="http' not in text and "<link" not in text


def test_a_figure_of_a_metric_that_is_not_there_says_which_are(
    client: httpx.Client, worker: WorkerHand, links: dict[str, str]
) -> None:
    """The parameter at fault is named, not the renderer's IndexError."""
    worker.work_off()
    answer = client.get(f"{links['figure']}?block=1")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error == {"pointer": "/query/block", "message": "1 is not a block of this result: 0 is the only one"}


def test_a_job_past_its_deadline_has_no_result_any_more(client: httpx.Client) -> None:
    """410, as the contract says of an expired job, and the knob is named."""
    links = client.post("/v1/jobs", json=spec() | {"expires_after_s": 0.1}).json()["links"]
    client.get(links["self"], headers={"Prefer": "wait=10"})
    answer = client.get(links["result"])
    assert answer.status_code == 410
    assert "expires_after_s = 0.1" in answer.json()["detail"]


@pytest.mark.parametrize(("query", "status"), [("kind=scatter", 200), ("kind=heatmap", 422), ("kind=pie", 422)])
def test_another_kind_of_figure_can_be_chosen_if_it_fits(
    client: httpx.Client, worker: WorkerHand, links: dict[str, str], query: str, status: int
) -> None:
    """And the answer says why if it does not."""
    worker.work_off()
    answer = client.get(f"{links['figure']}?{query}")
    assert answer.status_code == status
    if status == 422:
        problem: dict[str, Any] = answer.json()
        assert problem["errors"][0]["pointer"] == "/query/kind"


def test_a_hostile_tag_does_not_become_markup_in_the_figure(client: httpx.Client, worker: WorkerHand) -> None:
    """Whatever a spec holds is text."""
    job = client.post("/v1/jobs", json=spec(tags={"<script>alert(1)</script>": "</script><img src=x>"})).json()
    worker.work_off()
    page = client.get(job["links"]["figure"], headers={"Accept": "text/html"}).text
    assert "<script>alert(1)" not in page and "<img src=x>" not in page
    assert json.loads(client.get(job["links"]["figure"]).text)["data"]
