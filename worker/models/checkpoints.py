"""Find a registered model's files: a local folder, the local hub cache, or the hub. safetensors only."""

from dataclasses import dataclass
from pathlib import Path

from api_schemas.errors import ModelNotFound, PathPatchingError, UnusableModel
from api_schemas.models import ModelOrigin
from checkpoints.files import MissingFile, MissingFolder, UnusableCheckpoint
from checkpoints.folder import configuration, is_gguf, revision
from checkpoints.tensors import INDEX
from checkpoints.weights import check_values, check_weights
from planning.architecture import Architecture

HUB_FILES = ["config.json", "model.safetensors", INDEX, "model-*.safetensors", "tokenizer*.json"]
HUB_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Checkpoint:
    """A folder in Hugging Face format, or a GGUF file, whose configuration has been read and can be run."""

    name: str
    folder: Path
    revision: str
    architecture: Architecture
    repository: str | None

    def with_weights(self) -> "Checkpoint":
        """The same with weights present and read once, downloaded if they are only on the hub.

        Raises:
            ModelNotFound: There are none.
            UnusableModel: They are pickles, damaged, not those of ``config.json``, or no numbers.
        """
        if self.repository is None or any(self.folder.glob("*.safetensors")):
            _check(self)
            return self
        folder = _download(self.name, self.repository, self.revision)
        found = _read(self.name, folder, folder.name, self.repository)
        _check(found)
        return found

    def is_current(self) -> bool:
        """Whether the files are still those that were read."""
        try:
            return self.repository is not None or revision(self.folder) == self.revision
        except UnusableCheckpoint:
            return False


def find_checkpoint(name: str, registry: dict[str, ModelOrigin]) -> Checkpoint:
    """The checkpoint of a registered name.

    Raises:
        ModelNotFound: Not registered, or not where the registry says.
        UnusableModel: Of another architecture, an adapter, or its configuration is damaged.
    """
    folder, repository = locate(name, registry)
    return _read(name, folder, None if repository is None else folder.name, repository)


def locate(name: str, registry: dict[str, ModelOrigin]) -> tuple[Path, str | None]:
    """The folder of a registered name, and its repository if it is one of the hub's; reads nothing in it.

    Raises:
        ModelNotFound: Not registered, or not where the registry says.
    """
    origin = registry.get(name)
    if origin is None:
        raise ModelNotFound(name, f"the registry of this worker holds {', '.join(sorted(registry))}.")
    if origin.folder is not None:
        folder = Path(origin.folder).resolve()
        if not (folder.is_dir() or is_gguf(folder)):
            raise _told(name, folder, MissingFolder())
        return folder, None
    if origin.repository is None:
        raise ModelNotFound(name, "the registry names neither a folder nor a hub repository for it.")
    folder = _in_hub_cache(origin.repository, origin.revision) or _download(name, origin.repository, origin.revision)
    return folder, origin.repository


def _read(name: str, folder: Path, commit: str | None, repository: str | None) -> Checkpoint:
    try:
        found = configuration(folder)
        return Checkpoint(name, folder, commit or revision(folder), found.architecture, repository)
    except UnusableCheckpoint as exc:
        raise _told(name, folder, exc) from exc


def _check(checkpoint: Checkpoint) -> None:
    try:
        check_weights(checkpoint.folder, configuration(checkpoint.folder))
        check_values(checkpoint.folder)
    except UnusableCheckpoint as exc:
        raise _told(checkpoint.name, checkpoint.folder, exc) from exc


def _told(name: str, folder: Path, exc: UnusableCheckpoint) -> PathPatchingError:
    if isinstance(exc, MissingFile | MissingFolder):
        return ModelNotFound(name, f"{exc.in_folder(folder)}.", str(folder))
    return UnusableModel(str(folder), exc.reason)


def _in_hub_cache(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(path).parent if isinstance(path, str) else None


def _download(name: str, repository: str, revision: str | None) -> Path:
    """The repository's folder in the local hub cache, fetched from the hub unless it is offline.

    Args:
        revision: Branch, tag or commit; None: the main branch.
    """
    from httpx import HTTPError
    from huggingface_hub import constants, snapshot_download

    try:
        found = snapshot_download(repository, revision=revision, allow_patterns=HUB_FILES, etag_timeout=HUB_TIMEOUT_S)
        return Path(found)
    except (OSError, HTTPError, ValueError) as exc:
        cause = str(exc.__cause__ or exc).splitlines()[0]
        hub = "not on the hub (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else f"on the hub ({cause})"
        raise ModelNotFound(
            name,
            f"looked for {repository} in the local hub cache {constants.HF_HUB_CACHE}, and {hub}. "
            f"A local folder can be registered: PATHPATCH_MODELS={name}=FOLDER.",
            str(constants.HF_HUB_CACHE),
        ) from exc
