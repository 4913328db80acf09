"""Earlier address of :mod:`pathpatch.specs.ends`."""

from pathpatch.specs.ends import *  # noqa: F403
