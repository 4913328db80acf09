"""One model whose files may change at any time: read in a thread of its own, so that no other model waits for it."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from api_schemas.errors import ModelUnavailable
from api_schemas.models import ModelOrigin
from checkpoints.files import Stamp, UnusableCheckpoint
from checkpoints.folder import listed
from service.models.reading import CatalogModel, locate, looked_in, read_model

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""How old what is known of a model may be."""
RETRY_AFTER_S = 30.0
"""For how long the hub is not asked again for a model that it did not give."""
STAT_PATIENCE_S = 0.5
"""How long a request waits to learn whether files have changed; then it takes what was known."""

Seen = tuple[str, dict[str, Stamp]]


@dataclass(frozen=True)
class _Missing:
    """A model that was looked for in vain."""

    reason: str
    asked_hub: bool


class WatchedModel:
    """What was last read of a model, and a look at its files when that is older than a second."""

    def __init__(self, origin: ModelOrigin, clock: Callable[[], float]) -> None:
        self._origin = origin
        self._clock = clock
        self._lock = threading.Lock()
        self._known: CatalogModel | _Missing | None = None
        self._seen: Seen | None = None
        self._looked_at = 0.0
        self._look: threading.Event | None = None

    def get(self, may_download: bool, patience_s: float) -> CatalogModel:
        """The model as its files are now.

        Raises:
            ModelUnavailable: It cannot be used, or reading it takes longer than ``patience_s``.
        """
        look = self.begin_look(may_download)
        if look is not None:
            look.wait(min(STAT_PATIENCE_S, patience_s))
            if not isinstance(self._known, CatalogModel):
                look.wait(patience_s)
        known = self._known
        if known is None:
            raise ModelUnavailable(self._origin.name, "its files are being read, which takes a while: try again.")
        if isinstance(known, _Missing):
            raise ModelUnavailable(self._origin.name, known.reason)
        return known

    def peek(self) -> CatalogModel | None:
        """The model as it was last seen; starts a look where that is more than a second ago."""
        self.begin_look(may_download=False)
        return self._known if isinstance(self._known, CatalogModel) else None

    @property
    def is_being_read(self) -> bool:
        """Whether a look is under way."""
        return self._look is not None

    def begin_look(self, may_download: bool) -> threading.Event | None:
        """Start a look, or join the one that runs; None where what is known is fresh."""
        with self._lock:
            if self._look is None and not self._is_fresh(may_download):
                self._look = threading.Event()
                name = f"look-at-{self._origin.name}"
                threading.Thread(target=self._finish_look, args=(may_download,), name=name, daemon=True).start()
            return self._look

    def _is_fresh(self, may_download: bool) -> bool:
        known, age = self._known, self._clock() - self._looked_at
        if known is None:
            return False
        if isinstance(known, _Missing) and self._origin.folder is None:
            return age < RETRY_AFTER_S if known.asked_hub else age < LOOK_EVERY_S and not may_download
        return age < LOOK_EVERY_S

    def _finish_look(self, may_download: bool) -> None:
        try:
            self._look_now(may_download)
        except Exception as exc:  # whatever is wrong with one model, only this one becomes unavailable
            log.exception("model %s could not be read", self._origin.name)
            self._note_missing(f"its files could not be read ({type(exc).__name__}).", may_download)
        finally:
            self._looked_at = self._clock()
            with self._lock:
                look, self._look = self._look, None
            assert look is not None
            look.set()

    def _look_now(self, may_download: bool) -> None:
        try:
            folder = locate(self._origin, may_download)
            seen = (str(folder), listed(folder))
            if seen == self._seen and self._known is not None:
                return
            self._seen = seen
            if isinstance(self._known, CatalogModel):
                self._known = None  # what was known is past: whoever asks waits for the new
            self._known = read_model(self._origin, folder)
        except UnusableCheckpoint as exc:
            self._seen = None
            self._note_missing(f"{exc.reason}.", may_download)
        except ModelUnavailable as exc:
            self._note_missing(exc.reason, may_download)

    def _note_missing(self, reason: str, may_download: bool) -> None:
        before = self._known
        if not isinstance(before, _Missing) or before.reason != reason:
            folder = looked_in(self._origin)
            nobody_asked = before is None and self._origin.folder is None and not may_download
            log.log(
                logging.DEBUG if nobody_asked else logging.WARNING,
                "model %s is unavailable: %s",
                self._origin.name,
                reason,
                extra={"folder": folder},
            )
        self._known = _Missing(reason, may_download)
