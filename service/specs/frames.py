"""Specs that differ in their dataset alone: what was found of the rest, the frame, holds for each of them.

Whoever repeats an experiment with other seeds sends the same bytes around another dataset. A frame is kept only where
nothing that was found can depend on the prompts, but for what is named in ``check_framed``.
"""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import orjson

from api_schemas.datasets import Dataset, IoiDataset, ResolvedDataset
from api_schemas.errors import InvalidSpec
from api_schemas.nodes import SweepOf
from api_schemas.spec import ActivationPatch, AnyPatch, JobSpec, PathPatch
from job_store.digest import digest_text
from planning.cost import forms_for, phase_flops
from planning.forms import KnownForms
from planning.graph import Graph
from service.datasets.resolve import resolve
from service.http.strict_json import parse_json
from service.models.catalog import CatalogModel
from service.specs.comparison import ends_of
from service.specs.implied import with_bos
from service.specs.limits import SpecLimits
from service.specs.validation import CheckedSpec, check_spec
from service.specs.warnings import warnings_of
from service.specs.work import work_of
from service.version import software_sha256

PLACE = b"\0"
"""Stands for the dataset: no JSON text has this byte."""
EMPTY = ResolvedDataset(orig=[], new=[], roles={}, answers={})
MOST_SIZES = 64
BYTES_PER_CELL = 5000
BYTES_EACH = 40_000
"""Of one frame, beside its texts and cells."""
_LONG_INTEGER = re.compile(rb"[0-9]{19}")
_FLAT_DATASET = re.compile(rb'"dataset"\s*:\s*(\{(?:[^{}\[\]"\\]|"[^"\\]*")*+\})')

Sizes = tuple[int, int, int]
"""How many examples, and tokens of the shortest and longest prompt."""


@dataclass(frozen=True)
class Cut:
    """A spec's text in two: its dataset, an object without lists and objects, and all around it."""

    around: bytes
    """With ``PLACE`` where the dataset was."""
    dataset: bytes

    @classmethod
    def of(cls, body: bytes) -> "Cut | None":
        """None where the dataset is not one such object, or not the only thing of this name."""
        found = _FLAT_DATASET.search(body) if body.count(b'"dataset"') == 1 else None
        return found and cls(body[: found.start(1)] + PLACE + body[found.end(1) :], found[1])

    def is_right(self, max_depth: int) -> bool:
        """Whether another dataset in the same place makes another spec that differs in nothing else."""
        body, other = self.around.replace(PLACE, self.dataset), self.around.replace(PLACE, b"0")
        before, after = parse_json(body, max_depth), parse_json(other, max_depth)
        return isinstance(before, dict) and "dataset" in before and {**before, "dataset": 0} == after


@dataclass(frozen=True)
class Frame:
    """What a spec says beside its dataset, on one model; and what was found of it."""

    spec: JobSpec
    """One of them, as it was sent."""
    normal: JobSpec
    """The same, with implied defaults."""
    model: CatalogModel
    forms: KnownForms
    text: tuple[str, str]
    """Of the normal spec as JSON, before and after its dataset."""
    hashed: tuple[str, str]
    """The same of what its digest is made of."""
    work: dict[int, int] = field(default_factory=dict)
    """By how many examples there are."""
    checked: dict[Sizes, CheckedSpec] = field(default_factory=dict)
    """One that passed, of each of the latest sizes, without its prompts."""

    @classmethod
    def of(cls, spec: JobSpec, model: CatalogModel, limits: SpecLimits) -> "Frame | None":
        """That of a spec, which passes; None where something depends on its prompts."""
        if not isinstance(spec.dataset, IoiDataset) or not _is_apart(spec.patch, Graph(model.architecture)):
            return None
        checked = check_spec(spec, model, limits)
        normal, dataset = checked.spec, checked.spec.dataset
        hashed = _around(_sorted(dataset), digest_text(normal, model.revision, software_sha256()))
        text = _around(dataset.model_dump_json(), normal.model_dump_json())
        forms = forms_for(normal, model.architecture, checked.dataset)
        return cls(spec, normal, model, forms, text, hashed)

    def size_with(self, around: bytes) -> int:
        """Bytes that it takes, roughly."""
        return BYTES_EACH + 8 * len(around) + BYTES_PER_CELL * sum(self.forms.grid.sizes)


def _flat(dataset: bytes, max_depth: int) -> Any:
    """What ``parse_json`` gives of an object without others: no key can be twice if there are as many as colons."""
    if _LONG_INTEGER.search(dataset) is None:
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(dataset)
            if len(found) == dataset.count(b":"):
                return found
    return parse_json(dataset, max_depth)


def _sorted(dataset: Dataset) -> str:
    """As a part of ``digest_text``."""
    return orjson.dumps(dataset.model_dump(), option=orjson.OPT_SORT_KEYS).decode()


def _around(part: str, whole: str) -> tuple[str, str]:
    before, _, after = whole.partition(f'"dataset":{part}')
    return f'{before}"dataset":', after


def _is_apart(patch: AnyPatch, graph: Graph) -> bool:
    """Whether what is found of a patch is the same on all prompts.

    Positions are those of all tokens or of a role, which every prompt has, and no node has others; so each node takes
    part in every example. No two nodes may overlap, wherever they take part.
    """
    is_kind = isinstance(patch, ActivationPatch) or (isinstance(patch, PathPatch) and patch.paths is None)
    if not is_kind or not (patch.positions is None or isinstance(patch.positions, str)):
        return False
    for name, end in ends_of(patch).items():
        if isinstance(end, SweepOf):
            if end.sweep.positions is not None:
                return False
            continue
        if any(node.positions is not None for node in end):
            return False
        if any((graph.overlaps if name == "senders" else graph.clashes)(end)):
            return False
    return True


@dataclass(frozen=True)
class Framed:
    """A spec in a known frame."""

    frame: Frame
    dataset: IoiDataset
    """As it was sent."""
    normal: JobSpec
    """The spec with implied defaults."""

    @classmethod
    def of(cls, frame: Frame, dataset: bytes, max_depth: int) -> "Framed":
        """Another dataset in the frame.

        Raises:
            MalformedJson, ValidationError: It is none of the kind.
        """
        given = IoiDataset.model_validate(_flat(dataset, max_depth))
        return cls(frame, given, frame.normal.model_copy(update={"dataset": with_bos(given, frame.model)}))

    @cached_property
    def spec(self) -> JobSpec:
        """The spec as it was sent."""
        return self.frame.spec.model_copy(update={"dataset": self.dataset})

    @property
    def work(self) -> int:
        """As ``work_of`` counts it: it does not look at the seed."""
        known, examples = self.frame.work, self.dataset.examples
        if examples not in known:
            if len(known) >= MOST_SIZES:
                known.clear()
            known[examples] = work_of(self.spec, self.frame.model.architecture)
        return known[examples]

    @property
    def json(self) -> str:
        """The normal spec."""
        before, after = self.frame.text
        return f"{before}{self.normal.dataset.model_dump_json()}{after}"

    @property
    def digest(self) -> str:
        """What ``spec_sha256`` gives of the normal spec."""
        before, after = self.frame.hashed
        return hashlib.sha256(f"{before}{_sorted(self.normal.dataset)}{after}".encode()).hexdigest()


def check_framed(framed: Framed, limits: SpecLimits) -> CheckedSpec:
    """What ``check_spec`` gives of the spec.

    How many examples there are, and how short and long, decides whether a frame fits them; what is warned of and what
    the job costs depends on the prompts themselves.

    Raises:
        InvalidSpec: As ``check_spec``.
    """
    frame, normal = framed.frame, framed.normal
    try:
        resolution = resolve(framed.dataset, frame.model, limits)
    except InvalidSpec:
        return check_spec(framed.spec, frame.model, limits)
    dataset = resolution.dataset
    known = frame.checked.get(sizes := _sizes(dataset))
    if known is None:
        return _first_of_size(framed, sizes, limits)
    architecture = frame.model.architecture
    warnings = [*resolution.warnings, *warnings_of(normal, dataset, architecture, known.unreachable_senders)]
    flops = phase_flops(normal, architecture, dataset, frame.forms)
    return replace(known, spec=normal, dataset=dataset, warnings=warnings, phase_flops=flops)


def _sizes(dataset: ResolvedDataset) -> Sizes:
    lengths = list(map(len, dataset.orig))
    return len(lengths), min(lengths), max(lengths)


def _first_of_size(framed: Framed, sizes: Sizes, limits: SpecLimits) -> CheckedSpec:
    checked = check_spec(framed.spec, framed.frame.model, limits)
    known = framed.frame.checked
    if len(known) >= MOST_SIZES:
        known.clear()
    known[sizes] = replace(checked, spec=framed.frame.normal, dataset=EMPTY, warnings=[])
    return checked
