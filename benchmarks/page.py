"""Tables of docs/performance.md, each between two marks that name the file of its figures."""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
END = "<!-- end -->"


def begin_of(name: str) -> str:
    """The mark before a table."""
    return f"<!-- begin benchmarks/{name}.json -->"


def marked(name: str, content: str) -> str:
    """A table as the page has it."""
    return f"{begin_of(name)}\n{content}\n{END}"


def write_table(name: str, content: str) -> None:
    """Put a table into its place.

    Raises:
        ValueError: The page has no place for it.
    """
    before, begin, rest = PAGE.read_text().partition(begin_of(name))
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has no {begin_of(name)} with {END} after it")
    PAGE.write_text(f"{before}{marked(name, content)}{after}")
