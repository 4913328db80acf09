"""The `prompts` and `tokens` datasets: the client's own prompts, as text or as token ids."""

from collections.abc import Sequence

from api_schemas.datasets import PromptRole, PromptsDataset, StringsInPrompts, TokensDataset
from api_schemas.errors import FieldError
from api_schemas.wording.values import counted, shown, wrong
from service.datasets.answer_texts import answer_tokens
from service.datasets.draft import MOST_PER_KIND, Draft, check_counts, check_role_positions
from service.datasets.tokenised import TextReader, TokenisedText


def draft_tokens(dataset: TokensDataset) -> Draft:
    """Prompts given as token ids."""
    roles = {role: _from_the_start(positions, dataset.orig) for role, positions in dataset.roles.items()}
    draft = Draft(dataset.orig, dataset.new, roles, dict(dataset.answers))
    check_counts(draft, len(dataset.orig))
    check_role_positions(draft)
    return draft


def draft_prompts(dataset: PromptsDataset, reader: TextReader, longest: int) -> Draft:
    """Prompts given as text; roles by position or by text, answers by text.

    Args:
        longest: Tokens that the model takes; roles are not looked for in longer prompts, which are refused.
    """
    orig = reader.read(dataset.orig)
    draft = Draft([prompt.ids for prompt in orig], reader.ids(dataset.new))
    searched = [prompt if len(prompt.ids) <= longest else None for prompt in orig]
    for role, given in dataset.roles.items():
        strings = given.strings if isinstance(given, StringsInPrompts) else given
        positions = [entry for entry in strings if isinstance(entry, int)]
        draft.roles[role] = _from_the_start(positions, draft.orig)
        if len(positions) != len(strings):
            draft.roles[role] = _find(draft, role, given, searched)
    for answer, texts in dataset.answers.items():
        path = ("dataset", "answers", answer)
        draft.answers[answer] = answer_tokens(draft, answer, texts, path, reader.tokenizer)
    check_counts(draft, len(orig))
    check_role_positions(draft)
    return draft


def _from_the_start(positions: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
    """Positions counted from 0; one that lies before its prompt stays negative, which is then a problem."""
    found = list(positions)
    for example, (position, prompt) in enumerate(zip(positions, prompts, strict=False)):
        if -len(prompt) <= position < 0:
            found[example] = position + len(prompt)
    return found


def _find(draft: Draft, role: str, given: PromptRole, prompts: Sequence[TokenisedText | None]) -> list[int]:
    """The position of each string in its orig prompt; 0 where something is wrong, which is then a problem."""
    is_nested = isinstance(given, StringsInPrompts)
    strings, occurrence = (given.strings, given.occurrence) if isinstance(given, StringsInPrompts) else (given, None)
    positions: list[int] = [0] * len(strings)
    problems: list[FieldError] = []
    for example, (entry, prompt) in enumerate(zip(strings, prompts, strict=False)):
        if prompt is None:
            continue
        words = str(entry)
        found = prompt.positions_of(words)
        spaced = [] if found and words.startswith(" ") else prompt.positions_of(" " + words)
        if found and spaced and len(draft.warnings) < MOST_PER_KIND:
            draft.warnings.append(
                f"role {role}, prompt {example}: {shown(words)} was taken at position {found[0]}, where it is a token "
                f"without a space; {shown(' ' + words)} stands at {_some(spaced)}"
            )
        found = found or spaced
        chosen = _choose(found, occurrence)
        if chosen is not None:
            positions[example] = chosen
        elif len(problems) < MOST_PER_KIND:
            path = ("dataset", "roles", role, *(("strings",) if is_nested else ()), example)
            problems.append(wrong(path, _not_found(words, example, found, occurrence)))
    draft.problems += problems
    return positions


def _some(positions: list[int]) -> str:
    return ", ".join(map(str, positions[:8]))


def _choose(found: list[int], occurrence: int | None) -> int | None:
    if occurrence is None:
        return found[0] if len(found) == 1 else None
    return found[occurrence] if -len(found) <= occurrence < len(found) else None


def _not_found(words: str, example: int, found: list[int], occurrence: int | None) -> str:
    if not found:
        hint = "a role's string must be the text of one token or of several in a row"
        return f"{shown(words)} is not in the tokens of orig prompt {example}: {hint}"
    where = f"{counted(len(found), 'time')} in orig prompt {example}, at {_some(found)}"
    if occurrence is None:
        hint = '{"strings": [...], "occurrence": 0} takes the first, and -1 the last'
        return f"{shown(words)} occurs {where}, and must occur exactly once: {hint}"
    return f"occurrence {occurrence} does not exist: {shown(words)} occurs {where}"
