"""The result of a circuit job."""

from typing import Annotated

from pydantic import Field

from api_schemas.frozen import Count, Frozen, Number
from api_schemas.results import MetricLabel, ResultHead

Numbers = Annotated[list[Number], Field(examples=[[2.1, 0.4]])]


class Mean(Frozen):
    """A mean over the examples."""

    mean: Number
    """The mean."""
    sem: Number
    """Its standard error; null for one example."""


class GraphSize(Frozen):
    """The model's graph; the first four are EAP-IG's `cfg`."""

    n_layers: Annotated[Count, Field(examples=[12])]
    """Layers."""
    n_heads: Annotated[Count, Field(examples=[12])]
    """Query heads per layer."""
    parallel_attn_mlp: Annotated[bool, Field(examples=[False])]
    """Whether attention and MLP of a layer read the same stream."""
    d_model: Annotated[Count, Field(examples=[768])]
    """Width of the residual stream."""
    n_edges: Annotated[Count, Field(examples=[32491])]
    """Edges, counted per query head."""
    n_nodes: Annotated[Count, Field(examples=[158])]
    """Nodes, `logits` included."""


class Edges(Frozen):
    """Scored edges, in EAP-IG's order; with `reduce: top` the largest alone, largest first."""

    names: Annotated[list[str], Field(examples=[["input->a0.h0<q>"]])]
    """Names as EAP-IG has them."""
    scores: Annotated[list[Number], Field(examples=[[-0.03]])]
    """The metric's change when the edge alone is patched (patched minus orig), mean over the examples: an edge that
    helps is negative. In the metric's unit."""
    scores_sem: Annotated[list[Number], Field(examples=[[0.002]])]
    """Standard error of each score."""
    scores_resampled_sem: Annotated[list[Number] | None, Field(examples=[[0.002]])] = None
    """With `resamples`: the standard deviation of each score over the bootstrap resamples."""
    indices: Annotated[list[int] | None, Field(examples=[[12]])] = None
    """With `reduce: top`: each edge's index among all of the model's."""


class CircuitRun(Frozen):
    """One circuit, and what it does alone."""

    name: Annotated[str, Field(examples=["300"])]
    """The name given to it, or how many edges were asked for."""
    fraction: Annotated[float | None, Field(examples=[0.01])] = None
    """Of the model's edges, where that was asked for."""
    n_edges_chosen: Annotated[Count, Field(examples=[300])]
    """Edges before dead ends were dropped."""
    n_edges: Annotated[Count, Field(examples=[287])]
    """Edges after that."""
    n_nodes: Annotated[Count, Field(examples=[61])]
    """Nodes that these edges join."""
    metric: Mean
    """The metric of the circuit's run."""
    faithfulness: Annotated[Number, Field(examples=[0.87])]
    """`(m(circuit) - m(no edge)) / (m(model) - m(no edge))`: 1 does what the model does. Null if that is 0/0."""
    members: Annotated[list[int], Field(examples=[[12, 40]])]
    """Its edges, by index among all of the model's in EAP-IG's order."""
    per_example: Annotated[list[Number] | None, Field(examples=[[2.1, 0.4]])] = None
    """With `output.per_example`: the metric of each example."""


class Baselines(Frozen):
    """Both ends of the scale of faithfulness."""

    orig: Mean
    """All edges."""
    new: Mean
    """No edge: everything carries the source."""


class Removals(Frozen):
    """One circuit without parts of it."""

    circuit: Annotated[Count, Field(examples=[0])]
    """Index of the circuit."""
    removed: Annotated[list[str], Field(examples=[["a9.h9"]])]
    """What was removed: all edges out of a node, an edge, or `random` edges."""
    without: Numbers
    """The circuit's metric without it."""
    model_without: Annotated[list[Number] | None, Field(examples=[[2.1, 0.4]])] = None
    """Completeness: the model's metric without it."""
    difference: Numbers
    """Completeness: circuit minus model, each without it. Minimality: the circuit without it minus the circuit."""
    strongest: Annotated[list[Number] | None, Field(examples=[[2.1, 0.4]])] = None
    """Minimality: the largest absolute difference that removing it makes, alone or with one of the random sets of edges
    removed first."""
    largest: Number
    """Largest absolute difference: small for a complete circuit."""


class RemovalTest(Frozen):
    """Completeness or minimality, by circuit."""

    most_edges: Annotated[Count, Field(examples=[200])]
    """Minimality: of a circuit with more edges, so many are drawn and removed one by one."""
    random_sets: Annotated[Count | None, Field(examples=[10])] = None
    """Random sets of edges: removed from each circuit (completeness), or removed before each part (minimality)."""
    circuits: list[Removals]
    """The tested circuits."""


class RandomCircuits(Frozen):
    """Connected circuits of the same size as one of the job's."""

    circuit: Annotated[Count, Field(examples=[0])]
    """Index of that circuit."""
    faithfulness: Numbers
    """Of each that was drawn."""


class Tests(Frozen):
    """The tests asked for."""

    completeness: RemovalTest | None = None
    """Circuit and model with the same parts removed (Wang et al. 2022, section 4.1)."""
    minimality: RemovalTest | None = None
    """The circuit without each of its nodes and edges (section 4.2)."""
    random: list[RandomCircuits] | None = None
    """Circuits drawn at random."""


class Stability(Frozen):
    """How far the choice depends on the examples."""

    resamples: Annotated[Count, Field(examples=[100])]
    """Bootstrap resamples, each example as often as drawn from Poisson's distribution."""
    jaccard: Annotated[list[Number], Field(examples=[[0.81]])]
    """For each size, shared edges by edges of either, mean over pairs of the resamples' circuits."""


class VerifiedEdges(Frozen):
    """Estimates of the largest edges beside their exact scores."""

    edges: Annotated[list[int], Field(examples=[[12]])]
    """Indices among all of the model's edges, largest estimate first."""
    names: Annotated[list[str], Field(examples=[["input->a0.h0<q>"]])]
    """Their names."""
    estimate: Numbers
    """Estimated scores."""
    exact: Numbers
    """Exact scores."""
    rank_correlation: Annotated[Number, Field(examples=[0.93])]
    """Spearman's, of both; null for one edge."""


class CircuitResult(ResultHead):
    """The result of a job with patch kind `circuit`."""

    metric: MetricLabel
    """The metric."""
    n_examples: Annotated[Count, Field(examples=[100])]
    """Examples in the dataset."""
    graph: GraphSize
    """The model's graph."""
    edges: Edges | None
    """Every edge with its score; null where circuits were given."""
    circuits: list[CircuitRun]
    """One per size, or those given."""
    cpr: Annotated[Number, Field(examples=[0.83])]
    """Area under faithfulness over the fractions (MIB); null for sizes that are no fractions."""
    cmd: Annotated[Number, Field(examples=[0.19])]
    """Area under |1 - faithfulness| (MIB)."""
    baselines: Baselines
    """The metric of all edges and of none."""
    tests: Tests | None = None
    """The tests asked for."""
    stability: Stability | None = None
    """With `resamples`."""
    verified: VerifiedEdges | None = None
    """With `verify`."""
