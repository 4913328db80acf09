"""Batches on the command line: `submit` with several specs makes one, `status`, `wait` and `cancel` take its id."""

from api_schemas.jobs import Batch, Job
from pathpatch.cli.terminal import print_table, say


def is_batch(identifier: str) -> bool:
    """Whether an id is a batch's."""
    return identifier.startswith("batch_")


def show_batch(batch: Batch) -> None:
    """Print a batch: how many jobs are in which state, and their ids."""
    counts = ", ".join(f"{count} {state}" for state, count in batch.counts.items() if count)
    say(f"{batch.id}  {len(batch.jobs)} jobs: {counts}")
    print_table(("job",), [(job,) for job in batch.jobs])


def has_succeeded(ended: Job | Batch) -> bool:
    """Whether the job, or every job of the batch, has."""
    if isinstance(ended, Batch):
        return ended.counts.get("succeeded", 0) == len(ended.jobs)
    return ended.status == "succeeded"
