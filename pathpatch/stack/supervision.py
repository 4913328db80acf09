"""Child processes that are watched: their output passed on, started again when they die, ended in order."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pathpatch.stack.guard import is_alive

Say = Callable[[str, str], None]
"""Called with the name of a process and a line of its output."""

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
STEADY_S = 60.0  # a process that lived this long is started again without a long delay
WATCH_S = 0.1
LAST_WORDS = 15


@dataclass(frozen=True)
class Vigil:
    """How often a program is asked whether it does its work, and after how much silence it is killed."""

    every_s: float = 5.0
    silent_s: float = 45.0
    misses: int = 3
    """As many questions in a row must stay without a yes too: a machine that slept must not kill what slept with it."""


@dataclass(frozen=True)
class Program:
    """What to run, under which name, and how long it may take to end."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stage: int
    """Programs of a higher stage are ended first."""
    grace_s: float
    keep_open: tuple[int, ...] = ()
    """File descriptors it inherits."""
    lives: Callable[[], bool] | None = None
    """Asked now and then whether it still does its work; one that does not for long is killed, and started again."""


@dataclass
class Child:
    """One program's process, of the moment."""

    program: Program
    say: Say
    process: "subprocess.Popen[bytes]"
    started_at: float
    starts: int = 1
    restart_at: float | None = None
    heard_at: float = field(default_factory=time.monotonic)
    """When it was last known to do its work, or was started."""
    misses: int = 0
    """How often it was asked since, without a yes."""
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_WORDS))

    @property
    def name(self) -> str:
        """Of its program."""
        return self.program.name

    def listen(self) -> None:
        """Pass its output on, from a thread that ends with it."""
        thread = threading.Thread(target=self._pass_on, args=(self.process,), name=f"log of {self.name}", daemon=True)
        thread.start()

    def _pass_on(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for raw in output:
                line = raw.decode("utf-8", errors="replace").rstrip()
                self.last_words.append(line)
                self.say(self.name, line)

    def hear(self) -> None:
        """It does its work, or has been started."""
        self.heard_at, self.misses = time.monotonic(), 0

    def delay_s(self) -> float:
        """Seconds to wait before starting it again."""
        if time.monotonic() - self.started_at > STEADY_S:
            self.starts = 1
        delay: float = min(FIRST_DELAY_S * 2 ** (self.starts - 1), LONGEST_DELAY_S)
        return delay


class Guards:
    """Two processes that end whatever the stack's own has left: the second has its turn after the first is gone."""

    def __init__(self, keep_open: tuple[int, ...]) -> None:
        reading, writing = os.pipe()
        self._first = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), str(reading)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(*keep_open, reading),
        )
        os.close(reading)
        assert self._first.stdin is not None
        self._inputs = (self._first.stdin, os.fdopen(writing, "wb"))

    @property
    def pid(self) -> int:
        """Of the first; the second is its child."""
        return self._first.pid

    def tell(self, verb: str, pid: int) -> None:
        """Note a process group, or forget it."""
        for file in self._inputs:
            with contextlib.suppress(BrokenPipeError):
                file.write(f"{verb} {pid}\n".encode())
                file.flush()

    @property
    def have_ended(self) -> bool:
        """Whether no guard is left to end the processes."""
        return self._inputs[0].closed

    def end(self) -> None:
        """There is nothing left to guard."""
        for file in self._inputs:
            with contextlib.suppress(BrokenPipeError):
                file.close()
        self._first.wait()


def _spawn(program: Program) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603
        list(program.command),
        env=dict(program.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # the terminal's Ctrl-C reaches us only, and a group can be ended as one
        pass_fds=program.keep_open,
        umask=0o077,
    )


class Supervisor:
    """Starts programs, watches them, and ends them all.

    A guard process does that should this one be killed, and another one should the guard be killed too.
    """

    def __init__(self, say: Say, keep_open: tuple[int, ...] = (), vigil: Vigil | None = None) -> None:
        self.say = say
        self._vigil = vigil or Vigil()
        self.children: list[Child] = []
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self.guards = Guards(keep_open)
        self._watcher = threading.Thread(target=self._watch, name="watch over the stack", daemon=True)
        self._listener = threading.Thread(target=self._listen, name="signs of life", daemon=True)

    def start(self, program: Program) -> Child:
        """Start one program."""
        with self._lock:
            process = _spawn(program)
            self.guards.tell("add", process.pid)
            child = Child(program, self.say, process, time.monotonic())
            self.children.append(child)
        child.listen()
        return child

    def keep_alive(self) -> None:
        """From now on, start again what dies, and what lives without doing its work."""
        for child in self.children:
            child.hear()
        self._watcher.start()
        self._listener.start()

    def dead(self) -> Child | None:
        """A child that has ended, if any."""
        return next((child for child in self.children if child.process.poll() is not None), None)

    def _listen(self) -> None:
        """Beside the watch, since an answer may take long."""
        while not self._stopping.wait(self._vigil.every_s):
            for child in self.children:
                lives = child.program.lives
                if lives is None or child.restart_at is not None or lives():
                    child.hear()
                else:
                    child.misses += 1

    def _kill_silent(self, child: Child) -> None:
        silent_s = time.monotonic() - child.heard_at
        is_silent = silent_s > self._vigil.silent_s and child.misses >= self._vigil.misses
        if is_silent and child.restart_at is None:
            self.say("stack", f"{child.name} lives but has not answered for {silent_s:.0f} s: killing it")
            child.hear()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_S):
            for child in self.children:
                with self._lock:
                    if not self._stopping.is_set():
                        self._look_after(child)
                        self._kill_silent(child)

    def _look_after(self, child: Child) -> None:
        if child.restart_at is not None:
            if time.monotonic() >= child.restart_at:
                self._restart(child)
        elif child.process.poll() is not None:
            delay = child.delay_s()
            child.restart_at = time.monotonic() + delay
            self._bury(child)
            self.say(
                "stack", f"{child.name} ended ({_reason(child.process.returncode)}): starting it again in {delay:g} s"
            )

    def _restart(self, child: Child) -> None:
        child.process = _spawn(child.program)
        self.guards.tell("add", child.process.pid)
        child.starts += 1
        child.started_at = time.monotonic()
        child.restart_at = None
        child.hear()
        child.listen()

    def _bury(self, child: Child) -> None:
        """Kill what a dead leader left of its group, such as the pool processes of a worker."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        self.guards.tell("remove", child.process.pid)

    def stop(self) -> None:
        """End all programs, those of a higher stage first, each within its grace; then the guard."""
        self._stopping.set()
        if self.guards.have_ended:
            return
        with self._lock:
            for stage in sorted({child.program.stage for child in self.children}, reverse=True):
                self._end([child for child in self.children if child.program.stage == stage])
        self.guards.end()

    def kill(self) -> None:
        """End everything at once; `stop`, running in another thread or interrupted, then has nothing to wait for."""
        for child in self.children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)

    def _end(self, children: list[Child]) -> None:
        running = [child for child in children if child.restart_at is None]
        for child in running:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        for child in running:
            deadline = time.monotonic() + child.program.grace_s
            while child.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            if child.process.poll() is None:
                self.say("stack", f"{child.name} did not end within {child.program.grace_s:g} s: killing it")
            self._bury(child)
            child.process.wait()
            _await_group(child.process.pid)


def _await_group(leader: int, limit_s: float = 2.0) -> None:
    """Wait until the killed rest of a group is gone, so that nothing is left when we return."""
    deadline = time.monotonic() + limit_s
    while is_alive(leader) and time.monotonic() < deadline:
        time.sleep(0.01)


def _reason(exit_code: int) -> str:
    if exit_code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
