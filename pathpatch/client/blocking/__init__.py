"""The client without ``async``, generated from ``awaited``."""
