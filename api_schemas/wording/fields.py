"""What the schema expects at one path of a document: the model, field and values that belong there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Path = Sequence[str | int]
"""Keys and indices, from the document's root."""
ABSENT: Any = object()
"""Stands for a value that the document does not have."""
NODE_INDICES = ("layer", "head")
"""Optional fields that most nodes need."""


@dataclass(frozen=True)
class Expected:
    """What the schema says of one path, and the value that stands there."""

    value: Any
    annotation: Any
    field: FieldInfo | None
    """The nearest field at or above the path."""
    name: str
    """That field's name."""

    @property
    def description(self) -> str:
        """What the field is, as the schema says it; empty where it does not."""
        return (self.field.description or "").rstrip(".") if self.field else ""

    @property
    def example(self) -> Any:
        """An example of a required field, worth showing; None for an optional one."""
        examples = self.field.examples if self.field is not None and self.field.is_required() else None
        return examples[0] if examples else None

    def object_example(self) -> dict[str, Any]:
        """What an object here needs, from the examples of its fields; empty where they do not tell all of it."""
        models = _models(self.annotation, None)
        fields = models[0].model_fields if len(models) == 1 else {}
        needed = {name: field for name, field in fields.items() if field.is_required() or name in NODE_INDICES}
        example = {name: field.examples[0] for name, field in needed.items() if field.examples}
        return example if len(example) == len(needed) else {}

    def field_names(self) -> list[str]:
        """Names of the fields that an object here may have."""
        return [name for model in _models(self.annotation, self.value) for name in model.model_fields]

    def literals(self) -> list[str]:
        """The fixed strings that may stand here; those of ``kind`` where an object of several kinds belongs here."""
        options = list(_options(self.annotation))
        kinds = [_literal(model.model_fields[tag].annotation) for model in options if (tag := tag_of(model))]
        return [str(value) for values in (kinds or map(_literal, options)) for value in values]

    @property
    def tag(self) -> str:
        """The field that tells the objects apart that may stand here; `kind` where there are none."""
        return next(filter(None, map(tag_of, _options(self.annotation))), "kind")

    def is_fixed(self) -> bool:
        """Whether only fixed strings may stand here."""
        return all(_literal(option) or option is type(None) for option in _options(self.annotation))


def expected_at(root: type[BaseModel], path: Path, document: Any) -> Expected:
    """Follow a path through the document and the schema together."""
    found = Expected(document, root, None, "the spec")
    for step in path:
        found = _step(found, step)
    return found


def value_at(document: Any, path: Path) -> Any:
    """The value at a path; ``ABSENT`` where there is none."""
    for step in path:
        in_list = isinstance(document, list) and isinstance(step, int) and step < len(document)
        if not in_list and not (isinstance(document, dict) and step in document):
            return ABSENT
        document = document[step]
    return document


def _step(above: Expected, step: str | int) -> Expected:
    value = value_at(above.value, [step])
    for model in _models(above.annotation, above.value):
        if step in model.model_fields:
            field = model.model_fields[str(step)]
            return Expected(value, field.annotation, field, str(step))
    wanted = list if isinstance(step, int) else dict
    items = (get_args(option)[-1] for option in _options(above.annotation) if get_origin(option) is wanted)
    return Expected(value, next(items, None), above.field, above.name)


def _options(annotation: Any) -> Iterator[Any]:
    """The members of a union, however nested; the annotation itself if it is none."""
    if get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0])
    elif get_args(annotation) and get_origin(annotation) not in (list, dict, Literal):
        for member in get_args(annotation):
            yield from _options(member)
    else:
        yield annotation


def _models(annotation: Any, value: Any) -> list[type[BaseModel]]:
    """The models that an object here may be: the one of its kind, where it states one."""
    models = [option for option in _options(annotation) if isinstance(option, type) and issubclass(option, BaseModel)]
    return [model for model in models if _fits_kind(model, value)] if len(models) > 1 else models


def tag_of(option: Any) -> str:
    """The field that tells an object's kind from others': `kind`, or a `method` that must be given; else empty."""
    fields = option.model_fields if isinstance(option, type) and issubclass(option, BaseModel) else {}
    if "kind" in fields:
        return "kind"
    return "method" if "method" in fields and fields["method"].is_required() else ""


def _fits_kind(model: type[BaseModel], value: Any) -> bool:
    tag = tag_of(model)
    if not tag or not isinstance(value, dict):
        return True
    field = model.model_fields[tag]
    return value.get(tag, field.default) in _literal(field.annotation)


def _literal(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()
