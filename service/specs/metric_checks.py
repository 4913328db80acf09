"""Whether what a metric reads exists."""

from collections.abc import Iterator

from api_schemas.errors import FieldError
from api_schemas.metrics import Attention, AttentionDiff, Kl, LogitDiff, Loss, Metric
from api_schemas.models import ModelShape
from api_schemas.spec import JobSpec
from service.specs.known_names import KnownNames, Path
from service.specs.node_checks import index_errors
from service.specs.wording import wrong


def metric_paths(spec: JobSpec) -> list[tuple[Path, Metric]]:
    """The spec's metrics, each with its place."""
    if spec.metrics is None:
        return [(("metric",), metric) for metric in spec.all_metrics]
    return [(("metrics", index), metric) for index, metric in enumerate(spec.metrics)]


def metric_errors(spec: JobSpec, shape: ModelShape, names: KnownNames) -> Iterator[FieldError]:
    """Heads, positions and answers that do not exist, and prompts too short for a loss."""
    for path, metric in metric_paths(spec):
        if isinstance(metric, Attention | AttentionDiff):
            yield from _attention_errors(metric, shape, names, path)
        elif isinstance(metric, Loss):
            yield from _loss_errors(names, path)
        else:
            yield from names.check_everywhere(metric.position, (*path, "position"))
            if not isinstance(metric, Kl):
                yield from names.check_answer(metric.answer, (*path, "answer"))
            if isinstance(metric, LogitDiff):
                yield from names.check_answer(metric.minus_answer, (*path, "minus_answer"))


def _attention_errors(
    metric: Attention | AttentionDiff, shape: ModelShape, names: KnownNames, path: Path
) -> Iterator[FieldError]:
    yield from names.check_everywhere(metric.query, (*path, "query"))
    yield from names.check_everywhere(metric.key, (*path, "key"))
    if isinstance(metric, AttentionDiff):
        yield from names.check_everywhere(metric.minus_key, (*path, "minus_key"))
    if metric.head is not None:
        yield from index_errors("layer", metric.head.layer, shape.n_layers, (*path, "head", "layer"))
        yield from index_errors("head", metric.head.head, shape.n_heads, (*path, "head", "head"))


def _loss_errors(names: KnownNames, path: Path) -> Iterator[FieldError]:
    if names.lengths and min(names.lengths) < 2:
        example = names.lengths.index(min(names.lengths))
        message = f"metric 'loss' needs prompts of at least 2 tokens, and prompt {example} has {names.lengths[example]}"
        yield wrong((*path, "kind"), message)
