"""What can go wrong on the client's side of the wire, in words that name the field and the fix."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from api_schemas.errors import FieldError, PathPatchingError, Problem
from api_schemas.wording.sentences import field_errors

__all__ = ["JobFailed", "PathPatchingError", "ServiceError", "SpecError", "Unreachable", "WaitTimedOut"]


MOST_TOLD = 4
"""Fields of which an error's sentence speaks; ``errors`` has all."""


class SpecError(PathPatchingError, ValueError):
    """A spec that cannot be: found here, before anything was sent."""

    code = "invalid_spec"
    title = "The spec cannot run"

    def __init__(self, detail: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail, errors[0].pointer if errors else None)
        self.errors = errors

    @classmethod
    def of(cls, invalid: ValidationError, given: Mapping[str, Any], record: type[BaseModel]) -> "SpecError":
        """The service's own sentences, one per field, so that the same mistake reads the same here and there.

        Args:
            given: What was validated.
            record: What it should have been.
        """
        found = tuple(field_errors(invalid, _as_json(given), record))
        return cls("; ".join(f"{error.pointer or '/'}: {error.message}" for error in found[:MOST_TOLD]), found)


def _as_json(value: Any) -> Any:
    """Records within plain data as the objects that they stand for."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return {name: _as_json(item) for name, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value


class ServiceError(PathPatchingError):
    """The service refused a request; ``problem`` says why, ``status`` is the HTTP status."""

    title = "The service refused"

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        super().__init__(problem.detail, problem.errors[0].pointer if problem.errors else None)
        self.problem = problem
        self.code = problem.code
        self.title = problem.title
        self.status = problem.status
        self.retryable = problem.retryable
        self.errors = problem.errors
        self.request_id = problem.request_id
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """The sentence, each field at fault on a line of its own, and what to quote when asking for help."""
        lines = [f"{self.title} ({self.status} {self.code}): {self.detail}"]
        if len(self.errors) == 1 and self.errors[0].message in self.detail:
            lines = [f"{self.title} ({self.status} {self.code}) at {self.errors[0].pointer}: {self.errors[0].message}"]
        elif self.errors:
            lines = [f"{self.title} ({self.status} {self.code})"]
            lines += [f"  {error.pointer}: {error.message}" for error in self.errors]
        if self.status >= 500 and self.request_id:
            lines.append(f"  request {self.request_id}")
        return "\n".join(lines)


class JobFailed(PathPatchingError):
    """The job ended without a result: it failed, was cancelled, or expired."""

    code = "job_failed"
    title = "The job did not succeed"

    def __init__(self, job_id: str, status: str, problem: Problem | None) -> None:
        why = problem.detail if problem else {"cancelled": "somebody cancelled it"}.get(status, "it ran out of time")
        super().__init__(f"job {job_id} {'failed' if status == 'failed' else f'is {status}'}: {why}")
        self.job_id = job_id
        self.status = status
        self.problem = problem


class Unreachable(PathPatchingError):
    """No service answered."""

    code = "unreachable"
    title = "No service answered"
    retryable = True
    job_id: str | None = None

    def __init__(self, url: str, why: str, gone_s: float | None = None, job_id: str | None = None) -> None:
        """``gone_s``: it had answered before, and its return was waited for. ``job_id``: by whom."""
        if gone_s is None:
            said = (
                f"nothing answered at {url} ({why}). Start a service with `pathpatch up`, name another one "
                "in PATHPATCH_URL, or use `with pathpatch.local() as client:`"
            )
        else:
            said = f"the service at {url} went away and was not back after {gone_s:.0f} s ({why})"
            said += f"; job {job_id} goes on when it is: wait for it again" if job_id else ""
        super().__init__(said)
        self.url = url
        self.job_id = job_id


class WaitTimedOut(PathPatchingError, TimeoutError):
    """The wait ended before the job did; the job goes on."""

    code = "wait_timed_out"
    title = "The wait ended before the job"
    retryable = True

    def __init__(self, job_id: str, status: str, timeout_s: float) -> None:
        super().__init__(f"job {job_id} is still {status} after {timeout_s:g} s; it goes on, wait again or cancel it")
        self.job_id = job_id


def problem_of(status: int, body: Any) -> Problem:
    """The problem of a refused request, also where something in between (a proxy) answered in its own words."""
    if isinstance(body, Mapping) and "code" in body and "detail" in body:
        known = {name: body[name] for name in Problem.model_fields if name in body}
        return Problem.model_validate({"type": "about:blank", "title": "Refused", "status": status} | known)
    said = str(body)[:300] if body else "no explanation"
    return Problem(type="about:blank", title="Refused", status=status, detail=said, code=f"http_{status}")
