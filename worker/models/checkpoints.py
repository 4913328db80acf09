"""Find a registered model's files: a local folder, the local hub cache, or the hub. safetensors only."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from api_schemas.errors import ModelNotFound, UnusableModel
from api_schemas.models import (
    REVISION_FILES,
    ModelOrigin,
    ModelShape,
    local_revision,
    unsupported_architecture,
)

INDEX = "model.safetensors.index.json"
HUB_FILES = ["config.json", "model.safetensors", INDEX, "model-*.safetensors", "tokenizer*.json"]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HUB_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Checkpoint:
    """A folder in Hugging Face format whose configuration has been read and can be run."""

    name: str
    folder: Path
    revision: str
    shape: ModelShape
    eps: float
    repository: str | None

    def with_weights(self) -> "Checkpoint":
        """The same with weight files present and readable, downloaded if they are only on the hub.

        Raises:
            ModelNotFound: There are none.
            UnusableModel: They are pickles, or damaged.
        """
        if self.repository is None or _weight_names(self.folder):
            _check_weight_files(self.name, self.folder)
            return self
        folder = _download(self.name, self.repository)
        _check_weight_files(self.name, folder)
        return _read(self.name, folder, folder.name, self.repository)


def find_checkpoint(name: str, registry: dict[str, ModelOrigin]) -> Checkpoint:
    """The checkpoint of a registered name.

    Raises:
        ModelNotFound: Not registered, or not where the registry says.
        UnusableModel: Not a GPT-2, or its configuration is damaged.
    """
    origin = registry.get(name)
    if origin is None:
        raise ModelNotFound(name, f"the registry of this worker holds {', '.join(sorted(registry))}.")
    if origin.folder is not None:
        return _read_local(name, Path(origin.folder).resolve())
    if origin.repository is None:
        raise ModelNotFound(name, "the registry names neither a folder nor a hub repository for it.")
    folder = _in_hub_cache(origin.repository) or _download(name, origin.repository)
    return _read(name, folder, folder.name, origin.repository)


def _read_local(name: str, folder: Path) -> Checkpoint:
    if not folder.is_dir():
        raise ModelNotFound(name, f"looked for the folder {folder}, which does not exist.", str(folder))
    if not (folder / "config.json").is_file():
        raise ModelNotFound(name, f"looked for config.json in the folder {folder}, which has none.", str(folder))
    files = {path.name: path for pattern in REVISION_FILES for path in folder.glob(pattern)}
    digests = {file_name: _sha256(path) for file_name, path in files.items()}
    return _read(name, folder, local_revision(digests), None)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(name: str, folder: Path, revision: str, repository: str | None) -> Checkpoint:
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        reason = unsupported_architecture(config)
        if reason is not None:
            raise UnusableModel(str(folder), reason)
        shape = ModelShape.from_config(config)
        eps = float(config.get("layer_norm_epsilon", 1e-5))
    except KeyError as exc:
        raise UnusableModel(str(folder), f"config.json has no {exc}") from exc
    except (ValueError, AttributeError, TypeError) as exc:
        raise UnusableModel(str(folder), f"config.json is damaged ({exc})") from exc
    return Checkpoint(name, folder, revision, shape, eps, repository)


def _weight_names(folder: Path) -> list[str]:
    """Names of the folder's safetensors files, as its index or its single file states them."""
    if (folder / INDEX).is_file():
        try:
            return sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as exc:
            raise UnusableModel(str(folder), f"{INDEX} is damaged ({exc})") from exc
    return ["model.safetensors"] if (folder / "model.safetensors").is_file() else []


def _check_weight_files(name: str, folder: Path) -> None:
    names = _weight_names(folder)
    if not names:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if not pickles:
            raise ModelNotFound(
                name, f"looked for model.safetensors in the folder {folder}, which has none.", str(folder)
            )
        raise UnusableModel(
            str(folder),
            f"it holds only {', '.join(pickles)}, and pickled files are never loaded because they can run code; "
            "convert it to safetensors (save_pretrained of transformers writes them)",
        )
    for file_name in names:
        if Path(file_name).name != file_name or not (folder / file_name).is_file():
            raise UnusableModel(str(folder), f"{file_name!r}, which its index names, is not there")
        try:
            with safe_open(folder / file_name, framework="pt"):
                pass
        except (SafetensorError, OSError) as exc:
            raise UnusableModel(str(folder), f"{file_name} is truncated or not safetensors ({exc})") from exc


def _in_hub_cache(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, "config.json")
    return Path(path).parent if isinstance(path, str) else None


def _download(name: str, repository: str) -> Path:
    """The repository's folder in the local hub cache, fetched from the hub unless it is offline."""
    from httpx import HTTPError
    from huggingface_hub import constants, snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=HUB_FILES, etag_timeout=HUB_TIMEOUT_S))
    except (OSError, HTTPError, ValueError) as exc:
        cause = str(exc.__cause__ or exc).splitlines()[0]
        hub = "not on the hub (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else f"on the hub ({cause})"
        raise ModelNotFound(
            name,
            f"looked for {repository} in the local hub cache {constants.HF_HUB_CACHE}, and {hub}. "
            f"A local folder can be registered: PATHPATCH_MODELS={name}=FOLDER.",
            str(constants.HF_HUB_CACHE),
        ) from exc
