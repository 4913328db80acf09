"""What the service remembers of specs that were sent."""

from service.checkers.checker import Outline
from service.jobs.sent import MOST_REMEMBERED, SentLately


def outline(digest: str | None) -> Outline:
    return Outline("demo", "normal", digest, 0)


def test_each_key_has_only_what_it_sent_itself() -> None:
    """Else the time of an answer would tell what another key computes."""
    sent = SentLately()
    sent.remember("ana", [outline("a"), outline(None)])
    assert sent.has("ana", outline("a"))
    assert not sent.has("ben", outline("a"))
    assert not sent.has("ana", outline("b"))
    assert not sent.has("ana", outline(None))


def test_only_the_latest_are_remembered() -> None:
    """A service that runs for months must not grow."""
    sent = SentLately()
    sent.remember("ana", [outline("kept")])
    sent.remember("ana", map(outline, map(str, range(MOST_REMEMBERED - 1))))
    sent.remember("ana", [outline("kept"), outline("one more")])
    assert sent.has("ana", outline("kept"))
    assert not sent.has("ana", outline("0"))
    assert len(sent._known) == MOST_REMEMBERED
