"""What can happen to a job, in the store and on a worker."""

from api_schemas.errors.base import PathPatchingError


class StoreUnavailable(PathPatchingError):
    """The job store does not answer."""

    code = "store_unavailable"
    title = "The job store does not answer"
    retryable = True


class StoreFull(PathPatchingError):
    """The job store's memory or disk is full."""

    code = "store_full"
    title = "The job store is full"
    retryable = True


class UnknownJob(PathPatchingError):
    """The job does not exist or belongs to another API key."""

    code = "unknown_job"
    title = "There is no such job"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id!r}: it was deleted, never existed, or belongs to another key.")


class UnknownBatch(PathPatchingError):
    """The batch does not exist or belongs to another API key."""

    code = "unknown_batch"
    title = "There is no such batch"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"There is no batch {batch_id!r}: it never existed, has expired, or belongs to another key.")


class JobNotCancellable(PathPatchingError):
    """The job has already ended."""

    code = "job_not_cancellable"
    title = "The job has already ended"

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(f"Job {job_id} has {status}: only a queued or running job can be cancelled.")


class JobStillRunning(PathPatchingError):
    """A running job cannot be deleted."""

    code = "job_still_running"
    title = "The job is still running"

    def __init__(self, job_id: str, status: str) -> None:
        first = "wait until it has ended" if status == "cancelling" else "cancel it and wait until it has ended"
        super().__init__(f"Job {job_id} is {status}: {first}, then delete it.")


ADVICE = {"store_bytes": "Delete jobs, or wait until results expire."}
"""Advice for limits that waiting alone does not free."""


class QuotaExceeded(PathPatchingError):
    """A limit of the API key was reached. A request that exceeds the limit by itself is not retryable.

    ``asked`` is 0 for the limit on compute, because a request's use of it is not known beforehand.
    """

    code = "quota_exceeded"
    title = "A limit of this API key was reached"
    retryable = True

    def __init__(self, limit: str, allowed: float, used: float, retry_after_s: float, asked: int = 0) -> None:
        self.retryable = asked <= allowed
        why = f"and would be at {used:g}. {ADVICE.get(limit, 'Try again later.')}"
        if not asked:
            why = f"and has used {used:g}. Try again after midnight (UTC)."
        elif not self.retryable:
            why = f"and this request alone asks for {asked}. Submit fewer jobs at once."
        super().__init__(f"{limit}: this key is allowed {allowed:g} {why}")
        self.limit = limit
        self.allowed = allowed
        self.used = used
        self.retry_after_s = retry_after_s


class DamagedData(PathPatchingError):
    """Stored data is damaged: its digest does not match."""

    code = "damaged_data"
    title = "Stored data is damaged"
    retryable = True


class WorkerLost(PathPatchingError):
    """A shard lost its worker on every attempt."""

    code = "worker_lost"
    title = "A shard lost its worker on every attempt"
    retryable = True


class ShardTimeout(PathPatchingError):
    """A shard took longer than the worker's time limit."""

    code = "shard_timeout"
    title = "A shard took too long"


class ModelChanged(PathPatchingError):
    """A model's files were replaced after a job was accepted and before it ran."""

    code = "model_changed"
    title = "The model has changed since the job was accepted"
    retryable = True

    def __init__(self, name: str, accepted: str, found: str) -> None:
        super().__init__(
            f"The job was accepted for revision {accepted} of model {name!r}, but its files are now revision {found}. "
            "Submit it again; if that fails too, service and worker read different folders."
        )


class OutOfMemory(PathPatchingError):
    """One example of one cell does not fit into memory."""

    code = "out_of_memory"
    title = "The experiment does not fit into the worker's memory"

    def __init__(self, needed_bytes: int, budget_bytes: int) -> None:
        super().__init__(
            f"One example needs about {needed_bytes / 2**20:.0f} MiB for its activations alone, and an allocation "
            f"failed with a budget of {budget_bytes / 2**20:.0f} MiB. Shorter prompts or a worker with more memory can "
            "run it."
        )


class ChecksFailed(PathPatchingError):
    """A run's checks failed, so its numbers cannot be trusted."""

    code = "checks_failed"
    title = "The run failed its checks"
