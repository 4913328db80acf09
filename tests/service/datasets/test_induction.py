"""Prompts of the induction task: random tokens that repeat."""

from dataclasses import replace

import pytest

from service.datasets.resolve import resolve_dataset
from service.specs.limits import SpecLimits
from tests.specs_of_demo import JobSpec, catalog, check, document, problems

LOG_PROB = {"kind": "log_prob", "answer": "B"}
INDUCTION = {"kind": "induction", "examples": 12, "length": 6}


@pytest.mark.parametrize("prepend_bos", [False, True])
@pytest.mark.parametrize("new", ["half", "token"])
def test_the_second_half_repeats_the_first_up_to_a(new: str, prepend_bos: bool) -> None:
    """B followed A, and is due again; in new nothing repeats, or the first A is another token."""
    bos = catalog().get("demo").bos_id
    dataset = check(dataset={**INDUCTION, "new": new, "prepend_bos": prepend_bos}, metric=LOG_PROB).dataset
    for example, (whole, other) in enumerate(zip(dataset.orig, dataset.new, strict=True)):
        assert (whole[0] == other[0] == bos) is prepend_bos
        orig, changed = whole[prepend_bos:], other[prepend_bos:]
        half, a1, b1, end = orig[:6], *(dataset.roles[role][example] for role in ("A1", "B1", "end"))
        assert len(set(half)) == 6 and orig == half + half[:5] and changed[6:] == half[:5]
        assert (a1, b1, end) == (4 + prepend_bos, 5 + prepend_bos, 10 + prepend_bos)
        assert whole[a1] == whole[end] and dataset.answers["B"][example] == whole[b1]
        differs = [place for place in range(11) if orig[place] != changed[place]]
        assert differs == (list(range(6)) if new == "half" else [4])
        assert not set(changed[:6]) & set(half) if new == "half" else changed[4] not in half
        assert dataset.answers["other"][example] not in {*orig, *changed}


def test_special_tokens_are_not_drawn() -> None:
    """Nor ids that no text has."""
    model = catalog().get("demo")
    assert model.tokenizer is not None
    special = set(model.tokenizer.get_added_tokens_decoder())
    assert special
    dataset = check(dataset={**INDUCTION, "examples": 400, "prepend_bos": False}, metric=LOG_PROB).dataset
    drawn = {token for prompt in (*dataset.orig, *dataset.new) for token in prompt}
    assert not drawn & special and len(drawn) > 900


def test_a_seed_means_the_same_prompts_everywhere() -> None:
    """A longer draw begins with the shorter one; `new` changes nothing else."""
    one, longer, token = (
        check(dataset={**INDUCTION, **fields}, metric=LOG_PROB).dataset
        for fields in ({}, {"examples": 20}, {"new": "token"})
    )
    assert longer.orig[:12] == one.orig == token.orig
    assert one.orig[0] == [198, 527, 450, 562, 233, 496, 198, 527, 450, 562, 233]


def test_a_model_without_a_tokenizer_has_tokens_too() -> None:
    """Every id of its vocabulary."""
    model = replace(catalog().get("demo"), tokenizer=None, bos_id=None, adds_bos=False)
    spec = JobSpec.model_validate(document(dataset=INDUCTION, metric=LOG_PROB))
    assert len(resolve_dataset(spec.dataset, model, SpecLimits())) == 12


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (40, "needs prompts of 79 tokens, and this model's context has room for 64: give at most 32"),
        (1, "the least allowed is 2"),
    ],
)
def test_lengths_that_do_not_fit_are_refused_once(length: int, words: str) -> None:
    """Not once per prompt."""
    found = problems(dataset={**INDUCTION, "length": length}, metric=LOG_PROB)
    assert list(found) == ["/dataset/length"] and words in found["/dataset/length"]


def test_so_many_tokens_are_not_drawn() -> None:
    """Refused before anything is made."""
    found = problems(dataset={**INDUCTION, "examples": 10_000, "length": 100_000}, metric=LOG_PROB)
    assert "4,000,000,000 tokens" in found["/dataset"]
