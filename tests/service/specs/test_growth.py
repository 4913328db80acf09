"""Twice the spec, at most 2.5 times the operations: for every loop over a request's parts."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from api_schemas.errors import InvalidSpec, MalformedJson
from api_schemas.spec import JobSpec
from service.http.strict_json import _object, parse_json
from service.specs.limits import SpecLimits
from service.specs.parsing import parse_batch, parse_spec, refuse_oversized
from service.specs.validation import check_job
from service.specs.work import work_of
from tests.growth import MOST_TIMES, Key, growth
from tests.specs_of_demo import PATCH, PROMPTS, RECEIVERS, SENDERS, TEMPLATES, TOKENS, catalog, document

Work = Callable[[int], Callable[[], object]]
LIMITS = SpecLimits()
NAMES = ["Mary", "John", "Tom", "Adam", "Paul", "Eric", "Bill", "Anna"]


def parsed(make: Callable[[int], Any]) -> Work:
    """Parsing a document."""

    def prepare(size: int) -> Callable[[], object]:
        whole = make(size)

        def work() -> None:
            with suppress(InvalidSpec):
                parse_spec(whole, LIMITS)

        return work

    return prepare


def checked(make: Callable[[int], dict[str, Any]]) -> Work:
    """Checking a spec that is well formed."""

    def prepare(size: int) -> Callable[[], object]:
        spec = JobSpec.model_validate(make(size))

        def work() -> None:
            with suppress(InvalidSpec):
                check_job(spec, catalog(), LIMITS)

        return work

    return prepare


def tokens(examples: int, length: int = 4, **changes: Any) -> dict[str, Any]:
    orig, new = [[1] * length for _ in range(examples)], [[2] * length for _ in range(examples)]
    return {**TOKENS, "orig": orig, "new": new, "roles": {}, "answers": {}, **changes}


def prompts(times: int) -> dict[str, Any]:
    return {**PROMPTS, "orig": PROMPTS["orig"] * times, "new": PROMPTS["new"] * times, "roles": {}, "answers": {}}


def kl(**changes: Any) -> dict[str, Any]:
    return document(metric={"kind": "kl"}, **changes)


def patch(**changes: Any) -> dict[str, Any]:
    return {**PATCH, **changes}


def batch(size: int) -> Callable[[], object]:
    def work() -> None:
        with pytest.raises(InvalidSpec):
            parse_batch({"jobs": [{"modle": 1}] * size}, LIMITS, lambda spec: None)

    return work


def twice(size: int) -> Callable[[], object]:
    pairs: list[tuple[str, Any]] = [(Key(f"k{number}"), 0) for number in range(size)]

    def work() -> None:
        with pytest.raises(MalformedJson, match=f"'k{size - 1}' is given twice"):
            _object([*pairs, (Key(f"k{size - 1}"), 0)])

    return work


PARSED: dict[str, Work] = {
    "misspelled fields": parsed(lambda size: document(**{f"dataste{number}": 1 for number in range(size)})),
    "nodes with misspelled fields": parsed(
        lambda size: document(patch=patch(senders=[{"hok": "z", "layr": number} for number in range(size)]))
    ),
    "wrong tokens": parsed(lambda size: document(dataset=tokens(4, orig=[["a"] * size] * 4))),
    "wrong positions": parsed(lambda size: document(patch=patch(positions=[1.5] * size))),
    "wrong names of roles": parsed(
        lambda size: document(dataset=tokens(1, roles={"x" * 65 + str(n): [0] for n in range(size)}))
    ),
    "objects within objects": parsed(lambda size: document(tags={str(number): {} for number in range(size)})),
    "sizes": lambda size: lambda: refuse_oversized([[["a"] * 10] * 10] * size, LIMITS),
    "a batch": batch,
    "a key given twice": twice,
    "nesting": lambda size: lambda: parse_json(b"[" + b"[1]," * size + b"1]", 32),
}


@pytest.mark.parametrize("work", PARSED.values(), ids=PARSED)
def test_parsing_grows_with_the_document(work: Work) -> None:
    """25 000 keys of one object took 27 s, and 16 KB of misspelled fields held up everybody for 1.5 s."""
    assert growth(work, 200) <= MOST_TIMES


def roles_of(size: int, examples: int = 2) -> dict[str, Any]:
    return {f"r{number}": [0] * examples for number in range(size)}


CHECKED: dict[str, Work] = {
    "prompts": checked(
        lambda size: kl(
            dataset={
                **PROMPTS,
                "orig": PROMPTS["orig"] * size,
                "new": PROMPTS["new"] * size,
                "roles": {},
                "answers": {},
            }
        )
    ),
    "roles by text": checked(
        lambda size: kl(dataset={**PROMPTS, "roles": {f"r{number}": [" Mary", " Mary"] for number in range(size)}})
    ),
    "roles by text that are not there": checked(
        lambda size: kl(dataset={**PROMPTS, "roles": {f"r{number}": [" Zoe", " Zoe"] for number in range(size)}})
    ),
    "answers of several tokens": checked(
        lambda size: kl(dataset={**PROMPTS, "answers": {f"a{number}": [" xylophone"] * 2 for number in range(size)}})
    ),
    "prompts of unequal length": checked(lambda size: kl(dataset=tokens(size, new=[[2] * 5 for _ in range(size)]))),
    "one long pair of unequal length": checked(
        lambda size: kl(
            dataset=tokens(1, orig=[[n % 7 for n in range(5 * size)]], new=[[n % 5 for n in range(5 * size + 1)]])
        )
    ),
    "roles by position": checked(lambda size: kl(dataset=tokens(2, roles=roles_of(size)))),
    "roles beyond their prompt": checked(
        lambda size: kl(dataset=tokens(2, roles={f"r{number}": [9, 9] for number in range(size)}))
    ),
    "tokens beyond the vocabulary": checked(lambda size: kl(dataset=tokens(size, orig=[[5000] * 4] * size))),
    "positions of one node": checked(lambda size: kl(dataset=tokens(8), patch=patch(positions=[1] * size))),
    "unknown roles of one node": checked(
        lambda size: kl(dataset=tokens(8), patch=patch(positions=[f"r{number}" for number in range(size)]))
    ),
    "positions per example": checked(lambda size: kl(dataset=tokens(size), patch=patch(positions=[[1]] * size))),
    "positions beyond every prompt": checked(lambda size: kl(dataset=tokens(size), patch=patch(positions=[99] * size))),
    "many roles, many references": checked(
        lambda size: kl(
            dataset=tokens(2, roles=roles_of(size)),
            patch=patch(positions=[f"r{number}" for number in reversed(range(size))]),
        )
    ),
    "nodes that do not exist": checked(
        lambda size: kl(dataset=tokens(2), patch=patch(senders=[{"hook": "z", "layer": 9, "head": 99}] * size))
    ),
    "layers named again": checked(
        lambda size: kl(dataset=tokens(2), patch=patch(senders={"sweep": {"hook": "z", "layers": [1] * size}}))
    ),
    "heads of a sweep": checked(
        lambda size: kl(dataset=tokens(2), patch=patch(senders={"sweep": {"hook": "z", "heads": [1] * size}}))
    ),
}


@pytest.mark.parametrize("work", CHECKED.values(), ids=CHECKED)
def test_checking_grows_with_the_spec(work: Work) -> None:
    """Whoever sends twice as much is answered in about twice the time, whatever is wrong with it."""
    assert growth(work, 100) <= MOST_TIMES


def drawn(make: Callable[[int], dict[str, Any]]) -> Work:
    return checked(lambda size: kl(dataset={**TEMPLATES, "roles": {}, "answers": {}, **make(size)}))


def fillers(size: int) -> list[str]:
    return NAMES + [f"name{number}" for number in range(size)]


DRAWN: dict[str, Work] = {
    "examples": drawn(lambda size: {"examples": size}),
    "examples with roles": drawn(lambda size: {"examples": size, "roles": TEMPLATES["roles"]}),
    "templates": drawn(lambda size: {"templates": TEMPLATES["templates"] * size}),
    "the text of a template": drawn(lambda size: {"templates": ["[A] " + "word " * size], "examples": 2}),
    "occurrences of a slot": drawn(lambda size: {"templates": ["[A] and " * size + "[B]"], "examples": 2}),
    "slots that are not given": drawn(lambda size: {"templates": [f"[x{number}]" for number in range(size)]}),
    "fillers of a slot": drawn(
        lambda size: {"slots": {**TEMPLATES["slots"], "A": fillers(size), "B": fillers(size)}, "new": {"A": "B"}}
    ),
    "fillers, and few examples of them": drawn(
        lambda size: {
            "slots": {**TEMPLATES["slots"], "A": fillers(50 * size), "B": fillers(50 * size)},
            "new": {"A": "B"},
            "examples": size,
        }
    ),
    "fillers that are no answer": drawn(
        lambda size: {"slots": {**TEMPLATES["slots"], "A": fillers(size)}, "answers": {"IO": "A"}}
    ),
    "answers": drawn(lambda size: {"answers": {f"a{number}": "A" for number in range(size)}}),
    "answers that are of several tokens": drawn(
        lambda size: {
            "slots": {**TEMPLATES["slots"], "A": ["xylophone", *TEMPLATES["slots"]["A"]]},
            "answers": {f"a{number}": "A" for number in range(size)},
        }
    ),
    "roles": drawn(lambda size: {"roles": {f"r{number}": "A" for number in range(size)}}),
    "roles that some template lacks": drawn(
        lambda size: {"roles": {f"r{number}": {"slot": "A", "occurrence": 3} for number in range(size)}}
    ),
    "ioi": checked(lambda size: kl(dataset={"kind": "ioi", "examples": size})),
}


@pytest.mark.parametrize("work", DRAWN.values(), ids=DRAWN)
def test_drawing_grows_with_what_is_drawn(work: Work) -> None:
    """20 KB of template and fillers can ask for gigabytes: not a character of them is looked at twice per example."""
    assert growth(work, 60) <= MOST_TIMES


def test_slots_that_share_fillers_grow_with_all_their_fillers() -> None:
    """Each of them was compared with each."""

    def slots(size: int) -> Callable[[], object]:
        names = [f"s{number}" for number in range(size)]
        lists = {name: [f"{name} {number}" for number in range(10)] + ["Mary"] for name in names}
        return drawn(
            lambda _: {"slots": lists, "templates": ["[s0]"], "new": dict.fromkeys(names, "redraw"), "examples": 1}
        )(0)

    assert growth(slots, 40) <= MOST_TIMES


def test_work_is_counted_without_doing_it() -> None:
    """A spec of a line can name a billion characters; that it does is known at once."""
    whole = {**TEMPLATES, "templates": ["a" * 20_000], "examples": 10_000}
    spec = JobSpec.model_validate(kl(dataset={**whole, "roles": {}, "answers": {}}))
    assert work_of(spec, catalog().get("demo").architecture) > 4e8
    small = JobSpec.model_validate(document(patch=patch(senders=SENDERS, receivers=RECEIVERS)))
    assert work_of(small, catalog().get("demo").architecture) < 10_000
