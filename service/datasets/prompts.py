"""The `prompts` and `tokens` datasets: the client's own prompts, as text or as token ids."""

from collections.abc import Sequence
from itertools import islice

from tokenizers import Tokenizer

from api_schemas.datasets import PromptsDataset, StringsInPrompts, TokensDataset
from service.datasets.draft import MOST_PER_KIND, Draft, check_counts, check_role_positions, pieces, written
from service.datasets.tokenised import TokenisedText, token_ids, tokenise
from service.specs.wording import counted, shown, wrong


def draft_tokens(dataset: TokensDataset) -> Draft:
    """Prompts given as token ids."""
    roles = {role: _from_the_start(places, dataset.orig) for role, places in dataset.roles.items()}
    draft = Draft(dataset.orig, dataset.new, roles, dict(dataset.answers))
    check_counts(draft, len(dataset.orig))
    check_role_positions(draft)
    return draft


def draft_prompts(dataset: PromptsDataset, tokenizer: Tokenizer, bos_id: int | None) -> Draft:
    """Prompts given as text; roles by position or by text, answers by text."""
    orig = tokenise(tokenizer, dataset.orig, bos_id)
    new = tokenise(tokenizer, dataset.new, bos_id)
    draft = Draft([prompt.ids for prompt in orig], [prompt.ids for prompt in new])
    for role, given in dataset.roles.items():
        strings = given.strings if isinstance(given, StringsInPrompts) else given
        places = [place for place in strings if isinstance(place, int)]
        draft.roles[role] = _from_the_start(places, draft.orig)
        if len(draft.roles[role]) != len(strings):
            occurrence = given.occurrence if isinstance(given, StringsInPrompts) else None
            nested = isinstance(given, StringsInPrompts)
            draft.roles[role] = _find(draft, role, [str(words) for words in strings], occurrence, orig, nested)
    for answer, words in dataset.answers.items():
        draft.answers[answer] = _answers(draft, answer, words, tokenizer)
    check_counts(draft, len(orig))
    check_role_positions(draft)
    return draft


def _from_the_start(places: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
    """Positions counted from 0; one that lies before its prompt stays negative, which is then a problem."""
    found = list(places)
    for example, (place, prompt) in enumerate(zip(places, prompts, strict=False)):
        if -len(prompt) <= place < 0:
            found[example] = place + len(prompt)
    return found


def _find(
    draft: Draft, role: str, strings: list[str], occurrence: int | None, prompts: list[TokenisedText], nested: bool
) -> list[int]:
    """The position of each string in its orig prompt; 0 where something is wrong, which is then a problem."""
    positions: list[int] = [0] * len(strings)
    problems = []
    for example, (words, prompt) in enumerate(zip(strings, prompts, strict=False)):
        found = prompt.positions_of(words)
        if not found:
            found = prompt.positions_of(" " + words)
        elif not words.startswith(" ") and prompt.positions_of(" " + words):
            spaced = prompt.positions_of(" " + words)
            draft.warnings.append(
                f"role {role}, prompt {example}: {shown(words)} was taken at position {found[0]}, where it is a token "
                f"without a space; {shown(' ' + words)} stands at {', '.join(map(str, spaced))}"
            )
        chosen = _choose(found, occurrence)
        if chosen is None:
            path = ("dataset", "roles", role, *(("strings",) if nested else ()), example)
            problems.append(wrong(path, _not_found(words, example, found, occurrence)))
        else:
            positions[example] = chosen
    draft.problems += islice(problems, MOST_PER_KIND)
    return positions


def _choose(found: list[int], occurrence: int | None) -> int | None:
    if occurrence is None:
        return found[0] if len(found) == 1 else None
    return found[occurrence] if -len(found) <= occurrence < len(found) else None


def _not_found(words: str, example: int, found: list[int], occurrence: int | None) -> str:
    if not found:
        hint = "a role's string must be the text of one token or of several in a row"
        return f"{shown(words)} is not in the tokens of orig prompt {example}: {hint}"
    places = f"{counted(len(found), 'time')} in orig prompt {example}, at {', '.join(map(str, found[:8]))}"
    if occurrence is None:
        hint = '{"strings": [...], "occurrence": 0} takes the first, and -1 the last'
        return f"{shown(words)} occurs {places}, and must occur exactly once: {hint}"
    return f"occurrence {occurrence} does not exist: {shown(words)} occurs {places}"


def _answers(draft: Draft, answer: str, words: list[str], tokenizer: Tokenizer) -> list[int]:
    """The token of each string; 0 where it is not one token, which is then a problem."""
    tokens: list[int] = []
    problems = []
    for example, text in enumerate(words):
        ids = token_ids(tokenizer, text)
        if len(ids) != 1:
            problems.append(wrong(("dataset", "answers", answer, example), several_tokens(tokenizer, text)))
        tokens.append(ids[0] if len(ids) == 1 else 0)
    draft.problems += problems[:MOST_PER_KIND]
    unspaced = next((text for text in words if text[0].isalpha() and len(token_ids(tokenizer, " " + text)) == 1), None)
    if unspaced is not None and not problems:
        draft.warnings.append(
            f"answer {answer}: {shown(unspaced)} is the token without a leading space; "
            f"within a sentence {shown(' ' + unspaced)} is what follows"
        )
    return tokens


def several_tokens(tokenizer: Tokenizer, text: str) -> str:
    """Why a text cannot be an answer."""
    ids = token_ids(tokenizer, text)
    message = f"{shown(text)} is {counted(len(ids), 'token')} ({written(pieces(tokenizer, ids))})"
    if not text.startswith(" ") and len(token_ids(tokenizer, " " + text)) == 1:
        return f"{message}: an answer is a single token, such as {shown(' ' + text)} with a leading space"
    return f"{message}: an answer is a single token of this model"
