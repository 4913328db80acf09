"""Every error code has a place: an HTTP status, or only ever on a failed job."""

from api_schemas import errors as known
from api_schemas.errors import PathPatchingError, Problem
from job_store import submission
from service.errors import STATUS, problem_of

ONLY_ON_FAILED_JOBS_OR_AT_START = {
    "checks_failed",
    "damaged_data",
    "model_changed",
    "model_not_found",
    "out_of_memory",
    "self_check_failed",
    "shard_timeout",
    "unusable_model",
    "worker_lost",
}
CAUGHT_INSIDE = {submission.CacheGone.code}


def _all_errors() -> set[type[PathPatchingError]]:
    found, pending = set(), [PathPatchingError]
    while pending:
        kind = pending.pop()
        found.add(kind)
        pending += kind.__subclasses__()
    return {kind for kind in found if kind.__module__.split(".")[0] in ("api_schemas", "job_store", "service")}


def test_every_error_code_maps_to_a_status_or_never_reaches_a_request() -> None:
    """A new error class without a decision would surface as a 500."""
    codes = {kind.code for kind in _all_errors()}
    undecided = codes - set(STATUS) - ONLY_ON_FAILED_JOBS_OR_AT_START - CAUGHT_INSIDE
    assert not undecided


def test_every_status_belongs_to_an_existing_code() -> None:
    """The table does not collect leftovers."""
    assert set(STATUS) <= {kind.code for kind in _all_errors()}


def test_a_problem_carries_what_clients_branch_on() -> None:
    """Code, status and pointer are what programs read; the rest is for people."""
    error = known.InvalidParameter("limit is 0", "/query/limit")
    problem = problem_of(error, "/v1/jobs", "req_1")
    assert (problem.status, problem.code, problem.retryable) == (422, "invalid_parameter", False)
    assert problem.type.endswith("/invalid_parameter")
    assert problem.errors[0].pointer == "/query/limit"
    assert Problem.model_validate_json(problem.model_dump_json()) == problem
