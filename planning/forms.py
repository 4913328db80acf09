"""The rows that a plan computes, counted; and the counts of examples alike, remembered.

Which rows of an example a plan computes depends on its *form* alone: its length, where its roles are, and where new
differs from orig. Templates have few forms, and a sweep over seeds meets the same ones again and again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import ne
from typing import NamedTuple

from api_schemas.datasets import ResolvedDataset
from planning.grid import Grid
from planning.plan import Pass, ReceiverGroup

MOST_FORMS = 128

Part = tuple[Pass | None, ReceiverGroup | None]
"""A pass, whose senders are carried; or a group of receivers, in a pass or of an activation patch."""
Form = tuple[object, ...]


class Counted(NamedTuple):
    """A plan's parts, in their order, and of each what is counted on some examples."""

    parts: tuple[Part, ...]
    rows: tuple[int, ...]
    """That are computed."""
    reads: tuple[int, ...]
    """Examples in which a receiver changes at all; 0 of a pass."""

    @classmethod
    def of_passes(cls, passes: list[Pass]) -> "Counted":
        """Of a path patch: each pass, followed by its receivers."""
        return cls.of([part for one in passes for part in ((one, None), *((one, group) for group in one.receivers))])

    @classmethod
    def of(cls, parts: list[Part]) -> "Counted":
        """Of any plan."""
        rows, reads = [], []
        for one, group in parts:
            if group is not None:
                rows.append(int((group.computed if group.own_heads is None else group.needed).sum()))
                reads.append(int(group.needed.any(axis=1).sum()))
            elif one is not None:
                rows.append(int(one.rows.sum()))
                reads.append(0)
        return cls(tuple(parts), tuple(rows), tuple(reads))

    @property
    def only(self) -> tuple[int, int]:
        """Rows and reads of the only part."""
        (rows,), (reads,) = self.rows, self.reads
        return rows, reads

    @property
    def structure(self) -> tuple[object, ...]:
        """Equal for plans of one patch that have the same passes and groups, and differ in nothing but their rows."""
        return tuple((one and tuple(one.senders.cells), group and tuple(group.cells)) for one, group in self.parts)


@dataclass(frozen=True)
class _Known:
    counted: Counted
    structure: tuple[object, ...]


class KnownForms:
    """Of one patch and its metrics on one model, none of which says anything example by example.

    Examples whose own plans have the same structure have it together too, and their counts add up: what is added up is
    what counting all at once gives.
    """

    def __init__(self, grid: Grid, deepest: int) -> None:
        """``deepest`` is the layer at whose beginning the last metric is read."""
        self.grid, self.deepest = grid, deepest
        self._known: dict[Form, _Known] = {}

    def counted(self, dataset: ResolvedDataset, count: Callable[[ResolvedDataset], Counted]) -> Counted:
        """What ``count`` gives for the dataset."""
        found = [self._of(form, example, dataset, count) for example, form in enumerate(forms_of(dataset))]
        first = found[0]
        if any(own.structure is not first.structure and own.structure != first.structure for own in found):
            return count(dataset)
        rows = tuple(map(sum, zip(*(own.counted.rows for own in found), strict=True)))
        reads = tuple(map(sum, zip(*(own.counted.reads for own in found), strict=True)))
        return Counted(first.counted.parts, rows, reads)

    def _of(
        self, form: Form, example: int, dataset: ResolvedDataset, count: Callable[[ResolvedDataset], Counted]
    ) -> _Known:
        if (known := self._known.get(form)) is None:
            if len(self._known) >= MOST_FORMS:
                self._known.clear()
            known = self._known[form] = self._counted_first(count(dataset.slice(example, example + 1)))
        return known

    def _counted_first(self, counted: Counted) -> _Known:
        """With the parts of an earlier one of equal structure: one copy of them is enough."""
        structure = counted.structure
        alike = next((own for own in self._known.values() if own.structure == structure), None)
        if alike is None:
            return _Known(counted, structure)
        return _Known(counted._replace(parts=alike.counted.parts), alike.structure)


def forms_of(dataset: ResolvedDataset) -> Iterator[Form]:
    """Of each example."""
    names, places = tuple(dataset.roles), zip(*dataset.roles.values(), strict=True)
    for orig, new, own in zip(dataset.orig, dataset.new, places, strict=True):
        yield names, own, bytes(map(ne, orig, new))
