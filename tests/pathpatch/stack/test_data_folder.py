"""Before anything starts: one stack at a time on a data folder, a private broker, all parts installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pathpatch.local import require_installed
from pathpatch.stack.broker import Broker
from pathpatch.stack.data_folder import DataFolder
from pathpatch.stack.errors import DataFolderInUse, StackFailed


def test_a_second_stack_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    """Two brokers on one append-only file would destroy it."""
    folder = DataFolder(tmp_path)
    folder.note_holder("http://127.0.0.1:8000")
    with pytest.raises(DataFolderInUse, match=f"process {os.getpid()}, which serves http://127.0.0.1:8000"):
        DataFolder(tmp_path)
    folder.release()
    DataFolder(tmp_path).release()


def test_a_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    """A lock file left by a crash must not need deleting by hand."""
    code = f"import os; from pathpatch.stack.data_folder import *; f = DataFolder(Path({str(tmp_path)!r})); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], check=False)
    DataFolder(tmp_path).release()


def test_a_folder_that_cannot_be_made_is_a_clear_message(tmp_path: Path) -> None:
    """A traceback would not say which folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StackFailed, match="cannot be used"):
        DataFolder(tmp_path / "file" / "data")


def test_an_installation_of_the_client_alone_says_what_to_install() -> None:
    """Instead of a traceback about a module."""
    require_installed(["json"])
    with pytest.raises(StackFailed, match=r"no_such_module not found.*pathpatch\[local\]"):
        require_installed(["json", "no_such_module"])


def test_the_brokers_password_is_in_a_file_of_its_owner_only(tmp_path: Path) -> None:
    """Anybody on the machine sees command lines; the folder and its configuration must be closed to others."""
    broker = Broker.prepare(tmp_path / "broker with a space")
    assert broker.configuration.stat().st_mode & 0o777 == 0o600
    assert broker.folder.stat().st_mode & 0o777 == 0o700
    assert broker.password not in " ".join(broker.command)
    text = broker.configuration.read_text()
    for directive in ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", "bind 127.0.0.1"):
        assert directive in text
    assert len(broker.password) == 64
