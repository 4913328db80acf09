"""Whether what a spec names exists: nodes in the model, positions, roles and answers in the dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from api_schemas.circuits import CircuitPatch
from api_schemas.datasets import DRAWN_DATASETS, Dataset, ResolvedDataset
from api_schemas.errors import FieldError
from api_schemas.metrics import ATTENTION_METRICS, NO_ANSWER, TWO_ANSWERS, Attention, AttentionDiff, Loss, Metric
from api_schemas.nodes import Node, PositionRef, Positions, PromptPosition, Sweep, SweepOf
from api_schemas.patches import PathNodes
from api_schemas.spec import ActivationPatch, AnyPatch, JobSpec, PathPatch
from api_schemas.wording.values import Suggestions, counted, shown, wrong
from planning.architecture import Architecture
from planning.graph import Graph
from planning.prompts import Places, twice_counted
from service.datasets.draft import MOST_PER_KIND
from service.datasets.resolve import LAST_ROLE, example_count
from service.specs.model_hooks import head_name, shared_receivers, uneven_heads, why_no_hook
from service.specs.paths import hop_errors, shared_edges

Path = tuple[str | int, ...]


def ends_of(patch: AnyPatch) -> dict[str, list[Node] | SweepOf]:
    """The patch's lists of nodes and sweeps, by field; a circuit has none, and paths are lists of their own."""
    if isinstance(patch, CircuitPatch):
        return {}
    if isinstance(patch, ActivationPatch):
        return {"nodes": patch.nodes}
    if patch.paths is not None:
        return {}
    return {"senders": patch.starts, "receivers": patch.ends}


def comparison_errors(
    spec: JobSpec, architecture: Architecture, dataset: ResolvedDataset | None
) -> Iterator[FieldError]:
    """Everything that the spec names and that does not exist.

    Args:
        dataset: None where it could not be resolved: then only the names that it states are compared.
    """
    compared = _Comparison(architecture, _Names.of(spec.dataset, dataset))
    yield from compared.patch(spec.patch)
    for path, metric in metric_paths(spec):
        yield from compared.metric(metric, path)
        if isinstance(metric, ATTENTION_METRICS) and metric.head is None and isinstance(spec.patch, PathPatch):
            yield from (wrong((*path, "head"), why) for why in shared_receivers(spec.patch.ends, architecture))


def metric_paths(spec: JobSpec) -> list[tuple[Path, Metric]]:
    """The spec's metrics, each with its path."""
    if spec.metrics is None:
        return [(("metric",), metric) for metric in spec.all_metrics]
    return [(("metrics", index), metric) for index, metric in enumerate(spec.metrics)]


def overlap_errors(patch: AnyPatch, places: Places) -> Iterator[FieldError]:
    """Nodes of one list that have an edge twice in some example; at disjoint positions they have none in common."""
    if isinstance(patch, PathPatch) and patch.paths is not None:
        yield from shared_edges(patch, places)
    for name, end in ends_of(patch).items():
        nodes = [] if isinstance(end, SweepOf) else end
        for earlier, later, index, (example, pos) in islice(
            twice_counted(nodes, places, name == "senders"), MOST_PER_KIND
        ):
            restricted = any(one is not None for one in (patch.positions, earlier.positions, later.positions))
            where = f"position {pos} of prompt {example}" if restricted else "every position"
            message = f"{name} {earlier} and {later} overlap at {where}: the same edge would be counted twice"
            yield wrong(("patch", name, index), message)


@dataclass(frozen=True)
class _Names:
    """Roles and answers of a dataset; lengths of its prompts, unless it could not be resolved."""

    roles: Mapping[str, None]
    answers: Mapping[str, None]
    examples: int
    lengths: Sequence[int]
    shortest: int | None
    longest: int | None

    @classmethod
    def of(cls, dataset: Dataset, resolved: ResolvedDataset | None) -> "_Names":
        if isinstance(dataset, DRAWN_DATASETS):
            roles, answers = dict.fromkeys(dataset.role_names), dict.fromkeys(dataset.answer_names)
        else:
            roles, answers = dict.fromkeys([*dataset.roles, LAST_ROLE]), dict.fromkeys(dataset.answers)
        lengths = [] if resolved is None else [len(prompt) for prompt in resolved.orig]
        bounds = min(lengths, default=None), max(lengths, default=None)
        return cls(roles, answers, example_count(dataset), lengths, *bounds)


@dataclass(frozen=True)
class _Comparison:
    """One spec against a model's sizes and a dataset's names; every method yields what is wrong."""

    architecture: Architecture
    names: _Names
    suggestions: Suggestions = field(default_factory=Suggestions)

    def patch(self, patch: AnyPatch) -> Iterator[FieldError]:
        for name, end in ends_of(patch).items():
            if isinstance(end, SweepOf):
                yield from self.sweep(end.sweep, ("patch", name, "sweep"))
                continue
            for index, node in enumerate(end):
                yield from self.node(node, ("patch", name, index))
        if isinstance(patch, PathPatch) and patch.paths is not None:
            yield from self.paths(patch.paths)
        yield from self.positions(patch.positions, ("patch", "positions"))

    def paths(self, paths: Sequence[PathNodes]) -> Iterator[FieldError]:
        """Their nodes, and whether every hop leads on."""
        for index, nodes in enumerate(paths):
            for place, node in enumerate(nodes):
                if isinstance(node, SweepOf):
                    yield from self.sweep(node.sweep, ("patch", "paths", index, place, "sweep"))
                else:
                    yield from self.node(node, ("patch", "paths", index, place))
        yield from hop_errors(paths, Graph(self.architecture))

    def node(self, node: Node, path: Path) -> Iterator[FieldError]:
        yield from self.hook(node.hook, (*path, "hook"))
        yield from self.index("layer", node.layer, (*path, "layer"))
        yield from self.head(node.hook, node.head, (*path, "head"))
        yield from self.index("query_head", node.query_head, (*path, "query_head"))
        yield from self.index("neuron", node.neuron, (*path, "neuron"))
        yield from self.positions(node.positions, (*path, "positions"))

    def sweep(self, sweep: Sweep, path: Path) -> Iterator[FieldError]:
        for number, hook in enumerate(sweep.hooks):
            yield from self.hook(hook, (*path, "hook", number) if isinstance(sweep.hook, list) else (*path, "hook"))
        if sweep.head_choice not in (None, "joint"):
            yield from (wrong((*path, "hook"), message) for message in uneven_heads(sweep.hooks, self.architecture))
        for axis, chosen in (("layer", sweep.layers), ("neuron", sweep.neurons)):
            for number, index in enumerate(chosen if isinstance(chosen, list) else []):
                yield from self.index(axis, index, (*path, axis + "s", number))
        for number, index in enumerate(sweep.heads if isinstance(sweep.heads, list) else []):
            yield from self.head(sweep.hooks[0], index, (*path, "heads", number))
        for number, ref in enumerate(sweep.positions if isinstance(sweep.positions, list) else []):
            yield from self.position(ref, (*path, "positions", number))

    def hook(self, hook: str, path: Path) -> Iterator[FieldError]:
        """A hook that the model has."""
        reason = why_no_hook(hook, self.architecture)
        if reason is not None:
            yield wrong(path, f"hook {shown(hook)} does not exist here: {reason}")

    def head(self, hook: str, index: int | None, path: Path) -> Iterator[FieldError]:
        """A head of a hook; where query heads share key-value heads, ``k`` and ``v`` have fewer."""
        size = self.architecture.n_heads_of(hook)
        if index is None or index < size:
            return
        name = head_name(hook, self.architecture)
        message = f"head {index} of {hook} does not exist: this model has {name}s 0 to {size - 1}"
        if size == self.architecture.n_heads:
            message = f"head {index} does not exist: this model has heads 0 to {size - 1}"
        elif index < self.architecture.n_heads and path[-1] == "head":
            message += f'; "query_head": {index} is what query head {index} reads'
        yield wrong(path, message)

    def index(self, axis: str, index: int | None, path: Path) -> Iterator[FieldError]:
        """A layer, query head or neuron."""
        size = {
            "layer": self.architecture.n_layers,
            "head": self.architecture.n_heads,
            "query_head": self.architecture.n_heads,
            "neuron": self.architecture.d_mlp,
        }[axis]
        if index is not None and index >= size:
            allowed = f"{axis.replace('_', ' ')}s 0 to {size - 1}"
            yield wrong(path, f"{axis} {index} does not exist: this model has {allowed}")

    def metric(self, metric: Metric, path: Path) -> Iterator[FieldError]:
        """Heads, positions and answers, and prompts too short for a loss."""
        for name in ("query", "key", "minus_key", "position"):
            if hasattr(metric, name):
                yield from self.position_everywhere(getattr(metric, name), (*path, name))
        if isinstance(metric, Attention | AttentionDiff):
            if metric.head is not None:
                yield from self.index("layer", metric.head.layer, (*path, "head", "layer"))
                yield from self.index("head", metric.head.head, (*path, "head", "head"))
        elif isinstance(metric, Loss):
            yield from self.loss(path)
        elif not isinstance(metric, NO_ANSWER):
            yield from self.answer(metric.answer, (*path, "answer"))
            if isinstance(metric, TWO_ANSWERS):
                yield from self.answer(metric.minus_answer, (*path, "minus_answer"))

    def loss(self, path: Path) -> Iterator[FieldError]:
        if self.names.shortest is not None and self.names.shortest < 2:
            example = self.names.lengths.index(self.names.shortest)
            short = f"prompt {example} has {self.names.shortest}"
            yield wrong((*path, "kind"), f"metric 'loss' needs prompts of at least 2 tokens, and {short}")

    def answer(self, answer: str, path: Path) -> Iterator[FieldError]:
        if answer not in self.names.answers:
            known, start = list(self.names.answers), f"there is no answer {shown(answer)}"
            yield wrong(path, self.suggestions.among(start, answer, known, "this dataset's answers are"))

    def role(self, role: str, path: Path) -> Iterator[FieldError]:
        if role not in self.names.roles:
            known, start = list(self.names.roles), f"there is no role {shown(role)}"
            yield wrong(path, self.suggestions.among(start, role, known, "this dataset's roles are"))

    def position(self, ref: PositionRef, path: Path) -> Iterator[FieldError]:
        """A role, or an index that at least one prompt has: examples without it do not take part."""
        if isinstance(ref, str):
            yield from self.role(ref, path)
        elif self.names.longest is not None and ref >= self.names.longest:
            last = self.names.longest - 1
            yield wrong(path, f"position {ref} does not exist: the longest prompt has positions 0 to {last}")

    def position_everywhere(self, ref: PromptPosition, path: Path) -> Iterator[FieldError]:
        """A role, or an index that every prompt has, negative from its end: a metric cannot read padding."""
        if isinstance(ref, str):
            yield from self.role(ref, path)
        elif self.names.shortest is not None and not -self.names.shortest <= ref < self.names.shortest:
            example, last = self.names.lengths.index(self.names.shortest), self.names.shortest - 1
            hint = "a metric is read in every prompt; the role 'end' is each prompt's last token"
            yield wrong(path, f"position {ref} does not exist in prompt {example}, which has 0 to {last}: {hint}")

    def positions(self, positions: Positions | None, path: Path) -> Iterator[FieldError]:
        if positions is None:
            return
        if not isinstance(positions, list):
            yield from self.position(positions, path)
        elif not positions:
            yield wrong(path, "the list is empty: leave positions out to patch all of them")
        elif isinstance(positions[0], list):
            yield from self.positions_per_example([own for own in positions if isinstance(own, list)], path)
        else:
            for index, ref in enumerate(positions):
                if not isinstance(ref, list):
                    yield from self.position(ref, (*path, index))

    def positions_per_example(self, positions: list[list[int]], path: Path) -> Iterator[FieldError]:
        if len(positions) != self.names.examples:
            message = f"{counted(len(positions), 'list')} of positions for {counted(self.names.examples, 'example')}"
            yield wrong(path, f"{message}: give one list per example")
        elif not any(positions):
            yield wrong(path, "every example's list is empty: leave positions out to patch all of them")
        for example, (own, length) in enumerate(zip(positions, self.names.lengths, strict=False)):
            for index, pos in enumerate(own):
                if pos >= length:
                    message = f"position {pos} does not exist in prompt {example}, which has 0 to {length - 1}"
                    yield wrong((*path, example, index), message)
