"""Logs: one line for one thing, with what it belongs to."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from runtime import logs

LOG = logging.getLogger("tests.logs")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the log holds."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    handler.addFilter(logs.Repeats())
    LOG.addHandler(handler)
    yield stream
    LOG.removeHandler(handler)


def _lines(written: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_carries_its_job_request_and_fields(written: io.StringIO) -> None:
    """So that a search for a job finds all that happened to it."""
    with logs.about_job("job_1"):
        LOG.warning("about %s", "ünïcode", extra={"model": "demo"})
    LOG.warning("about none")
    first, second = _lines(written)
    assert (first["message"], first["job_id"], first["model"]) == ("about ünïcode", "job_1", "demo")
    assert "job_id" not in second


def test_a_warning_that_says_the_same_again_is_written_once_a_minute(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job, another text and lesser levels are no repeats."""
    for _ in range(3):
        LOG.warning("the store is away")
        with logs.about_job("job_1"):
            LOG.warning("the store is away")
        LOG.warning("the store is full")
    assert len(_lines(written)) == 3
    monkeypatch.setattr(logs, "REPEAT_S", 0.0)
    LOG.warning("the store is away")
    assert len(_lines(written)) == 4
