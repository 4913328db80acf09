"""From a spec's dataset to integers: token ids, positions and answers, complete before anything is queued."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from tokenizers import Tokenizer

from api_schemas.datasets import (
    Dataset,
    IoiDataset,
    PromptsDataset,
    ResolvedDataset,
    TemplatesDataset,
    TokensDataset,
)
from api_schemas.errors import InvalidSpec
from service.datasets.draft import Draft, Path, check_prompts
from service.datasets.ioi import IoiPrompts, draw_ioi
from service.datasets.prompts import draft_prompts, draft_tokens
from service.datasets.templates import draft_templates
from service.models.catalog import CatalogModel
from service.specs.limits import Limits, knob
from service.specs.wording import counted, wrong

LAST_ROLE = "end"
"""Every dataset has this role: the last token of each prompt, unless the dataset says otherwise."""

MOST_REMEMBERED = 2000
"""Examples of a draw that is remembered, for memory's sake."""


@dataclass(frozen=True)
class Resolution:
    """A resolved dataset, and what its author should know."""

    dataset: ResolvedDataset
    warnings: list[str]


def resolve_dataset(dataset: Dataset, model: CatalogModel, limits: Limits) -> ResolvedDataset:
    """Token ids, roles and answers, with ``swap`` applied.

    Raises:
        InvalidSpec: Carries everything that is wrong with the dataset.
    """
    return resolve(dataset, model, limits).dataset


def resolve(dataset: Dataset, model: CatalogModel, limits: Limits) -> Resolution:
    """The same, with warnings.

    With ``swap`` the two runs change places and nothing else does: roles stay the positions, and answers stay the
    tokens, that they were in the orig prompts as given. In denoising, ``IO`` thus still names the answer that is right
    in the uncorrupted prompt, which is the one that patching should restore.

    Raises:
        InvalidSpec: Carries everything that is wrong with the dataset.
    """
    _check_examples(dataset, limits)
    draft = _draft(dataset, model)
    if draft.orig or draft.new:
        check_prompts(draft, model.shape, limits, None if isinstance(dataset, TokensDataset) else model.tokenizer)
    if draft.problems:
        raise InvalidSpec(draft.problems)
    roles = {**draft.roles}
    roles.setdefault(LAST_ROLE, [len(prompt) - 1 for prompt in draft.orig])
    orig, new = (draft.new, draft.orig) if dataset.swap else (draft.orig, draft.new)
    return Resolution(ResolvedDataset(orig=orig, new=new, roles=roles, answers=draft.answers), draft.warnings)


def example_count(dataset: Dataset) -> int:
    """Number of examples, without resolving."""
    return dataset.examples if isinstance(dataset, IoiDataset | TemplatesDataset) else len(dataset.orig)


def _check_examples(dataset: Dataset, limits: Limits) -> None:
    count = example_count(dataset)
    if count > limits.max_examples:
        is_drawn = isinstance(dataset, IoiDataset | TemplatesDataset)
        allowed = f"at most {limits.max_examples:,} are allowed ({knob('max_examples')})"
        raise InvalidSpec(
            [wrong(("dataset", "examples" if is_drawn else "orig"), f"{counted(count, 'example')}: {allowed}")]
        )


def _draft(dataset: Dataset, model: CatalogModel) -> Draft:
    if isinstance(dataset, TokensDataset):
        return draft_tokens(dataset)
    if model.tokenizer is None:
        lacks = f"model {model.name!r} has no tokenizer.json: give kind 'tokens'"
        message = f"kind {dataset.kind!r} needs a tokenizer, and {lacks}"
        raise InvalidSpec([wrong(("dataset", "kind"), message)])
    bos_id = model.bos_id if dataset.prepend_bos else None
    if dataset.prepend_bos and bos_id is None:
        message = f"model {model.name!r} states no beginning-of-text token to prepend"
        raise InvalidSpec([wrong(("dataset", "prepend_bos"), message)])
    if isinstance(dataset, IoiDataset):
        return _draft_ioi(dataset, model.tokenizer, bos_id)
    if isinstance(dataset, PromptsDataset):
        return draft_prompts(dataset, model.tokenizer, bos_id)
    return draft_templates(dataset, model.tokenizer, bos_id)


def _draft_ioi(dataset: IoiDataset, tokenizer: Tokenizer, bos_id: int | None) -> Draft:
    draw = _draw_ioi if dataset.examples <= MOST_REMEMBERED else _draw_ioi.__wrapped__
    drawn = draw(tokenizer, dataset, bos_id)
    where: Callable[[str, int], Path] = lambda run, example: ("dataset", "kind")  # noqa: E731
    return Draft(drawn.orig, drawn.new, drawn.roles, drawn.answers, where=where)


@lru_cache(maxsize=8)
def _draw_ioi(tokenizer: Tokenizer, dataset: IoiDataset, bos_id: int | None) -> IoiPrompts:
    """The last few draws are remembered: many specs differ in the patch alone."""
    return draw_ioi(tokenizer, dataset.examples, dataset.seed, dataset.prompt_type, dataset.new, bos_id)
