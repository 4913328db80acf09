"""A checkpoint folder in Hugging Face format: what is in it, whether it can be run, and its revision."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from math import isfinite
from pathlib import Path
from typing import Any

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
from checkpoints.tensors import read_content
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
    """What a ``config.json`` says."""

    family: Family
    config: Mapping[str, Any]
    architecture: Architecture


def listed(folder: Path) -> dict[str, Stamp]:
    """The folder's files of ``REVISION_FILES``, and what tells whether they have changed; reads none of them.

    Raises:
        UnusableCheckpoint: The folder is not there or cannot be read, or one of them is no regular file.
    """
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
    lines = "".join(f"{name} {read_content(folder / name).sha256}\n" for name in sorted(listed(folder)))
    return f"local-{hashlib.sha256(lines.encode()).hexdigest()[:40]}"


def _configuration(path: Path) -> Configuration:
    config = read_json(path)
    reason = unsupported(config)
    if reason is not None:
        raise UnusableCheckpoint(reason)
    family = FAMILIES[config["model_type"]]
    try:
        found = Configuration(family, config, family.architecture(config))
    except KeyError as exc:
        raise UnusableCheckpoint(f"config.json has no {exc}") from exc
    except (ValueError, AttributeError, TypeError, ArithmeticError) as exc:
        raise UnusableCheckpoint(f"config.json is damaged ({exc})") from exc
    eps = found.architecture.eps
    if not (isfinite(eps) and eps > 0):
        raise UnusableCheckpoint(f"config.json says {family.eps_key} {eps}, which must be more than 0")
    return found


_remembered_configuration = Remembered(_configuration)


def configuration(folder: Path) -> Configuration:
    """The folder's configuration.

    Raises:
        MissingFolder: There is no folder.
        MissingFile: It has no ``config.json``; says what else the folder seems to be.
        UnusableCheckpoint: The model cannot be run, or is an adapter.
    """
    check_kind(folder)
    try:
        return _remembered_configuration(folder / "config.json")
    except FileNotFoundError:
        raise MissingFile("config.json") from None


def check_kind(folder: Path) -> None:
    """Whether the folder may be a checkpoint at all.

    Raises:
        NoCheckpoint: It is a hub cache or an adapter; says what to register instead.
        UnusableCheckpoint: It is not there, or cannot be read.
    """
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
