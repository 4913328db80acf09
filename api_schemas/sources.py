"""What patched nodes become: their value in the new run, zero, or a mean."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

Source = Literal["new", "zero", "mean"]
MeanOver = Annotated[Literal["position", "all"], Field(examples=["position"])]


def mean_misfits(
    source: Source, mean_over: MeanOver, hooks: Sequence[str] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Why there is no mean over all positions."""
    if mean_over == "position":
        return
    if source != "mean":
        yield ("mean_over",), f"mean_over 'all' goes with source 'mean' only, not {source!r}"
    if "pattern" in hooks:
        why = "each query has as many keys as there are tokens up to it"
        yield ("mean_over",), f"mean_over 'all' does not go with hook 'pattern': {why}"
