"""Prefixes on a device: a row for each, side by side without padding, and the way to and from all positions."""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from planning.prefixes import Prefixes
from worker.engine import attention
from worker.engine.model import Weights


class Packing:
    """The rows of some prompts' prefixes."""

    def __init__(self, prefixes: Prefixes, device: torch.device) -> None:
        self.prefixes, self.device = prefixes, device

    def _there(self, indices: NDArray[np.int64]) -> Int[Tensor, "*shape"]:
        return torch.from_numpy(indices).to(self.device, non_blocking=True)

    @cached_property
    def place(self) -> Int[Tensor, "prompt pos"]:
        """Which row stands at each position."""
        return self._there(self.prefixes.place)

    @cached_property
    def first(self) -> Int[Tensor, " row"]:
        """Where each row is found first, as an index into all positions."""
        return self._there(self.prefixes.first)

    @cached_property
    def positions(self) -> Int[Tensor, " row"]:
        """The position of each row."""
        return self._there(self.prefixes.positions)

    @cached_property
    def ends(self) -> Int[Tensor, "two pos"]:
        """Rows of the first prompt of each half: of the first example's two runs."""
        return self._there(self.prefixes.place[:: max(1, len(self.prefixes.place) // 2)][:2])

    def pack(self, values: Shaped[Tensor, "prompt pos *rest"]) -> Shaped[Tensor, " row *rest"]:
        """The rows of values at all positions."""
        flat = values.flatten(0, 1)
        return flat if self.prefixes.are_all else flat[self.first]

    def unpack(self, rows: Shaped[Tensor, " row *rest"]) -> Shaped[Tensor, "prompt pos *rest"]:
        """The row that stands at each position."""
        return rows.unflatten(0, self.prefixes.place.shape) if self.prefixes.are_all else rows[self.place]

    def attend(
        self,
        weights: Weights,
        layer: int,
        q: Float[Tensor, "row n_heads d_head"],
        k: Float[Tensor, "row any_heads d_head"],
        v: Float[Tensor, "row any_value_heads d_head"],
    ) -> Float[Tensor, "row n_heads d_head"]:
        """Each head's ``z``; queries and keys are positioned. A row attends where it is found first."""
        found = []
        for start, prompts, queries in self._attending:
            keys, values = (self.unpack(part) if prompts is None else part[prompts] for part in (k, v))
            own = self.unpack(q) if prompts is None else q[queries]
            found.append(attention.attend_from(weights, layer, start, own, keys, values).flatten(0, 1))
        if self._gathered is None:
            return found[0]
        return (found[0] if len(found) == 1 else torch.cat(found))[self._gathered]

    @cached_property
    def _attending(self) -> list[tuple[int, Tensor | None, Tensor | None]]:
        """Of each group its first query position, and the rows that stand at its keys and at its queries."""
        groups = self.prefixes.attending()
        if len(groups) == 1:
            return [(0, None, None)]
        places = [self.prefixes.place[group.prompts] for group in groups]
        return [
            (group.start, self._there(place), self._there(place[:, group.start :]))
            for group, place in zip(groups, places, strict=True)
        ]

    @cached_property
    def _gathered(self) -> Int[Tensor, " row"] | None:
        """Where each row is found among the queries of all groups, one group after the other."""
        n_prompts, n_pos = self.prefixes.place.shape
        groups = self.prefixes.attending()
        if len(groups) == 1:
            return None if self.prefixes.are_all else self.first
        index = np.zeros((n_prompts, n_pos), dtype=np.int64)
        begin = 0
        for group in groups:
            size = len(group.prompts) * (n_pos - group.start)
            index[group.prompts, group.start :] = begin + np.arange(size).reshape(len(group.prompts), -1)
            begin += size
        return self._there(index.ravel()[self.prefixes.first])
