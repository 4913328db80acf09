"""What is probably not meant in a spec that can run."""

from collections.abc import Iterator, Sequence

from api_schemas.datasets import ResolvedDataset
from api_schemas.metrics import (
    ATTENTION_METRICS,
    Attention,
    AttentionDiff,
    Head,
    LogitDiff,
    Loss,
    Metric,
    title_of,
)
from api_schemas.models import ModelShape
from api_schemas.nodes import Node, PositionRef, SweepOf
from api_schemas.spec import JobSpec
from planning.graph import changes_pattern
from service.specs.node_checks import ends_of
from service.specs.position_warnings import position_warnings
from service.specs.wording import counted, listed, shown

UNREACHABLE_SHOWN = 6


def warnings_of(
    spec: JobSpec, dataset: ResolvedDataset, shape: ModelShape, unreachable: Sequence[Node]
) -> Iterator[str]:
    """One sentence each."""
    if unreachable:
        named = [str(node) for node in unreachable[:UNREACHABLE_SHOWN]]
        rest = len(unreachable) - len(named)
        more = f" and {rest:,} more" if rest else ""
        yield f"no path leads to any receiver from {', '.join(named)}{more}: there, patched equals orig exactly"
    yield from _repeated(spec)
    yield from position_warnings(spec, dataset)
    yield from _equal_runs(spec, dataset)
    yield from _fixed_embeddings(spec)
    for metric in spec.all_metrics:
        if isinstance(metric, ATTENTION_METRICS):
            yield from _attention(metric, dataset)
        if isinstance(metric, LogitDiff):
            yield from _equal_answers(metric, dataset)
        yield from _out_of_reach(spec, metric, dataset, shape)
        if spec.method == "attribution" and metric.is_flat_at_orig:
            yield f"the gradient of {metric.kind} at orig is 0, so method 'attribution' estimates 0 for every cell"


def _repeated(spec: JobSpec) -> Iterator[str]:
    """What is computed twice."""
    titles = [title_of(metric) for metric in spec.resolved_metrics]
    for title in dict.fromkeys(title for title in titles if titles.count(title) > 1):
        yield f"metrics {listed(place for place, other in enumerate(titles) if other == title)} are the same: {title}"
    for field, end in ends_of(spec.patch).items():
        if isinstance(end, SweepOf):
            for axis in ("layers", "heads", "neurons", "positions"):
                chosen = getattr(end.sweep, axis)
                again = (
                    sorted({str(one) for one in chosen if chosen.count(one) > 1}) if isinstance(chosen, list) else []
                )
                if again:
                    yield f"{axis} of the {field} sweep name {listed(again)} more than once: these cells are repeated"


def _equal_runs(spec: JobSpec, dataset: ResolvedDataset) -> Iterator[str]:
    equal = [example for example, pair in enumerate(zip(dataset.orig, dataset.new, strict=True)) if pair[0] == pair[1]]
    if not equal:
        return
    if spec.patch.source == "new":
        yield f"orig equals new in {_some(equal, len(dataset))}: patching changes nothing there"
    if len(equal) == len(dataset) and any(metric.normalize != "none" for metric in spec.all_metrics):
        yield "orig equals new in all examples: normalize divides by zero, so its results will be null"


def _some(examples: Sequence[int], count: int) -> str:
    if len(examples) == count:
        return "all examples" if count > 1 else "the only example"
    return (
        f"{len(examples):,} of {counted(count, 'example')} ({listed(examples[:5])}{', …' if len(examples) > 5 else ''})"
    )


def _fixed_embeddings(spec: JobSpec) -> Iterator[str]:
    """Positional embeddings do not depend on the tokens."""
    end = next(iter(ends_of(spec.patch).values()))
    if isinstance(end, list) and any(node.hook == "pos_embed" for node in end) and spec.patch.source != "zero":
        yield "pos_embed is the same in both runs, so patching it changes nothing (it does with source 'zero')"


def _places(ref: PositionRef, dataset: ResolvedDataset) -> list[int]:
    return [ref] * len(dataset) if isinstance(ref, int) else dataset.roles[ref]


def _attention(metric: Attention | AttentionDiff, dataset: ResolvedDataset) -> Iterator[str]:
    queries = _places(metric.query, dataset)
    keys = [("key", metric.key)] + ([("minus_key", metric.minus_key)] if isinstance(metric, AttentionDiff) else [])
    for field, ref in keys:
        later = [
            example
            for example, (query, key) in enumerate(zip(queries, _places(ref, dataset), strict=True))
            if key > query
        ]
        if later:
            what = f"{field} {shown(ref)} comes after query {shown(metric.query)}"
            yield f"{what} in {_some(later, len(dataset))}: attention there is always 0"
    if isinstance(metric, AttentionDiff) and _places(metric.key, dataset) == _places(metric.minus_key, dataset):
        same = f"key {shown(metric.key)} and minus_key {shown(metric.minus_key)} are the same position"
        yield f"{same}: the difference is 0"


def _equal_answers(metric: LogitDiff, dataset: ResolvedDataset) -> Iterator[str]:
    pairs = zip(dataset.answers[metric.answer], dataset.answers[metric.minus_answer], strict=True)
    equal = [example for example, (answer, minus_answer) in enumerate(pairs) if answer == minus_answer]
    if equal:
        what = f"answers {metric.answer} and {metric.minus_answer} are the same token"
        yield f"{what} in {_some(equal, len(dataset))}: their logit difference is 0 there"


def _out_of_reach(spec: JobSpec, metric: Metric, dataset: ResolvedDataset, shape: ModelShape) -> Iterator[str]:
    """Metrics that no patched value can change: of an earlier layer, or of an earlier position."""
    if isinstance(metric, ATTENTION_METRICS) and metric.head is not None and _is_before(metric.head, spec):
        head = f"{metric.head.layer}.{metric.head.head}"
        yield f"attention of head {head} is computed before all that is patched, and cannot change"
    if isinstance(metric, Loss) or not isinstance(spec.patch.positions, int | str):
        return
    ref = metric.query if isinstance(metric, ATTENTION_METRICS) else metric.position
    patched, read = _places(spec.patch.positions, dataset), _places(ref, dataset)
    if all(place > seen for place, seen in zip(patched, read, strict=True)):
        where = f"position {shown(spec.patch.positions)} comes after {shown(ref)}, where metric {metric.kind!r} is read"
        yield f"{where}: nothing can change"


def _is_before(head: Head, spec: JobSpec) -> bool:
    """Whether the head's pattern is computed before, or beside, all that is patched."""
    end = list(ends_of(spec.patch).values())[-1]
    if isinstance(end, SweepOf):
        return isinstance(end.sweep.layers, list) and min(end.sweep.layers) > head.layer
    return not any(changes_pattern(node, head) for node in end)
