"""What a spec would do, without queueing it."""

from api_schemas.jobs import ValidationReport
from api_schemas.spec import JobSpec
from service.datasets.example_prompts import example_prompts
from service.jobs.sharding import slices
from service.jobs.submission import check
from service.parts import Parts


def report(parts: Parts, spec: JobSpec) -> ValidationReport:
    """The look ahead at a spec.

    Raises:
        InvalidSpec: It cannot run.
    """
    checked = check(parts, spec)
    model = parts.catalog.get(spec.model.name)
    speed = parts.speeds.of(spec.model.name)
    examples, cells = slices(checked, speed.nominal)
    return ValidationReport(
        spec=checked.spec,
        examples=example_prompts(checked.dataset, model),
        cells=checked.cells,
        axes=list(checked.axes),
        shape=list(checked.shape),
        shards=len(examples) * len(cells),
        estimated_seconds=round(checked.estimated_flops / speed.expected, 3),
        estimated_result_bytes=checked.estimated_result_bytes,
        warnings=list(checked.warnings),
        unreachable_senders=list(checked.unreachable_senders),
    )
