"""Headers: what the client accepts, prefers, and has seen."""

import pytest
from starlette.requests import Request

from api_schemas.errors import NotAcceptable
from service.http.negotiation import accepts_gzip, is_unchanged, media_type, wait_s

OFFERS = ("application/json", "application/x-npz", "text/csv")


def _request(**headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "headers": pairs})


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("TEXT/CSV", "text/csv"),
        ("application/*;q=0.2, text/csv;q=0.9", "text/csv"),
        ("application/json;q=0, */*;q=0.1", "application/x-npz"),
        ("text/html, application/x-npz", "application/x-npz"),
    ],
)
def test_the_media_type_that_the_client_likes_best_is_chosen(accept: str, chosen: str) -> None:
    """RFC 9110: exact types before ranges, by weight."""
    assert media_type(_request(accept=accept), OFFERS) == chosen


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*"])
def test_a_client_that_accepts_nothing_on_offer_is_told_what_there_is(accept: str) -> None:
    """Better a 406 that lists the formats than bytes the client cannot read."""
    with pytest.raises(NotAcceptable, match="text/csv"):
        media_type(_request(accept=accept), OFFERS)


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=10", 10),
        ("respond-async, wait=5", 5),
        ("wait = 7; foo=bar", 7),
        ("wait=999", 60),
        ("wait=0", 0),
        ("respond-async", None),
        ("wait=soon", None),
        ("await=5", None),
        ("", None),
    ],
)
def test_prefer_wait_is_read_clamped_and_ignored_when_it_makes_no_sense(prefer: str, seconds: float | None) -> None:
    """RFC 7240: a preference that is not understood is no error."""
    assert wait_s(_request(prefer=prefer), 60) == seconds


@pytest.mark.parametrize(
    ("header", "unchanged"),
    [('"3-0"', True), ('W/"3-0"', True), ('"2-0", "3-0"', True), ("*", True), ('"4-0"', False), ("", False)],
)
def test_if_none_match_compares_weakly(header: str, unchanged: bool) -> None:
    """RFC 9110: a 304 needs no more than the weak comparison."""
    assert is_unchanged(_request(if_none_match=header), '"3-0"') is unchanged


@pytest.mark.parametrize(
    ("header", "accepted"), [("gzip, br", True), ("*", True), ("gzip;q=0", False), ("identity", False), ("", False)]
)
def test_gzip_is_used_only_where_it_is_accepted(header: str, accepted: bool) -> None:
    """A client without gzip must still be able to read the answer."""
    assert accepts_gzip(_request(accept_encoding=header)) is accepted
