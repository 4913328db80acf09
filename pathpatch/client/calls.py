"""One request as plain data, and how to read its answer. No I/O."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from api_schemas.errors import PathPatchingError
from api_schemas.jobs import JobEvent
from pathpatch.problems import ServiceError, problem_of
from pathpatch.version import __version__

Value = TypeVar("Value")
Record = TypeVar("Record", bound=BaseModel)
VERSION_HEADER = "pathpatch-version"


@dataclass(frozen=True)
class Answer:
    """What the service answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    is_known: bool = False
    """Whether a pathpatch service has answered this client before or now: it is no wrong address."""

    def json(self) -> Any:
        """The body as JSON, or as text where it is none."""
        try:
            return json.loads(self.content)
        except ValueError:
            return self.content.decode(errors="replace")

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that the service asks to wait, if it said so in seconds."""
        said = self.headers.get("retry-after", "")
        return float(said) if said.isdigit() else None

    @property
    def is_final(self) -> bool:
        """Whether the service says that the same request will not succeed later either."""
        return self._said("retryable") is False

    @property
    def code(self) -> Any:
        """That of the problem, if it is one."""
        return self._said("code")

    def _said(self, name: str) -> Any:
        said = self.json()
        return said.get(name) if isinstance(said, dict) else None


@dataclass(frozen=True)
class Call(Generic[Value]):
    """One request, and how to read its answer. ``is_repeatable``: sending it twice does no more than once."""

    method: str
    path: str
    read: Callable[[Answer], Value]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    is_repeatable: bool = True
    wait_s: float = 0.0
    """How long the service may hold the answer back."""

    def unheld(self) -> "Call[Value]":
        """The same, to be answered at once."""
        headers = {name: value for name, value in self.headers.items() if name != "prefer"}
        return replace(self, headers=headers, wait_s=0.0)


def check(answer: Answer) -> Answer:
    """The answer, if it is a success.

    Raises:
        ServiceError: It is a refusal.
    """
    if answer.status >= 400:
        raise ServiceError(problem_of(answer.status, answer.json()), answer.retry_after_s)
    return answer


class UnreadableAnswer(PathPatchingError):
    """The service answered something that this client does not understand: one of the two is older."""

    code = "unreadable_answer"
    title = "The service's answer cannot be read"

    def __init__(self, record: str, why: str, answer: Answer) -> None:
        theirs = answer.headers.get(VERSION_HEADER, "of an unknown version")
        super().__init__(
            f"the answer is no {record} that this client knows ({why}). The service is pathpatch {theirs}, "
            f"this client {__version__}: install the same version on both sides"
        )


def reader(record: type[Record]) -> Callable[[Answer], Record]:
    """Reads a record of the contract; fields that a newer service adds are ignored."""

    def read(answer: Answer) -> Record:
        try:
            return record.model_validate_json(check(answer).content, extra="ignore")
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            field = "/".join(map(str, first["loc"])) or "the whole answer"
            raise UnreadableAnswer(record.__name__, f"{field}: {first['msg']}", answer) from None

    return read


class EventReader:
    """Puts the lines of a stream of server-sent events together."""

    def __init__(self) -> None:
        self._data: list[str] = []

    def feed(self, line: str) -> JobEvent | None:
        """The event that this line completes, if it does."""
        if line.startswith("data:"):
            self._data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and self._data:
            text, self._data = "\n".join(self._data), []
            return JobEvent.model_validate_json(text, extra="ignore")
        return None
