"""Answers that are sets of tokens, in every kind of dataset."""

from typing import Any

import pytest

from service.datasets.words import token_ids
from service.specs.limits import SpecLimits
from tests.specs_of_demo import PATCH, PROMPTS, TEMPLATES, TOKENS, catalog, check, problems

PROB_DIFF = {"kind": "prob_diff", "answer": "right", "minus_answer": "wrong"}


def tokens_of(text: str) -> list[int]:
    tokenizer = catalog().get("demo").tokenizer
    assert tokenizer is not None
    return token_ids(tokenizer, text)


def of_templates(**changes: Any) -> dict[str, Any]:
    """A set for each name of slot A, and one for all prompts."""
    sets = {
        "NEXT": [[" book", " ring"], [" lamp"], [" book"], [" ring", " Mary"], [" lamp"]],
        "NEVER": [[" Tom", " Bill"]],
    }
    answers = {"right": {"slot": "NEXT", "by": "A"}, "wrong": "NEVER"}
    return {**TEMPLATES, "slots": {**TEMPLATES["slots"], **sets}, "answers": answers, **changes}


def test_sets_of_token_ids_and_of_strings_are_the_same() -> None:
    """Of any size, in any order; a single token of another answer beside them."""
    mary, john, tom = (tokens_of(text)[0] for text in (" Mary", " John", " Tom"))
    texts = {"right": [[" Mary", " John"], [" Mary"]], "wrong": [" Tom", " Tom"]}
    ids = {"right": [[mary, john], [mary]], "wrong": [tom, tom]}
    for answers in (texts, ids):
        found = check(dataset={**PROMPTS, "answers": answers}, metric=PROB_DIFF).dataset
        assert found.answers == ids
    assert check(dataset={**TOKENS, "answers": ids}, metric=PROB_DIFF).dataset.answers == ids


def test_a_slot_of_lists_gives_each_filler_its_set() -> None:
    """In the order of the fillers; a slot with one list gives it to every prompt."""
    checked = check(dataset=of_templates(), metric=PROB_DIFF)
    by_name = {tokens_of(" " + name)[0]: index for index, name in enumerate(TEMPLATES["slots"]["A"])}
    sets = [[tokens_of(text)[0] for text in own] for own in of_templates()["slots"]["NEXT"]]
    plain = check(dataset=TEMPLATES, metric={"kind": "logit", "answer": "IO"}).dataset
    assert checked.dataset.orig == plain.orig, "slots of lists change no draw"
    assert checked.dataset.answers["right"] == [sets[by_name[name]] for name in plain.answers["IO"]]
    assert checked.dataset.answers["wrong"] == [[tokens_of(" Tom")[0], tokens_of(" Bill")[0]]] * 6


@pytest.mark.parametrize(
    ("dataset", "pointer", "words"),
    [
        ({**TOKENS, "answers": {"right": [[8], []]}}, "/dataset/answers/right/1", "the list is empty"),
        ({**TOKENS, "answers": {"right": [[8], [9], [10]]}}, "/dataset/answers/right", "3 for 2 examples"),
        ({**TOKENS, "answers": {"right": [[8], [9, 10**6]]}}, "/dataset/answers/right/1/1", "token 1000000 does not"),
        ({**PROMPTS, "answers": {"right": [[" Mary"], [" Mary Ann"]]}}, "/dataset/answers/right/1/0", "single token"),
        (of_templates(answers={"right": "NEXT"}), "/dataset/answers/right", '{"slot": "NEXT", "by": "A"}'),
        (
            of_templates(answers={"right": {"slot": "NEXT", "by": "OBJECT"}}),
            "/dataset/answers/right/slot",
            "5 lists for 3 fillers",
        ),
        (of_templates(answers={"right": {"slot": "NXT", "by": "A"}}), "/dataset/answers/right/slot", '"NEXT"'),
        (of_templates(answers={"right": {"slot": "NEXT", "by": "AA"}}), "/dataset/answers/right/by", '"A"'),
        (of_templates(new={"NEXT": "redraw"}), "/dataset/new/NEXT", "a slot of strings belongs here"),
    ],
)
def test_sets_that_do_not_fit_are_refused_by_name(dataset: dict[str, Any], pointer: str, words: str) -> None:
    """With the place of the one token or list that is wrong."""
    found = problems(dataset=dataset, metric={"kind": "prob", "answer": "right"})
    assert words in found[pointer]


def test_a_token_named_twice_counts_once() -> None:
    """A probability would count it twice, silently."""
    checked = check(
        dataset={**TOKENS, "answers": {"right": [[8, 9, 8], [3]]}}, metric={"kind": "prob", "answer": "right"}
    )
    assert checked.dataset.answers["right"] == [[8, 9], [3]]
    assert checked.warnings == ["answer right: the set of example 0 names a token more than once, which counts once"]


def test_sets_that_share_tokens_are_warned_of() -> None:
    """A difference loses what both sides have."""
    answers = {"right": [[8, 9], [3, 4]], "wrong": [[9, 10], [4, 3]]}
    warnings = check(dataset={**TOKENS, "answers": answers}, metric=PROB_DIFF).warnings
    assert "answers right and wrong share tokens in 1 of 2 examples (0): these count on both sides" in warnings
    same = "answers right and wrong are the same tokens in 1 of 2 examples (1): their prob difference is 0 there"
    assert same in warnings


def test_all_sets_together_are_limited() -> None:
    """They travel with every shard."""
    dataset = {**TOKENS, "answers": {"right": [list(range(20)), [3]]}}
    few = SpecLimits(max_tokens=20)
    found = problems(few, dataset=dataset, metric={"kind": "prob", "answer": "right"})
    assert found["/dataset/answers"].startswith(
        "the sets of answers, each as large as the largest, have 40 tokens in all: the most is 20"
    )
    assert "PATHPATCH_MAX_TOKENS" in found["/dataset/answers"]


def test_a_metric_without_a_gradient_is_not_estimated() -> None:
    """Whether the top token is right does not change by small steps."""
    accuracy = {"kind": "accuracy", "answer": "IO"}
    words = "metric 'accuracy' has no gradient: method 'attribution' needs one"
    assert problems(metric=accuracy, method="attribution") == {"/metric/kind": words}
    circuit = {"kind": "circuit", "score": {"method": "integrated"}}
    assert "has no gradient: score 'integrated'" in problems(metric=accuracy, patch=circuit)["/metric/kind"]
    assert check(metric=accuracy, patch={"kind": "circuit"}).cells > 0


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({**PATCH, "source": "zero", "mean_over": "all"}, "goes with source 'mean' only, not 'zero'"),
        ({"kind": "circuit", "mean_over": "all"}, "goes with source 'mean' only, not 'new'"),
        (
            {"kind": "activation", "nodes": [{"hook": "pattern", "layer": 0}], "source": "mean", "mean_over": "all"},
            "does not go with hook 'pattern'",
        ),
    ],
)
def test_a_mean_over_all_positions_goes_with_means(patch: dict[str, Any], words: str) -> None:
    """And not with patterns, whose rows have different keys at every position."""
    found = problems(patch=patch, metric={"kind": "logit", "answer": "IO"})
    assert f"mean_over 'all' {words}" in found["/patch/mean_over"]
