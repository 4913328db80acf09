"""Prompts of the greater-than task, with GPT-2's tokenizer where it lies beside the checkout, and one made here."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from api_schemas.errors import InvalidSpec
from api_schemas.spec import JobSpec
from service.datasets.example_prompts import example_prompts
from service.datasets.greater_than import years_of
from service.datasets.resolve import Resolution, resolve
from service.specs.limits import SpecLimits
from service.specs.validation import check_job
from tests.specs_of_demo import catalog, document, problems
from tests.tokenizer_styles import STYLES

GPT2 = Path(__file__).resolve().parents[4] / "shared" / "gpt2_tokenizer" / "tokenizer.json"
PROB_DIFF = {"kind": "prob_diff", "answer": "after", "minus_answer": "not_after"}


def made() -> Tokenizer:
    """Byte-level BPE whose only merges are those of two digits, and of " 17" with its space."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [f"{year:02d}" for year in range(100)]
    vocabulary = {token: index for index, token in enumerate([*letters, *pairs, "Ġ17"])}
    merges = [("1", "7"), ("Ġ", "17"), *((pair[0], pair[1]) for pair in pairs if pair != "17")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.fixture(scope="module", params=["made", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Of our own, and GPT-2's."""
    if request.param == "gpt2" and not GPT2.exists():
        pytest.skip(f"no tokenizer at {GPT2}")
    return made() if request.param == "made" else Tokenizer.from_file(str(GPT2))


def resolved(tokenizer: Tokenizer, **fields: Any) -> Resolution:
    demo = catalog().get("demo")
    architecture = replace(demo.architecture, d_vocab=tokenizer.get_vocab_size(), n_ctx=200)
    dataset = {"kind": "greater_than", "examples": 40, **fields}
    spec = JobSpec.model_validate(document(dataset=dataset, metric=PROB_DIFF))
    return resolve(spec.dataset, replace(demo, tokenizer=tokenizer, architecture=architecture, bos_id=0), SpecLimits())


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_the_prompts_are_the_papers(tokenizer: Tokenizer, prepend_bos: bool) -> None:
    """Start years 02 to 98 of the centuries 11 to 17, 01 in new; the answers are the years after it, and the others."""
    dataset = resolved(tokenizer, prepend_bos=prepend_bos).dataset
    two_digits = {f"{year:02d}": tokenizer.encode(f"{year:02d}").ids[0] for year in range(100)}
    seen = set()
    for example in range(len(dataset)):
        orig, new = (tokenizer.decode(run[example][prepend_bos:]) for run in (dataset.orig, dataset.new))
        words = orig.split()
        century, year = words[6][:2], words[6][2:]
        assert orig == f"The {words[1]} lasted from the year {century}{year} to the year {century}"
        assert new == orig.replace(century + year, century + "01")
        assert 11 <= int(century) <= 17 and 2 <= int(year) <= 98
        place = dataset.roles["YY"][example]
        assert dataset.orig[example][place] == two_digits[year]
        assert tokenizer.decode(dataset.orig[example][: place + 1]).endswith(century + year)
        assert dataset.roles["end"][example] == len(dataset.orig[example]) - 1
        assert dataset.answers["after"][example] == [two_digits[f"{later:02d}"] for later in range(int(year) + 1, 100)]
        assert dataset.answers["not_after"][example] == [two_digits[f"{one:02d}"] for one in range(int(year) + 1)]
        seen.add((century, year))
    assert len(seen) > 20


def test_a_longer_draw_begins_with_the_shorter_one(tokenizer: Tokenizer) -> None:
    """And another seed draws other prompts."""
    few, many, other = (resolved(tokenizer, **fields).dataset for fields in ({"examples": 5}, {}, {"seed": 1}))
    assert many.orig[:5] == few.orig
    assert other.orig[:5] != few.orig


def test_what_gpt2_draws_from_a_seed_does_not_change() -> None:
    """The same prompts on every machine and in every version."""
    if not GPT2.exists():
        pytest.skip(f"no tokenizer at {GPT2}")
    tokenizer = Tokenizer.from_file(str(GPT2))
    dataset = resolved(tokenizer, examples=3).dataset
    assert [tokenizer.decode(prompt) for prompt in dataset.orig] == [
        "The order lasted from the year 1675 to the year 16",
        "The contract lasted from the year 1295 to the year 12",
        "The improvement lasted from the year 1310 to the year 13",
    ]
    by_century = {century: len(years) for century, years in years_of(tokenizer).by_century.items()}
    assert by_century == {"11": 54, "12": 96, "13": 89, "14": 96, "15": 89, "16": 97, "17": 97}


@pytest.mark.parametrize("style", STYLES)
def test_tokenizers_that_split_years_otherwise_are_refused_by_name(style: str, tmp_path: Path) -> None:
    """Single digits, or three together: the answers would not be tokens."""
    from service.models.tokenizers import read_tokenizer

    STYLES[style][0](tmp_path)
    found = read_tokenizer(tmp_path, json.loads((tmp_path / "config.json").read_text()))
    assert found.tokenizer is not None
    with pytest.raises(InvalidSpec) as refused:
        resolved(found.tokenizer)
    (problem,) = refused.value.errors
    assert problem.pointer == "/dataset/kind"
    assert 'needs years that are two tokens, such as " 17" and "32"' in problem.message
    assert 'tokenizer reads " 1732" as' in problem.message and "GPT-Neo" in problem.message


def test_the_preview_shows_a_set_as_its_tokens(tokenizer: Tokenizer) -> None:
    """Up to a hundred."""
    resolution = resolved(tokenizer)
    model = replace(catalog().get("demo"), tokenizer=tokenizer)
    (first, *_) = example_prompts(resolution.dataset, model)
    year = int(first.orig[first.roles["YY"]])
    assert first.answers["after"] == [f"{later:02d}" for later in range(year + 1, 100)]


def test_the_demo_model_has_no_years() -> None:
    """Nothing is queued, and the reason is told."""
    found = problems(dataset={"kind": "greater_than", "examples": 4}, metric=PROB_DIFF)
    assert list(found) == ["/dataset/kind"]


def test_names_of_roles_and_answers_are_those_of_the_dataset() -> None:
    """With a suggestion."""
    spec = document(dataset={"kind": "greater_than", "examples": 4}, metric={**PROB_DIFF, "minus_answer": "not_after_"})
    with pytest.raises(InvalidSpec, match="not_after"):
        check_job(JobSpec.model_validate(spec), catalog(), SpecLimits())
