"""What a spec may refer to in its dataset: roles, answers and positions, known in part before it is resolved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api_schemas.datasets import IOI_ANSWERS, IOI_ROLES, Dataset, IoiDataset, ResolvedDataset
from api_schemas.errors import FieldError
from api_schemas.nodes import PositionRef, Positions
from service.datasets.resolve import LAST_ROLE, example_count
from service.specs.wording import among, counted, shown, wrong

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class KnownNames:
    """Roles and answers of a dataset; lengths of its prompts, unless it could not be resolved."""

    roles: Sequence[str]
    answers: Sequence[str]
    examples: int
    lengths: Sequence[int] | None

    @classmethod
    def of(cls, dataset: Dataset, resolved: ResolvedDataset | None) -> "KnownNames":
        roles = list(IOI_ROLES) if isinstance(dataset, IoiDataset) else list(dict.fromkeys([*dataset.roles, LAST_ROLE]))
        answers = list(IOI_ANSWERS) if isinstance(dataset, IoiDataset) else list(dataset.answers)
        lengths = None if resolved is None else [len(prompt) for prompt in resolved.orig]
        return cls(roles, answers, example_count(dataset), lengths)

    def check_answer(self, answer: str, path: Path) -> Iterator[FieldError]:
        if answer not in self.answers:
            yield wrong(
                path, among(f"there is no answer {shown(answer)}", answer, self.answers, "this dataset's answers are")
            )

    def check_position(self, ref: PositionRef, path: Path) -> Iterator[FieldError]:
        """A role, or an index that at least one prompt has: examples without it do not take part."""
        if isinstance(ref, str):
            yield from self._check_role(ref, path)
        elif self.lengths and ref >= max(self.lengths):
            last = max(self.lengths) - 1
            yield wrong(path, f"position {ref} does not exist: the longest prompt has positions 0 to {last}")

    def check_everywhere(self, ref: PositionRef, path: Path) -> Iterator[FieldError]:
        """A role, or an index that every prompt has: a metric cannot read padding."""
        if isinstance(ref, str):
            yield from self._check_role(ref, path)
        elif self.lengths and ref >= min(self.lengths):
            example = self.lengths.index(min(self.lengths))
            hint = "a metric is read in every prompt; the role 'end' is each prompt's last token"
            last = self.lengths[example] - 1
            yield wrong(path, f"position {ref} does not exist in prompt {example}, which has 0 to {last}: {hint}")

    def check_positions(self, positions: Positions | None, path: Path) -> Iterator[FieldError]:
        if positions is None:
            return
        if not isinstance(positions, list):
            yield from self.check_position(positions, path)
        elif not positions:
            yield wrong(path, "the list is empty: leave positions out to patch all of them")
        elif isinstance(positions[0], list):
            yield from self._check_per_example([entry for entry in positions if isinstance(entry, list)], path)
        else:
            for index, ref in enumerate(positions):
                if not isinstance(ref, list):
                    yield from self.check_position(ref, (*path, index))

    def _check_role(self, role: str, path: Path) -> Iterator[FieldError]:
        if role not in self.roles:
            yield wrong(path, among(f"there is no role {shown(role)}", role, self.roles, "this dataset's roles are"))

    def _check_per_example(self, positions: list[list[int]], path: Path) -> Iterator[FieldError]:
        if len(positions) != self.examples:
            message = f"{counted(len(positions), 'list')} of positions for {counted(self.examples, 'example')}"
            yield wrong(path, f"{message}: give one list per example")
        elif not any(positions):
            yield wrong(path, "every example's list is empty: leave positions out to patch all of them")
        for example, (own, length) in enumerate(zip(positions, self.lengths or [], strict=False)):
            for index, pos in enumerate(own):
                if pos >= length:
                    message = f"position {pos} does not exist in prompt {example}, which has 0 to {length - 1}"
                    yield wrong((*path, example, index), message)
