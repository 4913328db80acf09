"""The price of a plan, in floating-point operations of matrix products.

Memory-bound steps are charged as matmul FLOPs of equal time. The constants were fitted on a CPU to jobs like those of
``benchmarks/estimates.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from api_schemas.circuits import CircuitPatch
from api_schemas.datasets import ResolvedDataset, token_sets
from api_schemas.metrics import ATTENTION_METRICS, Loss, Metric
from api_schemas.nodes import EMBEDDING_HOOKS, RESIDUAL_HOOKS
from api_schemas.spec import ActivationPatch, JobSpec, PathPatch
from planning.architecture import Architecture
from planning.circuit_cost import circuit_phases
from planning.forms import Counted, KnownForms
from planning.graph import Graph, Site, is_in_attention, layer_of, mlps_between
from planning.grid import Grid, grid_of
from planning.paths import PathsPlan, plan_paths
from planning.plan import Pass, ReceiverGroup, plan_activation_patch, plan_path_patch
from planning.prompts import Places, Reading, deepest_layer, prefix_count, readings_of

GELU = 250.0
"""Of one neuron's activation function."""
VISIT = 120.0
"""Of one number of the residual stream, each time that it is changed, normalised and stored."""
BACKWARD = 2.0
"""Cost of a backward pass, in forward passes."""
GRADIENT = 5_000.0
"""Of one number of a receiver's gradient: through its own part of the graph, and carried back to the senders."""
OWN_HEAD = 0.35
"""The same of a receiver whose own attention is the metric, in gradients of others: its graph ends there."""
EXAMPLES_PLANNED = 64
"""The plan of so many examples is priced, and stands for all."""


def mlp_flops(architecture: Architecture) -> float:
    """Of one token through one MLP: two matrices, three in a gated one."""
    width, matrices = architecture.d_mlp, 3 if architecture.is_gated else 2
    return 2.0 * matrices * architecture.d_model * width + GELU * width + VISIT * architecture.d_model


def attention_flops(architecture: Architecture, length: float) -> float:
    """Of one token through one attention layer, with ``length / 2`` tokens to attend to, or a window's."""
    width = architecture.n_heads * architecture.d_head
    read = 2.0 * architecture.d_model * (width + 2 * architecture.n_kv_heads * architecture.d_head)
    write = 2.0 * architecture.d_model * width
    return read + write + 4.0 * _keys_seen(architecture, length) * width + VISIT * architecture.d_model


def _keys_seen(architecture: Architecture, length: float) -> float:
    """Keys of one query, on average over positions and layers; a window shorter than the prompt has fewer."""
    seen = [length / 2 if window is None else min(length / 2, window) for window in architecture.windows]
    return sum(seen) / len(seen) if seen else length / 2


def layer_flops(architecture: Architecture, length: float) -> float:
    """Of one token through one layer."""
    return attention_flops(architecture, length) + mlp_flops(architecture)


def phase_flops(
    spec: JobSpec, architecture: Architecture, dataset: ResolvedDataset, known: KnownForms | None = None
) -> tuple[float, ...]:
    """Of the whole job, by phase: the means if these are patched, then the cells, then those that are verified.

    Args:
        known: Forms of this spec's examples, which save counting again; the numbers are the same.
    """
    sample = dataset if len(dataset) <= EXAMPLES_PLANNED else dataset.slice(0, EXAMPLES_PLANNED)
    price = _Price(spec, architecture, sample, dataset.longest, known)
    return tuple(flops * dataset.tokens / sample.tokens for flops in price.phases())


def forms_for(spec: JobSpec, architecture: Architecture, dataset: ResolvedDataset) -> KnownForms:
    """Those of a spec, on any dataset of this one's names; no sweep may be over ``each`` position."""
    price = _Price(spec, architecture, dataset, dataset.longest)
    return KnownForms(price.grid, price.deepest)


@dataclass(frozen=True)
class _Price:
    """The price of a job on some examples."""

    spec: JobSpec
    architecture: Architecture
    dataset: ResolvedDataset
    longest: int
    """Tokens of the longest prompt of the whole dataset: the length of an ``each`` positions axis."""
    known: KnownForms | None = None

    def phases(self) -> Iterator[float]:
        """The clean runs go no deeper than the last metric reads."""
        grid = self.grid
        one_row = min(self.deepest + 0.5, self.architecture.n_layers) * self.layer
        run = self.tokens * one_row
        both_runs = prefix_count([*self.dataset.orig, *self.dataset.new]) * one_row
        clean = both_runs + 2 * len(self.dataset) * self.readout
        if isinstance(self.spec.patch, CircuitPatch):
            exact = sum(self.cells()) if self.spec.patch.method == "exact" else 0.0
            yield from circuit_phases(self.spec.patch, self.architecture, clean, exact, run, self.tokens)
            return
        exact = sum(self.cells())
        if self.spec.patch.source == "mean":
            yield both_runs
        yield clean + (exact if self.spec.method == "exact" else self.attribution(run))
        if self.spec.verify is not None:
            yield clean + min(self.spec.verify, len(grid)) * exact / len(grid)

    @cached_property
    def graph(self) -> Graph:
        return Graph(self.architecture)

    @cached_property
    def grid(self) -> Grid:
        return grid_of(self.spec.patch, self.architecture, self.longest) if self.known is None else self.known.grid

    @cached_property
    def deepest(self) -> int:
        """The layer at whose beginning the last metric is read."""
        if self.known is not None:
            return self.known.deepest
        cells = (self.grid.receivers or self.grid.senders).cells
        return deepest_layer(self.readings, cells, self.architecture.n_layers)

    @cached_property
    def readings(self) -> list[Reading]:
        return readings_of(self.spec.all_metrics, self.dataset)

    @cached_property
    def tokens(self) -> int:
        """Of one of the two runs."""
        return self.dataset.tokens // 2

    @cached_property
    def length(self) -> float:
        """Of a prompt, on average."""
        return self.tokens / len(self.dataset)

    @cached_property
    def mlp(self) -> float:
        return mlp_flops(self.architecture)

    @cached_property
    def layer(self) -> float:
        return layer_flops(self.architecture, self.length)

    def cells(self) -> Iterator[float]:
        """Of every part of the plan."""
        patch = self.spec.patch
        if isinstance(patch, PathPatch) and patch.paths is not None:
            places = Places(patch.positions, self.dataset, self.graph, patch.source)
            yield self.hops(plan_paths(patch.paths, self.grid.senders.cells, places, self.readings))
            return
        counted = self.count(self.dataset) if self.known is None else self.known.counted(self.dataset, self.count)
        for (one, group), rows, reads in zip(*counted, strict=True):
            if group is None:
                assert one is not None
                yield self.carried(one, rows)
            elif one is None:
                yield len(group.cells) * self.final_run(group, rows, reads)
            else:
                n_begun = [sum(first < time for first in one.senders.first_times) for time in group.times]
                for senders, met in group.met_by(n_begun):
                    yield (senders.stop - senders.start) * len(met.cells) * self.final_run(met, rows, reads)

    def count(self, dataset: ResolvedDataset) -> Counted:
        """The plan on some examples, in rows."""
        patch = self.spec.patch
        readings = self.readings if dataset is self.dataset else readings_of(self.spec.all_metrics, dataset)
        places = Places(patch.positions, dataset, self.graph, patch.source)
        if isinstance(patch, ActivationPatch):
            return Counted.of([(None, group) for group in plan_activation_patch(self.grid, places, readings)])
        return Counted.of_passes(plan_path_patch(self.grid, places, readings))

    def hops(self, plan: PathsPlan) -> float:
        """Of every cell: what is written into each input, each component on the way, and the run from the last on."""
        rows, readers = float(plan.rows.sum()), plan.hops.readers
        each = rows * len(readers) * VISIT * self.architecture.d_model
        each += rows * len({reader.site.layer for reader in readers if not reader.is_last}) * self.layer
        last = 0.0 if plan.last is None else self.final_run(plan.last, *Counted.of([(None, plan.last)]).only)
        return len(self.grid.senders.cells) * (each + last)

    def carried(self, one: Pass, rows: int) -> float:
        """What the senders of a pass write, and the MLPs on its way to the last receiver."""
        architecture, senders = self.architecture, one.senders
        through_mlps = not isinstance(self.spec.patch, ActivationPatch) and self.spec.patch.direct_includes_mlps
        is_head = any(site.hook == "z" for site in senders.sites[0])
        write = 2.0 * self.width(senders.sites[0][0]) * architecture.d_model * is_head + VISIT * architecture.d_model
        mlps = sum(mlps_between(first, one.times[-1]) for first in senders.first_times) if through_mlps else 0
        return float(rows) * (len(senders.cells) * write + mlps * self.mlp)

    def final_run(self, group: ReceiverGroup, rows: float, reads: float) -> float:
        """Of one cell: from the receivers on to the last metric, at the rows that can change."""
        architecture, hooks = self.architecture, {site.hook for site in group.sites[0]}
        cost = rows * (VISIT * architecture.d_model + self.entering(group)) + reads * self.readout
        first, last = min(map(layer_of, group.sites[0])), group.last_layer
        if group.own_heads is not None or first >= last:
            return cost
        cost += rows * (self.mlp if hooks - RESIDUAL_HOOKS - EMBEDDING_HOOKS else self.layer)
        cost += rows * max(last - first - 1, 0) * self.layer
        if last == architecture.n_layers and not any(isinstance(metric, Loss) for metric in self.spec.all_metrics):
            cost -= (rows - reads) * self.mlp  # the last MLP runs where the metric is read
        return cost

    def entering(self, group: ReceiverGroup) -> float:
        """Of one row: the receivers' own part of their layer."""
        heads = [site for site in group.sites[0] if is_in_attention(site.hook)]
        if not heads:
            return 0.0
        width = self.width(heads[0])
        changed = width * (self.architecture.group_size if heads[0].hook in ("k", "v") else 1)
        writes = not all(isinstance(metric, ATTENTION_METRICS) for metric in self.spec.all_metrics)
        return 2.0 * self.architecture.d_model * (width + writes * changed) + 4.0 * self.length * changed

    def width(self, site: Site) -> float:
        """Of what a cell's heads read or write: one head, or all of a layer."""
        return self.architecture.d_head * (self.architecture.n_heads_of(site.hook) if site.unit is None else 1)

    def attribution(self, run: float) -> float:
        """A pass forward and back for each metric, every receiver's gradient, and a product for every cell."""
        assert self.grid.receivers is not None
        receivers = [node for cell in self.grid.receivers.cells for node in cell[:1]]
        numbers = self.tokens * self.architecture.d_model
        each = 2.0 * len(self.grid.senders.cells) * len(receivers) * numbers
        if not isinstance(self.spec.patch, ActivationPatch) and self.spec.patch.direct_includes_mlps:
            each += sum(map(layer_of, receivers)) * self.tokens * BACKWARD * self.mlp
        own = [isinstance(metric, ATTENTION_METRICS) and metric.head is None for metric in self.spec.all_metrics]
        gradients = len(receivers) * numbers * sum(GRADIENT * (OWN_HEAD if is_own else 1.0) for is_own in own)
        first = layer_of(min(receivers, key=self.graph.time_of))
        return len(own) * ((1 + BACKWARD) * run * (1 - first / self.architecture.n_layers) + each) + gradients

    @cached_property
    def readout(self) -> float:
        """Unembedding of one example."""
        return sum(2.0 * self.architecture.d_model * self.columns(metric) for metric in self.spec.all_metrics)

    def columns(self, metric: Metric) -> float:
        if not metric.reads_all_logits:
            return 2.0 if self.architecture.logit_cap is None else 2.0 * self.set_size(metric)
        return self.architecture.d_vocab * (self.length if isinstance(metric, Loss) else 1)

    def set_size(self, metric: Metric) -> int:
        """Tokens of the largest answer."""
        answers = (getattr(metric, name, None) for name in ("answer", "minus_answer"))
        sets = (token_sets(self.dataset.answers[answer]) for answer in answers if answer is not None)
        return max((len(own) for answer in sets for own in answer), default=1)
