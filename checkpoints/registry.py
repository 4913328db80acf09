"""The registry of models, checked once when a process starts."""

from pathlib import Path

from api_schemas.models import ModelOrigin, parse_registry
from checkpoints.files import NoCheckpoint, UnusableCheckpoint
from checkpoints.folder import check_kind


def read_registry(local_models: str) -> dict[str, ModelOrigin]:
    """The registry with the operator's ``name=folder[,name=folder]``.

    A folder that is missing or cannot be read makes its model unavailable and no more: it may be mounted later.

    Raises:
        ValueError: An entry makes no sense, or its folder is no checkpoint; says what to write.
    """
    registry = parse_registry(local_models)
    for name, origin in registry.items():
        if origin.folder is not None:
            _check(name, Path(origin.folder))
    return registry


def _check(name: str, folder: Path) -> None:
    try:
        check_kind(folder)
    except NoCheckpoint as exc:
        raise ValueError(f"PATHPATCH_MODELS entry {name}={folder}: {exc.reason}") from exc
    except UnusableCheckpoint:
        return
