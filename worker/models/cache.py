"""Models kept in the memory of one worker child, the least recently used given up first."""

import logging
from collections import OrderedDict

import torch

from api_schemas.errors import ModelChanged
from api_schemas.spec import ModelSpec
from worker.models.loading import LoadedModel, load_model
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)


def weight_bytes(model: LoadedModel) -> int:
    """Memory of a model's weights."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.weights.tensors().values())


class ModelCache:
    """Loaded models by name and flags."""

    def __init__(self, settings: WorkerSettings, device: str) -> None:
        self._settings = settings
        self._device = device
        self._models: OrderedDict[ModelSpec, LoadedModel] = OrderedDict()

    @property
    def names(self) -> list[str]:
        """Names of the models in memory."""
        return sorted({spec.name for spec in self._models})

    def get(self, spec: ModelSpec, revision: str | None = None) -> LoadedModel:
        """The model, loaded if need be.

        Args:
            revision: The one that the job was accepted for; None takes whatever is there.

        Raises:
            ModelChanged: The files are of another revision now.
            PathPatchingError: It cannot be loaded, or failed its self-check.
        """
        model = self._models.get(spec)
        if model is None or revision not in (None, model.revision):
            self._models.pop(spec, None)
            model = self._load(spec)
            self._models[spec] = model
        self._models.move_to_end(spec)
        self._make_room()
        if revision not in (None, model.revision):
            raise ModelChanged(spec.name, str(revision), model.revision)
        return model

    def _load(self, spec: ModelSpec) -> LoadedModel:
        settings = self._settings
        model = load_model(spec.name, spec, dict(settings.models), self._device, settings.weights_dir)
        log.info("loaded %s on %s (%d bytes)", spec.name, self._device, weight_bytes(model))
        return model

    def _make_room(self) -> None:
        """Give up the least recently used until the rest fits; the last one stays."""
        while len(self._models) > 1 and sum(map(weight_bytes, self._models.values())) > self._settings.model_bytes:
            spec, _ = self._models.popitem(last=False)
            log.info("gave up %s to make room", spec.name)
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
