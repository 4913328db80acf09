"""Cutting a job into shards: pieces of a few seconds, so that progress is seen and a lost one costs little.

A shard is a slice of examples and a slice of cells. Examples are cut first; only where single examples take longer
than a shard should, the cells of each are cut too.
"""

import json
from itertools import pairwise
from math import ceil

from api_schemas.circuits import CircuitPatch
from api_schemas.datasets import ShardInput
from service.specs.validation import CheckedSpec

SHARD_S = 4.0
"""On a slow laptop; a second on two cores of a server, where shorter ones cost a twentieth more."""
SHORT_JOB_S = 1.0
"""A job shorter than this is one shard."""
PROGRESS_STEPS = 8
"""A longer job has at least this many shards, if there are as many times 8 examples."""
SHARD_TOKENS = 65_536
"""Tokens of one run that a shard may have, whatever its speed: its clean activations must fit into memory."""

Range = tuple[int, int]
Cells = tuple[Range, Range]
"""Sender cells and receiver cells."""


def cut(checked: CheckedSpec, nominal_rate: float) -> list[ShardInput]:
    """The shards: slices of examples in order, and of each the slices of cells in order."""
    examples, cells = slices(checked, nominal_rate)
    whole = checked.dataset
    parts = [whole] if len(examples) == 1 else [whole.slice(*own) for own in examples]
    return [ShardInput(**dict(part), cells=some) for part in parts for some in cells]


def texts(checked: CheckedSpec, dataset: str, nominal_rate: float) -> tuple[str, ...]:
    """The shards as JSON, of which ``dataset`` is the whole dataset's."""
    examples, cells = slices(checked, nominal_rate)
    if len(examples) > 1:
        return tuple(shard.model_dump_json() for shard in cut(checked, nominal_rate))
    return tuple(f'{dataset[:-1]},"cells":{_json(some)}}}' for some in cells)


def _json(cells: Cells | None) -> str:
    return "null" if cells is None else json.dumps(cells, separators=(",", ":"))


def slices(checked: CheckedSpec, nominal_rate: float) -> tuple[list[Range], list[Cells | None]]:
    """The slices of examples, in nearly equal numbers, and those of cells; each of both together is a shard."""
    examples, patch = len(checked.dataset), checked.spec.patch
    if isinstance(patch, CircuitPatch) and patch.edges is None and patch.choice.by == "acdc":
        return [(0, examples)], [None]  # each of its tests needs the mean over all examples
    seconds = checked.estimated_flops / nominal_rate
    tokens = sum(map(len, checked.dataset.orig))
    wanted = [ceil(seconds / SHARD_S), ceil(tokens / SHARD_TOKENS), 1]
    if seconds > SHORT_JOB_S:
        wanted.append(min(PROGRESS_STEPS, ceil(examples / 8)))
    most = min(max(wanted), checked.max_shards)
    pieces = min(most, examples)
    return even_ranges(examples, pieces), cell_slices(checked.grid_sizes, most // pieces)


def cell_slices(sizes: tuple[int, int], pieces: int) -> list[Cells | None]:
    """The grid in about so many pieces: senders apart first, whose changes are carried along in any case."""
    n_senders, n_receivers = sizes
    of_senders = min(max(pieces, 1), n_senders)
    of_receivers = min(max(pieces // of_senders, 1), n_receivers)
    if of_senders * of_receivers == 1:
        return [None]
    senders, receivers = even_ranges(n_senders, of_senders), even_ranges(n_receivers, of_receivers)
    return [(own, others) for own in senders for others in receivers]


def even_ranges(count: int, pieces: int) -> list[Range]:
    """First and last plus one of each of so many nearly equal pieces."""
    return list(pairwise(count * piece // pieces for piece in range(pieces + 1)))
