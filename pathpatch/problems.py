"""What can go wrong on the client's side of the wire, in words that name the field and the fix."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from api_schemas.errors import FieldError, Misfit, PathPatchingError, Problem
from api_schemas.wording.faults import located
from api_schemas.wording.values import Suggestions, pointer

__all__ = ["JobFailed", "PathPatchingError", "ServiceError", "SpecError", "Unreachable", "WaitTimedOut"]


class SpecError(PathPatchingError, ValueError):
    """A spec that cannot be: found here, before anything was sent."""

    code = "invalid_spec"
    title = "The spec cannot run"

    def __init__(self, detail: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail, errors[0].pointer if errors else None)
        self.errors = errors

    @classmethod
    def of(cls, invalid: ValidationError, given: Mapping[str, Any], fields: Iterable[str]) -> "SpecError":
        """The same complaint in plain words, one per field.

        Args:
            given: What was validated: it tells a field's name from that of a union's branch.
            fields: The fields there are, to suggest one for a name that is none.
        """
        told: dict[str, list[Any]] = {}
        for error in invalid.errors(include_url=False):
            path, misfit = located(error, given).path, error.get("ctx", {}).get("error")
            for inner, message in misfit.problems if isinstance(misfit, Misfit) else [((), error["msg"])]:
                told.setdefault(pointer(*path, *inner), []).append(error | {"msg": message})
        deepest = [where for where in told if not any(other.startswith(f"{where}/") for other in told)]
        found = tuple(FieldError(pointer=where or "/", message=_message(told[where], fields)) for where in deepest)
        return cls("; ".join(f"{error.pointer}: {error.message}" for error in found[:4]), found)


def _message(errors: list[Any], fields: Iterable[str]) -> str:
    """What is wrong with one field; the branches of a union in one sentence."""
    first = errors[0]
    if first["type"] == "extra_forbidden":
        near = Suggestions().closest(str(first["loc"][-1]), fields)
        return "no such field" + (f": did you mean {near}?" if near else "")
    said = list(dict.fromkeys(str(error["msg"]).removeprefix("Value error, ") for error in errors))
    message = " or ".join([said[0], *(one.removeprefix("Input should be ") for one in said[1:])])
    return message if first["type"] in ("missing", "value_error") else f"{message}, not {first['input']!r:.60}"


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
