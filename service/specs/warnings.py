"""What is probably not meant in a spec that can run."""

from collections import Counter
from collections.abc import Iterator, Sequence

from api_schemas.circuits import CircuitPatch
from api_schemas.datasets import ResolvedDataset, token_sets
from api_schemas.metrics import (
    ATTENTION_METRICS,
    TWO_ANSWERS,
    Attention,
    AttentionDiff,
    Head,
    LogitDiff,
    Loss,
    Metric,
    ProbDiff,
    title_of,
)
from api_schemas.nodes import Node, Positions, PromptPosition, SweepOf
from api_schemas.spec import AnyPatch, JobSpec, PathPatch
from api_schemas.wording.values import counted, listed, shown
from planning.architecture import Architecture
from planning.graph import Graph, Reach
from planning.prompts import positions_of
from service.specs.comparison import ends_of

UNREACHABLE_SHOWN = 6
ROLES_SHOWN = 4


def warnings_of(
    spec: JobSpec, dataset: ResolvedDataset, architecture: Architecture, unreachable: Sequence[Node]
) -> Iterator[str]:
    """One sentence each."""
    if unreachable:
        named = [str(node) for node in unreachable[:UNREACHABLE_SHOWN]]
        rest = len(unreachable) - len(named)
        more = f" and {rest:,} more" if rest else ""
        yield f"no path leads to any receiver from {', '.join(named)}{more}: there, patched equals orig exactly"
    yield from _repeated(spec)
    yield from _positions(spec, dataset)
    yield from _equal_runs(spec, dataset)
    yield from _fixed_embeddings(spec)
    yield from _flags_without_effect(spec)
    for metric in spec.all_metrics:
        if isinstance(metric, ATTENTION_METRICS):
            yield from _attention(metric, dataset)
        if isinstance(metric, TWO_ANSWERS):
            yield from _equal_answers(metric, dataset)
        yield from _out_of_reach(spec, metric, dataset, architecture)
        if isinstance(spec.patch, CircuitPatch) and metric.is_flat_at_orig:
            yield from _flat_metric(spec.patch, metric)
        if spec.method == "attribution" and metric.is_flat_at_orig:
            yield f"the gradient of {metric.kind} at orig is 0, so method 'attribution' estimates 0 for every cell"


def _flat_metric(patch: CircuitPatch, metric: Metric) -> Iterator[str]:
    """A circuit's distance from orig: 0 at orig, and larger the worse the circuit is."""
    if patch.method == "attribution":
        yield f"the gradient of {metric.kind} at orig is 0, so score 'attribution' is 0 for every edge"
    if patch.edges is None and patch.choice.rank == "signed":
        grows = f"{metric.kind} grows as a circuit gets worse"
        yield f"{grows}, so rank 'signed' seeks the circuit with the largest {metric.kind}: take 'absolute'"


def _repeated(spec: JobSpec) -> Iterator[str]:
    """What is computed twice."""
    if spec.metrics is None and not spec.is_sweep:
        return
    titles = [title_of(metric) for metric in spec.resolved_metrics] if len(spec.all_metrics) > 1 else []
    for title in [title for title, count in Counter(titles).items() if count > 1]:
        yield f"metrics {listed(index for index, other in enumerate(titles) if other == title)} are the same: {title}"
    for field, end in ends_of(spec.patch).items():
        if isinstance(end, SweepOf):
            for axis in ("layers", "heads", "neurons", "positions"):
                chosen = getattr(end.sweep, axis)
                counts = Counter(chosen if isinstance(chosen, list) else [])
                if again := sorted(str(one) for one, count in counts.items() if count > 1):
                    yield f"{axis} of the {field} sweep name {listed(again)} more than once: these cells are repeated"


def _positions(spec: JobSpec, dataset: ResolvedDataset) -> Iterator[str]:
    """Positions that do not mean the same in every prompt: columns of a sweep, and means over the dataset."""
    named = {*_indices(spec.patch.positions)}
    is_each = False
    for end in [*ends_of(spec.patch).values(), *_of_paths(spec.patch)]:
        if isinstance(end, SweepOf):
            is_each |= end.sweep.positions == "each"
            named.update(_indices(end.sweep.positions if isinstance(end.sweep.positions, list) else None))
        else:
            named.update(pos for node in end for pos in _indices(node.positions))
    if named or is_each:
        lengths = [len(prompt) for prompt in dataset.orig]
        shortest, longest = min(lengths), max(lengths)
        missing = sorted(pos for pos in named if pos >= shortest)
        if is_each and shortest < longest:
            missing = list(range(shortest, longest))
        if missing:
            yield _missing(missing, lengths) + (", and n_patched says how many do not" if spec.is_sweep else "")
    is_mean = spec.patch.source == "mean" and spec.patch.mean_over == "position"
    moving = _moving(dataset) if is_each or is_mean else ""
    if moving and is_each:
        yield f"positions are counted from a prompt's beginning, and {moving}: sweep roles to compare equal words"
    if moving and is_mean:
        yield f"source 'mean' is per position, and {moving}: the mean there is over different words"


def _of_paths(patch: AnyPatch) -> Iterator[list[Node] | SweepOf]:
    """The nodes and sweeps of paths of several hops."""
    for path in (patch.paths or []) if isinstance(patch, PathPatch) else []:
        yield from (node if isinstance(node, SweepOf) else [node] for node in path)


def _indices(positions: Positions | None) -> Iterator[int]:
    """Indices that stand for the same position of every prompt."""
    for ref in positions if isinstance(positions, list) else [positions]:
        if isinstance(ref, int):
            yield ref


def _missing(positions: list[int], lengths: list[int]) -> str:
    first, last = positions[0], positions[-1]
    have = [sum(length > pos for length in lengths) for pos in (first, last)]
    what = f"position {first} exists" if len(positions) == 1 else f"positions {first} to {last} exist"
    how_many = f"{have[1]:,}" if have[0] == have[1] else f"{have[1]:,} to {have[0]:,}"
    return f"{what} in {how_many} of {counted(len(lengths), 'prompt')} only: the others count there with an effect of 0"


def _moving(dataset: ResolvedDataset) -> str:
    """The roles whose position differs between prompts, in words; empty where none does."""
    spans = {role: (min(positions), max(positions)) for role, positions in dataset.roles.items()}
    moving = [f"{role} is at {low} to {high}" for role, (low, high) in spans.items() if low < high]
    more = [f"{len(moving) - ROLES_SHOWN} more roles move"] if len(moving) > ROLES_SHOWN else []
    return listed([*moving[:ROLES_SHOWN], *more]) if moving else ""


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
    first = listed(examples[:5]) + (", …" if len(examples) > 5 else "")
    return f"{len(examples):,} of {counted(count, 'example')} ({first})"


def _flags_without_effect(spec: JobSpec) -> Iterator[str]:
    """TransformerLens' refactoring folds value biases too, whatever the other flag says."""
    if spec.model.refactor_factored_attn_matrices and not spec.model.fold_value_biases:
        yield (
            "fold_value_biases false has no effect while refactor_factored_attn_matrices is true, which folds value "
            "biases too: set both to false to keep them in z"
        )


def _fixed_embeddings(spec: JobSpec) -> Iterator[str]:
    """Positional embeddings do not depend on the tokens."""
    end = spec.patch.starts if isinstance(spec.patch, PathPatch) else next(iter(ends_of(spec.patch).values()), [])
    if isinstance(end, list) and any(node.hook == "pos_embed" for node in end) and spec.patch.source != "zero":
        yield "pos_embed is the same in both runs, so patching it changes nothing (it does with source 'zero')"


def _at(ref: PromptPosition, dataset: ResolvedDataset) -> list[int]:
    """The position of each example."""
    if isinstance(ref, str):
        return dataset.roles[ref]
    positions: list[int] = positions_of(ref, dataset).tolist()
    return positions


def _attention(metric: Attention | AttentionDiff, dataset: ResolvedDataset) -> Iterator[str]:
    queries = _at(metric.query, dataset)
    keys = [("key", metric.key)] + ([("minus_key", metric.minus_key)] if isinstance(metric, AttentionDiff) else [])
    for field, ref in keys:
        pairs = enumerate(zip(queries, _at(ref, dataset), strict=True))
        later = [example for example, (query, key) in pairs if key > query]
        if later:
            what = f"{field} {shown(ref)} comes after query {shown(metric.query)}"
            yield f"{what} in {_some(later, len(dataset))}: attention there is always 0"
    if isinstance(metric, AttentionDiff) and _at(metric.key, dataset) == _at(metric.minus_key, dataset):
        same = f"key {shown(metric.key)} and minus_key {shown(metric.minus_key)} are the same position"
        yield f"{same}: the difference is 0"


def _equal_answers(metric: LogitDiff | ProbDiff, dataset: ResolvedDataset) -> Iterator[str]:
    named = f"answers {metric.answer} and {metric.minus_answer}"
    first, second = (
        [frozenset(own) for own in token_sets(dataset.answers[name])] for name in (metric.answer, metric.minus_answer)
    )
    pairs = list(zip(first, second, strict=True))
    equal = [example for example, (own, other) in enumerate(pairs) if own == other]
    if equal:
        what = "token" if all(len(first[example]) == 1 for example in equal) else "tokens"
        difference = metric.kind.replace("_diff", " difference")
        yield f"{named} are the same {what} in {_some(equal, len(dataset))}: their {difference} is 0 there"
    shared = [example for example, (own, other) in enumerate(pairs) if own != other and own & other]
    if shared:
        yield f"{named} share tokens in {_some(shared, len(dataset))}: these count on both sides"


def _out_of_reach(spec: JobSpec, metric: Metric, dataset: ResolvedDataset, architecture: Architecture) -> Iterator[str]:
    """Metrics that no patched value can change: of an earlier layer, or of an earlier position."""
    if (
        isinstance(metric, ATTENTION_METRICS)
        and metric.head is not None
        and _is_before(metric.head, spec, architecture)
    ):
        head = f"{metric.head.layer}.{metric.head.head}"
        yield f"attention of head {head} is computed before all that is patched, and cannot change"
    if isinstance(metric, Loss) or not isinstance(spec.patch.positions, int | str):
        return
    ref = metric.query if isinstance(metric, ATTENTION_METRICS) else metric.position
    patched, read = _at(spec.patch.positions, dataset), _at(ref, dataset)
    if all(pos > seen for pos, seen in zip(patched, read, strict=True)):
        where = f"position {shown(spec.patch.positions)} comes after {shown(ref)}, where metric {metric.kind!r} is read"
        yield f"{where}: nothing can change"


def _is_before(head: Head, spec: JobSpec, architecture: Architecture) -> bool:
    """Whether the head's pattern is computed before, or beside, all that is patched."""
    end = spec.patch.ends if isinstance(spec.patch, PathPatch) else list(ends_of(spec.patch).values())[-1]
    if isinstance(end, SweepOf):
        return isinstance(end.sweep.layers, list) and min(end.sweep.layers) > head.layer
    graph = Graph(architecture)
    reaches = (graph.reach_of_attention(node, head.layer, head.head, is_input=True) for node in end)
    return all(reach is Reach.NONE for reach in reaches)
