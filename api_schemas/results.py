"""Results: arrays with named axes, and everything needed to trust them."""

from typing import Annotated, Any

from pydantic import Field

from api_schemas.frozen import Count, Frozen, Number, Sha256
from api_schemas.metrics import Head
from api_schemas.nodes import Node, PositionRef

NestedNumbers = Annotated[Any, Field(examples=[[0.08, 0.12]])]
"""A number, null (not finite, or not computed), or nested lists of these, in the shape that ``shape`` states."""


class Statistics(Frozen):
    """Over the examples."""

    mean: Number
    """Mean."""
    sd: Number
    """Standard deviation, with n - 1."""
    sem: Number
    """Standard error of the mean."""
    median: Number = None
    """Median; null where per-example values were not kept."""
    min: Number = None
    """Smallest."""
    max: Number = None
    """Largest."""
    n: Count
    """Number of examples."""


class Summary(Frozen):
    """Statistics of the three runs over the examples, of patched where there is one cell."""

    patched: Statistics | None = None
    """The patched run; null in a sweep, whose `patched_sd` and the like are per cell."""
    orig: Statistics | None = None
    """The orig run; null where the metric depends on the cell."""
    new: Statistics | None = None
    """The new run; null where the metric depends on the cell."""


class MetricLabel(Frozen):
    """Which metric a block holds: the spec's, with its defaults filled in. Fields that its kind lacks are absent."""

    kind: Annotated[str, Field(examples=["attention_diff"])]
    """The metric's kind."""
    title: Annotated[str, Field(examples=["attention end → IO minus end → S1, head 10.7"])] = ""
    """The metric in words, for a heading or a table's row; metrics of one job that differ have different titles."""
    unit: Annotated[str, Field(examples=["probability"])]
    """`probability`, `nats` or `places` (ranks), or `fraction` once normalised."""
    normalize: Annotated[str, Field(examples=["none"])] = "none"
    """The normalisation that was applied to patched, orig and new alike."""
    head: Head | None = None
    """The head whose attention is read; absent where it is each receiver's own."""
    query: Annotated[PositionRef | None, Field(examples=["end"])] = None
    """Where the head looks from."""
    key: Annotated[PositionRef | None, Field(examples=["IO"])] = None
    """Where it looks."""
    minus_key: Annotated[PositionRef | None, Field(examples=["S1"])] = None
    """Where it looks, counted negative."""
    answer: Annotated[str | None, Field(examples=["IO"])] = None
    """The answer, counted positive."""
    minus_answer: Annotated[str | None, Field(examples=["S"])] = None
    """The answer that is counted negative."""
    position: Annotated[PositionRef | None, Field(examples=["end"])] = None
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
    """Value at each index of each axis; with `reduce: top` the one axis is `cell`, former axes list its coordinates."""
    n_examples: Annotated[Count, Field(examples=[800])]
    """Number of examples of the dataset, whether or not they have an axis."""
    patched: NestedNumbers
    """The metric of the patched runs; means over the examples where there is no `example` axis."""
    patched_mean: NestedNumbers = None
    """Where there is an `example` axis: mean of `patched` over the examples, per cell."""
    patched_sd: NestedNumbers = None
    """Standard deviation of `patched` over the examples (with n - 1), per cell; null for one example."""
    patched_sem: NestedNumbers = None
    """Standard error of the mean of `patched`, per cell."""
    effect_sem: NestedNumbers = None
    """Standard error of the mean effect, per cell: from each example's own patched minus orig, so that what varies
    between examples in both runs alike does not count. The error bar of an effect."""
    orig: NestedNumbers
    """The metric of the orig run: shaped as `patched` where it depends on the cell, else per example or one mean."""
    new: NestedNumbers
    """The metric of the new run, shaped as `orig`."""
    reachable: NestedNumbers = None
    """Of a sweep, per cell: whether an edge leads from its senders to its receivers, in the order of a forward pass
    and at a position of both, in any example; elsewhere patched equals orig exactly."""
    n_patched: NestedNumbers = None
    """Of a sweep whose reachable cells are not so in every example, per cell: in how many examples they are. Where the
    others lack the position, for instance, they count with an effect of 0."""
    summary: Summary
    """Statistics over the examples."""
    normalization: Normalization | None = None
    """What `normalize` divided by."""
    exact: NestedNumbers = None
    """With `verify`, per cell: the exact mean of the patched runs, null where the cell was not verified."""
    estimate: NestedNumbers = None
    """With `verify`, for each of `verified_cells`: the first-order estimate of that mean."""
    verified: NestedNumbers = None
    """With `verify`, for each of `verified_cells`: the exact mean."""
    verified_cells: Annotated[list[list[int]] | None, Field(examples=[[[9, 6], [9, 9]]])] = None
    """With `verify`: indices of the verified cells along the axes of the sweep, largest estimated effect first."""


class Checks(Frozen):
    """Computed in the job's own run; a run whose checks fail is a failed job."""

    identity_max_abs: Annotated[float | None, Field(examples=[0.0])]
    """Largest change of any metric when orig is patched with itself; must be exactly 0."""
    completeness_max_abs: Annotated[float | None, Field(examples=[3e-7])] = None
    """Largest difference of logits from the new run when all writers are patched into the last residual stream."""
    nonfinite: Annotated[int, Field(examples=[0])] = 0
    """Numbers of the result that are not finite (null in JSON)."""
    dtype_max_abs: Annotated[float | None, Field(examples=[None])] = None
    """With `dtype: tf32 | bfloat16`: largest deviation from float32, on the first examples of each shard."""


class Provenance(Frozen):
    """What was computed from what, by what."""

    model: Annotated[str, Field(examples=["gpt2-small"])]
    """Model name."""
    revision: Annotated[str, Field(examples=["607a30d783dfa663caf39e06633721c8d4cfcd7e"])]
    """Hub commit, or a digest of the local files."""
    weights_sha256: Sha256
    """Digest of the processed weights."""
    dtype: Annotated[str, Field(examples=["float32"])]
    """Arithmetic."""
    device: Annotated[str, Field(examples=["cuda:0"])]
    """Device, or devices where several workers took part."""
    versions: Annotated[dict[str, str], Field(examples=[{"torch": "2.13.0"}])]
    """Versions of pathpatch, torch, transformer-lens and python."""
    dataset_sha256: Sha256
    """Digest of the token ids, roles and answers."""
    spec_sha256: Sha256
    """Digest of the normalised spec."""


class Timings(Frozen):
    """Where the time went."""

    queued_s: Annotated[float, Field(examples=[0.02])]
    """Seconds from acceptance to the first claim."""
    run_s: Annotated[float, Field(examples=[1.4])]
    """Seconds from the first claim to the end."""


class ResultHead(Frozen):
    """What every result carries, whatever its metrics."""

    job_id: Annotated[str, Field(examples=["job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
    """The job."""
    unreachable_senders: Annotated[list[Node], Field(examples=[[]])]
    """Senders from which no edge leads to any receiver: they come at or after all of them, or have no position in
    common with one that they come before."""
    checks: Checks
    """What was checked."""
    provenance: Provenance
    """Where it comes from."""
    timings: Timings
    """How long it took."""
    warnings: Annotated[list[str], Field(examples=[[]])] = []
    """What the reader should know: what validating the spec warned of, and what the run found."""


class Result(MetricBlock, ResultHead):
    """The result of a job with one `metric`."""


class MultiMetricResult(ResultHead):
    """The result of a job with a list of `metrics`: one block each, in the order given."""

    blocks: list[MetricBlock]
    """One block per metric."""
