"""Cutting a dataset into shards: pieces of a few seconds, so that progress is seen and a lost one costs little."""

from itertools import pairwise
from math import ceil

from api_schemas.datasets import ResolvedDataset
from service.specs.validation import CheckedSpec

SHARD_S = 2.0
SHORT_JOB_S = 1.0
"""A job shorter than this is one shard."""
PROGRESS_STEPS = 8
"""A longer job has at least this many shards, if there are as many times 8 examples."""
SHARD_TOKENS = 65_536
"""Tokens of one run that a shard may have, whatever its speed: its clean activations must fit into memory."""


def cut(checked: CheckedSpec, nominal_rate: float) -> list[ResolvedDataset]:
    """The dataset in order, in shards of nearly equal numbers of examples, at least one each."""
    dataset = checked.dataset
    count = shard_count(checked, nominal_rate)
    bounds = [len(dataset) * shard // count for shard in range(count + 1)]
    return [dataset.slice(start, stop) for start, stop in pairwise(bounds)]


def shard_count(checked: CheckedSpec, nominal_rate: float) -> int:
    """How many shards the job has on a kind of device of this nominal speed."""
    examples = len(checked.dataset)
    seconds = checked.estimated_flops / nominal_rate
    tokens = sum(map(len, checked.dataset.orig))
    wanted = [ceil(seconds / SHARD_S), ceil(tokens / SHARD_TOKENS), 1]
    if seconds > SHORT_JOB_S:
        wanted.append(min(PROGRESS_STEPS, ceil(examples / 8)))
    return min(max(wanted), examples, checked.max_shards)
