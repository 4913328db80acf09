"""Models kept in the memory of one worker child, the least recently used given up first."""

import logging
from collections import OrderedDict

import torch

from api_schemas.spec import ModelSpec
from worker.models.loading import LoadedModel, load_model
from worker.models.processed import sweep
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)


class ModelCache:
    """Loaded models by name, flags and revision: a job runs the weights that it was accepted for."""

    def __init__(self, settings: WorkerSettings, device: str) -> None:
        self._settings = settings
        self._device = device
        self._models: OrderedDict[tuple[ModelSpec, str], LoadedModel] = OrderedDict()

    @property
    def names(self) -> list[str]:
        """Names of the models in memory."""
        return sorted({spec.name for spec, _ in self._models})

    def get(self, spec: ModelSpec, revision: str | None = None) -> LoadedModel:
        """The model, loaded if need be.

        Args:
            revision: The one that the job was accepted for; None takes whatever is there.

        Raises:
            ModelChanged: The files are of another revision now, and nothing is left of this one.
            PathPatchingError: It cannot be loaded, or failed its self-check.
        """
        model = None if revision is None else self._models.get((spec, revision))
        if model is None:
            model = self._load(spec, revision)
        self._models[spec, model.revision] = model
        self._models.move_to_end((spec, model.revision))
        self._make_room()
        return model

    def _load(self, spec: ModelSpec, revision: str | None) -> LoadedModel:
        settings = self._settings
        model = load_model(
            spec.name,
            spec,
            dict(settings.models),
            self._device,
            settings.weights_dir,
            revision,
            getattr(torch, settings.weights_dtype),
        )
        log.info("loaded %s at %s on %s (%d bytes)", spec.name, model.revision, self._device, model.weights.n_bytes)
        if not model.from_cache:
            sweep(settings.weights_dir, settings.weights_bytes)
        return model

    @property
    def _n_bytes(self) -> int:
        return sum(model.weights.n_bytes for model in self._models.values())

    def _make_room(self) -> None:
        """Give up the least recently used until the rest fits; the last one stays."""
        while len(self._models) > 1 and self._n_bytes > self._settings.model_bytes:
            (spec, revision), _ = self._models.popitem(last=False)
            log.info("gave up %s at %s to make room", spec.name, revision)
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
