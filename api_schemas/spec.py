"""JobSpec: everything a client says about one experiment."""

import json
from html import escape
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from api_schemas.circuits import CircuitPatch, circuit_misfits
from api_schemas.datasets import Dataset, default_kind
from api_schemas.founding_experiment import FOUNDING_EXPERIMENT
from api_schemas.frozen import Flag, Frozen
from api_schemas.metrics import ATTENTION_METRICS, Head, Metric
from api_schemas.nodes import SweepOf
from api_schemas.patches import ActivationPatch as ActivationPatch
from api_schemas.patches import PathPatch as PathPatch
from api_schemas.patches import Problems, head_of, refuse
from api_schemas.shortened import shortened

ModelName = Annotated[str, Field(min_length=1, max_length=128, examples=["gpt2-small"])]


class ModelSpec(Frozen):
    """A model of the server's registry, and how its weights are processed (TransformerLens' flags).

    A flag that is left out is true where it leaves the model's function as it is, and false elsewhere.
    """

    name: ModelName
    """Name in the registry: `demo`, `gpt2-small`, `gpt2-medium`, ... or a checkpoint that the operator registered."""
    fold_ln: Flag = True
    """Fold each norm's scale and bias into the weights that follow."""
    center_writing_weights: Flag = True
    """Subtract the mean over d_model of every weight that writes to the residual stream (not under RMSNorm)."""
    center_unembed: Flag = True
    """Subtract the mean over the vocabulary of the unembedding (not with capped logits)."""
    refactor_factored_attn_matrices: Flag = True
    """Rotate each head's factored matrices to a canonical basis (not with rotary positions or shared keys)."""
    fold_value_biases: Flag = True
    """Move value biases into the output bias (where there are any)."""


Patch = Annotated[
    Annotated[PathPatch | ActivationPatch | CircuitPatch, Field(discriminator="kind")],
    BeforeValidator(default_kind("path")),
]


AnyPatch = PathPatch | ActivationPatch | CircuitPatch


class TopCells(Frozen):
    """Keep only the cells of largest absolute effect."""

    top: Annotated[int, Field(ge=1, le=100_000, examples=[50])]
    """How many cells to keep."""


class Output(Frozen):
    """What the result holds."""

    per_example: Annotated[bool | None, Field(examples=[True])] = None
    """One number per example; by default true for one cell, false for a sweep (then mean, sd and sem per cell)."""
    decimals: Annotated[int | None, Field(ge=0, le=15, examples=[6])] = None
    """Round the result's numbers; absent: full float32 precision."""
    reduce: Annotated[Literal["mean"] | TopCells | None, Field(examples=[{"top": 50}])] = None
    """`mean` over the examples, or the `top` k cells with their coordinates."""


class Webhook(Frozen):
    """Where to report the job's end."""

    url: Annotated[str, Field(min_length=1, max_length=2048, examples=["https://lab.example.org/hooks/pathpatch"])]
    """Address that receives one signed POST (Standard Webhooks) when the job ends."""


class JobSpec(Frozen):
    """One experiment."""

    model_config = ConfigDict(json_schema_extra={"examples": [FOUNDING_EXPERIMENT]})

    name: Annotated[str | None, Field(min_length=1, max_length=200, examples=["what the name movers listen to"])] = None
    """Free text, shown in lists, titles and figures; not part of what makes two specs equal."""
    model: ModelSpec
    """The model."""
    dataset: Dataset
    """The prompts of both runs."""
    patch: Patch
    """What is patched."""
    metric: Metric | None = None
    """What is measured."""
    metrics: Annotated[list[Metric] | None, Field(min_length=1, max_length=16)] = None
    """One to 16 metrics of the same runs, in place of `metric`, with one block of the result each. Many tokens of one
    question are one answer, as a set."""
    output: Output = Output()
    """What the result holds."""
    method: Annotated[Literal["exact", "attribution"], Field(examples=["exact"])] = "exact"
    """`attribution` estimates every edge from one gradient, to first order."""
    verify: Annotated[int | None, Field(ge=1, le=10_000, examples=[20])] = None
    """With `attribution`: how many of the cells with the largest estimates are computed exactly."""
    dtype: Annotated[Literal["float32", "tf32", "bfloat16"], Field(examples=["float32"])] = "float32"
    """Arithmetic of the run. float32 is exact to float error; the others are faster on a GPU and report their error."""
    priority: Annotated[Literal["high", "normal", "low"], Field(examples=["normal"])] = "normal"
    """Which jobs run first; within one priority, API keys and their jobs take turns. `high` needs the scope `high`."""
    expires_after_s: Annotated[float | None, Field(gt=0, le=30 * 86400, examples=[3600.0])] = None
    """The job expires if it has not ended this many seconds after its creation."""
    use_cache: Flag = True
    """Whether an earlier result of an equal spec may be returned."""
    webhook: Webhook | None = None
    """Where to report the job's end."""
    tags: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=64)],
            Annotated[str, Field(max_length=256)],
        ],
        Field(max_length=32, examples=[{"experiment": "negative-name-movers"}]),
    ] = {}
    """Labels of your choice, to find the job again."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "JobSpec":
        refuse(self._misfits())
        return self

    def _misfits(self) -> Problems:
        if self.metric is None and self.metrics is None:
            yield ("metric",), "metric is missing: give either metric or metrics, exactly one of them"
            return
        if self.metric is not None and self.metrics is not None:
            yield ("metrics",), "both are given: give either metric or metrics, exactly one of them"
        if self.verify is not None and self.method != "attribution":
            yield ("verify",), "verify goes with method 'attribution' only: the exact method needs no verification"
        if isinstance(self.patch, CircuitPatch):
            yield from circuit_misfits(self)
            return
        if self.method == "attribution" and isinstance(self.patch, ActivationPatch):
            yield ("method",), "method 'attribution' goes with patch kind 'path' only"
        if self.method == "attribution" and isinstance(self.patch, PathPatch) and self.patch.paths is not None:
            yield (
                ("method",),
                "method 'attribution' goes with senders and receivers, not with paths: it estimates edges",
            )
        for index, metric in enumerate(self.all_metrics):
            place: tuple[str | int, ...] = ("metric",) if self.metrics is None else ("metrics", index)
            if self.method == "attribution" and not metric.has_gradient:
                yield (*place, "kind"), f"metric {metric.kind!r} has no gradient: method 'attribution' needs one"
            lacks = self._why_no_head() if isinstance(metric, ATTENTION_METRICS) and metric.head is None else None
            if lacks:
                example = '{"layer": 10, "head": 7}'
                yield (*place, "head"), f"metric {metric.kind!r} needs a head, such as {example}: {lacks}"

    def _why_no_head(self) -> str | None:
        """Why the metric cannot take its head from the receivers; None if it can."""
        if not isinstance(self.patch, PathPatch):
            return "activation patching has no receiver to take it from"
        receivers = self.patch.ends
        if isinstance(receivers, SweepOf):
            single = receivers.sweep.head_choice not in (None, "joint")
            return None if single else "the swept receivers are not single heads"
        heads = {(node.layer, head_of(node)) for node in receivers}
        single = len(heads) == 1 and head_of(receivers[0]) is not None
        return None if single else "there is not exactly one receiver head to take it from"

    def _repr_html_(self) -> str:
        """The spec for a notebook, as JSON: what differs from the defaults; of long lists the beginning."""
        shown = shortened(self.model_dump(mode="json", exclude_defaults=True))
        return f"<pre>{escape(json.dumps(shown, indent=2, ensure_ascii=False))}</pre>"

    @property
    def all_metrics(self) -> list[Metric]:
        """The metrics, whether one or several were given."""
        return self.metrics if self.metrics is not None else [self.metric]  # type: ignore[list-item]

    @property
    def resolved_metrics(self) -> list[Metric]:
        """The metrics with the receivers' head filled in; in a sweep of receivers each cell keeps its own."""
        receivers = self.patch.ends if isinstance(self.patch, PathPatch) else []
        if isinstance(receivers, SweepOf):
            return self.all_metrics
        heads = [{"layer": node.layer, "head": head_of(node)} for node in receivers]
        return [
            metric.model_copy(update={"head": Head.model_validate(heads[0])})
            if isinstance(metric, ATTENTION_METRICS) and metric.head is None
            else metric
            for metric in self.all_metrics
        ]

    @property
    def is_sweep(self) -> bool:
        """Whether the result has a grid of cells."""
        if isinstance(self.patch, CircuitPatch):
            return True
        if isinstance(self.patch, ActivationPatch):
            return isinstance(self.patch.nodes, SweepOf)
        return self.patch.swept_start is not None or isinstance(self.patch.ends, SweepOf)

    @property
    def per_example(self) -> bool:
        """Whether the result keeps the example axis."""
        if self.output.reduce is not None:
            return False
        return not self.is_sweep if self.output.per_example is None else self.output.per_example
