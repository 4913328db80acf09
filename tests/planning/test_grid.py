"""Cells of sweeps: their number and order."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from api_schemas.models import parse_registry
from api_schemas.nodes import Node
from api_schemas.spec import ActivationPatch, Patch, PathPatch
from planning.architecture import Architecture
from planning.grid import grid_of, sweep_sizes

SMALL = Architecture(n_layers=12, n_heads=12, d_model=768, d_mlp=3072, n_ctx=1024, d_vocab=50257)


def patch(**fields: Any) -> PathPatch | ActivationPatch:
    return TypeAdapter(Patch).validate_python(fields)


QUERY = [{"hook": "q", "layer": 10, "head": 7}]
SWEEPS = [
    patch(senders={"sweep": {"hook": "z"}}, receivers=QUERY),
    patch(senders={"sweep": {"hook": "z", "layers": [0, 3], "heads": "joint"}}, receivers=QUERY),
    patch(senders={"sweep": {"hook": "z", "positions": "each"}}, receivers={"sweep": {"hook": ["q", "k"]}}),
    patch(senders={"sweep": {"hook": "post", "layers": [1], "neurons": [5, 9]}}, receivers=QUERY),
    patch(senders={"sweep": {"hook": ["attn_out", "mlp_out"]}}, receivers=QUERY),
    patch(kind="activation", nodes={"sweep": {"hook": ["resid_pre", "z"], "heads": "joint", "positions": ["end", 2]}}),
]


@pytest.mark.parametrize("swept", SWEEPS)
def test_cells_are_counted_without_building_them(swept: PathPatch | ActivationPatch) -> None:
    """The limit on cells must hold before any memory is spent, so both counts must agree."""
    grid = grid_of(swept, SMALL, longest=15)
    receiver_cells = len(grid.receivers.cells) if grid.receivers else 1
    assert sweep_sizes(swept, SMALL, 15) == len(grid) == len(grid.senders.cells) * receiver_cells


def test_axes_follow_the_order_of_the_spec() -> None:
    """Clients index results by these names."""
    grid = grid_of(SWEEPS[2], SMALL, longest=15)
    assert [axis.name for axis in grid.axes] == [
        "sender_layer", "sender_head", "sender_position", "receiver_hook", "receiver_layer", "receiver_head",
    ]  # fmt: skip
    assert grid.shape == [12, 12, 15, 2, 12, 12]


def test_cells_are_in_row_major_order_of_the_axes() -> None:
    """The flat cell number and the coordinates must name the same node."""
    grid = grid_of(SWEEPS[0], SMALL, longest=15)
    assert grid.senders.cells[9 * 12 + 6] == [Node(hook="z", layer=9, head=6)]


def test_registered_folders_join_the_registry_and_may_take_a_family_name() -> None:
    """An operator without the hub registers gpt2-small as a folder."""
    registry = parse_registry("mine=/models/mine, gpt2-small=/models/gpt2")
    assert registry["mine"].folder == "/models/mine"
    assert registry["gpt2-small"].folder == "/models/gpt2"
    assert registry["demo"].folder is not None
    with pytest.raises(ValueError, match="name=folder"):
        parse_registry("mine")
