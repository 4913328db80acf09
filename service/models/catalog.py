"""The models that specs may name."""

import time
from collections.abc import Callable

from api_schemas.built_in_models import BUILT_IN, known_by
from api_schemas.errors import ModelUnavailable, UnknownModel
from api_schemas.models import ModelInfo, ModelOrigin
from service.models.described import told
from service.models.names import hint
from service.models.reading import CatalogModel
from service.models.watched import WatchedModel

__all__ = ["CatalogModel", "ModelCatalog", "ModelUnavailable"]

PATIENCE_S = 20.0
"""How long a request waits for a model whose files are being read."""
LIST_PATIENCE_S = 2.0
"""How long the list of all models waits for them."""


class ModelCatalog:
    """The registry's models as their files are now, a second late at most. Safe to use from several threads."""

    def __init__(self, registry: dict[str, ModelOrigin], clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._models = {name: WatchedModel(origin, clock) for name, origin in registry.items()}

    def get(self, name: str) -> CatalogModel:
        """A model, its small files fetched from the hub if need be.

        Raises:
            UnknownModel: It is not in the registry.
            ModelUnavailable: It cannot be used here; says why, and what was looked for where.
        """
        return self._watched(name).get(may_download=True, patience_s=PATIENCE_S)

    def peek(self, name: str) -> CatalogModel | None:
        """What is known of a model at this moment, without waiting; None where a look must come first, or it fails.

        Raises:
            UnknownModel: It is not in the registry.
        """
        return self._watched(name).peek()

    def is_being_read(self, name: str) -> bool:
        """Whether a look at a model's files is under way."""
        return self._watched(name).is_being_read

    def list(self) -> list[ModelInfo]:
        """All models of the registry, in its order; nothing is downloaded, and nothing waits long."""
        for model in self._models.values():
            model.begin_look(may_download=False)
        deadline = time.monotonic() + LIST_PATIENCE_S
        return [self._info(name, max(0.0, deadline - time.monotonic())) for name in self._registry]

    def info(self, name: str) -> ModelInfo:
        """One model as clients see it; nothing is downloaded.

        Raises:
            UnknownModel: It is not in the registry.
        """
        return self._info(name, LIST_PATIENCE_S)

    def _info(self, name: str, patience_s: float) -> ModelInfo:
        try:
            model = self._watched(name).get(may_download=False, patience_s=patience_s)
        except ModelUnavailable as exc:
            known = BUILT_IN.get(known_by(self._registry[name].repository or "") or "")
            return ModelInfo(name=name, available=False, reason=exc.reason, shape=known.shape if known else None)
        return ModelInfo(
            name=name,
            available=True,
            shape=model.architecture.shape,
            architecture=told(model.architecture),
            revision=model.revision,
            max_prompt_tokens=model.architecture.n_ctx,
        )

    def _watched(self, name: str) -> WatchedModel:
        if name not in self._models:
            raise UnknownModel(name, list(self._registry), hint(name, list(self._registry)))
        return self._models[name]
