"""The IOI prompts: what a seed draws, and where its names stand."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit

from api_schemas.errors import InvalidSpec
from service.datasets.ioi import IoiPrompts, NewKind, PromptType, draw_ioi, single_token_words
from service.datasets.ioi_tokens import template_tokens
from service.datasets.ioi_words import NAMES, OBJECTS, PLACES, TEMPLATES

ROOT = Path(__file__).resolve().parents[3]
DEMO_TOKENIZER = ROOT / "pathpatch" / "demo_model" / "tokenizer.json"
GPT2_TOKENIZER = ROOT.parent / "shared" / "gpt2_tokenizer" / "tokenizer.json"


@pytest.fixture(scope="module", params=["demo", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """The shipped tokenizer, and GPT-2's own where it lies beside the checkout."""
    path = DEMO_TOKENIZER if request.param == "demo" else GPT2_TOKENIZER
    if not path.exists():
        pytest.skip(f"no tokenizer at {path}")
    return Tokenizer.from_file(str(path))


def names_in_order(text: str) -> list[str]:
    """The names of a prompt, found by its words instead of its tokens."""
    return [word for word in text.replace(",", "").split() if word in NAMES]


def test_every_name_place_and_object_is_one_token(tokenizer: Tokenizer) -> None:
    """A name of several tokens is dropped without a word, and a longer place makes a template's prompts unequal."""
    several = [word for word in (*NAMES, *PLACES, *OBJECTS) if len(tokenizer.encode(f" {word}").ids) != 1]
    assert several == []
    assert len(NAMES) >= 80 and len(PLACES) >= 20 and len(OBJECTS) >= 20 and len(TEMPLATES) >= 12


def test_no_word_appears_twice_in_a_list_or_in_two_lists() -> None:
    """A doubled name could be IO and S at once; a name that is also another word would be found in its place."""
    template_words = {word.strip(",") for template in TEMPLATES for word in template.split()}
    words = [*NAMES, *PLACES, *OBJECTS]
    assert len(set(words)) == len(words)
    assert template_words.isdisjoint(words)


@pytest.mark.parametrize("prepend_bos_id", [None, 0])
def test_tokens_are_those_of_the_whole_text(tokenizer: Tokenizer, prepend_bos_id: int | None) -> None:
    """Templates are tokenised once, and words put into them: no other tokens may come of that."""
    assert template_tokens(tokenizer) is not None
    prompts = draw_ioi(tokenizer, 400, seed=11, prepend_bos_id=prepend_bos_id)
    begin = [] if prepend_bos_id is None else [prepend_bos_id]
    for text, ids in zip(prompts.orig_texts + prompts.new_texts, prompts.orig + prompts.new, strict=True):
        assert ids == begin + tokenizer.encode(text, add_special_tokens=False).ids
    assert {text.split()[0] for text in prompts.orig_texts} == {template.split()[0] for template in TEMPLATES}


def test_a_tokenizer_that_looks_beyond_a_word_reads_whole_texts() -> None:
    """A token of two words, a normaliser or another pattern may join what stands side by side."""

    def demo() -> Tokenizer:
        return Tokenizer.from_file(str(DEMO_TOKENIZER))

    joined, begun, normalised, sampled, other = (demo() for _ in range(5))
    joined.add_tokens(["closed the"])
    begun.pre_tokenizer = ByteLevel(add_prefix_space=True)
    normalised.normalizer = Lowercase()
    sampled.model = BPE(dropout=0.5)
    other.pre_tokenizer = WhitespaceSplit()
    for tokenizer in (joined, begun, normalised, sampled, other):
        assert template_tokens(tokenizer) is None
    prompts = draw_ioi(joined, 200, seed=0)
    assert prompts.orig == [joined.encode(text).ids for text in prompts.orig_texts]


@pytest.mark.parametrize("prompt_type", ["mixed", "ABBA", "BABA"])
@pytest.mark.parametrize("prepend_bos_id", [None, 0])
def test_roles_point_at_the_tokens_they_name(
    tokenizer: Tokenizer, prompt_type: PromptType, prepend_bos_id: int | None
) -> None:
    """A position off by one measures attention to " and", which looks plausible and is wrong."""
    prompts = draw_ioi(tokenizer, 60, seed=3, prompt_type=prompt_type, prepend_bos_id=prepend_bos_id)
    for example, (text, tokens) in enumerate(zip(prompts.orig_texts, prompts.orig, strict=True)):
        words = {role: tokenizer.decode([tokens[pos[example]]]).strip() for role, pos in prompts.roles.items()}
        pos = {role: positions[example] for role, positions in prompts.roles.items()}
        first, second, third = names_in_order(text)
        assert words["S1"] == words["S2"] == third
        assert words["IO"] == (first if second == third else second)
        assert pos["S1"] < pos["S2"] < pos["end"] == len(tokens) - 1
        assert pos["S1+1"] == pos["S1"] + 1
        assert words["end"] == "to"
        assert tokens[pos["IO"]] == prompts.answers["IO"][example]
        assert tokens[pos["S2"]] == prompts.answers["S"][example]
        assert tokens.count(prompts.answers["IO"][example]) == 1
        assert tokens.count(prompts.answers["S"][example]) == 2


def test_prompts_are_the_text_and_nothing_else(tokenizer: Tokenizer) -> None:
    """The token ids are what the model sees, the texts are what a user is shown."""
    prompts = draw_ioi(tokenizer, 20, seed=0)
    assert [tokenizer.decode(tokens) for tokens in prompts.orig] == prompts.orig_texts
    assert [tokenizer.decode(tokens) for tokens in prompts.new] == prompts.new_texts


def test_a_prepended_bos_shifts_every_position_by_one(tokenizer: Tokenizer) -> None:
    """Positions count the BOS token, as TransformerLens does."""
    without, with_bos = draw_ioi(tokenizer, 20, seed=0), draw_ioi(tokenizer, 20, seed=0, prepend_bos_id=0)
    assert with_bos.orig == [[0, *tokens] for tokens in without.orig]
    assert with_bos.new == [[0, *tokens] for tokens in without.new]
    assert with_bos.roles == {role: [pos + 1 for pos in positions] for role, positions in without.roles.items()}


@pytest.mark.parametrize("new", ["abc", "swapped"])
def test_orig_and_new_have_equal_length_and_differ_only_in_names(tokenizer: Tokenizer, new: NewKind) -> None:
    """Patching compares the runs position by position."""
    prompts = draw_ioi(tokenizer, 100, seed=1, new=new)
    name_ids = set(single_token_words(tokenizer).names.values())
    for orig, counterpart in zip(prompts.orig, prompts.new, strict=True):
        assert len(orig) == len(counterpart)
        changed = [(a, b) for a, b in zip(orig, counterpart, strict=True) if a != b]
        assert changed
        assert all(a in name_ids and b in name_ids for a, b in changed)


def test_abc_names_three_people_unrelated_to_the_orig_prompt(tokenizer: Tokenizer) -> None:
    """If one of orig's names came back, the new run would still carry the information that is to be removed."""
    prompts = draw_ioi(tokenizer, 200, seed=2, new="abc")
    for orig, new in zip(prompts.orig_texts, prompts.new_texts, strict=True):
        assert len(set(names_in_order(new))) == 3
        assert set(names_in_order(new)).isdisjoint(names_in_order(orig))


def test_swapped_exchanges_who_is_repeated(tokenizer: Tokenizer) -> None:
    """ABBA becomes BABA with the same first two names, so the right answer is S; the answers stay orig's."""
    prompts = draw_ioi(tokenizer, 100, seed=2, new="swapped")
    for example, (orig, new) in enumerate(zip(prompts.orig_texts, prompts.new_texts, strict=True)):
        first, second, third = names_in_order(orig)
        io = first if second == third else second
        assert names_in_order(new) == [first, second, io]
        assert prompts.new[example].count(prompts.answers["IO"][example]) == 2


def test_mixed_alternates_and_a_single_type_keeps_to_itself(tokenizer: Tokenizer) -> None:
    """An even mix, also in a small dataset; the same seed draws the same words in every type."""
    orders: dict[PromptType, list[str]] = {}
    pairs: dict[PromptType, list[set[str]]] = {}
    prompt_types: list[PromptType] = ["mixed", "ABBA", "BABA"]
    for prompt_type in prompt_types:
        names = [names_in_order(text) for text in draw_ioi(tokenizer, 10, 0, prompt_type).orig_texts]
        orders[prompt_type] = ["ABBA" if second == third else "BABA" for _, second, third in names]
        pairs[prompt_type] = [set(example) for example in names]
    assert orders == {"mixed": ["ABBA", "BABA"] * 5, "ABBA": ["ABBA"] * 10, "BABA": ["BABA"] * 10}
    assert pairs["mixed"] == pairs["ABBA"] == pairs["BABA"]


def first_examples(prompts: IoiPrompts, examples: int) -> IoiPrompts:
    return IoiPrompts(
        orig_texts=prompts.orig_texts[:examples],
        new_texts=prompts.new_texts[:examples],
        orig=prompts.orig[:examples],
        new=prompts.new[:examples],
        roles={role: pos[:examples] for role, pos in prompts.roles.items()},
        answers={answer: tokens[:examples] for answer, tokens in prompts.answers.items()},
    )


def test_a_longer_draw_begins_with_the_shorter_one(tokenizer: Tokenizer) -> None:
    """Asking for more examples adds to an experiment instead of starting another one."""
    assert first_examples(draw_ioi(tokenizer, 50, seed=7), 17) == draw_ioi(tokenizer, 17, seed=7)


def test_seeds_draw_different_prompts(tokenizer: Tokenizer) -> None:
    """Two seeds are two samples; the second is not the first one shifted."""
    one, other = draw_ioi(tokenizer, 50, seed=0).orig_texts, draw_ioi(tokenizer, 50, seed=1).orig_texts
    assert len(set(one) & set(other)) == 0
    assert len(set(one)) == 50


def digest(prompts: IoiPrompts) -> str:
    return hashlib.sha256(repr(prompts).encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_a_draw_does_not_depend_on_pythons_hash_seed(hash_seed: str) -> None:
    """Two service processes must resolve one spec to the same integers, or their shards do not belong together."""
    code = (
        "import hashlib; from tokenizers import Tokenizer; from service.datasets.ioi import draw_ioi;"
        f"prompts = draw_ioi(Tokenizer.from_file({str(DEMO_TOKENIZER)!r}), 40, seed=5);"
        "print(hashlib.sha256(repr(prompts).encode()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == digest(draw_ioi(Tokenizer.from_file(str(DEMO_TOKENIZER)), 40, seed=5))


def test_a_seed_keeps_its_prompts() -> None:
    """Published results name a seed; if these texts change, that is a breaking change of the dataset."""
    prompts = draw_ioi(Tokenizer.from_file(str(DEMO_TOKENIZER)), 2, seed=0)
    assert prompts.orig_texts == [
        "Once Nathan and Roger had left the farm, Roger passed the flag to",
        "As soon as Keith and Louis reached the bakery, Keith showed the ticket to",
    ]
    assert prompts.new_texts == [
        "Once Laura and Dorothy had left the farm, Keith passed the flag to",
        "As soon as Joseph and Oliver reached the bakery, Beth showed the ticket to",
    ]


def test_a_tokenizer_with_hardly_any_names_is_refused() -> None:
    """An unknown token makes every name "one token"; such names must not count."""
    tokenizer = Tokenizer(WordLevel({"?": 0, "Mary": 1, "John": 2}, unk_token="?"))  # noqa: S106
    tokenizer.pre_tokenizer = WhitespaceSplit()
    with pytest.raises(InvalidSpec, match=r"at least 10 names .* has 2 of our \d+ \(John, Mary\)") as caught:
        draw_ioi(tokenizer, 4, seed=0)
    assert [error.pointer for error in caught.value.errors] == ["/dataset/kind"]


def test_words_of_several_tokens_are_not_drawn() -> None:
    """Prompts of one template stay equally long; what the demo's tokenizer has as one token is drawn as before."""
    tokenizer = Tokenizer.from_file(str(DEMO_TOKENIZER))
    described = json.loads(tokenizer.to_str())
    mark = "\u0120"
    gone = {f"{mark}Mary", f"{mark}library", f"{mark}lamp"}
    described["model"]["merges"] = [pair for pair in described["model"]["merges"] if "".join(pair) not in gone]
    described["model"]["vocab"] = {
        word: token for word, token in described["model"]["vocab"].items() if word not in gone
    }
    fewer = Tokenizer.from_str(json.dumps(described))
    assert single_token_words(tokenizer).several == ()
    assert single_token_words(fewer).several == ("Mary", "library", "lamp")
    texts = " ".join(draw_ioi(fewer, 400, seed=0).orig_texts)
    assert not {"Mary", "library", "lamp"} & set(texts.replace(",", "").split())
