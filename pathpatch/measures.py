"""Earlier address of :mod:`pathpatch.specs.measures`."""

from pathpatch.specs.measures import *  # noqa: F403
