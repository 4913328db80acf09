"""What a spec would do, without queueing it."""

from api_schemas.jobs import ExamplePrompt, ValidationReport
from api_schemas.spec import JobSpec
from service.models import CatalogModel
from service.parts import Parts
from service.sharding import shard_count
from service.validation import CheckedSpec, check_job

MOST_EXAMPLES = 5


def report(parts: Parts, spec: JobSpec) -> ValidationReport:
    """The look ahead at a spec.

    Raises:
        InvalidSpec: It cannot run.
    """
    parts.webhooks.url_of(spec)
    checked = check_job(spec, parts.catalog, parts.limits)
    model = parts.catalog.get(spec.model.name)
    speed = parts.speeds.of(spec.model.name)
    return ValidationReport(
        spec=checked.spec,
        examples=[_example(model, checked, index) for index in range(min(MOST_EXAMPLES, len(checked.dataset)))],
        cells=checked.cells,
        axes=list(checked.axes),
        shape=list(checked.shape),
        shards=shard_count(checked, speed),
        estimated_seconds=round(checked.estimated_flops / speed, 3),
        estimated_result_bytes=checked.estimated_result_bytes,
        warnings=list(checked.warnings),
        unreachable_senders=list(checked.unreachable_senders),
    )


def _example(model: CatalogModel, checked: CheckedSpec, index: int) -> ExamplePrompt:
    dataset = checked.dataset
    return ExamplePrompt(
        orig=[_text(model, token) for token in dataset.orig[index]],
        new=[_text(model, token) for token in dataset.new[index]],
        roles={role: places[index] for role, places in dataset.roles.items()},
        answers={answer: _text(model, tokens[index]) for answer, tokens in dataset.answers.items()},
    )


def _text(model: CatalogModel, token: int) -> str:
    """One token as text; its number where the model has no tokenizer."""
    return f"#{token}" if model.tokenizer is None else str(model.tokenizer.decode([token], skip_special_tokens=False))
