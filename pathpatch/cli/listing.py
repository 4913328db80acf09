"""`pathpatch list`: jobs with what each asks, once or again and again."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from api_schemas.jobs import Job
from pathpatch.cli.terminal import DEFAULT_URL, AsJson, Url, as_json, connect, out, print_json, print_table, say, table
from pathpatch.progress import words

WATCH_S = 2.0
HEADINGS = ("job", "state", "shards", "model", "created (UTC)", "asks", "tags")


def list_jobs(
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20,
    status: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.", metavar="KEY:VALUE")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs with this in their name.", metavar="TEXT")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and show what changes; Ctrl-C ends.")] = False,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List jobs and what each asks, newest first.

    Examples:

      pathpatch list --status running

      pathpatch list --tag experiment:founding-experiment --limit 100

      pathpatch list --name movers --watch
    """
    with connect(url) as client:

        def found() -> list[Job]:
            return [handle.job for handle in client.jobs(limit=limit, status=status, model=model, tag=tag, name=name)]

        if watch:
            _watch(found, json)
        else:
            _show(found(), json)


def _show(jobs: Sequence[Job], json: bool) -> None:
    if json:
        print_json([as_json(job) for job in jobs])
    else:
        print_table(HEADINGS, _rows(jobs))


def _rows(jobs: Sequence[Job]) -> list[tuple[str, ...]]:
    from pathpatch.specs.words import title_of

    return [
        (
            job.id,
            words(job),
            f"{job.progress.done}/{job.progress.total}",
            job.model,
            f"{job.created_at:%Y-%m-%d %H:%M:%S}",
            title_of(job.spec),
            ", ".join(f"{name}:{value}" for name, value in job.tags.items()),
        )
        for job in jobs
    ]


def _watch(found: Callable[[], list[Job]], json: bool) -> None:
    """Until Ctrl-C: on a terminal one table that changes, else a new one after each change."""
    try:
        if out.is_terminal and not json:
            _watch_on_terminal(found)
        last: list[Job] | None = None
        while True:
            jobs = found()
            if jobs != last:
                _show(jobs, json)
                say("", flush=True)
            last = jobs
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _watch_on_terminal(found: Callable[[], list[Job]]) -> None:
    from rich.live import Live

    with Live(console=out, auto_refresh=False) as live:
        while True:
            live.update(table(HEADINGS, _rows(found())), refresh=True)
            time.sleep(WATCH_S)
