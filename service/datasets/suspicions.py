"""What prompts hold that was probably not meant: padding, two beginnings of text, blanks and marks of a file."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from api_schemas.datasets import PromptsDataset, TemplatesDataset, TokensDataset
from api_schemas.wording.values import counted, shown
from service.datasets.draft import Draft
from service.datasets.words import pieces
from service.models.catalog import CatalogModel

Given = PromptsDataset | TokensDataset | TemplatesDataset
BYTE_ORDER_MARK = "\ufeff"


def suspicions(dataset: Given, draft: Draft, model: CatalogModel, is_begun: bool) -> Iterator[str]:
    """One sentence for each kind of thing.

    Args:
        is_begun: Whether the service puts a beginning-of-text token before every prompt.
    """
    if not isinstance(dataset, TokensDataset):
        yield from _of_texts(dataset)
    yield from _two_beginnings(draft, model, is_begun)
    if not isinstance(dataset, TemplatesDataset):
        yield from _padding(draft.orig, model, "end", _run_at_end)
        yield from _padding(draft.orig, model, "beginning", _run_at_beginning)


def _of_texts(dataset: PromptsDataset | TemplatesDataset) -> Iterator[str]:
    if isinstance(dataset, PromptsDataset):
        named = [(f"{run} prompt", getattr(dataset, run)) for run in ("orig", "new")]
        answers = [text for answer in dataset.answers.values() for text in _texts(answer)]
    else:
        named, answers = [("template", dataset.templates)], [" "]
    kinds: list[tuple[Callable[[str], bool], str]] = [
        (
            lambda text: "\r" in text,
            "has a carriage return (\\r), as of a file with Windows' line ends",
        ),
        (
            lambda text: BYTE_ORDER_MARK in text,
            "has a byte-order mark (U+FEFF), as of the beginning of a file",
        ),
    ]
    if not answers or any(text[:1].isspace() for text in answers):
        blank = "ends in a blank: the next word's token has its own, so that none follows well; leave it out"
        kinds.append((lambda text: text[-1:] in (" ", "\t"), blank))
    for is_so, words in kinds:
        found = [(what, index) for what, texts in named for index, text in enumerate(texts) if is_so(text)]
        if found:
            yield f"{_first(found)} {words}"


def _texts(answer: Iterable[str | int | list[str] | list[int]]) -> Iterator[str]:
    for own in answer:
        yield from (one for one in (own if isinstance(own, list) else [own]) if isinstance(one, str))


def _first(found: Sequence[tuple[str, int]]) -> str:
    what, index = found[0]
    return f"{what} {index}" + (f" (and {len(found) - 1:,} more)" if len(found) > 1 else "")


def _two_beginnings(draft: Draft, model: CatalogModel, is_begun: bool) -> Iterator[str]:
    """Prompts that begin with the beginning-of-text token twice; more of them are padding."""
    runs = [("orig prompt", draft.orig), ("new prompt", draft.new)]
    begun = [(what, index, _run_at_beginning(prompt)) for what, run in runs for index, prompt in enumerate(run)]
    found = [(what, index) for what, index, run in begun if run == (model.bos_id, 2)]
    if found and model.bos_id is not None:
        why = "the prompt has one and prepend_bos adds one" if is_begun else "one is usual"
        yield f"{_first(found)} begins with {_named(model.bos_id, model)} twice: {why}; leave one out"


def _padding(
    prompts: Sequence[Sequence[int]], model: CatalogModel, side: str, run_of: Callable[[Sequence[int]], tuple[int, int]]
) -> Iterator[str]:
    """Runs of a special token at one end, or of any where the prompts are rows of a matrix that was filled up."""
    runs = [run_of(prompt) for prompt in prompts]
    is_filled = len(set(map(len, prompts))) == 1 and len({length for _, length in runs}) > 1
    special = _special(model)
    least_bos = 1 if side == "end" else 3
    found = [
        ("orig prompt", index)
        for index, (token, length) in enumerate(runs)
        if (least_bos if token == model.bos_id else 2) <= length < len(prompts[index])
        and (token in special or is_filled)
    ]
    if found:
        token, length = runs[found[0][1]]
        has = f"{_first(found)} has {counted(length, 'token')} {_named(token, model)} at its {side}"
        role = ", role 'end' among them" if side == "end" else ""
        yield f"{has}: padding is read as words here{role}; give each prompt in its own length, without padding"


def _special(model: CatalogModel) -> set[int]:
    added = {} if model.tokenizer is None else model.tokenizer.get_added_tokens_decoder()
    return {token for token, content in added.items() if content.special} | {model.bos_id or -1}


def _run_at_beginning(prompt: Sequence[int]) -> tuple[int, int]:
    """The first token, and how often it is repeated."""
    first = next(iter(prompt), -1)
    return first, next((index for index, token in enumerate(prompt) if token != first), len(prompt))


def _run_at_end(prompt: Sequence[int]) -> tuple[int, int]:
    return _run_at_beginning(prompt[::-1])


def _named(token: int, model: CatalogModel) -> str:
    text = "" if model.tokenizer is None else f" ({shown(pieces(model.tokenizer, [token])[0])})"
    return f"{token}{text}"
