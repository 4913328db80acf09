"""Batches on the command line: `submit` with several specs makes one, `status`, `wait` and `cancel` take its id."""

from api_schemas.jobs import Batch
from pathpatch.cli.terminal import as_json, print_json, print_table


def is_batch(identifier: str) -> bool:
    """Whether an id is a batch's."""
    return identifier.startswith("batch_")


def show_batch(batch: Batch, json: bool) -> None:
    """Print a batch: how many jobs are in which state, and their ids."""
    if json:
        print_json(as_json(batch))
        return
    counts = ", ".join(f"{count} {state}" for state, count in batch.counts.items() if count)
    print(f"{batch.id}  {len(batch.jobs)} jobs: {counts}")
    print_table(("job",), [(job,) for job in batch.jobs])


def has_succeeded(batch: Batch) -> bool:
    """Whether every job has."""
    return batch.counts.get("succeeded", 0) == len(batch.jobs)
