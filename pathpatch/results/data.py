"""What a result holds, without its pictures, tables and files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pathpatch.results.block import Block, Floats

_HEAD_FIELDS = ("job_id", "unreachable_senders", "checks", "provenance", "timings", "warnings", "prompt_tokens")


class NotOneMetric(AttributeError):
    """A result with several metrics was asked for the arrays of one."""


@dataclass(frozen=True, eq=False)
class ResultData:
    """What a result holds: its blocks, one per metric, and all that is needed to trust them."""

    blocks: tuple[Block, ...]
    job_id: str = ""
    unreachable_senders: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    spec: dict[str, Any] | None = None
    prompt_tokens: list[str] | None = None
    """Tokens of the first orig prompt, to label positions with; known where positions were swept."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any], spec: Mapping[str, Any] | None = None) -> Self:
        """A result from the JSON that ``GET /v1/jobs/{id}/result`` answers.

        Args:
            spec: The job's spec, for captions; by default the one saved with the result, if any.
        """
        said = spec if spec is not None else data.get("spec")
        head = {name: data[name] for name in _HEAD_FIELDS if name in data}
        blocks = tuple(Block.from_json(block) for block in data.get("blocks", [data]))
        return cls(blocks=blocks, spec=None if said is None else dict(said), **head)

    def to_json(self) -> dict[str, Any]:
        """The result as the service sends it, with its spec."""
        head = {name: getattr(self, name) for name in _HEAD_FIELDS}
        blocks = [block.to_json() for block in self.blocks]
        body = blocks[0] if len(blocks) == 1 else {"blocks": blocks}
        return body | head | ({} if self.spec is None else {"spec": self.spec})

    def __getitem__(self, metric: str | int) -> Block:
        if isinstance(metric, int):
            return self.blocks[metric]
        for block in self.blocks:
            if metric in (block.kind, block.title):
                return block
        raise KeyError(f"no metric {metric!r} in this result: it has {', '.join(block.title for block in self.blocks)}")

    @property
    def block(self) -> Block:
        """The only metric's block.

        Raises:
            NotOneMetric: There are several.
        """
        if len(self.blocks) != 1:
            titles = ", ".join(repr(block.title) for block in self.blocks)
            said = f"choose one, as result[...] with a title or a number: {titles}"
            raise NotOneMetric(f"this result has {len(self.blocks)} metrics: {said}")
        return self.blocks[0]

    @property
    def has_position_axis(self) -> bool:
        """Whether token positions were swept, by their numbers."""
        named = (values for block in self.blocks for name, values in block.coordinates.items() if "position" in name)
        return any(isinstance(value, int) for values in named for value in values)

    @property
    def patched(self) -> Floats:
        """The metric of the patched runs."""
        return self.block.patched

    @property
    def orig(self) -> Floats:
        """The metric of the orig run: shaped as ``patched``, or one value per example, or one mean."""
        return self.block.orig

    @property
    def new(self) -> Floats:
        """The metric of the new run, shaped as ``orig``."""
        return self.block.new

    @property
    def effect(self) -> Floats:
        """Patched minus orig, shaped as ``patched``; 0 means that patching changed nothing."""
        return self.block.effect

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of ``patched``."""
        return self.block.axes

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """Value at each index of each axis."""
        return self.block.coordinates

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``patched``."""
        return self.block.shape

    @property
    def summary(self) -> dict[str, Any]:
        """Statistics over the examples of ``patched``, ``orig`` and ``new``."""
        return self.block.summary
