"""The API is documented from its models, so every field must say what it is."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import api_schemas
from api_schemas.frozen import Frozen


def models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from models(model)


for module in pkgutil.iter_modules(api_schemas.__path__):
    importlib.import_module(f"api_schemas.{module.name}")
MODELS = sorted({m for m in models(Frozen) if "[" not in m.__name__}, key=lambda m: m.__name__)


def holds_models(annotation: Any) -> bool:
    """Whether a field's type is, or contains, models that carry examples of their own."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(holds_models(part) for part in get_args(annotation) if not isinstance(part, str))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_has_a_description_and_an_example(model: type[BaseModel]) -> None:
    """HOUSE_STYLE: the API's reference is generated from these."""
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name} has no description"
        is_constant = len(get_args(field.annotation)) == 1 and isinstance(get_args(field.annotation)[0], str)
        is_generic = "Item" in str(field.annotation)
        if not (is_constant or is_generic or holds_models(field.annotation)):
            assert field.examples, f"{model.__name__}.{name} has no example"
