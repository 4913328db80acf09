"""The `prompts` and `tokens` datasets: text to positions and tokens."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import ModelOrigin
from api_schemas.spec import JobSpec
from service.datasets.example_prompts import example_prompts
from service.models.catalog import ModelCatalog
from service.specs.limits import SpecLimits
from service.specs.validation import check_job
from tests.specs_of_demo import GOLDEN_MODEL, PROMPTS, TOKENS, catalog, check, document, problems


def resolved(**changes: Any) -> ResolvedDataset:
    return check(dataset={**PROMPTS, **changes}).dataset


def test_roles_by_text_are_the_places_of_the_tokens() -> None:
    """The prompts have different lengths, so no one index would do."""
    dataset = resolved(roles={"IO": [" Mary", " Mary"], "S2": {"strings": [" John", "Tom"], "occurrence": -1}})
    shown = example_prompts(dataset, catalog().get("demo"))
    assert [prompt.orig[prompt.roles["IO"]] for prompt in shown] == [" Mary", " Mary"]
    assert dataset.roles["S2"][0] == 6 and shown[0].orig[6] == " John"


def test_roles_by_text_equal_roles_by_position() -> None:
    """Two ways to say the same."""
    by_text = resolved(roles={"IO": [" Mary", " Mary"]})
    assert by_text == resolved(roles={"IO": by_text.roles["IO"]})


def test_positions_may_be_counted_from_the_end() -> None:
    """As in templates; tokens that are already ids count alike."""
    prompts = resolved(roles={"to": [-1, -1], "IO": [-11, 2]})
    assert prompts.roles["to"] == [len(prompt) - 1 for prompt in prompts.orig]
    tokens = check(dataset={**TOKENS, "roles": {"IO": [-4, -1]}}, metric={"kind": "kl"}).dataset
    assert tokens.roles["IO"] == [0, 2]


def test_a_string_of_several_tokens_stands_for_its_last() -> None:
    """A name of several tokens is complete at its last one: where a model can know it."""
    orig = ["When Annabelle and John arrived, John gave a book to"]
    dataset = resolved(orig=orig, new=orig, roles={"IO": [" Annabelle"]}, answers={})
    assert example_prompts(dataset, catalog().get("demo"))[0].orig[1 : dataset.roles["IO"][0] + 1] == [
        " An", "n", "ab", "el", "le",
    ]  # fmt: skip


def test_the_leading_space_may_be_left_out() -> None:
    """`Mary` within a sentence is the token ` Mary`, and nothing else is meant."""
    assert resolved(roles={"IO": ["Mary", "Mary"]}) == resolved(roles={"IO": [" Mary", " Mary"]})


def test_an_exact_token_goes_before_one_with_a_space_and_is_warned_of() -> None:
    """Without the warning, a name at the start would silently win over the same name later on."""
    both = ["book and book met"]
    dataset = {**PROMPTS, "orig": both, "new": both, "roles": {"IO": ["book"]}, "answers": {}}
    checked = check(dataset=dataset)
    read = example_prompts(checked.dataset, catalog().get("demo"))[0].orig
    assert "".join(read[: checked.dataset.roles["IO"][0] + 1]) == "book"
    assert any("was taken at position" in warning for warning in checked.warnings)


NOT_THERE = (
    "is not in the tokens of orig prompt {}: a role's string must be the text of one token or of several in a row"
)


@pytest.mark.parametrize(
    ("role", "pointer", "message"),
    [
        (
            [" John", " Tom"],
            "/dataset/roles/S/0",
            '" John" occurs 2 times in orig prompt 0, at 3, 6, and must occur exactly once: '
            '{"strings": [...], "occurrence": 0} takes the first, and -1 the last',
        ),
        (
            [" Mary", " Zoe"],
            "/dataset/roles/S/1",
            '" Zoe" ' + NOT_THERE.format(1),
        ),
        (
            [" Mar", " Mary"],
            "/dataset/roles/S/0",
            '" Mar" ' + NOT_THERE.format(0),
        ),
        (
            {"strings": [" John", " Mary"], "occurrence": 1},
            "/dataset/roles/S/strings/1",
            'occurrence 1 does not exist: " Mary" occurs 1 time in orig prompt 1, at ',
        ),
        ([3], "/dataset/roles/S", "S has 1 for 2 examples: give one per example"),
        ([3, -40], "/dataset/roles/S/1", "position -40 does not exist in prompt 1: it has positions 0 to "),
        ([3, 40], "/dataset/roles/S/1", "position 40 does not exist in prompt 1: it has positions 0 to "),
    ],
)
def test_roles_that_cannot_be_found_say_why(role: Any, pointer: str, message: str) -> None:
    """The most common mistake with one's own prompts."""
    found = problems(dataset={**PROMPTS, "roles": {"S": role}}, metric={"kind": "kl"})
    assert found[pointer].startswith(message)


def test_a_bos_token_moves_every_text_role_and_no_given_position() -> None:
    """Positions count the token, as users of TransformerLens know it."""
    plain, with_bos = resolved(), resolved(prepend_bos=True)
    bos = catalog().get("demo").bos_id
    assert with_bos.orig == [[bos, *prompt] for prompt in plain.orig]
    assert with_bos.roles == {role: [pos + 1 for pos in places] for role, places in plain.roles.items()}
    assert resolved(prepend_bos=True, roles={"IO": [1, 1]}).roles["IO"] == [1, 1]


def test_every_dataset_has_a_role_for_its_last_tokens() -> None:
    """Metrics read at `end` by default, also with prompts that name no roles; a given `end` is left alone."""
    dataset = check(dataset={**TOKENS, "roles": {}}, metric={"kind": "kl"}).dataset
    assert dataset.roles["end"] == [3, 2]
    assert check(dataset={**TOKENS, "roles": {"end": [0, 0]}}, metric={"kind": "kl"}).dataset.roles["end"] == [0, 0]


def test_swap_changes_the_runs_and_nothing_else() -> None:
    """Denoising restores the answer that was right in the uncorrupted prompt."""
    plain, swapped = check(dataset=TOKENS).dataset, check(dataset={**TOKENS, "swap": True}).dataset
    assert (swapped.orig, swapped.new) == (plain.new, plain.orig)
    assert (swapped.roles, swapped.answers) == (plain.roles, plain.answers)


def test_ioi_answers_name_the_same_people_when_swapped() -> None:
    """With counterparts that exchange IO and S, `IO` stays the IO of the prompt before the runs changed places."""
    dataset = {"kind": "ioi", "examples": 6, "new": "swapped"}
    plain, swapped = check(dataset=dataset).dataset, check(dataset={**dataset, "swap": True}).dataset
    assert swapped.answers == plain.answers and swapped.roles == plain.roles
    assert swapped.orig == plain.new


def test_tokens_need_no_tokenizer(tmp_path: Path) -> None:
    """Research checkpoints often come without one; text is then refused with the way out."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN_MODEL / name, tmp_path)
    bare = ModelCatalog({"bare": ModelOrigin(name="bare", folder=str(tmp_path))})
    spec = JobSpec.model_validate(document(model={"name": "bare"}, dataset=TOKENS))
    checked = check_job(spec, bare, SpecLimits())
    assert example_prompts(checked.dataset, bare.get("bare"))[0].orig == ["1", "2", "3", "4"]
