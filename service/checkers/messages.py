"""What the service and its checking processes tell each other: JSON in frames, which runs no code when it is read."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from api_schemas.errors import FieldError
from job_store.records import NewJob
from service.checkers.checker import Given, Method, Outline
from service.checkers.models import ModelCard
from service.settings import Settings

SIZE_BYTES = 8
"""Of the number before each frame, its length."""


@dataclass(frozen=True)
class Question:
    """One piece of work; frames with the body and the base of the specs' text follow it."""

    key: str
    """Whose it is."""
    is_batch: bool
    method: Method
    given: Given
    models: list[ModelCard]
    """Those that the specs name; a frame with the text of each one's tokenizer follows, empty if it was sent before."""
    missing: dict[str, list[FieldError]]
    """Models that are not there, and why."""
    limit_s: float


@dataclass(frozen=True)
class Answer:
    """What came of it; a frame with the value follows it, empty where there is none."""

    errors: list[FieldError] | None = None
    """Of an ``InvalidSpec``."""
    malformed: str | None = None
    """Sentence of a ``MalformedJson``."""
    is_out_of_memory: bool = False
    is_fault: bool = False
    """Ours; the log has it."""
    is_last: bool = False
    """Whether the process ends now."""


SETTINGS = TypeAdapter(Settings)
QUESTION = TypeAdapter(Question)
ANSWER = TypeAdapter(Answer)
VALUES: dict[Method, TypeAdapter[Any]] = {
    "names": TypeAdapter(list[str]),
    "outlines": TypeAdapter(list[Outline]),
    "report": TypeAdapter(str),
    "new_jobs": TypeAdapter(list[NewJob]),
    "first_prompt": TypeAdapter(list[str] | None),
}


def framed(*frames: bytes) -> bytes:
    """Frames as they are sent."""
    return b"".join(len(frame).to_bytes(SIZE_BYTES, "big") + frame for frame in frames)
