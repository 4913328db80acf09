"""Results: arrays with named axes, and everything needed to trust them."""

from typing import Annotated, Any

from pydantic import Field

from api_schemas.frozen import Count, Frozen, Number, Sha256
from api_schemas.nodes import Node

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
    """Statistics of the three runs; `patched` only where there is one cell."""

    patched: Statistics | None = None
    """The patched run."""
    orig: Statistics | None = None
    """The orig run; null where the metric depends on the cell."""
    new: Statistics | None = None
    """The new run; null where the metric depends on the cell."""


class MetricLabel(Frozen):
    """Which metric a block holds."""

    kind: Annotated[str, Field(examples=["attention_diff"])]
    """The metric's kind."""
    unit: Annotated[str, Field(examples=["probability"])]
    """`probability`, `nats`, or `fraction` once normalised."""
    normalize: Annotated[str, Field(examples=["none"])] = "none"
    """The normalisation that was applied to patched, orig and new alike."""


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
    patched: NestedNumbers
    """The metric of the patched runs; means over the examples where there is no `example` axis."""
    patched_sd: NestedNumbers = None
    """Standard deviation over the examples, per cell."""
    patched_sem: NestedNumbers = None
    """Standard error of the mean, per cell."""
    orig: NestedNumbers
    """The metric of the orig run: shaped as `patched` where it depends on the cell, else per example or one mean."""
    new: NestedNumbers
    """The metric of the new run, shaped as `orig`."""
    reachable: NestedNumbers = None
    """Per cell, whether any path leads from its senders to its receivers; elsewhere patched equals orig exactly."""
    n: Annotated[Count | None, Field(examples=[800])] = None
    """Number of examples."""
    summary: Summary
    """Statistics over the examples."""
    normalization: Normalization | None = None
    """What `normalize` divided by."""
    estimate: NestedNumbers = None
    """With `method: attribution`: for each verified cell, the first-order estimate."""
    verified: NestedNumbers = None
    """With `method: attribution`: for each verified cell, the exact value."""
    verified_cells: Annotated[list[list[int]] | None, Field(examples=[[[9, 6], [9, 9]]])] = None
    """With `method: attribution`: indices of the verified cells along the cell axes."""


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
    """Senders from which no path leads to any receiver."""
    checks: Checks
    """What was checked."""
    provenance: Provenance
    """Where it comes from."""
    timings: Timings
    """How long it took."""
    warnings: Annotated[list[str], Field(examples=[[]])] = []
    """What the reader should know."""


class Result(MetricBlock, ResultHead):
    """The result of a job with one `metric`."""


class MultiMetricResult(ResultHead):
    """The result of a job with a list of `metrics`: one block each, in the order given."""

    blocks: list[MetricBlock]
    """One block per metric."""
