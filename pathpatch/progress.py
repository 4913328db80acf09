"""A job's progress: a bar in a terminal, a line that overwrites itself in a notebook, else nothing or a line a step."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from api_schemas.jobs import TERMINAL, Job

Told = Callable[[Job], None]
Choice = bool | Told | None
_BAR_WIDTH = 30


class Display(Protocol):
    """Shows jobs for as long as it is open."""

    def __enter__(self) -> Told: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def in_notebook() -> bool:
    """Whether IPython runs in a kernel, whose output is not a terminal."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def words(job: Job) -> str:
    """The state of a job in a few words."""
    if job.status == "queued" and job.queue.position:
        return f"queued, {job.queue.position} ahead"
    return "cached" if job.cached and job.status == "succeeded" else job.status


def time_left(job: Job) -> str:
    """``, 40 s left`` while that can be told, else nothing."""
    eta_s = job.progress.eta_s
    if eta_s is None or job.status in TERMINAL:
        return ""
    return f", {eta_s:.0f} s left" if eta_s < 120 else f", {eta_s / 60:.0f} min left"


@dataclass(frozen=True)
class Shown:
    """What a bar says at one moment."""

    label: str
    done: float
    total: int
    unit: str
    more: str = ""

    @property
    def text(self) -> str:
        """One line such as ``job_01JZ  running  40%|████      | 4/10 shards, 3 s left``."""
        share = self.done / self.total if self.total else 0.0
        bar = ("█" * round(share * _BAR_WIDTH)).ljust(_BAR_WIDTH)
        return f"{self.label}  {share:4.0%}|{bar}| {int(self.done)}/{self.total} {self.unit}s{self.more}"


Summary = Callable[[Job], Shown]


def one(job: Job) -> Shown:
    """The progress of one job: its shards."""
    progress = job.progress
    return Shown(f"{job.id}  {words(job)}", progress.done, progress.total, progress.unit, time_left(job))


class Several:
    """The progress of many jobs that are waited for one after the other: those that have ended, in one line."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._status: dict[str, str] = {}

    def __call__(self, job: Job) -> Shown:
        self._status[job.id] = job.status
        ended = [status for status in self._status.values() if status in TERMINAL]
        without_result = sum(status != "succeeded" for status in ended)
        label = f"{self._count} jobs" + (f", {without_result} without a result" if without_result else "")
        share = 0.0 if job.done or not job.progress.total else job.progress.done / job.progress.total
        return Shown(label, min(len(ended) + share, self._count), self._count, "job")


def text_bar(job: Job) -> str:
    """One line such as ``job_01JZ  running  40%|████      | 4/10 shards, 3 s left``."""
    return one(job).text


class _Quiet:
    def __enter__(self) -> Told:
        return lambda job: None

    def __exit__(self, *ended: object) -> None:
        pass


class _Calling(_Quiet):
    def __init__(self, told: Told) -> None:
        self._told = told

    def __enter__(self) -> Told:
        return self._told


class _Line:
    """Overwrites one line, as tqdm does."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    def __enter__(self) -> Told:
        self._longest = 0
        return self._show

    def _show(self, job: Job) -> None:
        line = self._summary(job).text
        self._longest = max(self._longest, len(line))
        sys.stdout.write("\r" + line.ljust(self._longest))
        sys.stdout.flush()

    def __exit__(self, *ended: object) -> None:
        if self._longest:
            sys.stdout.write("\n")


class _Log:
    """A line of its own per step, for output that goes into a file."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    def __enter__(self) -> Told:
        self._last: object = None
        return self._show

    def _show(self, job: Job) -> None:
        shown = self._summary(job)
        step = (shown.label, int(shown.done))
        if step != self._last:
            print(shown.text, file=sys.stderr)
        self._last = step

    def __exit__(self, *ended: object) -> None:
        pass


class _RichBar:
    """A bar in the terminal, on standard error so that output can be piped."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    def __enter__(self) -> Told:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._progress.start()
        self._task = self._progress.add_task("", total=None)
        return self._show

    def _show(self, job: Job) -> None:
        shown = self._summary(job)
        description = f"{shown.label}{shown.more}"
        self._progress.update(self._task, description=description, completed=shown.done, total=shown.total or None)

    def __exit__(self, *ended: object) -> None:
        self._progress.stop()


def display(choice: Choice, count: int = 1) -> tuple[Display, bool]:
    """Where progress goes, and whether anybody looks: None shows it where somebody can see it.

    Args:
        count: How many jobs are waited for; several share one line.
    """
    summary: Summary = one if count == 1 else Several(count)
    if choice is False:
        return _Quiet(), False
    if callable(choice):
        return _Calling(choice), True
    if in_notebook():
        return _Line(summary), True
    if sys.stderr.isatty():
        return _RichBar(summary), True
    return (_Log(summary), True) if choice else (_Quiet(), False)
