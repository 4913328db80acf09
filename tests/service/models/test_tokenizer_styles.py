"""Tokenizers of every family: the tokens are transformers', and words stand where a spec says that they do."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.datasets.draft import pieces
from service.datasets.example_prompts import example_prompts
from service.datasets.resolve import resolve
from service.models.catalog import CatalogModel
from service.models.tokenizers import read_tokenizer
from service.specs.limits import SpecLimits
from tests.specs_of_demo import TEMPLATES, JobSpec, catalog, document
from tests.tokenizer_styles import STYLES

TEXTS = (
    "When Mary and John went to the library, John gave a lamp to Mary",
    " Mary and  John\n\nMary",
    "In 1732 the\twar lasted 3.14159 years, don't ask! I'LL",
    "Élan 東京 🙂 e\u0301",
    "<s>Mary</s> <bos>Mary<|endoftext|> <|begin_of_text|>",
    "    four spaces",
    "",
    " ",
)


@pytest.fixture(scope="module", params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    """Of each family."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(style: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family's files."""
    made = tmp_path_factory.mktemp(style)
    STYLES[style][0](made)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> CatalogModel:
    """A model that reads text so."""
    found = read_tokenizer(folder, json.loads((folder / "config.json").read_text()))
    assert found.problem is None and found.tokenizer is not None
    demo = catalog().get("demo")
    architecture = replace(demo.architecture, d_vocab=found.tokenizer.get_vocab_size())
    known = {"tokenizer": found.tokenizer, "bos_id": found.bos_id, "adds_bos": found.adds_bos}
    return replace(demo, architecture=architecture, **known)


@pytest.fixture(scope="module")
def original(folder: Path) -> Any:
    """As transformers loads it."""
    from transformers import AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoTokenizer.from_pretrained(folder)


def resolved(model: CatalogModel, dataset: dict[str, Any]) -> Any:
    spec = JobSpec.model_validate(document(dataset=dataset))
    return resolve(spec.dataset, model, SpecLimits())


def test_the_tokens_are_those_of_transformers(style: str, model: CatalogModel, original: Any) -> None:
    """With whatever it puts before a text, and without."""
    assert model.tokenizer is not None
    assert model.adds_bos is STYLES[style][1]
    for text in TEXTS:
        ids = model.tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == original(text, add_special_tokens=False)["input_ids"], text
        begun = [model.bos_id, *ids] if model.adds_bos else ids
        assert begun == original(text)["input_ids"], text


def test_roles_and_answers_are_words_of_the_prompt(model: CatalogModel) -> None:
    """A space that a tokenizer puts before a text is in no word's place."""
    dataset = {
        "kind": "prompts",
        "orig": [TEXTS[0]],
        "new": [TEXTS[0].replace("Mary", "Tom", 1)],
        "roles": {"S1": {"strings": [" John"], "occurrence": 0}, "S2": {"strings": [" John"], "occurrence": 1},
                  "IO": {"strings": ["Mary"], "occurrence": 0}, "place": [" library"], "first": [0], "start": ["When"]},
        "answers": {"IO": [" Mary"], "S": [" John"]},
    }  # fmt: skip
    found = resolved(model, dataset)
    (prompt,), dataset = found.dataset.orig, found.dataset
    words = {role: pieces(model.tokenizer, [prompt[positions[0]]])[0] for role, positions in dataset.roles.items()}
    assert (words["S1"], words["S2"], words["IO"], words["place"]) == (" John", " John", " Mary", " library")
    assert prompt[dataset.roles["IO"][0]] == dataset.answers["IO"][0] == prompt[-1]
    assert dataset.roles["S1"][0] < dataset.roles["S2"][0]
    start = "" if model.adds_bos else "When"
    assert words["start"].strip() in ("When", "hen", "n") and (words["first"].strip() == start or model.adds_bos)


def test_the_ioi_prompts_have_their_roles(model: CatalogModel) -> None:
    """In every tokenizer the names are tokens of their own; those that are not are told and not drawn."""
    found = resolved(model, {"kind": "ioi", "examples": 20})
    assert found.warnings == []
    for example, orig in enumerate(found.dataset.orig):
        at = {role: orig[positions[example]] for role, positions in found.dataset.roles.items()}
        answers = {name: ids[example] for name, ids in found.dataset.answers.items()}
        assert (at["IO"], at["S1"], at["S2"]) == (answers["IO"], answers["S"], answers["S"])
        assert (orig[0] == model.bos_id) is model.adds_bos


def test_the_preview_is_the_prompt(model: CatalogModel) -> None:
    """Its tokens, joined, are the text; a beginning-of-text token shows."""
    found = resolved(model, {"kind": "prompts", "orig": [TEXTS[0]], "new": [TEXTS[0]]})
    (shown,) = example_prompts(found.dataset, model)
    assert model.tokenizer is not None
    begun = "" if not model.adds_bos else model.tokenizer.id_to_token(model.bos_id or 0)
    assert "".join(shown.orig).removeprefix(begun).removeprefix(" ") == TEXTS[0], "some begin with a space of their own"
    assert "".join(shown.orig[-3:]).endswith(" lamp to Mary")


def test_templates_are_filled(model: CatalogModel) -> None:
    """Fillers are written without their space."""
    found = resolved(model, TEMPLATES)
    for example, orig in enumerate(found.dataset.orig):
        at = {role: orig[positions[example]] for role, positions in found.dataset.roles.items()}
        assert at["IO"] == found.dataset.answers["IO"][example]
        assert at["S1"] == at["S2"] == found.dataset.answers["S"][example]
