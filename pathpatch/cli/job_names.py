"""Which job is meant: its id, the beginning of its id, or ``last``; and the completion of ids in a shell."""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pathpatch.cli.terminal import DEFAULT_URL, CommandFailed, connect
from pathpatch.problems import PathPatchingError

if TYPE_CHECKING:
    from pathpatch.client import Client

LAST = "last"
_SEARCHED = 1000
_COMPLETED = 50
_WHOLE_ID = re.compile(r"job_[0-9A-Z]{26}|batch_.*")
_SHOWN = 5


def complete_job(incomplete: str) -> list[tuple[str, str]]:
    """``last`` and the newest jobs whose ids begin so, with or without ``job_``, each with what it asks.

    None where the service does not answer.
    """
    from pathpatch.specs.words import title_of

    try:
        with connect(os.environ.get("PATHPATCH_URL", DEFAULT_URL)) as client:
            jobs = client.jobs(limit=_COMPLETED)
    except PathPatchingError:
        return []
    offered = {_as_typed(job.id, incomplete): f"{job.status}: {title_of(job.spec)}" for job in jobs}
    newest = {LAST: f"the newest: {title_of(jobs[0].spec)}"} if jobs else {}
    return [(name, words) for name, words in (newest | offered).items() if name.startswith(incomplete)]


def _as_typed(identifier: str, incomplete: str) -> str:
    """The id as it goes on from what was typed: a shell offers only words that begin so."""
    bare = identifier.removeprefix("job_")
    is_bare = incomplete != "" and bare.startswith(incomplete.upper())
    return incomplete + bare[len(incomplete) :] if is_bare else identifier


_HELP = "A job's id, the beginning of one, or `last`"
JobId = Annotated[str, typer.Argument(metavar="JOB", help=f"{_HELP}.", autocompletion=complete_job)]
JobOrBatchId = Annotated[
    str, typer.Argument(metavar="JOB", help=f"{_HELP}; or a batch's id.", autocompletion=complete_job)
]
JobIds = Annotated[
    list[str], typer.Argument(metavar="JOB...", help=f"{_HELP}; several are fine.", autocompletion=complete_job)
]
JobOrBatchIds = Annotated[
    list[str],
    typer.Argument(metavar="JOB...", help=f"{_HELP}; or a batch's id; several are fine.", autocompletion=complete_job),
]


def job_id(client: "Client", name: str) -> str:
    """The id that a name means.

    Raises:
        CommandFailed: No job, or more than one, is named so.
    """
    if _WHOLE_ID.fullmatch(name):
        return name
    if name == LAST:
        newest = client.jobs(limit=1)
        if not newest:
            raise CommandFailed("There is no last job: this service has none of yours.")
        return newest[0].id
    return _only_match(name, [job.id for job in client.jobs(limit=_SEARCHED)])


def job_ids(client: "Client", names: Sequence[str]) -> list[str]:
    """The ids that several names mean, each once."""
    return list(dict.fromkeys(job_id(client, name) for name in names))


def _only_match(name: str, known: Sequence[str]) -> str:
    begin = name if name.startswith("job_") else f"job_{name.upper()}"
    found = [identifier for identifier in known if identifier.startswith(begin)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CommandFailed(
            f"No job's id begins with {name!r} among the {_SEARCHED} newest: `pathpatch list` shows ids."
        )
    some = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    raise CommandFailed(f"{name!r} begins the ids of {len(found)} jobs: {some}. Type more of it.")
