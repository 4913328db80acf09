"""Whether a spec can run on a model: everything wrong is told at once, and what passes here no worker refuses.

The steps, each a module: the JSON is parsed (``parsing``), its dataset resolved (``service.datasets``), what it names
is compared with model and dataset (``comparison``), its size measured (``size``), and what is probably not meant is
warned of (``warnings``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from api_schemas.circuits import CircuitPatch
from api_schemas.datasets import ResolvedDataset
from api_schemas.errors import FieldError, InvalidSpec
from api_schemas.nodes import Node
from api_schemas.spec import JobSpec
from api_schemas.wording.values import first_errors, wrong
from planning.cost import phase_flops
from planning.graph import Graph
from planning.grid import grid_sizes
from planning.prompts import Places
from planning.reach import unreachable_senders
from service.datasets.resolve import Resolution, example_count, resolve
from service.models.catalog import CatalogModel
from service.specs.circuits import circuit_errors
from service.specs.comparison import comparison_errors, overlap_errors
from service.specs.implied import flag_errors, normalised
from service.specs.limits import SpecLimits
from service.specs.size import ResultSize, cell_errors
from service.specs.warnings import warnings_of


@dataclass(frozen=True)
class CheckedSpec:
    """A spec that can run, and what it will take."""

    spec: JobSpec
    """With defaults that depend on other fields filled in, so that specs that mean the same are equal."""
    dataset: ResolvedDataset
    cells: int
    grid_sizes: tuple[int, int]
    """Sender cells and receiver cells; the nodes of an activation patch count as receivers of one sender."""
    axes: list[str]
    """Axes of the result."""
    shape: list[int]
    """Length of each axis."""
    warnings: list[str]
    unreachable_senders: list[Node]
    phase_flops: tuple[float, ...]
    """Estimated floating-point operations, by phase."""
    estimated_result_bytes: int
    max_shards: int
    revision: str
    """Of the model that all this was compared with."""

    @property
    def estimated_flops(self) -> float:
        """Of all phases."""
        return sum(self.phase_flops)


class Models(Protocol):
    """Where a model is found by its name: the catalog, or what was taken from it."""

    def get(self, name: str) -> CatalogModel:
        """The model, or an ``InvalidSpec`` that says why there is none."""
        ...


def check_job(spec: JobSpec, models: Models, limits: SpecLimits) -> CheckedSpec:
    """``check_spec`` on the model that the spec names.

    Raises:
        InvalidSpec: Carries everything that is wrong; a model that is unknown or unavailable is told as a field too.
    """
    return check_spec(spec, models.get(spec.model.name), limits)


def check_spec(spec: JobSpec, model: CatalogModel, limits: SpecLimits) -> CheckedSpec:
    """Resolve the dataset, and compare every index, name and size in the spec with what there is.

    Raises:
        InvalidSpec: Carries everything that is wrong.
    """
    resolution, errors = _resolved(spec, model, limits)
    dataset = resolution.dataset if resolution else None
    errors += flag_errors(spec.model, model.architecture)
    errors += first_errors(comparison_errors(spec, model.architecture, dataset))
    if isinstance(spec.patch, CircuitPatch):
        errors += first_errors(circuit_errors(spec.patch, model.architecture, example_count(spec.dataset), limits))
    errors += cell_errors(spec, model.architecture, dataset.longest if dataset else 1, limits)
    errors += _output_errors(spec)
    if errors or resolution is None:
        raise InvalidSpec(list(dict.fromkeys(errors)))
    places = Places(spec.patch.positions, resolution.dataset, Graph(model.architecture))
    if overlaps := list(overlap_errors(spec.patch, places)):
        raise InvalidSpec(list(dict.fromkeys(overlaps)))
    return _checked(normalised(spec, model), resolution, places, model, limits)


def _resolved(spec: JobSpec, model: CatalogModel, limits: SpecLimits) -> tuple[Resolution | None, list[FieldError]]:
    try:
        return resolve(spec.dataset, model, limits), []
    except InvalidSpec as exc:
        return None, list(exc.errors)


def _output_errors(spec: JobSpec) -> Iterator[FieldError]:
    if spec.output.per_example and spec.output.reduce is not None:
        message = "per_example and reduce contradict each other: keep one number per example, or reduce over them"
        yield wrong(("output", "per_example"), message)


def _checked(
    spec: JobSpec, resolution: Resolution, places: Places, model: CatalogModel, limits: SpecLimits
) -> CheckedSpec:
    dataset, architecture = resolution.dataset, model.architecture
    size = ResultSize.of(spec, architecture, dataset.longest, len(dataset))
    if errors := list(size.errors(spec, len(dataset), limits)):
        raise InvalidSpec(errors)
    unreachable = unreachable_senders(spec.patch, places)
    return CheckedSpec(
        spec=spec,
        dataset=dataset,
        cells=size.cells,
        grid_sizes=grid_sizes(spec.patch, architecture, dataset.longest),
        axes=size.axes,
        shape=size.shape,
        warnings=[*resolution.warnings, *warnings_of(spec, dataset, architecture, unreachable)],
        unreachable_senders=unreachable,
        phase_flops=phase_flops(spec, architecture, dataset),
        estimated_result_bytes=size.bytes,
        max_shards=limits.max_shards,
        revision=model.revision,
    )
