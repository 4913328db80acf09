"""The client for ``async`` code; ``generate.py`` makes ``blocking`` of it."""
