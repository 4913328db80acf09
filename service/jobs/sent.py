"""Which specs an API key has sent lately: an earlier result may answer them."""

from collections import OrderedDict
from collections.abc import Iterable

from service.checkers.checker import Outline

MOST_REMEMBERED = 10_000


class SentLately:
    """Per API key, so that nobody sees in the time of an answer what another key has sent."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def has(self, owner: str, outline: Outline) -> bool:
        """Whether an equal spec was sent; False where no earlier result may answer."""
        return outline.digest is not None and (owner, outline.digest) in self._known

    def remember(self, owner: str, outlines: Iterable[Outline]) -> None:
        """Specs that were accepted; the oldest are forgotten."""
        for outline in outlines:
            if outline.digest is not None:
                self._known[owner, outline.digest] = None
                self._known.move_to_end((owner, outline.digest))
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
