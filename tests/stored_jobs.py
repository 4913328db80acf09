"""Small jobs for tests of the store: two examples per shard, on a model that nobody loads."""

from typing import Any

from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from job_store.ids import new_job_id
from job_store.records import Created, JobFacts, Limits, NewJob, Retention
from job_store.script import Step
from job_store.shards import Claim, HandedIn, claim, complete, finish, finish_alone
from job_store.store import JobStore
from job_store.submission import create

UNLIMITED = Limits()
RETENTION = Retention()


def tiny_spec(**changes: Any) -> JobSpec:
    """A spec that is valid in form."""
    content: dict[str, Any] = {
        "model": {"name": "demo"},
        "dataset": {"kind": "tokens", "orig": [[1, 2, 3]], "new": [[1, 4, 3]]},
        "patch": {
            "senders": [{"hook": "z", "layer": 0, "head": 0}],
            "receivers": [{"hook": "q", "layer": 1, "head": 0}],
        },
        "metric": {"kind": "loss"},
    }
    return JobSpec.model_validate({**content, **changes})


def new_job(shards: int = 1, digest: str | None = None, webhook_url: str | None = None, **changes: Any) -> NewJob:
    """A job of its own digest, so that no earlier one answers it."""
    job_id = new_job_id()
    facts = JobFacts(
        longest=3,
        examples=2 * shards,
        flops_per_shard=1e9,
        dataset_sha256="d" * 64,
        spec_sha256=digest or job_id,
        revision="r",
        warnings=(),
    )
    pieces = tuple(
        ResolvedDataset(orig=[[1, 2, 3]] * 2, new=[[1, 4, 3]] * 2, roles={}, answers={}, start=2 * shard)
        for shard in range(shards)
    )
    inputs = tuple(piece.model_dump_json() for piece in pieces)
    return NewJob(job_id, tiny_spec(**changes), facts, inputs, webhook_url=webhook_url)


def submit(store: JobStore, *jobs: NewJob, owner: str = "local", **settings: Any) -> Created:
    """Create jobs without limits, unless given."""
    return store.run(create(owner, jobs, **{"limits": UNLIMITED, "retention": RETENTION, **settings}))


def take(store: JobStore, model: str = "demo", worker: str = "w", lease_s: float = 10.0) -> Claim | None:
    """Claim the next shard."""
    return store.run(claim(model, worker, lease_s))


def must_take(store: JobStore, **settings: Any) -> Claim:
    """Claim the next shard, which must exist."""
    held = take(store, **settings)
    assert held is not None
    return held


def hand_in(held: Claim, output: bytes = b"output", phases: int = 1, computed_s: float = 1.0) -> Step[HandedIn]:
    """The step that finishes a shard on a CPU."""
    return finish(held, output, device="cpu", phases=phases, worker="w", lease_s=10.0, computed_s=computed_s)


def hand_in_alone(held: Claim, computed_s: float = 1.0) -> Step[HandedIn]:
    """The step that hands in the result with the only shard."""
    return finish_alone(held, b"head", b"arrays", device="cpu", phases=1, computed_s=computed_s)


def work_off(store: JobStore, model: str = "demo") -> list[str]:
    """Do all the work there is; the order in which shards were claimed."""
    order = []
    while (held := take(store, model)) is not None:
        order.append(held.name)
        handed = store.run(hand_in(held)) if not held.is_assembly else None
        assembly = held if handed is None else handed.assembly
        if assembly is not None:
            store.run(complete(assembly, b"{}", b"arrays"))
    return order
