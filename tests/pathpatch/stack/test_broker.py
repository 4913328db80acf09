"""The stack's own broker."""

from pathlib import Path

import pytest

from pathpatch.stack.broker import memory_limit


@pytest.mark.parametrize("said", ["max\n", "9223372036854771712\n"])
def test_without_a_containers_limit_the_machines_memory_counts(tmp_path: Path, said: str) -> None:
    """Both versions of control groups have their own word for no limit."""
    (tmp_path / "memory.max").write_text(said)
    assert memory_limit(tmp_path) == memory_limit(tmp_path / "none")


def test_a_containers_limit_is_kept(tmp_path: Path) -> None:
    """A full store answers 503; one that the container's limit kills does not."""
    (tmp_path / "memory.max").write_text("1000000\n")
    assert memory_limit(tmp_path) == 250_000
