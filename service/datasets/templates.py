"""The `templates` dataset: prompts drawn from templates with slots, so that published datasets can be reproduced."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain, islice

from tokenizers import Tokenizer

from api_schemas.datasets import SlotOccurrence, TemplatesDataset
from api_schemas.errors import FieldError
from api_schemas.wording.values import Suggestions, counted, first_errors, shown, wrong
from service.datasets.answer_texts import several_tokens
from service.datasets.draft import MOST_PER_KIND, Draft, Path, written
from service.datasets.draws import REDRAW, Draw, Slots
from service.datasets.template_sets import add_set_answers, wrong_sets
from service.datasets.template_text import Template
from service.datasets.tokenised import TextReader, TokenisedText
from service.datasets.words import lengths, token_ids


def draft_templates(dataset: TemplatesDataset, reader: TextReader) -> Draft:
    """Draw the prompts.

    Each example has a random generator of its own, so a longer draw begins with the shorter one of the same seed.
    """
    templates = [Template.parse(text) for text in dataset.templates]
    slots = Slots.of(dataset)
    problems = first_errors(chain(_wrong_names(dataset, templates), wrong_sets(dataset), _too_few_fillers(slots)))
    problems = problems or first_errors(
        chain(_wrong_fillers(dataset, reader.tokenizer), _wrong_roles(dataset, templates))
    )
    if problems:
        return Draft([], [], problems=problems)
    return _tokenised(dataset, templates, [slots.draw(example) for example in range(dataset.examples)], reader)


def _tokenised(dataset: TemplatesDataset, templates: list[Template], draws: list[Draw], reader: TextReader) -> Draft:
    filled = [templates[draw.template].fill(draw.orig) for draw in draws]
    orig = reader.read([prompt.text for prompt in filled])
    new = reader.ids([templates[draw.template].fill(draw.new).text for draw in draws])

    def where(run: str, example: int) -> Path:
        return "dataset", "templates", draws[example].template

    draft = Draft([prompt.ids for prompt in orig], new, where=where)
    problems: dict[FieldError, None] = {}
    for role, given in dataset.roles.items():
        draft.roles[role] = []
        for example, (prompt, one) in enumerate(zip(orig, filled, strict=True)):
            found = _position(role, given, prompt, one.ends, where("orig", example))
            draft.roles[role].append(found if isinstance(found, int) else 0)
            if isinstance(found, FieldError) and len(problems) < MOST_PER_KIND:
                problems[found] = None
    for answer, slot in dataset.single_answers.items():
        by_filler = {filler: token_ids(reader.tokenizer, _spaced(filler))[0] for filler in dataset.fillers[slot]}
        draft.answers[answer] = [by_filler[draw.orig[slot]] for draw in draws]
    draft.problems = list(problems)
    add_set_answers(draft, dataset, draws, reader.tokenizer)
    draft.warnings += _double_spaces(dataset, templates)
    return draft


def _double_spaces(dataset: TemplatesDataset, templates: list[Template]) -> Iterator[str]:
    """Fillers that bring the space that their template already has."""
    spaced_in = {slot: index for index, one in reversed([*enumerate(templates)]) for slot in one.slots_after_spaces}
    for slot, fillers in dataset.fillers.items():
        spaced = next((filler for filler in fillers if filler[:1].isspace()), None)
        if spaced is not None and slot in spaced_in:
            begins = f"filler {shown(spaced)} of slot {slot} begins with a space"
            above = f"and so does its place in template {spaced_in[slot]}"
            yield f"{begins}, {above}: the prompt has two spaces there; leave the filler's out"


def _position(
    role: str, given: str | int | SlotOccurrence, prompt: TokenisedText, ends: Mapping[str, list[int]], where: Path
) -> int | FieldError:
    """A role's position in one prompt, or why it has none."""
    length = len(prompt.ids)
    if isinstance(given, int):
        position = given + length if given < 0 else given
    else:
        given = given if isinstance(given, SlotOccurrence) else SlotOccurrence(slot=given)
        at_slot = prompt.token_ending_at(ends[given.slot][given.occurrence])
        if at_slot is None:
            message = f"slot {given.slot} does not end where a token of {shown(prompt.text)} ends, as role {role} needs"
            return wrong(where, message)
        position = at_slot + given.offset
    if not 0 <= position < length:
        message = f"position {position} does not exist in {shown(prompt.text)}, which has positions 0 to {length - 1}"
        return wrong(("dataset", "roles", role), message)
    return position


def _wrong_names(dataset: TemplatesDataset, templates: list[Template]) -> Iterator[FieldError]:
    """Slots that are named and not given."""
    suggestions, fillers, sets = Suggestions(), dataset.fillers, dataset.sets
    for path, slot, others in _named(dataset, templates):
        if slot in sets:
            yield wrong(path, f"slot {slot} has lists, which are sets of answers: a slot of strings belongs here")
        elif slot not in fillers and slot not in others:
            known = [*fillers, *others]
            yield wrong(path, suggestions.among(f"there is no slot {shown(slot)}", slot, known, "the slots are"))


def _named(dataset: TemplatesDataset, templates: list[Template]) -> Iterator[tuple[Path, str, list[str]]]:
    """Every slot that is named, with its path, and what may stand there besides."""
    for index, template in enumerate(templates):
        yield from ((("dataset", "templates", index), slot, []) for slot in dict.fromkeys(template.slots))
    for slot, rule in dataset.new.items():
        yield ("dataset", "new", slot), slot, []
        yield ("dataset", "new", slot), rule, [REDRAW]
    for answer, slot in dataset.single_answers.items():
        yield ("dataset", "answers", answer), slot, []
    for role, given in dataset.roles.items():
        if isinstance(given, str):
            yield ("dataset", "roles", role), given, []
        elif isinstance(given, SlotOccurrence):
            yield ("dataset", "roles", role, "slot"), given.slot, []


def _too_few_fillers(slots: Slots) -> Iterator[FieldError]:
    """Slots whose list is too short to draw without repeating."""
    for slot, needed in slots.needed().items():
        if len(slots.fillers[slot]) < needed:
            why = "one for each slot that shares them, and one more for each of these that is redrawn in new"
            have = counted(len(slots.fillers[slot]), "different filler")
            yield wrong(("dataset", "slots", slot), f"slot {slot} has {have} and needs {needed}: {why}")


def _wrong_fillers(dataset: TemplatesDataset, tokenizer: Tokenizer) -> Iterator[FieldError]:
    """Fillers of several tokens where one is needed, or of another length than those they are exchanged for."""
    fillers = dataset.fillers

    @cache
    def lengths_of(slot: str) -> list[int]:
        return lengths(tokenizer, [_spaced(filler) for filler in fillers[slot]])

    @cache
    def long_ones(slot: str) -> list[int]:
        return [index for index, length in enumerate(lengths_of(slot)) if length != 1][:MOST_PER_KIND]

    for answer, slot in dataset.single_answers.items():
        for index in long_ones(slot):
            filler = _spaced(fillers[slot][index])
            message = f"{several_tokens(tokenizer, filler)}, and slot {slot} is the answer {answer}"
            yield wrong(("dataset", "slots", slot, index), message)
    counts = cache(lambda slot: Counter(lengths_of(slot)))
    answered = set(dataset.single_answers.values())
    for slot, rule in dataset.new.items():
        exchanged = list(dict.fromkeys([slot, slot if rule == REDRAW else rule]))
        usual = sum(map(counts, exchanged), Counter()).most_common()
        if len(usual) > 1 and answered.isdisjoint((slot, rule)):
            uneven = (
                (one, index, length)
                for one in exchanged
                for index, length in enumerate(lengths_of(one))
                if length != usual[0][0]
            )
            for one, index, length in islice(uneven, MOST_PER_KIND):
                filler = _spaced(fillers[one][index])
                parts = written(tokenizer, token_ids(tokenizer, filler))
                why = f"orig and new must have equal length, and slot {one} changes"
                message = f"{shown(filler)} is {counted(length, 'token')} ({parts}) and other fillers are {usual[0][0]}"
                yield wrong(("dataset", "slots", one, index), f"{message}: {why}")


def _wrong_roles(dataset: TemplatesDataset, templates: list[Template]) -> Iterator[FieldError]:
    """Roles at a slot, or an occurrence of it, that some template does not have."""
    counts = [Counter(template.slots) for template in templates]
    fewest = _fewest(counts)
    for role, given in dataset.roles.items():
        if isinstance(given, int):
            continue
        slot, occurrence = (given, 0) if isinstance(given, str) else (given.slot, given.occurrence)
        if not -fewest[slot] <= occurrence < fewest[slot]:
            index = next(index for index, count in enumerate(counts) if not -count[slot] <= occurrence < count[slot])
            lacks = f"does not exist in template {index}, which has {counts[index][slot]}"
            yield wrong(("dataset", "roles", role), f"occurrence {occurrence} of slot {slot} {lacks}")


def _fewest(counts: list[Counter[str]]) -> Counter[str]:
    """How often each slot occurs in the template that has it least; slots that some template lacks are left out."""
    fewest, templates = Counter[str](), Counter[str]()
    for count in counts:
        for slot, number in count.items():
            fewest[slot] = min(number, fewest.get(slot, number))
            templates[slot] += 1
    return Counter({slot: number for slot, number in fewest.items() if templates[slot] == len(counts)})


def _spaced(filler: str) -> str:
    return filler if filler[:1].isspace() else " " + filler
