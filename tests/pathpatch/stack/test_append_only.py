"""What a power loss does to the broker's files: repaired where nothing need be guessed, and always said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from job_store import jobs
from job_store.durability import on_disk
from job_store.store import JobStore
from pathpatch.stack.append_only import MANIFEST, repair
from pathpatch.stack.errors import StackFailed
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_worker import until
from tests.stored_jobs import new_job, submit

TORN = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhel"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A broker that was ended, with three jobs in its files."""
    with embedded_valkey(tmp_path) as server:
        store = JobStore.connect(server.url)
        submit(store, *(new_job() for _ in range(3)))
        store.client.pipeline(transaction=True).set("a", "1").set("b", "2").execute()
        assert until(lambda: store.run(on_disk()) == "yes")
        store.close()
        server.kill()
        yield server


def _jobs(server: EmbeddedValkey) -> int:
    server.start()
    store = JobStore.connect(server.url)
    assert store.client.mget("a", "b") == [b"1", b"2"]
    found = len(store.run(jobs.list_jobs(None)).records)
    store.close()
    return found


def _last(server: EmbeddedValkey) -> Path:
    return server.folder / "appendonlydir" / "appendonly.aof.1.incr.aof"


def _said(server: EmbeddedValkey) -> list[str]:
    told: list[str] = []
    repair(server.folder, told.append)
    return told


def test_whole_files_are_left_as_they_are(valkey: EmbeddedValkey) -> None:
    """And nothing is said of them."""
    before = _last(valkey).read_bytes()
    assert _said(valkey) == [] and _last(valkey).read_bytes() == before and _jobs(valkey) == 3


@pytest.mark.parametrize("bad", [b"\0" * 4096, TORN + b"\0" * 100, TORN, b"\0", b"*1\r\n$5\r\nMULTI\r\n" + TORN])
def test_a_bad_end_is_cut_and_said(valkey: EmbeddedValkey, bad: bytes) -> None:
    """Zeros are what a file system leaves of a write that it had promised; the broker would not start."""
    whole = _last(valkey).read_bytes()
    _last(valkey).write_bytes(whole + bad)
    (told,) = _said(valkey)
    assert told.startswith(f"{len(bad)} bytes at the end of appendonly.aof.1.incr.aof were no commands")
    assert _last(valkey).read_bytes() == whole and _jobs(valkey) == 3
    kept = list(valkey.folder.rglob("cut-from-*"))
    assert [path.read_bytes() for path in kept] == ([bad] if bad.strip(b"\0") else [])


def test_the_broker_itself_would_not_have_started(valkey: EmbeddedValkey) -> None:
    """So that the repair is needed."""
    with _last(valkey).open("ab") as file:
        file.write(b"\0" * 4096)
    with pytest.raises(TimeoutError):
        _start_shortly(valkey)


def _start_shortly(server: EmbeddedValkey) -> None:
    wait = server._wait_until_up
    server._wait_until_up = lambda timeout_s=3.0: wait(timeout_s)  # type: ignore[method-assign]
    server.start()


def test_damage_in_the_middle_is_never_cut(valkey: EmbeddedValkey) -> None:
    """What follows are jobs that were accepted: a person decides."""
    whole = _last(valkey).read_bytes()
    middle = whole.index(b"\r\n*", len(whole) // 2) + 2
    _last(valkey).write_bytes(whole[:middle] + b"\0" * 64 + whole[middle:] + b"\0")
    with pytest.raises(StackFailed, match="in the middle"):
        _said(valkey)
    assert len(_last(valkey).read_bytes()) == len(whole) + 65


def test_a_missing_list_is_written_anew(valkey: EmbeddedValkey) -> None:
    """Without it the broker starts empty, and says nothing."""
    (valkey.folder / "appendonlydir" / MANIFEST).unlink()
    (told,) = _said(valkey)
    assert "was missing" in told and "appendonly.aof.1.incr.aof" in told
    assert _jobs(valkey) == 3


def test_files_that_do_not_say_which_belong_together_stop_the_start(valkey: EmbeddedValkey) -> None:
    """Guessing could bring back what was deleted, or lose what was accepted."""
    folder = valkey.folder / "appendonlydir"
    (folder / MANIFEST).unlink()
    (folder / "appendonly.aof.2.base.rdb").write_bytes(b"")
    with pytest.raises(StackFailed, match="is missing"):
        _said(valkey)


def test_a_folder_without_files_is_a_new_one(tmp_path: Path) -> None:
    """The first start has nothing to repair."""
    repair(tmp_path, pytest.fail)
    (tmp_path / "appendonlydir").mkdir()
    repair(tmp_path, pytest.fail)
