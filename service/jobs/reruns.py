"""The spec of a job, changed: the same experiment with another seed or model."""

from typing import Any

from api_schemas.merge_patch import merged
from api_schemas.spec import JobSpec, ModelSpec
from service.checkers.models import KnownModels
from service.models.catalog import CatalogModel
from service.specs.implied import normalised
from service.specs.limits import SpecLimits
from service.specs.parsing import parse_spec

Path = tuple[str, ...]
_ENDS = ("senders", "receivers", "nodes")
IMPLIED: tuple[Path, ...] = (
    ("patch", "receiver_update"),
    ("output", "per_example"),
    *(("patch", end, "sweep", choice) for end in _ENDS for choice in ("heads", "neurons")),
    ("dataset", "prepend_bos"),
    *(("model", flag) for flag in ModelSpec.model_fields if flag != "name"),
)
"""Fields whose default depends on other fields or on the model: a job's spec has them written out."""


def changed_spec(spec_json: bytes, patch: Any, models: KnownModels, limits: SpecLimits) -> JobSpec:
    """A job's spec with a JSON merge patch applied to what was asked for, not to the defaults filled in.

    Args:
        models: Where the job's own model is not among them, what the spec left to it stays as it was.

    Raises:
        InvalidSpec: The outcome is no spec.
    """
    spec = JobSpec.model_validate_json(spec_json)
    return parse_spec(merged(as_asked(spec, models.models.get(spec.model.name)), patch), limits)


def as_asked(spec: JobSpec, model: CatalogModel | None) -> dict[str, Any]:
    """The shortest document that means the spec: without defaults, and without what other fields or the model imply.

    A ``receiver_update`` that only followed from ``direct_includes_mlps`` must follow it again when that changes.
    """
    document = spec.model_dump(mode="json", exclude_defaults=True)
    for path in IMPLIED:
        shorter = _without(document, path)
        if shorter != document and _means(shorter, spec, model):
            document = shorter
    return document


def _means(document: Any, spec: JobSpec, model: CatalogModel | None) -> bool:
    """Whether the document is the spec once normalised; without the model that is not known."""
    return normalised(JobSpec.model_validate(document), model) == spec


def _without(document: Any, path: Path) -> Any:
    """A copy without the field at a path; the same where there is none."""
    first, *rest = path
    if not isinstance(document, dict) or first not in document:
        return document
    if rest:
        return document | {first: _without(document[first], tuple(rest))}
    return {name: value for name, value in document.items() if name != first}
