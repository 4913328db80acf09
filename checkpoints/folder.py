"""A checkpoint, a folder in Hugging Face format or a GGUF file: whether it can be run, and its revision."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from math import isfinite
from pathlib import Path
from typing import Any

from checkpoints.contents import read_content
from checkpoints.families.known import FAMILIES, unsupported
from checkpoints.families.record import Family
from checkpoints.files import (
    MissingFile,
    MissingFolder,
    NoCheckpoint,
    Remembered,
    Stamp,
    UnusableCheckpoint,
    read_json,
    stamp,
    unreadable,
)
from checkpoints.gguf.header import SUFFIX, read_gguf
from checkpoints.gguf.metadata import gguf_configuration
from planning.architecture import Architecture

ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
REVISION_FILES = (
    "config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    *ADAPTERS,
)
"""Files of a local checkpoint (patterns) whose content is its revision; of a hub model it is the commit."""
NAMED_AT_MOST = 3


@dataclass(frozen=True)
class Configuration:
    """What a ``config.json`` says, or a GGUF file's metadata as if they were one."""

    family: Family
    config: Mapping[str, Any]
    architecture: Architecture


def is_gguf(path: Path) -> bool:
    """Whether a checkpoint is a GGUF file rather than a folder; by its name, for it may not be there."""
    return path.suffix == SUFFIX and not path.is_dir()


def _stamp_of_gguf(path: Path) -> Stamp:
    try:
        return stamp(path)
    except FileNotFoundError as exc:
        raise MissingFile(path.name, "no such file") from exc


def listed(folder: Path) -> dict[str, Stamp]:
    """The folder's files of ``REVISION_FILES``, and what tells whether they have changed; reads none of them.

    Of a GGUF file it is the file alone.

    Raises:
        UnusableCheckpoint: The folder is not there or cannot be read, or one of them is no regular file.
    """
    if is_gguf(folder):
        return {folder.name: _stamp_of_gguf(folder)}
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise MissingFolder from exc
    except OSError as exc:
        raise unreadable("its folder", exc) from exc
    wanted = (name for name in names if any(fnmatch(name, pattern) for pattern in REVISION_FILES))
    try:
        return {name: stamp(folder / name) for name in wanted}
    except FileNotFoundError as exc:
        raise MissingFile(Path(str(exc.filename)).name, "a link to nothing in its place") from exc


def revision(folder: Path) -> str:
    """Digest of the folder's files; a file that has kept its stamp is not read again.

    Raises:
        UnusableCheckpoint: A file cannot be read.
    """
    place = folder.parent if is_gguf(folder) else folder
    lines = "".join(f"{name} {read_content(place / name).sha256}\n" for name in sorted(listed(folder)))
    return f"local-{hashlib.sha256(lines.encode()).hexdigest()[:40]}"


def _configuration(path: Path) -> Configuration:
    config = read_json(path)
    reason = unsupported(config)
    if reason is not None:
        raise UnusableCheckpoint(reason)
    family = FAMILIES[config["model_type"]]
    with _damage_told("config.json has no", "config.json is damaged"):
        found = Configuration(family, config, family.architecture(config))
    return _with_eps(found, f"config.json says {family.eps_key}")


def _gguf(path: Path) -> Configuration:
    header = read_gguf(path)
    with _damage_told("its metadata do not say", "its metadata are damaged"):
        found = Configuration(*gguf_configuration(path, header))
    return _with_eps(found, "its metadata say attention.layer_norm_rms_epsilon")


@contextmanager
def _damage_told(absent: str, damaged: str) -> Iterator[None]:
    try:
        yield
    except KeyError as exc:
        raise UnusableCheckpoint(f"{absent} {exc}") from exc
    except (ValueError, AttributeError, TypeError, ArithmeticError) as exc:
        raise UnusableCheckpoint(f"{damaged} ({exc})") from exc


def _with_eps(found: Configuration, said: str) -> Configuration:
    eps = found.architecture.eps
    if not (isfinite(eps) and eps > 0):
        raise UnusableCheckpoint(f"{said} {eps}, which must be more than 0")
    return found


_remembered_configuration = Remembered(_configuration)
_remembered_gguf = Remembered(_gguf)


def configuration(folder: Path) -> Configuration:
    """The folder's configuration.

    Raises:
        MissingFolder: There is no folder.
        MissingFile: It has no ``config.json``; says what else the folder seems to be.
        UnusableCheckpoint: The model cannot be run, or is an adapter.
    """
    check_kind(folder)
    if is_gguf(folder):
        return _remembered_gguf(folder)
    try:
        return _remembered_configuration(folder / "config.json")
    except FileNotFoundError:
        raise MissingFile("config.json") from None


def check_kind(folder: Path) -> None:
    """Whether the folder may be a checkpoint at all.

    Raises:
        NoCheckpoint: It is a hub cache, an adapter, or a folder with a GGUF file; says what to register instead.
        UnusableCheckpoint: It is not there, or cannot be read.
    """
    if is_gguf(folder):
        _stamp_of_gguf(folder)
        return
    if folder.is_file():
        raise NoCheckpoint(f"{folder.name} is a file, and only folders and GGUF files (.gguf) can be registered")
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise MissingFolder from exc
    except OSError as exc:
        raise unreadable("its folder", exc) from exc
    adapters = [name for name in ADAPTERS if name in names]
    if adapters:
        raise NoCheckpoint(
            f"it holds an adapter ({', '.join(adapters)}), which would be left out: merge it into the weights "
            "(merge_and_unload() of peft, then save_pretrained) and register that folder"
        )
    if "config.json" in names:
        return
    if files := sorted(name for name in names if name.endswith(SUFFIX)):
        raise NoCheckpoint(f"it has no config.json, but {', '.join(files[:NAMED_AT_MOST])}: register the file itself")
    if {"snapshots", "refs"} <= names:
        commits = sorted(path.name for path in (folder / "snapshots").glob("*"))
        raise NoCheckpoint(
            "it is a repository of the hub's cache, not a checkpoint: register one of its snapshots, "
            f"{', '.join(f'snapshots/{commit}' for commit in commits[:NAMED_AT_MOST]) or 'of which it has none'}"
        )
    repositories = sorted(name for name in names if name.startswith("models--"))
    if repositories:
        raise NoCheckpoint(
            "it is a cache of the hub, not a checkpoint: register a snapshot in it, "
            f"such as {repositories[0]}/snapshots/COMMIT"
        )
