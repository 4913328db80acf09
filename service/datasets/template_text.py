"""Templates with slots in brackets: parsing them and filling them in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

_SLOT = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True)
class FilledTemplate:
    """One prompt made from a template."""

    text: str
    ends: dict[str, list[int]]
    """For each slot, the character after each of its fillers."""


@dataclass(frozen=True)
class Template:
    """Texts and the slots between them: one more text than slots."""

    texts: list[str]
    slots: list[str]

    @classmethod
    def parse(cls, template: str) -> "Template":
        """A template taken apart at its slots."""
        parts = _SLOT.split(template)
        return cls(parts[::2], parts[1::2])

    @cached_property
    def slots_after_spaces(self) -> set[str]:
        """The slots of which some occurrence follows a space."""
        return {slot for text, slot in zip(self.texts, self.slots, strict=False) if text[-1:].isspace()}

    def longest(self, fillers: Mapping[str, int]) -> int:
        """Characters when filled, given the longest filler of each slot."""
        return sum(map(len, self.texts)) + sum(fillers.get(slot, 0) for slot in self.slots)

    def fill(self, fillers: Mapping[str, str]) -> FilledTemplate:
        """Put each slot's filler at all of its occurrences."""
        parts, length = [self.texts[0]], len(self.texts[0])
        ends: dict[str, list[int]] = {}
        for slot, after in zip(self.slots, self.texts[1:], strict=True):
            length += len(fillers[slot])
            ends.setdefault(slot, []).append(length)
            length += len(after)
            parts += (fillers[slot], after)
        return FilledTemplate("".join(parts), ends)
