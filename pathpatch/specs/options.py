"""What any spec may say besides, as keyword arguments of its constructor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

from api_schemas.wording.values import Suggestions
from pathpatch.problems import SpecError


class Options(TypedDict, total=False):
    """What any spec may say besides."""

    per_example: bool
    """One number per example; by default for one cell, not for a sweep."""
    decimals: int
    """Round the result's numbers."""
    top: int
    """Keep only this many cells, those of largest absolute effect."""
    reduce: Literal["mean"]
    """Mean over the examples."""
    method: Literal["exact", "attribution"]
    """``attribution`` estimates every edge from one gradient (first order), for a quick look."""
    verify: int
    """With ``attribution``: how many of the strongest cells are recomputed exactly."""
    dtype: Literal["float32", "tf32", "bfloat16"]
    """Arithmetic; float32 is exact to float error."""
    priority: Literal["high", "normal", "low"]
    """Which jobs run first."""
    expires_after_s: float
    """Give up if the job has not ended after this many seconds."""
    use_cache: bool
    """Whether an equal spec's earlier result may answer; by default it may."""
    webhook: str
    """URL that is told when the job ends."""
    name: str
    """Free text, shown in lists, titles and figures."""
    tags: Mapping[str, str]
    """Labels, to find the job again."""


def check_names(options: Mapping[str, Any], constructor: Callable[..., object]) -> None:
    """Refuse a keyword argument that is neither an option nor an argument of the constructor.

    Raises:
        SpecError: Names it, and the one that was probably meant.
    """
    own = [name for name in inspect.signature(constructor).parameters if name != "options"]
    known = [*own, *Options.__annotations__]
    for name in options:
        if name not in known:
            start = f"{constructor.__name__} has no argument {name!r}"
            raise SpecError(Suggestions().among(start, name, known, "it has"))
