"""The version of everything here; `pyproject.toml` and `CITATION.cff` name the same."""

__version__ = "0.1.0"
