"""The broker's append-only files, looked at before it starts: what a power loss damaged is repaired, and told.

The broker itself repairs an end that is cut off. It refuses an end filled with zeros, and starts with nothing where the
list of its files is missing.
"""

import mmap
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pathpatch.stack.errors import StackFailed

NAME = "appendonly.aof"
MANIFEST = f"{NAME}.manifest"
_FILE = re.compile(rf"{re.escape(NAME)}\.(\d+)\.(base|incr)\.(?:rdb|aof)")
_COMMAND = re.compile(rb"\*(\d{1,7})\r\n")
_ARGUMENT = re.compile(rb"\$(\d{1,10})\r\n")
_LISTED = re.compile(r"file (\S+) seq \d+ type i")

Tell = Callable[[str], None]


def repair(folder: Path, tell: Tell) -> None:
    """Make the files loadable, if that is possible without guessing.

    Raises:
        StackFailed: It is not; says what to do.
    """
    files = folder / "appendonlydir"
    if not files.is_dir():
        return
    manifest = files / MANIFEST
    if not manifest.is_file():
        _write_manifest(files, manifest, tell)
    if manifest.is_file() and (listed := _LISTED.findall(manifest.read_text(encoding="utf-8"))):
        last = files / listed[-1]
        if last.is_file():
            _cut_bad_end(last, tell)


def _write_manifest(files: Path, manifest: Path, tell: Tell) -> None:
    """List the files anew: without the list the broker would start empty."""
    found = sorted(
        (match[2], int(match[1]), path.name) for path in files.iterdir() if (match := _FILE.fullmatch(path.name))
    )
    bases, parts = ([entry for entry in found if entry[0] == kind] for kind in ("base", "incr"))
    if not found:
        return
    numbers = [number for _, number, _ in parts]
    if len(bases) > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers)) if numbers else ()):
        raise StackFailed(
            f"The list of the broker's files, {manifest}, is missing, and {', '.join(entry[2] for entry in found)} do "
            "not say by themselves which belong together: put the list back, or move away all but one set."
        )
    lines = [f"file {name} seq {number} type {kind[0]}" for kind, number, name in (*bases, *parts)]
    _replace(manifest, "\n".join(lines) + "\n")
    tell(
        f"the list of the broker's files was missing, and was written anew: {', '.join(e[2] for e in (*bases, *parts))}"
    )


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


def _cut_bad_end(path: Path, tell: Tell) -> None:
    """Cut what follows the last whole command; keep it beside, unless it is zeros."""
    size = path.stat().st_size
    if size == 0:
        return
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[-2:] == b"\r\n":
            return  # as whole commands end
        good = _end_of_commands(content)
        if any(_end_of_command(content, start) for start in _starts(content, good + 1)):
            raise StackFailed(
                f"{path} is damaged at byte {good} of {size}, in the middle: whole commands follow. Restore a backup, "
                "or cut it there yourself if what follows may be lost."
            )
        rest = content[good:]
    beside = ""
    if rest.strip(b"\0"):
        kept = path.with_name(f"cut-from-{path.name}-at-{good}")
        kept.write_bytes(rest)
        beside = f"; what was cut lies in {kept}"
    with path.open("r+b") as file:
        file.truncate(good)
        os.fsync(file.fileno())
    tell(
        f"{size - good} bytes at the end of {path.name} were no commands, as a power loss leaves them: cut. What was "
        f"accepted in the last second before it may be missing{beside}"
    )


def _starts(content: mmap.mmap, after: int) -> Iterator[int]:
    yield from (match.start() for match in _COMMAND.finditer(content, after))


def _end_of_commands(content: mmap.mmap) -> int:
    """Where the last whole command ends; a transaction counts once it is whole."""
    at = good = 0
    is_open = False
    while end := _end_of_command(content, at):
        word = content[at : min(end, at + 32)].upper()
        is_open = (is_open or b"\r\nMULTI\r\n" in word) and b"\r\nEXEC\r\n" not in word
        at = end
        if not is_open:
            good = at
    return good


def _end_of_command(content: mmap.mmap, at: int) -> int:
    """Where the command that begins here ends; 0 where none does."""
    if content[at : at + 1] == b"#":  # a remark of the broker's
        return content.find(b"\r\n", at) + 2 if content.find(b"\r\n", at) >= 0 else 0
    command = _COMMAND.match(content, at)
    if command is None:
        return 0
    at = command.end()
    for _ in range(int(command[1])):
        argument = _ARGUMENT.match(content, at)
        if argument is None:
            return 0
        at = argument.end() + int(argument[1]) + 2
        if content[at - 2 : at] != b"\r\n":
            return 0
    return at
