"""Prompts of the greater-than task: "The war lasted from the year 1732 to the year 17", to be continued by 33 to 99.

Source: Hanna et al. 2023, arXiv:2305.00586, section 3: centuries 11 to 17, start years 02 to 98 of which a tokenizer
makes two tokens, and counterparts whose start year is 01.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from tokenizers import Tokenizer

from api_schemas.datasets import GreaterThanDataset
from api_schemas.errors import InvalidSpec
from api_schemas.wording.values import counted, shown, wrong
from service.datasets.draft import Draft, written
from service.datasets.greater_than_words import NOUNS
from service.datasets.tokenised import TextReader
from service.datasets.words import token_ids

TEMPLATE = "The {noun} lasted from the year {century}{year} to the year {century}"
CENTURIES, START_YEARS, NEW_YEAR = range(11, 18), range(2, 99), 1
FEWEST_YEARS = 10
"""Of a century that is drawn: with fewer, examples are hardly independent."""


class UnfitYears(InvalidSpec):
    """The tokenizer does not read years as a century and two digits, so the task cannot be posed in it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        ids = token_ids(tokenizer, " 1732")
        sentence = (
            'The greater_than dataset needs years that are two tokens, such as " 17" and "32", and "00" to "99" as one '
            f"token each: this model's tokenizer reads {shown(' 1732')} as {counted(len(ids), 'token')} "
            f"({written(tokenizer, ids)}). GPT-2's tokenizer does (GPT-2, GPT-Neo, GPT-J, OPT); kinds 'prompts' and "
            "'templates' take sets of answers for numbers of your own."
        )
        super().__init__([wrong(("dataset", "kind"), sentence)])


@dataclass(frozen=True)
class Years:
    """Years as a tokenizer reads them."""

    by_century: Mapping[str, tuple[str, ...]]
    """Centuries, and the start years of each that are two tokens with it."""
    tokens: tuple[int, ...]
    """The token of each two digits, 00 to 99."""


@lru_cache(maxsize=16)
def years_of(tokenizer: Tokenizer) -> Years:
    """Centuries and start years that can be drawn.

    Raises:
        UnfitYears: There are none.
    """
    digits = [token_ids(tokenizer, f"{year:02d}") for year in range(100)]
    by_century = {}
    for century in map(str, CENTURIES):
        first = token_ids(tokenizer, f" {century}")
        fits = [len(first) == 1 and token_ids(tokenizer, f" {century}{year:02d}") == first + digits[year]
                for year in range(100)]  # fmt: skip
        years = tuple(f"{year:02d}" for year in START_YEARS if fits[year])
        if fits[NEW_YEAR] and len(years) >= FEWEST_YEARS:
            by_century[century] = years
    if not by_century or any(len(ids) != 1 for ids in digits) or len({ids[0] for ids in digits}) < len(digits):
        raise UnfitYears(tokenizer)
    return Years(by_century, tuple(ids[0] for ids in digits))


def draft_greater_than(dataset: GreaterThanDataset, reader: TextReader) -> Draft:
    """Draw the prompts.

    Each example has a random generator of its own, so a longer draw begins with the shorter one of the same seed.

    Raises:
        UnfitYears: The tokenizer reads years in another way.
    """
    years = years_of(reader.tokenizer)
    centuries = tuple(years.by_century)
    drawn = []
    for example in range(dataset.examples):
        random = Random(f"{dataset.seed}:{example}")  # a string seed: the same on every machine and hash seed
        noun, century = NOUNS[random.randrange(len(NOUNS))], centuries[random.randrange(len(centuries))]
        own = years.by_century[century]
        drawn.append((noun, century, own[random.randrange(len(own))]))
    texts = [TEMPLATE.format(noun=noun, century=century, year=year) for noun, century, year in drawn]
    orig = reader.read(texts)
    new = [TEMPLATE.format(noun=noun, century=century, year=f"{NEW_YEAR:02d}") for noun, century, _ in drawn]
    places = [prompt.token_ending_at(prompt.text.index(" to the year")) for prompt in orig]
    starts = [int(year) for *_, year in drawn]
    for prompt, place, start in zip(orig, places, starts, strict=True):
        if place is None or prompt.ids[place] != years.tokens[start]:
            raise UnfitYears(reader.tokenizer)
    return Draft(
        [prompt.ids for prompt in orig],
        reader.ids(new),
        roles={"YY": [place or 0 for place in places]},
        answers={
            "after": [list(years.tokens[start + 1 :]) for start in starts],
            "not_after": [list(years.tokens[: start + 1]) for start in starts],
        },
        where=lambda run, example: ("dataset", "kind"),
    )
