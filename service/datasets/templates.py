"""The `templates` dataset: prompts drawn from templates with slots, so that published datasets can be reproduced."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from tokenizers import Tokenizer

from api_schemas.datasets import SlotOccurrence, TemplatesDataset
from api_schemas.errors import FieldError
from service.datasets.draft import MOST_PER_KIND, Draft, Path, pieces, written
from service.datasets.prompts import several_tokens
from service.datasets.template_text import Template
from service.datasets.tokenised import TokenisedText, token_ids, tokenise
from service.specs.wording import among, counted, shown, wrong

REDRAW = "redraw"


@dataclass(frozen=True)
class _Drawn:
    """One example: its template and the fillers of both runs."""

    template: int
    orig: Mapping[str, str]
    new: Mapping[str, str]


def draft_templates(dataset: TemplatesDataset, tokenizer: Tokenizer, bos_id: int | None) -> Draft:
    """Draw the prompts.

    Each example has a random generator of its own, so a longer draw begins with the shorter one of the same seed.
    """
    templates = [Template.parse(text) for text in dataset.templates]
    problems = [*_wrong_names(dataset, templates), *_too_few_fillers(dataset)]
    problems = problems or [*_wrong_fillers(dataset, tokenizer), *_wrong_roles(dataset, templates)]
    if problems:
        return Draft([], [], problems=problems)
    lists = {slot: frozenset(fillers) for slot, fillers in dataset.slots.items()}
    drawn = [_draw(dataset, lists, example) for example in range(dataset.examples)]
    return _tokenised(dataset, templates, drawn, tokenizer, bos_id)


def _tokenised(
    dataset: TemplatesDataset, templates: list[Template], drawn: list[_Drawn], tokenizer: Tokenizer, bos_id: int | None
) -> Draft:
    filled = [templates[one.template].fill(one.orig) for one in drawn]
    orig = tokenise(tokenizer, [prompt.text for prompt in filled], bos_id)
    new = tokenise(tokenizer, [templates[one.template].fill(one.new).text for one in drawn], bos_id)

    def where(run: str, example: int) -> Path:
        return "dataset", "templates", drawn[example].template

    draft = Draft([prompt.ids for prompt in orig], [prompt.ids for prompt in new], where=where)
    for role, place in dataset.roles.items():
        draft.roles[role] = [
            _position(draft, role, place, prompt, one.ends, where("orig", example))
            for example, (prompt, one) in enumerate(zip(orig, filled, strict=True))
        ]
    for answer, slot in dataset.answers.items():
        by_filler = {filler: token_ids(tokenizer, _spaced(filler))[0] for filler in dataset.slots[slot]}
        draft.answers[answer] = [by_filler[one.orig[slot]] for one in drawn]
    draft.problems = list(dict.fromkeys(draft.problems))[:MOST_PER_KIND]
    draft.warnings += _double_spaces(dataset, templates)
    return draft


def _double_spaces(dataset: TemplatesDataset, templates: list[Template]) -> Iterator[str]:
    """Fillers that bring the space that their template already has."""
    for slot, fillers in dataset.slots.items():
        spaced = next((filler for filler in fillers if filler[:1].isspace()), None)
        places = (index for index, template in enumerate(templates) if template.has_space_before(slot))
        if spaced is not None and (index := next(places, None)) is not None:
            begins = (
                f"filler {shown(spaced)} of slot {slot} begins with a space, and so does its place in template {index}"
            )
            yield f"{begins}: the prompt has two spaces there; leave the filler's out"


def _position(
    draft: Draft,
    role: str,
    place: str | int | SlotOccurrence,
    prompt: TokenisedText,
    ends: Mapping[str, list[int]],
    where: Path,
) -> int:
    """A role's position; 0 where there is none, which is then a problem."""
    length = len(prompt.ids)
    if isinstance(place, int):
        position = place + length if place < 0 else place
    else:
        place = place if isinstance(place, SlotOccurrence) else SlotOccurrence(slot=place)
        at_slot = prompt.token_ending_at(ends[place.slot][place.occurrence])
        if at_slot is None:
            message = f"slot {place.slot} does not end where a token of {shown(prompt.text)} ends, as role {role} needs"
            draft.problems.append(wrong(where, message))
            return 0
        position = at_slot + place.offset
    if not 0 <= position < length:
        message = f"position {position} does not exist in {shown(prompt.text)}, which has positions 0 to {length - 1}"
        draft.problems.append(wrong(("dataset", "roles", role), message))
        return 0
    return position


def _draw(dataset: TemplatesDataset, lists: Mapping[str, frozenset[str]], example: int) -> _Drawn:
    """Slots are drawn in alphabetical order, so that the order of a JSON object's keys changes nothing."""
    random = Random(f"{dataset.seed}:{example}")  # a string seed: the same on every machine and hash seed
    template = random.randrange(len(dataset.templates))
    orig: dict[str, str] = {}
    for slot in sorted(dataset.slots):
        taken = {orig[other] for other in orig if lists[other] == lists[slot]}
        orig[slot] = _pick(random, dataset.slots[slot], taken)
    new = orig | {slot: orig[rule] for slot, rule in dataset.new.items() if rule != REDRAW}
    for slot in sorted(dataset.new):
        if dataset.new[slot] == REDRAW:
            new[slot] = _pick(random, dataset.slots[slot], {*orig.values(), *new.values()})
    return _Drawn(template, orig, new)


def _pick(random: Random, fillers: list[str], taken: set[str]) -> str:
    left = [filler for filler in dict.fromkeys(fillers) if filler not in taken]
    return left[random.randrange(len(left))]


def _wrong_names(dataset: TemplatesDataset, templates: list[Template]) -> Iterator[FieldError]:
    """Slots that are named and not given."""
    known = list(dataset.slots)
    for index, template in enumerate(templates):
        for slot in dict.fromkeys(template.slots):
            yield from _unknown_slot(("dataset", "templates", index), slot, known)
    for slot, rule in dataset.new.items():
        yield from _unknown_slot(("dataset", "new", slot), slot, known)
        if rule != REDRAW:
            yield from _unknown_slot(("dataset", "new", slot), rule, [*known, REDRAW])
    for answer, slot in dataset.answers.items():
        yield from _unknown_slot(("dataset", "answers", answer), slot, known)
    for role, place in dataset.roles.items():
        if isinstance(place, str):
            yield from _unknown_slot(("dataset", "roles", role), place, known)
        elif isinstance(place, SlotOccurrence):
            yield from _unknown_slot(("dataset", "roles", role, "slot"), place.slot, known)


def _unknown_slot(path: Path, slot: str, known: list[str]) -> Iterator[FieldError]:
    if slot not in known:
        yield wrong(path, among(f"there is no slot {shown(slot)}", slot, known, "the slots are"))


def _too_few_fillers(dataset: TemplatesDataset) -> Iterator[FieldError]:
    """Slots whose list is too short to draw without repeating."""
    fillers = {slot: set(words) for slot, words in dataset.slots.items()}
    redrawn = [slot for slot in dataset.new if dataset.new[slot] == REDRAW and slot in fillers]
    for slot, own in fillers.items():
        needed = sum(other == own for other in fillers.values())
        if slot in redrawn:
            needed = sum(not own.isdisjoint(other) for other in fillers.values())
            needed += sum(not own.isdisjoint(fillers[other]) for other in redrawn)
        if len(own) < needed:
            why = "one for each slot that shares them, and one more for each of these that is redrawn in new"
            message = f"slot {slot} has {counted(len(own), 'different filler')} and needs {needed}: {why}"
            yield wrong(("dataset", "slots", slot), message)


def _wrong_fillers(dataset: TemplatesDataset, tokenizer: Tokenizer) -> Iterator[FieldError]:
    """Fillers of several tokens where one is needed, or of another length than those they are exchanged for."""
    for answer, slot in dataset.answers.items():
        for index, filler in enumerate(dataset.slots[slot]):
            if len(token_ids(tokenizer, _spaced(filler))) != 1:
                message = f"{several_tokens(tokenizer, _spaced(filler))}, and slot {slot} is the answer {answer}"
                yield wrong(("dataset", "slots", slot, index), message)
    for slot, rule in dataset.new.items():
        if {slot, rule}.isdisjoint(dataset.answers.values()):
            yield from _uneven_fillers(
                dataset, list(dict.fromkeys([slot, slot if rule == REDRAW else rule])), tokenizer
            )


def _uneven_fillers(dataset: TemplatesDataset, slots: list[str], tokenizer: Tokenizer) -> Iterator[FieldError]:
    counts = {
        (slot, index): len(token_ids(tokenizer, _spaced(filler)))
        for slot in slots
        for index, filler in enumerate(dataset.slots[slot])
    }
    usual = Counter(counts.values()).most_common(1)[0][0]
    for (slot, index), count in counts.items():
        if count != usual:
            filler = _spaced(dataset.slots[slot][index])
            parts = written(pieces(tokenizer, token_ids(tokenizer, filler)))
            why = f"orig and new must have equal length, and slot {slot} changes"
            message = f"{shown(filler)} is {counted(count, 'token')} ({parts}) and other fillers are {usual}: {why}"
            yield wrong(("dataset", "slots", slot, index), message)


def _wrong_roles(dataset: TemplatesDataset, templates: list[Template]) -> Iterator[FieldError]:
    """Roles at a slot, or a place of it, that some template does not have."""
    for role, place in dataset.roles.items():
        if isinstance(place, int):
            continue
        slot, occurrence = (place, 0) if isinstance(place, str) else (place.slot, place.occurrence)
        for index, template in enumerate(templates):
            count = template.slots.count(slot)
            if not -count <= occurrence < count:
                message = (
                    f"occurrence {occurrence} of slot {slot} does not exist in template {index}, which has {count}"
                )
                yield wrong(("dataset", "roles", role), message)
                break


def _spaced(filler: str) -> str:
    return filler if filler[:1].isspace() else " " + filler
