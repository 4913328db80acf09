"""Positions: the forms a user may write, and the rows they stand for."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from planning.prompts import after_first_difference, span, up_to
from tests.tiny_weights import node, patched, prompts, tiny_weights
from worker.engine.rows import row_map, rows_of

CLOSE = {"atol": 1e-6, "rtol": 1e-6}
masks = st.integers(1, 4).flatmap(
    lambda batch: st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=batch, max_size=batch)
)


def values(positions: Any, through_mlps: bool, where: str) -> np.ndarray:
    """An experiment patched at some positions, given for the patch or for one end of it."""
    sender, receiver = node("z", 0), node("v", 1)
    patch: dict[str, Any] = {"direct_includes_mlps": through_mlps}
    if where == "patch":
        patch["positions"] = positions
    elif where == "sender":
        sender["positions"] = positions
    else:
        receiver["positions"] = positions
    dataset = prompts([5, 3, 4])
    return patched(tiny_weights(), dataset, {**patch, "senders": [sender], "receivers": [receiver]})


@pytest.mark.parametrize("where", ["patch", "sender", "receiver"])
@pytest.mark.parametrize("through_mlps", [False, True])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0, [0]),
        (0, "first"),
        (0, [[0], [0], [0]]),
        ("end", [[4], [2], [3]]),
        (["first", "end"], ["end", "first", "end", 0]),
        (None, [0, 1, 2, 3, 4]),
        (None, [[0, 1, 2, 3, 4], [2, 1, 0], [0, 3, 1, 2]]),
    ],
    ids=str,
)
def test_every_way_to_write_the_same_places_gives_the_same_numbers(
    one: Any, other: Any, through_mlps: bool, where: str
) -> None:
    """Int = list = role = list per example; all positions = none given; duplicates and order do not matter."""
    np.testing.assert_allclose(values(one, through_mlps, where), values(other, through_mlps, where), **CLOSE)


@pytest.mark.parametrize("through_mlps", [False, True])
def test_a_list_per_example_follows_its_examples_into_their_shards(through_mlps: bool) -> None:
    """It indexes the whole dataset, of which a shard is a slice."""
    dataset = prompts([5, 3, 4])
    patch = {"senders": [node("z", 0)], "receivers": [node("v", 1)], "direct_includes_mlps": through_mlps}
    patch["positions"] = [[4], [0, 1], [2]]
    whole, cut = (patched(tiny_weights(), dataset, patch, cuts=cuts) for cuts in ((), (1, 2)))
    np.testing.assert_allclose(whole, cut, **CLOSE)


def test_an_edge_is_patched_where_both_ends_are() -> None:
    """The intersection of the sender's, the receiver's and the patch's positions."""
    dataset = prompts([5])

    def run(sender: Any, receiver: Any, both: Any) -> np.ndarray:
        ends = {
            "senders": [node("z", 0, positions=sender)],
            "receivers": [node("v", 1, positions=receiver)],
            "positions": both,
        }
        return patched(tiny_weights(), dataset, ends)

    np.testing.assert_allclose(run([0, 1, 2], [1, 2, 3], [2, 3, 4]), run(None, None, 2), **CLOSE)


@given(masks)
def test_rows_are_the_places_of_a_mask(mask: list[list[bool]]) -> None:
    """Taken rows, put back by their positions, are what was there."""
    wanted = np.array(mask)
    rows = rows_of(wanted, torch.device("cpu"))
    positions = torch.arange(5).expand(len(mask), 5)
    taken = rows.take(positions)
    for row in range(len(mask)):
        assert taken[row][rows.valid[row]].tolist() == np.flatnonzero(wanted[row]).tolist()


@given(
    masks.flatmap(
        lambda first: st.tuples(
            st.just(first),
            st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=len(first), max_size=len(first)),
        )
    )
)
def test_moved_rows_keep_their_positions(pair: tuple[list[list[bool]], list[list[bool]]]) -> None:
    """Rows that the old set lacks come out as zero."""
    old, new = (rows_of(np.array(mask), torch.device("cpu")) for mask in pair)
    positions = (1 + torch.arange(5)).expand(len(pair[0]), 5)
    moved = row_map(old, new).move(old.take(positions)[:, None])[:, 0]
    for row in range(len(moved)):
        got = moved[row][new.valid[row]].tolist()
        assert got == [place + 1 if pair[0][row][place] else 0 for place in np.flatnonzero(pair[1][row])]


def test_a_change_spreads_from_its_first_position_to_the_last_read() -> None:
    """Rows before it are orig's, rows after it are not read."""
    mask = np.array([[False, True, False, True, False], [False] * 5])
    last = np.array([[False, False, False, True, False], [False, True, False, False, False]])
    assert up_to(last).sum(axis=1).tolist() == [4, 2]
    assert span(mask, last).tolist() == [[False, True, True, True, False], [False] * 5]


def test_prompts_are_one_run_up_to_the_first_token_that_differs() -> None:
    """Causality: what comes later cannot reach back."""
    dataset = prompts([4, 3]).model_copy(update={"orig": [[1, 2, 3, 4], [5, 6, 7]], "new": [[1, 2, 0, 4], [5, 6, 7]]})
    assert after_first_difference(dataset).tolist() == [[False, False, True, True], [False] * 4]


@pytest.mark.parametrize("order", [[1, "1"], ["1", 1]])
def test_a_role_named_like_an_index_is_another_position(order: list[int | str]) -> None:
    """Whichever stands first in the sweep."""
    dataset = prompts([5, 5])
    dataset = dataset.model_copy(update={"roles": {**dataset.roles, "1": [3, 3]}})

    def swept(positions: list[int | str]) -> np.ndarray:
        senders = {"sweep": {"hook": "resid_post", "layers": [0], "positions": positions}}
        return patched(tiny_weights(), dataset, {"senders": senders, "receivers": [node("v", 1)]})

    found = dict(zip(order, swept(order)[0], strict=True))
    for position, index in ((1, 1), ("1", 3)):
        np.testing.assert_allclose(found[position], swept([index])[0, 0], **CLOSE)
    assert not np.allclose(found[1], found["1"])
