"""Sets of answers of the `templates` dataset: slots of lists, chosen by the fillers of other slots."""

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from api_schemas.datasets import TemplatesDataset
from api_schemas.errors import FieldError
from api_schemas.wording.values import Suggestions, counted, shown, wrong
from service.datasets.answer_texts import answer_tokens
from service.datasets.draft import Draft
from service.datasets.draws import Draw


def wrong_sets(dataset: TemplatesDataset) -> Iterator[FieldError]:
    """Answers whose slots do not exist, or whose lists do not belong to fillers one by one."""
    suggestions, sets, fillers = Suggestions(), dataset.sets, dataset.fillers
    for answer, given in dataset.set_answers.items():
        path = ("dataset", "answers", answer)
        if given.slot not in sets:
            start = f"there is no slot of lists {shown(given.slot)}"
            yield wrong((*path, "slot"), suggestions.among(start, given.slot, list(sets), "the slots of lists are"))
            continue
        n_lists = len(sets[given.slot])
        if given.by == "" and n_lists > 1:
            example = f'{{"slot": "{given.slot}", "by": "{next(iter(fillers), "A")}"}}'
            hint = f"say which slot's fillers they belong to, such as {example}"
            yield wrong(path, f"slot {given.slot} has {counted(n_lists, 'list')}: {hint}")
        elif given.by and given.by not in fillers:
            start = f"there is no slot of strings {shown(given.by)}"
            yield wrong((*path, "by"), suggestions.among(start, given.by, list(fillers), "the slots of strings are"))
        elif given.by and n_lists != (n_fillers := len(fillers[given.by])):
            rule = f"each filler of slot {given.by} has one list, in the same order"
            yield wrong(
                (*path, "slot"),
                f"slot {given.slot} has {counted(n_lists, 'list')} for {counted(n_fillers, 'filler')}: {rule}",
            )


def add_set_answers(draft: Draft, dataset: TemplatesDataset, draws: Sequence[Draw], tokenizer: Tokenizer) -> None:
    """The tokens of the list that belongs to each example's filler."""
    for answer, given in dataset.set_answers.items():
        tokens = answer_tokens(draft, answer, dataset.sets[given.slot], ("dataset", "slots", given.slot), tokenizer)
        index = {filler: number for number, filler in enumerate(dataset.fillers.get(given.by, []))}
        chosen = [index[draw.orig[given.by]] if given.by else 0 for draw in draws]
        draft.answers[answer] = [tokens[number] for number in chosen]  # type: ignore[assignment]
