"""Checkpoints of PATHPATCH_MODELS and fetched ones, read as service and workers read them, values included."""

from collections.abc import Iterator
from pathlib import Path

from pathpatch.doctor.finding import Finding

FIX = "mend the folder, which service and workers notice by themselves, or take its entry out of PATHPATCH_MODELS"


def examine(local_models: str, model_dir: Path | None = None) -> Iterator[Finding]:
    """One finding per local model."""
    from checkpoints.registry import read_registry

    try:
        registry = read_registry(local_models, model_dir)
    except ValueError as exc:
        yield Finding("models", "fault", str(exc), "correct PATHPATCH_MODELS: service and workers do not start with it")
        return
    for name, origin in registry.items():
        if origin.folder is not None:
            yield _examine(name, Path(origin.folder))


def _examine(name: str, folder: Path) -> Finding:
    from checkpoints.files import UnusableCheckpoint
    from checkpoints.folder import configuration, revision
    from checkpoints.weights import check_values, check_weights

    try:
        found = configuration(folder)
        check_weights(folder, found)
        check_values(folder)
        architecture = found.architecture
        size = f"{found.family.title}, {architecture.n_layers} layers x {architecture.n_heads} heads"
        return Finding(f"model {name}", "ok", f"{size}, revision {revision(folder)[:18]}")
    except UnusableCheckpoint as exc:
        return Finding(f"model {name}", "fault", f"{folder}: {exc.reason}", FIX)
