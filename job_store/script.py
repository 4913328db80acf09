"""One atomic step on the store as a value: a Lua script, its arguments, and the function that reads the reply."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar

from job_store.contents import Content

T = TypeVar("T")
Argument = bytes | str | int | float | Content


WORD = re.compile(r"\w+")
DEFINITION = re.compile(r"^local .*\n(?:(?!local|--).*\n)*", re.MULTILINE)
"""A line that begins with ``local``, with those up to the next one or to a comment."""
NAME = re.compile(r"local (?:function )?(\w+)")
UNLESS_DISK_IS_FULL = """if redis.call('EXISTS', 'pp:disk_full') == 1 then
  return redis.error_reply('MISCONF the disk is nearly full: only what makes room is done')
end
"""
"""Before each step that adds to the store: `pathpatch up` sets the key when it has given up its reserve of disk."""


@dataclass(frozen=True)
class Script:
    """Lua source as sent to the server, and the digest by which the server knows it."""

    source: str
    sha1: str


@cache
def load_script(name: str) -> Script:
    """The script ``lua/<name>.lua`` after the shared prelude; its first line states the script's flags."""
    folder = files("job_store") / "lua"
    flags, _, body = (folder / f"{name}.lua").read_text().partition("\n")
    wanted = flags.removeprefix("-- ").replace("deny-oom", "").strip()
    header = f"#!lua flags={wanted}" if wanted else "#!lua"
    gate = UNLESS_DISK_IS_FULL if "deny-oom" in flags else ""
    source = f"{header}\n{gate}{needed((folder / 'prelude.lua').read_text(), body)}{body}"
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def needed(prelude: str, body: str) -> str:
    """What of the prelude the body uses, itself or through another definition: every run makes all of it anew."""
    kept, words = [], set(WORD.findall(body))
    for definition in reversed(DEFINITION.findall(prelude)):
        if NAME.findall(definition)[0] in words:
            kept.append(definition)
            words.update(WORD.findall(definition))
    return "".join(reversed(kept))


@dataclass(frozen=True)
class Step(Generic[T]):
    """A call of one script, which a store runs.

    ``repeatable``: running it twice has the effect of running it once, so it may be sent again after a lost connection.
    """

    name: str
    arguments: tuple[Argument, ...]
    read: Callable[[Any], T]
    repeatable: bool = True
    shares_way: bool = False
    """Whether it may go to the store together with others: what it sends and is answered is small."""
    fetches: bool = False
    """Whether parts of the reply may be references, to be fetched from the blob store before it is read."""

    @property
    def contents(self) -> tuple[Content, ...]:
        """Arguments that may be large."""
        return tuple(argument for argument in self.arguments if isinstance(argument, Content))

    @property
    def script(self) -> Script:
        """The script to run."""
        return load_script(self.name)
