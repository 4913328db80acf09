"""What is called unreachable must be orig, bit for bit: counts come from the spec alone, values from the engine."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny_weights import LOGIT_DIFF, node, prompts, result_of, tiny_weights

LENGTHS = [5, 4, 6]
PLACES: st.SearchStrategy[Any] = st.none() | st.sampled_from([0, 3, 5, "first", "middle", "end", [0, 5], ["middle", 4]])
PER_EXAMPLE = st.tuples(*(st.lists(st.integers(0, length - 1), max_size=2) for length in LENGTHS)).map(list)
SWEPT = st.sampled_from(["each", [0, 5], ["end", "middle"]]) | st.none()


@st.composite
def patches(draw: st.DrawFn) -> dict[str, Any]:
    """A sweep of heads or of positions into one or two receivers, each end at places of its own."""
    sweep = {"hook": draw(st.sampled_from(["z", "resid_mid"])), "positions": draw(SWEPT)}
    receivers = [node("k", 1, positions=draw(PLACES)), node("resid_post", 2, positions=draw(PLACES | PER_EXAMPLE))]
    return {
        "senders": {"sweep": sweep},
        "receivers": receivers[: draw(st.integers(1, 2))],
        "positions": draw(PLACES | PER_EXAMPLE.filter(any)),
        "direct_includes_mlps": draw(st.booleans()),
        "source": draw(st.sampled_from(["new", "zero"])),
    }


@settings(max_examples=25)
@given(patches(), st.sampled_from([(), (1,), (1, 2)]))
def test_what_has_no_path_equals_orig_and_no_more_examples_change_than_are_counted(
    patch: dict[str, Any], cuts: tuple[int, ...]
) -> None:
    """A path that was overlooked would be drawn grey, and its effect hidden."""
    result = result_of(tiny_weights(), prompts(LENGTHS), patch, LOGIT_DIFF, cuts=cuts, output={"per_example": True})
    arrays = result.arrays
    changed = (arrays["0/patched"] != arrays["0/orig"]).sum(axis=-1)
    reachable = arrays["0/reachable"]
    counted = arrays.get("0/n_patched", np.where(reachable, len(LENGTHS), 0))
    assert (changed <= counted).all() and ((counted > 0) == reachable).all()
    assert len(result.unreachable_senders) == (~reachable).sum()
