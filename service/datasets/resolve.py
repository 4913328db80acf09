"""From a spec's dataset to integers: token ids, positions and answers, complete before anything is queued."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tokenizers import Tokenizer

from api_schemas.datasets import (
    DRAWN_DATASETS,
    Dataset,
    GreaterThanDataset,
    InductionDataset,
    IoiDataset,
    PromptsDataset,
    ResolvedDataset,
    TemplatesDataset,
    TokensDataset,
)
from api_schemas.errors import FieldError, InvalidSpec
from api_schemas.wording.values import counted, first_errors, wrong
from service.datasets.draft import Draft, Path, check_prompts, each_once, too_many_tokens
from service.datasets.greater_than import draft_greater_than
from service.datasets.induction import draft_induction, ordinary_tokens
from service.datasets.ioi import IoiTokens, draw_tokens, single_token_words
from service.datasets.prompts import draft_prompts, draft_tokens
from service.datasets.suspicions import suspicions
from service.datasets.template_text import Template
from service.datasets.templates import draft_templates
from service.datasets.tokenised import TextReader, TooManyTokens
from service.models.catalog import CatalogModel
from service.models.tokenizers import panics_told
from service.specs.limits import SpecLimits, knob

LAST_ROLE = "end"
"""Every dataset has this role: the last token of each prompt, unless the dataset says otherwise."""

LEAST_REMEMBERED, MOST_REMEMBERED = 100, 2000
"""Examples of a draw that is remembered: it takes a while, and not too much memory."""
MOST_SHOWN = 12
"""Words that a warning names."""
LONGEST_DRAWN = 200
"""Characters of the longest prompt of the ioi and greater_than datasets, or more."""


@dataclass(frozen=True)
class Resolution:
    """A resolved dataset, and what its author should know."""

    dataset: ResolvedDataset
    warnings: list[str]


def resolve_dataset(dataset: Dataset, model: CatalogModel, limits: SpecLimits) -> ResolvedDataset:
    """Token ids, roles and answers, with ``swap`` applied.

    Raises:
        InvalidSpec: Carries everything that is wrong with the dataset.
    """
    return resolve(dataset, model, limits).dataset


def resolve(dataset: Dataset, model: CatalogModel, limits: SpecLimits) -> Resolution:
    """The same, with warnings.

    With ``swap`` the two runs change places and nothing else does: roles stay the positions, and answers stay the
    tokens, that they were in the orig prompts as given. In denoising, ``IO`` thus still names the answer that is right
    in the uncorrupted prompt, which is the one that patching should restore.

    Raises:
        InvalidSpec: Carries everything that is wrong with the dataset.
    """
    if too_large := list(_too_large(dataset, limits)):
        raise InvalidSpec(too_large)
    try:
        with panics_told(model.name):
            draft = _draft(dataset, model, 2 * limits.max_tokens)
    except TooManyTokens:
        how_many = f"more than {counted(2 * limits.max_tokens, 'token')}"
        raise InvalidSpec([too_many_tokens(how_many, limits)]) from None
    if draft.orig or draft.new:
        check_prompts(
            draft, model.architecture, limits, None if isinstance(dataset, TokensDataset) else model.tokenizer
        )
    if draft.problems:
        raise InvalidSpec(first_errors(draft.problems))
    each_once(draft)
    if isinstance(dataset, PromptsDataset | TokensDataset | TemplatesDataset):
        draft.warnings += suspicions(dataset, draft, model, _begun(dataset, model))
    roles = {**draft.roles}
    roles.setdefault(LAST_ROLE, [len(prompt) - 1 for prompt in draft.orig])
    orig, new = (draft.new, draft.orig) if dataset.swap else (draft.orig, draft.new)
    return Resolution(ResolvedDataset(orig=orig, new=new, roles=roles, answers=draft.answers), draft.warnings)


def example_count(dataset: Dataset) -> int:
    """Number of examples, without resolving."""
    return len(dataset.orig) if isinstance(dataset, PromptsDataset | TokensDataset) else dataset.examples


def longest_prompt(dataset: Dataset) -> int:
    """Characters of the longest prompt there can be, tokens where it is given as such; counted, and not built."""
    if isinstance(dataset, InductionDataset):
        return 2 * dataset.length
    if isinstance(dataset, IoiDataset | GreaterThanDataset):
        return LONGEST_DRAWN
    if isinstance(dataset, PromptsDataset | TokensDataset):
        return max(max(map(len, dataset.orig)), max(map(len, dataset.new)))
    fillers = {slot: max(map(len, words)) for slot, words in dataset.fillers.items()}
    return max(Template.parse(text).longest(fillers) for text in dataset.templates)


def answer_choices(dataset: Dataset) -> int:
    """Tokens of all sets of answers, each taken as large as its answer's largest: workers hold them so."""
    if isinstance(dataset, TemplatesDataset):
        longest = {slot: max(map(len, lists)) for slot, lists in dataset.sets.items()}
        return dataset.examples * sum(longest.get(given.slot, 0) for given in dataset.set_answers.values())
    if isinstance(dataset, GreaterThanDataset):
        return 200 * dataset.examples
    if isinstance(dataset, DRAWN_DATASETS):
        return 0
    sets = ([own for own in answer if isinstance(own, list)] for answer in dataset.answers.values())
    return sum(len(own) * max(map(len, own)) for own in sets if own)


def _too_large(dataset: Dataset, limits: SpecLimits) -> Iterator[FieldError]:
    """What would take too much memory, told before anything is made."""
    examples = example_count(dataset)
    is_drawn = not isinstance(dataset, PromptsDataset | TokensDataset)
    if examples > limits.max_examples:
        allowed = f"at most {limits.max_examples:,} are allowed ({knob('max_examples')})"
        yield wrong(("dataset", "examples" if is_drawn else "orig"), f"{counted(examples, 'example')}: {allowed}")
        return
    if isinstance(dataset, IoiDataset):
        return  # prompts of at most ``LONGEST_DRAWN`` characters
    if isinstance(dataset, InductionDataset) and 4 * dataset.length * examples > 2 * limits.max_tokens:
        yield too_many_tokens(f"about {4 * dataset.length * examples:,} tokens", limits)
        return
    most = f"the most is {limits.max_characters:,} ({knob('max_characters')})"
    if isinstance(dataset, PromptsDataset):
        given = sum(map(len, dataset.orig)) + sum(map(len, dataset.new))
        if given > limits.max_characters:
            yield wrong(("dataset",), f"the prompts have {given:,} characters in all: {most}")
    if (choices := answer_choices(dataset)) > limits.max_tokens:
        allowed = f"the most is {limits.max_tokens:,} ({knob('max_tokens')}): use smaller sets or fewer examples"
        what = "the sets of answers, each as large as the largest, have"
        yield wrong(("dataset", "answers"), f"{what} {counted(choices, 'token')} in all: {allowed}")
    if isinstance(dataset, TemplatesDataset):
        longest = longest_prompt(dataset)
        if 2 * examples * longest > limits.max_characters:
            what = f"a prompt can have {longest:,} characters, and both runs of {counted(examples, 'example')}"
            yield wrong(("dataset", "templates"), f"{what} {2 * examples * longest:,}: {most}")
        names = len(dataset.roles) + len(dataset.answers)
        if names * examples > limits.max_tokens:
            what = f"{names:,} roles and answers of {counted(examples, 'example')} are {names * examples:,} numbers"
            yield wrong(("dataset", "roles"), f"{what}: the most is {limits.max_tokens:,} ({knob('max_tokens')})")


def _draft(dataset: Dataset, model: CatalogModel, most_tokens: int) -> Draft:
    if isinstance(dataset, TokensDataset):
        return draft_tokens(dataset)
    if model.tokenizer is None and not isinstance(dataset, InductionDataset):
        lacks = f"model {model.name!r} has no tokenizer.json"
        if model.text_problem is not None:
            lacks = f"that of model {model.name!r} cannot be used: {model.text_problem}"
        message = f"kind {dataset.kind!r} needs a tokenizer, and {lacks}: give kind 'tokens'"
        raise InvalidSpec([wrong(("dataset", "kind"), message)])
    prepends_bos = _begun(dataset, model)
    bos_id = model.bos_id if prepends_bos else None
    if prepends_bos and bos_id is None:
        message = f"model {model.name!r} states no beginning-of-text token to prepend"
        raise InvalidSpec([wrong(("dataset", "prepend_bos"), message)])
    if isinstance(dataset, InductionDataset):
        known = range(model.architecture.d_vocab) if model.tokenizer is None else ordinary_tokens(model.tokenizer)
        vocabulary = [token for token in known if token < model.architecture.d_vocab]
        return draft_induction(dataset, vocabulary, bos_id, model.architecture.n_ctx)
    assert model.tokenizer is not None
    if isinstance(dataset, GreaterThanDataset):
        return draft_greater_than(dataset, TextReader(model.tokenizer, bos_id, most_tokens))
    if isinstance(dataset, IoiDataset):
        return _draft_ioi(dataset, model.tokenizer, bos_id)
    if isinstance(dataset, PromptsDataset):
        return draft_prompts(dataset, TextReader(model.tokenizer, bos_id, most_tokens), model.architecture.n_ctx)
    return draft_templates(dataset, TextReader(model.tokenizer, bos_id, most_tokens))


def _begun(dataset: Dataset, model: CatalogModel) -> bool:
    """Whether the service puts a beginning-of-text token before every prompt."""
    if isinstance(dataset, TokensDataset):
        return False
    return model.adds_bos if dataset.prepend_bos is None else dataset.prepend_bos


def _draft_ioi(dataset: IoiDataset, tokenizer: Tokenizer, bos_id: int | None) -> Draft:
    is_remembered = LEAST_REMEMBERED <= dataset.examples <= MOST_REMEMBERED
    draw = _draw_ioi if is_remembered else _draw_ioi.__wrapped__
    drawn = draw(tokenizer, dataset, bos_id)
    where: Callable[[str, int], Path] = lambda run, example: ("dataset", "kind")  # noqa: E731
    warnings = list(_left_out(single_token_words(tokenizer).several))
    return Draft(drawn.orig, drawn.new, drawn.roles, {**drawn.answers}, warnings=warnings, where=where)


def _left_out(several: Sequence[str]) -> Iterator[str]:
    """Words that other models' prompts have, and this one's have not."""
    if several:
        words = f"{', '.join(several[:MOST_SHOWN])}{', …' if len(several) > MOST_SHOWN else ''}"
        why = "are several tokens of this model's tokenizer"
        yield f"words of the ioi dataset that {why} are not drawn ({len(several)}): {words}"


@lru_cache(maxsize=8)
def _draw_ioi(tokenizer: Tokenizer, dataset: IoiDataset, bos_id: int | None) -> IoiTokens:
    """The last few draws are remembered: many specs differ in the patch alone."""
    return draw_tokens(tokenizer, dataset.examples, dataset.seed, dataset.prompt_type, dataset.new, bos_id)


def forget_draws() -> None:
    """Draw again what was drawn before: what one key has drawn must not be seen in the time that another's takes."""
    _draw_ioi.cache_clear()
