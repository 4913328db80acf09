"""A command of the command line, run in the test's own process."""

from collections.abc import Callable

Outcome = tuple[int, str, str]
"""Exit code, standard output, standard error."""
Command = Callable[..., Outcome]
