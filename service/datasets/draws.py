"""Drawing the fillers of a template's slots, for both runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

from api_schemas.datasets import TemplatesDataset

REDRAW = "redraw"


@dataclass(frozen=True)
class Draw:
    """One example: its template and the fillers of both runs."""

    template: int
    orig: Mapping[str, str]
    new: Mapping[str, str]


@dataclass(frozen=True)
class Slots:
    """The slots in alphabetical order, so that the order of a JSON object's keys changes nothing."""

    dataset: TemplatesDataset
    fillers: Mapping[str, list[str]]
    """The different fillers of each slot, in the client's order."""
    indices: Mapping[str, Mapping[str, int]]
    """Where each filler stands there."""
    sharing: Mapping[str, int]
    """A number that slots with the same fillers have in common."""

    @classmethod
    def of(cls, dataset: TemplatesDataset) -> "Slots":
        """The slots of a dataset, with each filler once."""
        given = dataset.fillers
        fillers = {slot: list(dict.fromkeys(given[slot])) for slot in sorted(given)}
        indices = {slot: {filler: index for index, filler in enumerate(own)} for slot, own in fillers.items()}
        numbers: dict[frozenset[str], int] = {}
        sharing = {slot: numbers.setdefault(frozenset(own), len(numbers)) for slot, own in fillers.items()}
        return cls(dataset, fillers, indices, sharing)

    def draw(self, example: int) -> Draw:
        """Slots that share their fillers get different ones; redrawn ones get what neither run uses."""
        dataset = self.dataset
        random = Random(f"{dataset.seed}:{example}")  # a string seed: the same on every machine and hash seed
        template = random.randrange(len(dataset.templates))
        orig: dict[str, str] = {}
        taken: defaultdict[int, list[str]] = defaultdict(list)
        for slot in self.fillers:
            orig[slot] = self._pick(random, slot, taken[self.sharing[slot]])
            taken[self.sharing[slot]].append(orig[slot])
        new = orig | {slot: orig[rule] for slot, rule in dataset.new.items() if rule != REDRAW}
        used = set(orig.values())
        for slot in sorted(dataset.new):
            if dataset.new[slot] == REDRAW:
                new[slot] = self._pick(random, slot, used & self.indices[slot].keys())
                used.add(new[slot])
        return Draw(template, orig, new)

    def _pick(self, random: Random, slot: str, taken: Iterable[str]) -> str:
        """One of the slot's fillers that are not taken: all of those are in its list."""
        fillers, indices = self.fillers[slot], sorted(self.indices[slot][filler] for filler in taken)
        index = random.randrange(len(fillers) - len(indices))
        for other in indices:
            index += other <= index
        return fillers[index]

    def needed(self) -> dict[str, int]:
        """How many different fillers each slot must have, so that none is drawn twice."""
        redrawn = [slot for slot, rule in self.dataset.new.items() if rule == REDRAW and slot in self.fillers]
        bits = {slot: 1 << bit for bit, slot in enumerate(self.fillers)}
        users: defaultdict[str, int] = defaultdict(int)  # filler -> the slots that have it, one bit each
        for slot, own in self.fillers.items():
            for filler in own:
                users[filler] |= bits[slot]
        redrawn_bits = sum(bits[slot] for slot in redrawn)
        alike = Counter(self.sharing.values())
        found = {slot: alike[self.sharing[slot]] for slot in self.fillers}
        for slot in redrawn:
            overlapping = 0
            for filler in self.fillers[slot]:
                overlapping |= users[filler]
            found[slot] = overlapping.bit_count() + (overlapping & redrawn_bits).bit_count()
        return found
