"""What a figure is about: one block of a result with its spec, and the words that all figures share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from pathpatch.drawing.captions import Spec, caption
from pathpatch.drawing.charts import Labels
from pathpatch.results.block import Block
from pathpatch.results.cells import cell_name, part_of, place_name, side_of
from pathpatch.results.data import ResultData


class FigureDoesNotFit(ValueError):
    """A figure was asked for that the result's axes cannot fill."""

    def __init__(self, kind: str, axes: Sequence[str], needed: str) -> None:
        said = ", ".join(axes) or "none (one cell)"
        super().__init__(f"figure {kind!r} needs {needed}; this result's axes: {said}")


@dataclass(frozen=True)
class Subject:
    """One block of a result, its spec, and the prompt's tokens, if they are known."""

    result: ResultData
    block: Block
    spec: Spec | None
    tokens: Sequence[str] | None

    @property
    def words(self) -> str:
        """What is measured."""
        return self.block.title

    @property
    def is_grouped(self) -> bool:
        """Whether query heads of the model share key-value heads."""
        return bool(self.result.provenance.get("n_kv_heads"))

    def caption(self, *extra: str) -> str:
        """The line below the figure."""
        return caption(self.result, self.block, self.spec, *extra)


def averaged(block: Block) -> Block:
    """The block with its ``example`` axis averaged away."""
    if "example" not in block.axes or len(block.axes) == 1:
        return block
    orig = np.broadcast_to(block.orig, block.shape) if block.orig.ndim else np.full(block.shape, block.orig)
    return replace(block, axes=block.axes[:-1], patched=block.patched.mean(axis=-1), orig=orig.mean(axis=-1))


def axis_names(subject: Subject, axes: Sequence[str]) -> Labels:
    """Names of the rows or columns of a matrix: the product of some axes."""
    coordinates = subject.block.coordinates
    combined = [dict(zip(axes, place, strict=True)) for place in product(*(coordinates[axis] for axis in axes))]
    if [part_of(axis) for axis in axes] == ["position"]:
        return [_position_name(place[axes[0]], subject.tokens) for place in combined]
    if len(axes) == 1 and part_of(axes[0]) != "hook":
        return [str(place[axes[0]]) for place in combined]
    side = side_of(axes[0])
    same_side = all(side_of(axis) == side for axis in axes)
    return [place_name(place, side) if same_side else cell_name(place) for place in combined]


def _position_name(position: int | str, tokens: Sequence[str] | None) -> str:
    if tokens is None or isinstance(position, str) or position >= len(tokens):
        return str(position)
    return f"{tokens[position].replace(' ', '·', 1)}  {position}"


def tick_note(subject: Subject) -> str:
    """Whose tokens the positions carry, where that is not plain."""
    places = [subject.block.coordinates[axis][0] for axis in subject.block.axes if part_of(axis) == "position"]
    has_ticks = subject.tokens is not None and any(isinstance(place, int) for place in places)
    return "ticks: tokens of the first prompt" if has_ticks and subject.block.n > 1 else ""


def axis_label(subject: Subject, axes: Sequence[str]) -> str:
    """``sender head`` for one axis, ``sender layer.head`` for a product; ``key-value head`` where it is one."""
    side = side_of(axes[0])
    words = [_part_words(subject, axis) for axis in axes]
    if all(side_of(axis) == side for axis in axes):
        return f"{side.rstrip('_')} {'.'.join(words)}".strip()
    named = zip(axes, words, strict=True)
    return ", ".join(f"{side_of(axis)}{word}".replace("_", " ") for axis, word in named)


def _part_words(subject: Subject, axis: str) -> str:
    """What an axis counts; heads of ``k`` and ``v`` are key-value heads where query heads share them."""
    part, side = part_of(axis), side_of(axis)
    if part != "head" or not subject.is_grouped:
        return part
    return "key-value head" if _hooks_of(subject, side) <= {"k", "v"} else part


def _hooks_of(subject: Subject, side: str) -> set[str]:
    """The hooks of one end's sweep; ``z`` where the spec is not known."""
    if f"{side}hook" in subject.block.coordinates:
        return set(subject.block.coordinates[f"{side}hook"])
    patch = (subject.spec or {}).get("patch", {})
    end = patch.get(f"{side.rstrip('_')}s" if side else "nodes", {})
    hook = end["sweep"]["hook"] if isinstance(end, dict) and "sweep" in end else "z"
    return {hook} if isinstance(hook, str) else set(hook)


def alt_text(subject: Subject) -> str:
    """The figure in words, for who cannot see it."""
    top = [f"{subject.block.name_of(place)} {effect:+.3g}" for place, effect in subject.block.strongest(3)]
    return f"Effects on {subject.words} of {subject.block.patched.size} cells; strongest: {', '.join(top) or 'none'}."


def sentence(text: str) -> str:
    """The text with a capital letter."""
    return text[:1].upper() + text[1:]
