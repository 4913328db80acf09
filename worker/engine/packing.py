"""Prefixes on a device: a row for each, side by side without padding, and the way to and from all positions."""

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
        def there(indices: NDArray[np.int64]) -> Int[Tensor, "*shape"]:
            return torch.from_numpy(indices).to(device, non_blocking=True)

        self.prefixes, place = prefixes, prefixes.place
        n_prompts, n_pos = place.shape
        self.place = there(place)
        """(prompt, position): which row stands there."""
        self.first = there(prefixes.first)
        """(row,): where it is found first, as an index into all positions."""
        self.positions = there(prefixes.positions)
        """(row,): its position."""
        self.ends = there(place[:: max(1, n_prompts // 2)][:2])
        """(two, position): rows of the first prompt of each half: of the first example's two runs."""
        groups = prefixes.attending()
        self._groups = [(group.start, there(place[group.prompts])) for group in groups]
        """Of prompts whose queries are computed together, the first such position, and their rows at all positions."""
        index = np.zeros_like(place)  # of every position, where it is found among the queries of all groups
        begin = 0
        for group in groups:
            size = len(group.prompts) * (n_pos - group.start)
            index[group.prompts, group.start :] = begin + np.arange(size).reshape(len(group.prompts), -1)
            begin += size
        self._gathered = there(index.ravel()[prefixes.first])
        """(row,): where it is found among the queries of all groups, one group after the other."""

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
        if len(self._groups) == 1:
            own = (self.unpack(part) for part in (q, k, v))
            return self.pack(attention.attend_from(weights, layer, 0, *own))
        found = []
        for start, rows in self._groups:
            found.append(attention.attend_from(weights, layer, start, q[rows[:, start:]], k[rows], v[rows]))
        return torch.cat([z.flatten(0, 1) for z in found])[self._gathered]
