"""How much work checking a spec is at most: counted from what it says, before anything is made of it."""

from itertools import chain

from api_schemas.circuits import CircuitPatch, EapIgGraph
from api_schemas.datasets import DRAWN_DATASETS, TemplatesDataset
from api_schemas.nodes import SweepOf
from api_schemas.spec import JobSpec, PathPatch
from planning.architecture import Architecture
from planning.circuit import edge_count
from planning.grid import sweep_sizes
from service.datasets.resolve import answer_choices, example_count, longest_prompt
from service.specs.comparison import ends_of


def circuit_work(patch: CircuitPatch, architecture: Architecture) -> int:
    """Of a circuit job: every edge of the model is looked at, and every edge that the spec names."""
    named = patch.edges.edges if isinstance(patch.edges, EapIgGraph) else chain(*(patch.edges or {}).values())
    return edge_count(architecture) // 4 + 20 * sum(1 for _ in named)


def work_of(spec: JobSpec, architecture: Architecture) -> int:
    """About the number of characters and list entries that are looked at, each some tenths of a microsecond."""
    dataset, examples = spec.dataset, example_count(spec.dataset)
    longest = longest_prompt(dataset)
    names = 7 if isinstance(dataset, DRAWN_DATASETS) else len(dataset.roles) + len(dataset.answers)
    draws = len(dataset.slots) ** 2 if isinstance(dataset, TemplatesDataset) else 0
    nodes = sum(1 if isinstance(end, SweepOf) else len(end) for end in ends_of(spec.patch).values())
    if isinstance(spec.patch, PathPatch) and spec.patch.paths is not None:
        nodes = sum(map(len, spec.patch.paths))
    searched = longest if not isinstance(dataset, DRAWN_DATASETS) else 1  # a role's text is looked for in its prompt
    if isinstance(spec.patch, CircuitPatch):
        nodes = 0
        draws += circuit_work(spec.patch, architecture) // max(examples, 1)
    looked_at = examples * (2 * longest + names * searched + draws + nodes**2) + answer_choices(dataset)
    return looked_at + sweep_sizes(spec.patch, architecture, longest)
