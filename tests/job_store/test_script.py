"""Scripts as they are sent to the server."""

from importlib.resources import files

import pytest

from job_store.script import DEFINITION, NAME, load_script, needed

LUA = files("job_store") / "lua"
PRELUDE = """-- About the prelude.
local LIMIT = 3
local call = redis.call

-- Reads a job.
local function key(id)
  return 'job:' .. id
end
local function read(id) return call('GET', key(id)) end
local function other() return LIMIT end
"""


def test_a_script_has_the_definitions_that_it_uses_and_no_others() -> None:
    """Each run makes all of them anew, which took a third of a small step's time."""
    assert needed(PRELUDE, "return read(ARGV[1])") == (
        "local call = redis.call\n\nlocal function key(id)\n  return 'job:' .. id\nend\n"
        "local function read(id) return call('GET', key(id)) end\n"
    )
    assert needed(PRELUDE, "return 1") == ""


def test_every_line_of_the_prelude_is_a_part_of_some_definition() -> None:
    """Anything else would be left out of every script."""
    prelude = (LUA / "prelude.lua").read_text()
    rest = [line for line in DEFINITION.sub("", prelude).splitlines() if line and not line.startswith("--")]
    assert not rest
    names = [NAME.findall(definition)[0] for definition in DEFINITION.findall(prelude)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["get", "on_disk", "create"])
def test_a_scripts_flags_stand_first(name: str) -> None:
    """The server reads them in the first line only."""
    assert load_script(name).source.startswith("#!lua")
