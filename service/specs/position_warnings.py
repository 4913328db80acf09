"""Positions that do not mean the same in every prompt: columns of a sweep, and means over the dataset."""

from collections.abc import Iterator

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import Positions, SweepOf
from api_schemas.spec import JobSpec
from service.specs.node_checks import ends_of
from service.specs.wording import counted, listed

ROLES_SHOWN = 4


def position_warnings(spec: JobSpec, dataset: ResolvedDataset) -> Iterator[str]:
    """One sentence each."""
    named = [*_indices(spec.patch.positions)]
    is_each = False
    for end in ends_of(spec.patch).values():
        if isinstance(end, SweepOf):
            is_each |= end.sweep.positions == "each"
            named += _indices(end.sweep.positions if isinstance(end.sweep.positions, list) else None)
        else:
            named += [place for node in end for place in _indices(node.positions)]
    lengths = [len(prompt) for prompt in dataset.orig]
    missing = [place for place in sorted(set(named)) if place >= min(lengths)]
    if is_each and min(lengths) < max(lengths):
        missing = list(range(min(lengths), max(lengths)))
    if missing:
        yield _missing(missing, lengths) + (", and n_patched says how many do not" if spec.is_sweep else "")
    moving = _moving(dataset)
    if not moving:
        return
    if is_each:
        yield f"positions are counted from a prompt's beginning, and {moving}: sweep roles to compare equal words"
    if spec.patch.source == "mean":
        yield f"source 'mean' is per position, and {moving}: the mean there is over different words"


def _indices(positions: Positions | None) -> Iterator[int]:
    """Indices that stand for the same position of every prompt."""
    for ref in positions if isinstance(positions, list) else [positions]:
        if isinstance(ref, int):
            yield ref


def _missing(places: list[int], lengths: list[int]) -> str:
    one = len(places) == 1
    have = [sum(length > place for length in lengths) for place in (places[0], places[-1])]
    what = f"position {places[0]} exists" if one else f"positions {places[0]} to {places[-1]} exist"
    how_many = f"{have[1]:,}" if one or have[0] == have[1] else f"{have[1]:,} to {have[0]:,}"
    return f"{what} in {how_many} of {counted(len(lengths), 'prompt')} only: the others count there with an effect of 0"


def _moving(dataset: ResolvedDataset) -> str:
    """The roles whose position differs between prompts, in words; empty where none does."""
    spans = {role: (min(places), max(places)) for role, places in dataset.roles.items()}
    moving = [f"{role} is at {low} to {high}" for role, (low, high) in spans.items() if low < high]
    more = [f"{len(moving) - ROLES_SHOWN} more roles move"] if len(moving) > ROLES_SHOWN else []
    return listed([*moving[:ROLES_SHOWN], *more]) if moving else ""
