"""Commands that submit specs, or look ahead: run, rerun, submit, validate."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from api_schemas.merge_patch import difference
from pathpatch.cli.changes import Seed, Sets, changed
from pathpatch.cli.job_names import JobId, job_id
from pathpatch.cli.look import LookOptions, with_look
from pathpatch.cli.output import Kind, Output, Plot, check_endings, deliver
from pathpatch.cli.spec_files import read_spec
from pathpatch.cli.terminal import (
    DEFAULT_URL,
    AsJson,
    SpecFile,
    Timeout,
    Url,
    as_json,
    connect,
    note,
    print_json,
    say,
    warn,
)  # fmt: skip
from pathpatch.progress import words

if TYPE_CHECKING:
    from pathpatch.client import JobHandle
    from pathpatch.results import Result


@with_look
def run(
    spec: SpecFile,
    look: LookOptions,
    seed: Seed = None,
    sets: Sets = None,
    plot: Plot = None,
    kind: Kind = None,
    output: Output = None,
    timeout: Timeout = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Submit a spec, wait with a progress bar, and show the result.

    Examples:

      pathpatch run spec.yaml

      pathpatch run spec.yaml --plot heads.html --output heads.npz

      pathpatch run spec.yaml --seed 3 --set model.name=gpt2-medium

      pathpatch new heads-to-logits | pathpatch run - --plot heads.svg
    """
    check_endings(output, plot)
    wanted = changed(read_spec(spec), seed, sets)
    with connect(url) as client:
        deliver(_waited_for(client.submit(wanted), timeout, json), plot, kind, look, output, json)


@with_look
def rerun(
    job: JobId,
    look: LookOptions,
    seed: Seed = None,
    sets: Sets = None,
    plot: Plot = None,
    kind: Kind = None,
    output: Output = None,
    timeout: Timeout = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Run a job's experiment again, with changes; wait, and show the result.

    Examples:

      pathpatch rerun last --seed 4

      pathpatch rerun job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E --set model.name=gpt2-medium --set name=null
    """
    check_endings(output, plot)
    with connect(url) as client:
        earlier = client.get(job_id(client, job))
        spec = earlier.spec.model_dump(mode="json", exclude_none=True)
        again = earlier.rerun(difference(spec, changed(spec, seed, sets)))
        deliver(_waited_for(again, timeout, json), plot, kind, look, output, json)


def _waited_for(job: "JobHandle", timeout_s: float | None, is_quiet: bool) -> "Result":
    if not sys.stderr.isatty():  # no bar names it
        note(f"submitted {job.id}")
    try:
        return job.result(timeout_s=timeout_s, progress=False if is_quiet else None)
    except KeyboardInterrupt:
        note(f"{job.id} goes on: pathpatch wait {job.id}, or pathpatch cancel {job.id}")
        raise


def submit(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="JSON or YAML files, or - for standard input.")],
    seed: Seed = None,
    sets: Sets = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Submit a spec and print the job's id, without waiting; several specs make one batch, accepted all or none.

    Examples:

      pathpatch submit spec.yaml

      pathpatch wait $(pathpatch submit spec.yaml)

      pathpatch submit specs/*.yaml --seed 3
    """
    wanted = [changed(read_spec(spec), seed, sets) for spec in specs]
    with connect(url) as client:
        if len(wanted) > 1:
            batch = client.submit_batch(wanted)
            print_json(as_json(batch)) if json else say(batch.id)
            note(f"{len(batch.jobs)} jobs; pathpatch wait {batch.id} waits for all of them")
            return
        job = client.submit(wanted[0])
        if json:
            print_json(as_json(job.job))
            return
        say(job.id)
        note(f"{words(job.job)}; pathpatch wait {job.id} waits, pathpatch result {job.id} shows the result")


def validate(
    spec: SpecFile, seed: Seed = None, sets: Sets = None, json: AsJson = False, url: Url = DEFAULT_URL
) -> None:
    """Say what a spec would do, without running it: prompts, roles, cells, cost.

    Examples:

      pathpatch validate spec.yaml

      pathpatch validate spec.yaml --set dataset.examples=1000
    """
    wanted = changed(read_spec(spec), seed, sets)
    with connect(url) as client:
        report = client.validate(wanted)
    if json:
        print_json(as_json(report))
        return
    for example in report.examples[:3]:
        say(f"orig {_marked(example.orig, example.roles)}")
        say(f"new  {''.join(example.new)}")
    cost = "unknown" if report.estimated_seconds is None else f"about {report.estimated_seconds:.2g} s"
    grid = " x ".join(f"{axis} {size}" for axis, size in zip(report.axes, report.shape, strict=True)) or "one number"
    say(f"cells {report.cells} ({grid}), shards {report.shards}, work {cost}, "
              f"result about {report.estimated_result_bytes:,} bytes")  # fmt: skip
    for warning in report.warnings:
        warn(warning)
    note("the spec is valid; nothing was queued")


def _marked(tokens: list[str], roles: dict[str, int]) -> str:
    """The prompt with each role named behind its token, such as ``When Mary[IO] and``."""
    names: dict[int, list[str]] = {}
    for role, place in roles.items():
        names.setdefault(place, []).append(role)
    return "".join(f"{token}[{', '.join(names[i])}]" if i in names else token for i, token in enumerate(tokens))
