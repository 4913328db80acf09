"""Prefixes: every position finds the row of its own beginning, and no beginning has two."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.prompts import prefix_count, prefixes_of

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=8)


@given(PROMPTS)
def test_positions_share_a_row_exactly_where_they_share_a_beginning(prompts: list[list[int]]) -> None:
    """Rows are numbered in the order in which they are first found."""
    found = prefixes_of(prompts)
    beginnings: dict[tuple[int, ...], int] = {}
    for row, prompt in enumerate(prompts):
        for position in range(len(prompt)):
            own = beginnings.setdefault(tuple(prompt[: position + 1]), len(beginnings))
            assert found.place[row, position] == own
        assert (found.place[row, len(prompt) :] == found.place[row, len(prompt) - 1]).all()
    assert len(found) == len(beginnings) == prefix_count(prompts)
    assert found.place.ravel()[found.first].tolist() == list(range(len(found)))
    assert found.positions.tolist() == [len(beginning) - 1 for beginning in beginnings]


@given(PROMPTS)
def test_every_row_is_among_the_queries_of_its_group(prompts: list[list[int]]) -> None:
    """Where it is found first; and every prompt is in one group."""
    found = prefixes_of([[*prompt, *range(40 - len(prompt))] for prompt in prompts])
    groups = found.attending()
    assert sorted(np.concatenate([group.prompts for group in groups]).tolist()) == list(range(len(prompts)))
    start_of = {int(prompt): group.start for group in groups for prompt in group.prompts}
    where = [divmod(int(place), found.place.shape[1]) for place in found.first]
    assert all(position >= start_of[prompt] for prompt, position in where)


@pytest.mark.parametrize(("header", "apart"), [(0, 1), (8, 1), (200, 2)])
def test_tails_after_a_long_header_attend_apart(header: int, apart: int) -> None:
    """The header's own queries are those of one prompt."""
    prompts = [[*range(header), 1000 + number, *range(15)] for number in range(20)]
    groups = prefixes_of(prompts).attending()
    assert len(groups) == apart
    assert [len(group.prompts) for group in groups] == ([20] if apart == 1 else [1, 19])
    assert groups[-1].start == (header if apart == 2 else 0)
