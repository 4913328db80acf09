"""The registry of models, checked once when a process starts."""

from pathlib import Path

from api_schemas.models import NAME, ModelOrigin, parse_registry
from checkpoints.files import NoCheckpoint, UnusableCheckpoint
from checkpoints.folder import check_kind

MODEL_DIR = "~/.cache/pathpatch/models"
"""Where ``pathpatch models fetch`` puts models, unless ``PATHPATCH_MODEL_DIR`` says otherwise."""


def read_registry(local_models: str, model_dir: Path | None = None) -> dict[str, ModelOrigin]:
    """The registry with the operator's ``name=folder[,name=folder]`` and the models that were fetched.

    A folder that is missing or cannot be read makes its model unavailable and no more: it may be mounted later.

    Args:
        model_dir: Folder of fetched models, ``NAME.gguf``; a name that the operator gives stands before it.

    Raises:
        ValueError: An entry makes no sense, or its folder is no checkpoint; says what to write.
    """
    registry = parse_registry(local_models) | _fetched(local_models, model_dir)
    for name, origin in registry.items():
        if origin.folder is not None:
            _check(name, Path(origin.folder))
    return registry


def _fetched(local_models: str, model_dir: Path | None) -> dict[str, ModelOrigin]:
    """Models of the folder, but for names that the operator registers."""
    try:
        files = [] if model_dir is None else sorted(model_dir.expanduser().glob("*.gguf"))
    except RuntimeError:  # this process's user has no home
        files = []
    given = {entry.partition("=")[0].strip() for entry in local_models.split(",")}
    return {
        path.stem: ModelOrigin(name=path.stem, folder=str(path))
        for path in files
        if NAME.fullmatch(path.stem) and path.stem not in given
    }


def _check(name: str, folder: Path) -> None:
    try:
        check_kind(folder)
    except NoCheckpoint as exc:
        raise ValueError(f"PATHPATCH_MODELS entry {name}={folder}: {exc.reason}") from exc
    except UnusableCheckpoint:
        return
