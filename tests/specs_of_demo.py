"""Specs on the demo model, and everything that is found wrong with a document."""

from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from api_schemas.errors import InvalidSpec
from api_schemas.metrics import Metric
from api_schemas.models import ModelOrigin, parse_registry
from api_schemas.spec import JobSpec
from api_schemas.wording.sentences import field_errors
from service.models.catalog import ModelCatalog
from service.specs.limits import SpecLimits
from service.specs.validation import CheckedSpec, check_job

METRICS = {get_args(metric.model_fields["kind"].annotation)[0]: metric for metric in get_args(get_args(Metric)[0])}
"""Class of each kind of metric."""
GOLDEN_MODEL = Path(__file__).parent / "golden" / "model"
SENDERS = [{"hook": "z", "layer": 1, "head": 2}]
RECEIVERS = [{"hook": "q", "layer": 2, "head": 3}]
PATCH: dict[str, Any] = {"senders": SENDERS, "receivers": RECEIVERS}
PROMPTS: dict[str, Any] = {
    "kind": "prompts",
    "orig": ["When Mary and John arrived, John gave a book to", "Tom and Mary met, and Tom lent a ring to"],
    "new": ["When Adam and Paul arrived, Eric gave a book to", "Tom and Adam met, and Bill lent a ring to"],
    "roles": {"IO": [" Mary", " Mary"]},
    "answers": {"IO": [" Mary", " Mary"], "S": [" John", " Tom"]},
}
TOKENS: dict[str, Any] = {
    "kind": "tokens",
    "orig": [[1, 2, 3, 4], [5, 6, 7]],
    "new": [[1, 9, 3, 4], [5, 9, 7]],
    "roles": {"IO": [1, 1]},
    "answers": {"IO": [8, 8], "S": [9, 9]},
}
TEMPLATES: dict[str, Any] = {
    "kind": "templates",
    "templates": [
        "When [A] and [B] arrived, [B] gave a [OBJECT] to",
        "Then [B] and [A] met, and [B] lent a [OBJECT] to",
    ],
    "slots": {
        "A": ["Mary", "John", "Tom", "Adam", "Paul"],
        "B": ["Mary", "John", "Tom", "Adam", "Paul"],
        "OBJECT": ["book", "ring", "lamp"],
    },
    "new": {"A": "redraw", "B": "redraw"},
    "roles": {"IO": "A", "S1": "B", "S1+1": {"slot": "B", "offset": 1}, "S2": {"slot": "B", "occurrence": 1}},
    "answers": {"IO": "A", "S": "B"},
    "examples": 6,
}


def document(**changes: Any) -> dict[str, Any]:
    """A spec that runs, with some fields replaced; None leaves a field out."""
    whole = {
        "model": {"name": "demo"},
        "dataset": {"kind": "ioi", "examples": 8},
        "patch": PATCH,
        "metric": {"kind": "attention", "query": "end", "key": "IO"},
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


@cache
def catalog() -> ModelCatalog:
    """The demo model, the golden cases' model, and a family without files."""
    local = {"golden": ModelOrigin(name="golden", folder=str(GOLDEN_MODEL))}
    return ModelCatalog(parse_registry("gpt2-xl=/no/such/folder") | local)


def check(limits: SpecLimits | None = None, **changes: Any) -> CheckedSpec:
    """What the service makes of a spec."""
    return check_job(JobSpec.model_validate(document(**changes)), catalog(), limits or SpecLimits())


def problems(limits: SpecLimits | None = None, **changes: Any) -> dict[str, str]:
    """Pointer -> message of everything wrong with a spec, whichever part of the service finds it."""
    return problems_of(document(**changes), limits)


def problems_of(whole: Any, limits: SpecLimits | None = None) -> dict[str, str]:
    """The same, of any JSON value."""
    try:
        check_job(JobSpec.model_validate(whole), catalog(), limits or SpecLimits())
    except ValidationError as exc:
        return {error.pointer: error.message for error in field_errors(exc, whole, JobSpec)}
    except InvalidSpec as exc:
        return {error.pointer: error.message for error in exc.errors}
    return {}
