"""A folder's revision is that of its bytes, found again by a cheap look; other kinds of folders say what they are."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkpoints import contents
from checkpoints.files import UnusableCheckpoint
from checkpoints.folder import configuration, revision
from checkpoints.registry import read_registry
from tests.tiny_models import tiny_shape, write_gpt2_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound checkpoint."""
    return write_gpt2_folder(tmp_path / "model", tiny_shape())


def test_every_rewrite_is_noticed_however_quick(folder: Path) -> None:
    """Same name, same size, and often the same time: a file system's clock stands still for milliseconds."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    seen = {revision(folder)}
    for round_ in range(20):
        content[-1] = round_
        path.write_bytes(content)
        seen.add(revision(folder))
    assert len(seen) == 21


def test_a_kept_time_does_not_hide_a_change(folder: Path) -> None:
    """`cp -p` and `rsync -t` set the time of the last write; the time of the last change stays true."""
    path = folder / "model.safetensors"
    before, times = revision(folder), path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert revision(folder) != before


def test_what_has_not_changed_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look comes every second, and weights have gigabytes."""
    before = revision(folder)
    monkeypatch.setattr(contents, "open_regular", lambda path: pytest.fail(f"{path} was read again"))
    assert revision(folder) == before


@pytest.mark.parametrize("file", ["special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"])
def test_all_that_a_tokenizer_reads_is_part_of_the_revision(folder: Path, file: str) -> None:
    """Other tokens are another result."""
    before = revision(folder)
    (folder / file).write_text("{}")
    assert revision(folder) != before


def test_a_repository_of_the_hubs_cache_names_its_snapshots(folder: Path, tmp_path: Path) -> None:
    """The folder that the hub's own download makes is one level too high."""
    repository = tmp_path / "hub" / "models--someone--gpt2"
    shutil.copytree(folder, repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    with pytest.raises(ValueError, match=r"mine=.*: it is a repository of the hub's cache.*snapshots/abc123"):
        read_registry(f"mine={repository}")
    with pytest.raises(ValueError, match=r"mine=.*: it is a cache of the hub.*models--someone--gpt2/snapshots/COMMIT"):
        read_registry(f"mine={tmp_path / 'hub'}")
    assert "mine" in read_registry(f"mine={repository / 'snapshots' / 'abc123'}")


def test_an_adapter_is_told_at_the_start(folder: Path) -> None:
    """Not with the first job."""
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"mine=.*: it holds an adapter .*merge_and_unload"):
        read_registry(f"mine={folder}")


def test_a_folder_that_is_not_there_is_no_error_at_the_start(tmp_path: Path) -> None:
    """It may be mounted later; until then the model is unavailable."""
    assert "mine" in read_registry(f"mine={tmp_path / 'later'}")


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("a=/x, a=/y", "gives the name 'a' twice, to /x and to /y: .* a-2=/y"),
        ("org/model=/x", "'org/model': .* write model=/x"),
        ("ein Modell=/x", "'ein Modell': .* write ein-Modell=/x"),
        ("..=/x", "'..': .* write mine=/x"),
        ("a" * 129 + "=/x", "at most 128 letters"),
    ],
)
def test_a_name_that_cannot_be_used_is_an_error_that_says_what_to_write(models: str, message: str) -> None:
    """Names stand in URLs; of two folders with one name, one would never be asked."""
    with pytest.raises(ValueError, match=message):
        read_registry(models)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A checkpoint in a place that every user of the machine reaches."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        yield write_gpt2_folder(Path(place) / "model", tiny_shape())


READ = """
import os, sys
from pathlib import Path
from checkpoints.files import UnusableCheckpoint
from checkpoints.folder import configuration, revision
if os.geteuid() == 0:
    os.setuid(65534)
try:
    print(configuration(Path(sys.argv[1])).architecture.n_layers, revision(Path(sys.argv[1])))
except UnusableCheckpoint as exc:
    print(exc.reason)
"""


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [
        ("", "its folder cannot be read by this process's user (Permission denied)"),
        ("config.json", "config.json cannot be read by this process's user (Permission denied)"),
        ("model.safetensors", "model.safetensors cannot be read by this process's user (Permission denied)"),
    ],
)
def test_what_this_user_may_not_read_is_named(public_folder: Path, hidden: str, reason: str) -> None:
    """A container's user often is not the owner of what is mounted."""
    (public_folder / hidden).chmod(0)
    run = subprocess.run([sys.executable, "-c", READ, public_folder], cwd=ROOT, capture_output=True, text=True)
    (public_folder / hidden).chmod(0o755)
    assert run.stdout.strip() == reason, run.stderr


def test_a_link_that_leads_nowhere_is_named(folder: Path) -> None:
    """A snapshot of the hub's cache is made of links."""
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("../blobs/gone")
    with pytest.raises(UnusableCheckpoint, match=r"looked for config\.json"):
        configuration(folder)
    with pytest.raises(UnusableCheckpoint, match=r"config\.json"):
        revision(folder)
