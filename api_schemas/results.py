"""Results: arrays with named axes, their checks and their provenance."""

from typing import Annotated, Any

from pydantic import Field

from api_schemas.frozen import Count, Frozen, Number, Sha256
from api_schemas.metrics import Head
from api_schemas.nodes import Node, PromptPosition

NestedNumbers = Annotated[Any, Field(examples=[[0.08, 0.12]])]
"""A number, null (not finite, or not computed), or nested lists of these, in the shape that ``shape`` states."""


class Statistics(Frozen):
    """Statistics over the examples."""

    mean: Number
    """Mean."""
    sd: Number
    """Standard deviation (with n - 1)."""
    sem: Number
    """Standard error of the mean."""
    median: Number = None
    """Median; null if per-example values were not kept."""
    min: Number = None
    """Smallest."""
    max: Number = None
    """Largest."""
    n: Count
    """Number of examples."""


class Summary(Frozen):
    """Statistics of the three runs over the examples; of patched only if there is one cell."""

    patched: Statistics | None = None
    """The patched run; null in a sweep, which has `patched_sd` and the like per cell."""
    orig: Statistics | None = None
    """The orig run; null if the metric depends on the cell."""
    new: Statistics | None = None
    """The new run; null if the metric depends on the cell."""


class MetricLabel(Frozen):
    """The spec's metric with its defaults filled in. Fields that its kind lacks are absent."""

    kind: Annotated[str, Field(examples=["attention_diff"])]
    """The metric's kind."""
    title: Annotated[str, Field(examples=["attention end → IO minus end → S1, head 10.7"])] = ""
    """The metric in words. Different metrics of a job have different titles."""
    unit: Annotated[str, Field(examples=["probability"])]
    """`probability`, `nats`, `places` (ranks), or `fraction` if normalised."""
    normalize: Annotated[str, Field(examples=["none"])] = "none"
    """The normalisation of patched, orig and new."""
    head: Head | None = None
    """The head whose attention is read; absent if it is each receiver's own."""
    query: Annotated[PromptPosition | None, Field(examples=["end"])] = None
    """Where the head looks from."""
    key: Annotated[PromptPosition | None, Field(examples=["IO"])] = None
    """Where it looks."""
    minus_key: Annotated[PromptPosition | None, Field(examples=["S1"])] = None
    """Where it looks, counted negative."""
    answer: Annotated[str | None, Field(examples=["IO"])] = None
    """The answer, counted positive."""
    minus_answer: Annotated[str | None, Field(examples=["S"])] = None
    """The answer, counted negative."""
    position: Annotated[PromptPosition | None, Field(examples=["end"])] = None
    """Where logits are read."""


class Normalization(Frozen):
    """Dataset means that the normalisation used, in the metric's own unit."""

    orig_mean: NestedNumbers
    """Mean of orig."""
    new_mean: NestedNumbers
    """Mean of new."""


class MetricBlock(Frozen):
    """One metric's arrays."""

    metric: MetricLabel
    """Which metric."""
    axes: Annotated[list[str], Field(examples=[["example"]])]
    """Names of the axes of `patched`."""
    shape: Annotated[list[int], Field(examples=[[800]])]
    """Lengths of the axes."""
    coordinates: Annotated[dict[str, list[Any]], Field(examples=[{"example": [0, 1]}])]
    """Value at each index of each axis. With `reduce: top` the axis is `cell`, and the sweep's axes list its values."""
    n_examples: Annotated[Count, Field(examples=[800])]
    """Number of examples in the dataset, with or without an `example` axis."""
    patched: NestedNumbers
    """The metric of the patched runs; means over the examples if there is no `example` axis."""
    patched_mean: NestedNumbers = None
    """If there is an `example` axis: mean of `patched` over the examples, per cell."""
    patched_sd: NestedNumbers = None
    """Standard deviation of `patched` over the examples (with n - 1), per cell; null for one example."""
    patched_sem: NestedNumbers = None
    """Standard error of the mean of `patched`, per cell."""
    effect_sem: NestedNumbers = None
    """Standard error of the mean effect (patched minus orig, paired by example), per cell: variation that both runs
    share cancels. The error bar of an effect."""
    orig: NestedNumbers
    """The metric of the orig run: shaped like `patched` if it depends on the cell, else per example or one mean."""
    new: NestedNumbers
    """The metric of the new run, shaped like `orig`."""
    reachable: NestedNumbers = None
    """In a sweep, per cell: whether an edge leads from its senders to its receivers in any example, that is, to a later
    receiver at a shared position. If not, patched equals orig exactly."""
    n_patched: NestedNumbers = None
    """In a sweep, per cell: in how many examples an edge leads from its senders to its receivers; the other examples
    count with an effect of 0. Absent if each cell has an edge in all examples or in none."""
    summary: Summary
    """Statistics over the examples."""
    normalization: Normalization | None = None
    """The means that `normalize` used."""
    exact: NestedNumbers = None
    """With `verify`, per cell: the exact mean of the patched runs, null where the cell was not verified."""
    estimate: NestedNumbers = None
    """With `verify`, for each of `verified_cells`: the first-order estimate of that mean."""
    verified: NestedNumbers = None
    """With `verify`, for each of `verified_cells`: the exact mean."""
    verified_cells: Annotated[list[list[int]] | None, Field(examples=[[[9, 6], [9, 9]]])] = None
    """With `verify`: indices of the verified cells along the axes of the sweep, largest estimated effect first."""


class Checks(Frozen):
    """Checks made in the job's own run. If a check fails, the job fails."""

    identity_max_abs: Annotated[float | None, Field(examples=[0.0])]
    """Largest change of any metric when orig is patched with itself; must be exactly 0."""
    completeness_max_abs: Annotated[float | None, Field(examples=[3e-7])] = None
    """Largest difference of logits from the new run when all writers are patched into the last residual stream."""
    all_edges_max_abs: Annotated[float | None, Field(examples=[None])] = None
    """Circuits: largest difference of the metric from orig in a run of all edges."""
    no_edge_max_abs: Annotated[float | None, Field(examples=[None])] = None
    """Circuits with source `new`: largest difference of the metric from new in a run of no edge."""
    one_edge_max_abs: Annotated[float | None, Field(examples=[None])] = None
    """Circuits: difference of the metric between a run without one edge and that edge's path patch."""
    nonfinite: Annotated[int, Field(examples=[0])] = 0
    """Numbers of the result that are not finite (null in JSON)."""
    dtype_max_abs: Annotated[float | None, Field(examples=[None])] = None
    """With `dtype: tf32 | bfloat16`: largest deviation from float32, on the first examples of each shard."""


class Provenance(Frozen):
    """Model, data, versions and device that a result was computed with."""

    model: Annotated[str, Field(examples=["gpt2-small"])]
    """Model name."""
    revision: Annotated[str, Field(examples=["607a30d783dfa663caf39e06633721c8d4cfcd7e"])]
    """Hub commit, or a digest of the local files."""
    weights_sha256: Sha256
    """Digest of the processed weights."""
    dequantised_from: Annotated[list[str], Field(examples=[["Q4_1", "Q8_0"]])] = []
    """Of a GGUF file, the types of its quantised tensors, from which the weights were computed; else empty."""
    dtype: Annotated[str, Field(examples=["float32"])]
    """Arithmetic."""
    device: Annotated[str, Field(examples=["cuda:0"])]
    """Device, or devices if several workers took part."""
    versions: Annotated[dict[str, str], Field(examples=[{"torch": "2.13.0"}])]
    """Versions of pathpatch, torch, transformer-lens and python."""
    dataset_sha256: Sha256
    """Digest of the token ids, roles and answers."""
    spec_sha256: Sha256
    """Digest of the normalised spec, the model's revision, and the version and word lists of pathpatch."""
    n_kv_heads: Annotated[int | None, Field(examples=[None])] = None
    """Key-value heads per layer, where query heads share them: heads of `k` and `v` then count these."""


class Timings(Frozen):
    """Durations."""

    queued_s: Annotated[float, Field(examples=[0.02])]
    """Seconds from acceptance to the first claim."""
    run_s: Annotated[float, Field(examples=[1.4])]
    """Seconds from the first claim to the end."""


class ResultHead(Frozen):
    """The fields that every result has."""

    job_id: Annotated[str, Field(examples=["job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
    """The job."""
    unreachable_senders: Annotated[list[Node], Field(examples=[[]])]
    """Senders from which no edge leads to any receiver: no later receiver shares a position with them."""
    checks: Checks
    """Results of the run's checks."""
    provenance: Provenance
    """What the result was computed with."""
    timings: Timings
    """Durations."""
    warnings: Annotated[list[str], Field(examples=[[]])] = []
    """Warnings of validation and of the run."""


class Result(MetricBlock, ResultHead):
    """The result of a job with one `metric`."""


class MultiMetricResult(ResultHead):
    """The result of a job with a list of `metrics`: one block per metric, in the order given."""

    blocks: list[MetricBlock]
    """One block per metric."""
