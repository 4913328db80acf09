"""Children are started again, ended in order, and never left behind, however their parent goes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pathpatch.stack.guard import is_alive, left_behind
from pathpatch.stack.supervision import Program, Supervisor, Vigil

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
Line = tuple[str, str]


def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Wait for something that happens soon."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def program(name: str, code: str, stage: int = 0, grace_s: float = 5.0) -> Program:
    """A Python one-liner as a program."""
    return Program(name, [sys.executable, "-u", "-c", textwrap.dedent(code)], os.environ, stage, grace_s)


@pytest.fixture
def lines() -> list[Line]:
    """What was said, by whom."""
    return []


@pytest.fixture
def supervisor(lines: list[Line]) -> Iterator[Supervisor]:
    """A supervisor that keeps its lines, ended after the test."""
    supervisor = Supervisor(lambda name, line: lines.append((name, line)))
    yield supervisor
    supervisor.stop()


def test_output_is_passed_on_line_by_line(supervisor: Supervisor, lines: list[Line]) -> None:
    """Logs of several processes stay readable when each line says whose it is."""
    supervisor.start(program("talker", "print('one'); print('two'); import time; time.sleep(60)"))
    until(lambda: lines == [("talker", "one"), ("talker", "two")])


def test_a_dead_child_is_started_again_and_said(supervisor: Supervisor, lines: list[Line]) -> None:
    """A night's sweep survives a crash of any process."""
    child = supervisor.start(program("worker", "import time; time.sleep(60)"))
    supervisor.keep_alive()
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: child.process.pid != first and child.process.poll() is None)
    assert ("stack", "worker ended (killed by SIGKILL): starting it again in 0.5 s") in lines


def test_a_child_that_keeps_dying_is_started_less_and_less_often(supervisor: Supervisor, lines: list[Line]) -> None:
    """A broken set-up must not burn a core."""
    supervisor.start(program("broken", "raise SystemExit(3)"))
    supervisor.keep_alive()
    until(lambda: sum(name == "stack" for name, _ in lines) >= 3)
    waits = [line.rpartition(" in ")[2] for name, line in lines if name == "stack"]
    assert waits[:3] == ["0.5 s", "1 s", "2 s"]


def test_what_a_dead_child_had_started_goes_with_it(supervisor: Supervisor, lines: list[Line]) -> None:
    """A worker's pool processes must not go on computing without their parent."""
    child = supervisor.start(
        program(
            "worker",
            "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid); p.wait()",
        )
    )
    supervisor.keep_alive()
    until(lambda: bool(lines))
    group = child.process.pid
    os.kill(group, signal.SIGKILL)
    until(lambda: not is_alive(group))


def test_a_higher_stage_ends_first(supervisor: Supervisor, lines: list[Line]) -> None:
    """The service ends before the workers, and these before the broker, so that nobody talks to nobody."""
    code = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (print('ending'), time.sleep(0.2), sys.exit()))
        print('ready')
        time.sleep(60)
    """
    for stage, name in enumerate(("broker", "worker", "service")):
        supervisor.start(program(name, code, stage))
    until(lambda: len(lines) == 3)
    supervisor.stop()
    until(lambda: len(lines) == 6)
    assert [name for name, line in lines if line == "ending"] == ["service", "worker", "broker"]


def test_a_child_that_does_not_end_is_killed(supervisor: Supervisor, lines: list[Line]) -> None:
    """Ctrl-C must end, whatever a process does."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)"
    child = supervisor.start(program("deaf", code, grace_s=0.3))
    until(lambda: bool(lines))
    supervisor.stop()
    assert child.process.returncode == -signal.SIGKILL
    assert ("stack", "deaf did not end within 0.3 s: killing it") in lines


def test_nothing_is_left_when_the_supervisor_itself_is_killed(tmp_path: Path) -> None:
    """`kill -9` of `pathpatch up` cannot be caught, so somebody else must clean up."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            from pathpatch.stack.supervision import Program, Supervisor, Vigil
            supervisor = Supervisor(lambda name, line: None)
            nested = "import subprocess; subprocess.run(['sleep', '60'])"
            children = [supervisor.start(Program(n, [sys.executable, "-c", nested], os.environ, 0, 5)) for n in "ab"]
            print(*[child.process.pid for child in children], flush=True)
            time.sleep(60)
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}
    ) as parent:
        assert parent.stdout is not None
        groups = [int(pid) for pid in parent.stdout.readline().split()]
        assert all(map(is_alive, groups))
        parent.kill()
    until(lambda: not any(map(is_alive, groups)))


def test_the_guard_ends_only_what_was_not_removed() -> None:
    """A process that ended by itself may have had its number given to a stranger."""
    assert left_behind(["add 1\n", "add 2\n", "add 3\n", "remove 2\n"]) == [1, 3]


def has_pulse(folder: Path) -> Program:
    """A program that lives while it writes the time."""
    pulse = folder / "pulse"
    pulse.write_text("0")
    code = f"""
        import pathlib, time
        while True:
            pathlib.Path({str(pulse)!r}).write_text(str(time.monotonic()))
            time.sleep(0.05)
    """

    def lives() -> bool:
        return time.monotonic() - float(pulse.read_text() or 0) < 0.5

    return replace(program("service", code), lives=lives)


def test_a_child_that_lives_and_does_nothing_is_started_again(lines: list[Line], tmp_path: Path) -> None:
    """A service whose loop hangs serves nobody, and would for ever: here one that was stopped."""
    supervisor = Supervisor(lambda *line: lines.append(line), vigil=Vigil(every_s=0.1, silent_s=1.0))
    try:
        child = supervisor.start(has_pulse(tmp_path))
        until(lambda: (tmp_path / "pulse").read_text() > "0")
        supervisor.keep_alive()
        first = child.process.pid
        time.sleep(1.5)
        assert child.process.pid == first
        os.kill(first, signal.SIGSTOP)
        until(lambda: child.process.pid != first and child.process.poll() is None)
        assert any("has not answered" in line for _, line in lines)
    finally:
        supervisor.stop()


def test_silence_without_questions_kills_nobody(lines: list[Line], tmp_path: Path) -> None:
    """A machine that slept wakes up to a long silence; what slept with it gets its chance to answer."""
    supervisor = Supervisor(lambda *line: lines.append(line), vigil=Vigil(every_s=0.3, silent_s=0.05))
    try:
        child = supervisor.start(has_pulse(tmp_path))
        until(lambda: (tmp_path / "pulse").read_text() > "0")
        first = child.process.pid
        supervisor.keep_alive()
        time.sleep(1.0)
        assert child.process.pid == first and not lines
    finally:
        supervisor.stop()


def test_nothing_is_left_when_the_supervisor_and_its_guard_are_killed_together(tmp_path: Path) -> None:
    """The second guard ends what there is, also a child that takes no notice of SIGTERM."""
    code = f"""
        import os, sys, time
        sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        from pathpatch.stack.supervision import Program, Supervisor, Vigil
        supervisor = Supervisor(lambda *_: None)
        deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        children = [supervisor.start(Program(str(n), [sys.executable, "-c", deaf], os.environ, n, 1.0)) for n in (0, 1)]
        print(supervisor.guards.pid, *(child.process.pid for child in children), flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    guard, *leaders = map(int, parent.stdout.readline().split())
    until(lambda: bool(psutil.Process(guard).children()))
    os.kill(guard, signal.SIGKILL)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not any(map(is_alive, leaders)), 20)
