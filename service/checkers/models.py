"""The models that a request's specs name, as they were found: processes that check specs read no checkpoint."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from api_schemas.errors import FieldError, InvalidSpec
from planning.architecture import Architecture
from service.models.catalog import CatalogModel


@dataclass(frozen=True)
class KnownModels:
    """By name; of those that are not there, why."""

    models: dict[str, CatalogModel] = field(default_factory=dict)
    missing: dict[str, list[FieldError]] = field(default_factory=dict)

    def get(self, name: str) -> CatalogModel:
        """One of them.

        Raises:
            InvalidSpec: It is not there.
        """
        if name not in self.models:
            raise InvalidSpec(self.missing[name])
        return self.models[name]


@dataclass(frozen=True)
class ModelCard:
    """A model as it is sent to another process, but for its tokenizer."""

    name: str
    architecture: Architecture
    bos_id: int | None
    revision: str
    text_problem: str | None
    adds_bos: bool
    tokenizer: str | None
    """Digest of its text."""
    split_special_tokens: bool

    @classmethod
    def of(cls, model: CatalogModel) -> "ModelCard":
        """The card of a model."""
        about = model.bos_id, model.revision, model.text_problem, model.adds_bos
        if model.tokenizer is None:
            return cls(model.name, model.architecture, *about, None, False)
        digest = tokenizer_text(model.tokenizer)[0]
        return cls(model.name, model.architecture, *about, digest, model.tokenizer.encode_special_tokens)

    def model(self, texts: Mapping[str, bytes]) -> CatalogModel:
        """The model again, given the texts of tokenizers by their digest."""
        tokenizer = None if self.tokenizer is None else _loaded(texts[self.tokenizer], self.split_special_tokens)
        about = self.text_problem, self.adds_bos
        return CatalogModel(self.name, self.architecture, tokenizer, self.bos_id, self.revision, Path(), *about)


@lru_cache(maxsize=16)
def tokenizer_text(tokenizer: Tokenizer) -> tuple[str, bytes]:
    """A tokenizer as it is sent to another process, after its digest."""
    content = tokenizer.to_str().encode()
    return hashlib.sha256(content).hexdigest(), content


@lru_cache(maxsize=16)
def _loaded(text: bytes, split_special_tokens: bool) -> Tokenizer:
    tokenizer = Tokenizer.from_buffer(text)
    tokenizer.encode_special_tokens = split_special_tokens
    return tokenizer
