"""Templates with slots in brackets: parsing them and filling them in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SLOT = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True)
class FilledTemplate:
    """One prompt made from a template."""

    text: str
    ends: dict[str, list[int]]
    """For each slot, the character after the filler at each of its places."""


@dataclass(frozen=True)
class Template:
    """Texts and the slots between them: one more text than slots."""

    texts: list[str]
    slots: list[str]

    @classmethod
    def parse(cls, template: str) -> "Template":
        parts = _SLOT.split(template)
        return cls(parts[::2], parts[1::2])

    def has_space_before(self, slot: str) -> bool:
        """Whether some place of the slot follows a space."""
        return any(text[-1:].isspace() for text, own in zip(self.texts, self.slots, strict=False) if own == slot)

    def fill(self, fillers: Mapping[str, str]) -> FilledTemplate:
        """Put each slot's filler at all of its places."""
        text = self.texts[0]
        ends: dict[str, list[int]] = {}
        for slot, after in zip(self.slots, self.texts[1:], strict=True):
            text += fillers[slot]
            ends.setdefault(slot, []).append(len(text))
            text += after
        return FilledTemplate(text, ends)
