"""Circuits: how a spec asks for the edges of a model to be scored, chosen, run and tested."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import ConfigDict, Field, model_validator

from api_schemas.errors import Misfit
from api_schemas.frozen import Flag, Frozen
from api_schemas.metrics import Metric
from api_schemas.sources import MeanOver, Source, mean_misfits

EdgeName = Annotated[str, Field(min_length=1, max_length=64, examples=["a9.h9->logits"])]
CircuitName = Annotated[str, Field(min_length=1, max_length=64, examples=["name movers"])]
Test = Literal["completeness", "minimality", "random"]


class ExactScores(Frozen):
    """Patch each edge alone, everything else live; one patched run per edge."""

    method: Literal["exact"]
    """Always `exact`."""


class AttributionScores(Frozen):
    """EAP: the gradient at orig, times what the edge carries; the price of one forward and one backward pass."""

    method: Literal["attribution"]
    """Always `attribution`."""


class IntegratedScores(Frozen):
    """EAP-IG (inputs): the mean gradient of runs whose token embeddings lie between the source's and orig's."""

    method: Literal["integrated"]
    """Always `integrated`."""
    steps: Annotated[int, Field(ge=1, le=100, examples=[5])] = 5
    """Runs that are averaged; the first is wholly the source's, the last 1/steps short of orig."""


Score = Annotated[ExactScores | AttributionScores | IntegratedScores, Field(discriminator="method")]


class Choice(Frozen):
    """Which edges a circuit of each size has."""

    by: Annotated[Literal["top", "greedy", "iterated", "acdc"], Field(examples=["top"])] = "top"
    """`top`: the edges of largest score. `greedy`: from the logits back, always the largest edge into a node that has
    been reached. `iterated`: in rounds, every edge left is scored in the circuit so far; the least go in several ways,
    and the best of the circuits that are left is kept. `acdc`: from the logits back, an edge goes for good if the
    metric changes by less than `threshold`."""
    rank: Annotated[Literal["signed", "absolute"], Field(examples=["absolute"])] = "absolute"
    """Rank by how much an edge helps, or by the size of its score whatever its sign. With `iterated` also what is best:
    the largest metric, or the one nearest the model's."""
    edges: Annotated[
        list[Annotated[int, Field(ge=0)]] | None, Field(min_length=1, max_length=100, examples=[[30, 100, 300]])
    ] = None
    """Sizes in edges."""
    fractions: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]] | None, Field(min_length=1, max_length=100, examples=[[0.01, 0.1]])
    ] = None
    """Sizes as fractions of the model's edges, rounded down, in place of `edges`; by default MIB's grid .001 to 1."""

    rounds: Annotated[int | None, Field(ge=1, le=20, examples=[None])] = None
    """With `iterated`: rounds of scoring from each size to the next smaller one; by default 2."""
    threshold: Annotated[float | None, Field(gt=0, examples=[None])] = None
    """With `acdc`: the change of the metric that keeps an edge, in the metric's unit; `rank` `absolute` counts rises
    too, `signed` falls alone."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "Choice":
        problems: list[tuple[tuple[str | int, ...], str]] = []
        if self.edges is not None and self.fractions is not None:
            problems.append((("fractions",), "both are given: give sizes as edges or as fractions"))
        if self.rounds is not None and self.by != "iterated":
            problems.append((("rounds",), f"rounds go with by 'iterated' only, not {self.by!r}"))
        if self.threshold is not None and self.by != "acdc":
            problems.append((("threshold",), f"threshold goes with by 'acdc' only, not {self.by!r}"))
        if self.by == "acdc":
            if self.threshold is None:
                problems.append(
                    (("threshold",), "threshold is missing: by 'acdc' keeps edges that change the metric so much")
                )
            for field in ("edges", "fractions"):
                if getattr(self, field) is not None:
                    problems.append(((field,), f"{field} do not go with by 'acdc': its threshold decides the size"))
        if problems:
            raise Misfit(*problems)
        return self

    @property
    def rounds_per_size(self) -> int:
        """Rounds with their default."""
        return 2 if self.rounds is None else self.rounds


class GraphEdge(Frozen):
    """One edge of a graph file; further fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    in_graph: Flag
    """Whether the circuit has it."""
    score: Annotated[float | None, Field(examples=[0.25])] = None
    """Positive: the edge helps. Not read here."""


class EapIgGraph(Frozen):
    """A circuit as EAP-IG and MIB write it: the edges with `in_graph` are evaluated."""

    model_config = ConfigDict(extra="ignore")

    cfg: Annotated[dict[str, Any], Field(examples=[{"n_layers": 12, "n_heads": 12, "parallel_attn_mlp": False}])]
    """Sizes of the graph's model: `n_layers`, `n_heads`, `parallel_attn_mlp`, `d_model`."""
    edges: dict[EdgeName, GraphEdge]
    """Every edge by its name."""
    nodes: Annotated[dict[str, Any], Field(examples=[{"input": {"in_graph": True}}])] = {}
    """Every node by its name; not read here."""


class CircuitPatch(Frozen):
    """Score every edge of the model, choose circuits by these scores, and run each circuit alone."""

    positions: ClassVar[None] = None
    direct_includes_mlps: ClassVar[bool] = False
    update: ClassVar[Literal["add"]] = "add"

    kind: Literal["circuit"]
    """Always `circuit`."""
    score: Annotated[Score | None, Field(examples=[{"method": "integrated", "steps": 5}])] = None
    """How edges are scored; by default `exact`. Goes with `choose`."""
    choose: Annotated[Choice | None, Field(examples=[{"by": "top", "rank": "absolute", "edges": [30, 100, 300]}])] = (
        None
    )
    """Which circuits are chosen by the scores; by default those of MIB's grid, `top` by `absolute` score."""
    edges: Annotated[
        dict[CircuitName, list[EdgeName]] | EapIgGraph | None,
        Field(examples=[{"mine": ["a9.h9->logits", "input->a9.h9<v>"]}]),
    ] = None
    """In place of `score` and `choose`: circuits of your own to evaluate, each a list of edges by name, or a graph as
    EAP-IG writes it."""
    source: Annotated[Source, Field(examples=["new"])] = "new"
    """What edges outside a circuit carry: their value in new, zero, or its mean over the dataset's new runs."""
    mean_over: MeanOver = "position"
    """With source `mean`: one mean per `position`, or one over `all` positions together."""
    tests: Annotated[list[Test], Field(max_length=3, examples=[["completeness"]])] = []
    """`completeness`: circuit and model with the same edges knocked out. `minimality`: the circuit without each of its
    nodes and edges, alone and with random edges removed first. `random`: connected circuits of the same size, drawn."""
    resamples: Annotated[int | None, Field(ge=1, le=1000, examples=[100])] = None
    """Bootstrap resamples of the examples: standard errors of scores, and how far the circuits that they would choose
    agree."""
    verify: Annotated[int | None, Field(ge=1, le=10_000, examples=[50])] = None
    """With an estimated score: how many of the largest are computed exactly too."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, examples=[0])] = 0
    """Of what tests and resamples draw."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "CircuitPatch":
        problems: list[tuple[tuple[str | int, ...], str]] = [*mean_misfits(self.source, self.mean_over)]
        if self.edges is not None:
            for field in ("score", "choose", "resamples", "verify"):
                if getattr(self, field) is not None:
                    sentence = f"{field} does not go with edges: circuits of your own are evaluated as they are"
                    problems.append(((field,), sentence))
            if self.edges == {}:
                problems.append((("edges",), "there is no circuit in it: give at least one, as a list of edges"))
        if self.choice.by == "acdc" and self.score is not None:
            problems.append((("score",), "score does not go with by 'acdc': it tests each edge in the circuit so far"))
        if self.resamples is not None and self.choice.by in ("iterated", "acdc"):
            sentence = f"resamples do not go with by {self.choice.by!r}: they go with 'top' and 'greedy'"
            problems.append((("resamples",), sentence))
        if self.verify is not None and self.method is None and self.edges is None:
            problems.append((("verify",), "verify goes with scores, and by 'acdc' has none"))
        if self.verify is not None and self.method == "exact":
            problems.append((("verify",), "verify goes with method 'attribution' or 'integrated': these are estimates"))
        if len(set(self.tests)) < len(self.tests):
            problems.append((("tests",), "a test is named more than once"))
        if problems:
            raise Misfit(*problems)
        return self

    @property
    def method(self) -> str | None:
        """How edges are scored; None where circuits are given, and where edges are tested instead."""
        if self.edges is not None or self.choice.by == "acdc":
            return None
        return "exact" if self.score is None else self.score.method

    @property
    def steps(self) -> int:
        """Of an integrated gradient; 0 for one at orig."""
        return self.score.steps if isinstance(self.score, IntegratedScores) else 0

    @property
    def choice(self) -> Choice:
        """With its defaults."""
        return self.choose or Choice()


CIRCUIT_METRICS = ("logit_diff", "logit", "prob", "prob_diff", "log_prob", "accuracy", "kl", "js")
"""Metrics that circuits are judged by: those read at one position."""


class _Asked(Protocol):
    """What a spec says beside its patch."""

    @property
    def method(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def metrics(self) -> Sequence[Metric] | None: ...
    @property
    def all_metrics(self) -> list[Metric]: ...


def circuit_misfits(spec: _Asked) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What does not go with patch kind `circuit`."""
    if spec.method != "exact":
        yield ("method",), "patch kind 'circuit' has a method of its own: give patch.score.method"
    if spec.metrics is not None:
        yield ("metrics",), "patch kind 'circuit' takes one metric: scores and circuits are of that metric"
    elif (metric := spec.all_metrics[0]).kind not in CIRCUIT_METRICS:
        sentence = f"metric {metric.kind!r} does not go with patch kind 'circuit': it takes one of "
        yield ("metric", "kind"), sentence + ", ".join(CIRCUIT_METRICS)
    elif not metric.has_gradient and spec.patch.method in ("attribution", "integrated"):  # type: ignore[attr-defined]
        yield ("metric", "kind"), f"metric {metric.kind!r} has no gradient: score {spec.patch.method!r} needs one"  # type: ignore[attr-defined]
    elif metric.normalize != "none":
        yield ("metric", "normalize"), "patch kind 'circuit' takes normalize 'none' only: faithfulness is its scale"
    if spec.dtype != "float32":
        yield ("dtype",), f"patch kind 'circuit' takes dtype 'float32' only, not {spec.dtype!r}"
