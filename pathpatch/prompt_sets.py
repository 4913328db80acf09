"""Earlier address of :mod:`pathpatch.specs.prompt_sets`."""

from pathpatch.specs.prompt_sets import *  # noqa: F403
