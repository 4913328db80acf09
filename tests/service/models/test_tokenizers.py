"""Text becomes the tokens that transformers makes of it, however a folder's files disagree; or it is refused."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from api_schemas.models import DEMO_FOLDER
from service.models import tokenizers as readers
from service.models.tokenizers import read_tokenizer

TEXTS = (
    "When Mary and John went to the store, John gave a drink to Mary",
    "Mary and John",
    " the  two   spaces,\tTabs\n\nlines don't I'LL 1732 3.14",
    "Élan 東京 🙂 ﬁ",
    "<|endoftext|>Mary<extra>John <s>the</s><new> <pad> store",
    "the store gave",
    "",
)
CORPUS = ["When Mary and John went to the store, John gave a drink to Mary. " * 3, "The war of 1732 lasted, don't ask!"]
Change = Callable[[Path], object]


def write(folder: Path, name: str, **content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    write(folder, name, **(json.loads(path.read_text()) if path.exists() else {}) | changes)


def demo(folder: Path) -> None:
    """Byte-level BPE, as GPT-2's."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DEMO_FOLDER / name, folder / name)
    write(folder, "config.json", model_type="gpt2", bos_token_id=0)


def metaspace_bpe(folder: Path) -> None:
    """BPE over pieces with bytes to fall back on, as Llama 2's."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))  # noqa: S106
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    _bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>", *_bytes], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    write(folder, "config.json", model_type="llama", bos_token_id=1)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write(folder, "tokenizer_config.json", tokenizer_class="LlamaTokenizer", add_bos_token=True, **special)


def unigram(folder: Path) -> None:
    """SentencePiece's other model."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90,
        special_tokens=["<unk>", "<s>", "</s>"],
        unk_token="<unk>",  # noqa: S106
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    write(folder, "config.json", model_type="gpt2", bos_token_id=1)
    write(folder, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>")  # noqa: S106


def words(folder: Path) -> None:
    """Whole words, as in tests and toy models."""
    names = ["<unk>", "<s>", "When", "Mary", "and", "John", "went", "to", "the", "store", ",", "gave", "a", "drink"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(names)}, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    write(folder, "config.json", model_type="gpt2", bos_token_id=1)
    write(folder, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", bos_token="the")  # noqa: S106


def nothing(folder: Path) -> None:
    """As it is."""


def of_class(name: str | None) -> Change:
    return lambda folder: edit(folder, "tokenizer_config.json", tokenizer_class=name)


def stating(**changes: Any) -> Change:
    return lambda folder: edit(folder, "tokenizer_config.json", **changes)


def describing(**changes: Any) -> Change:
    return lambda folder: edit(folder, "tokenizer.json", **changes)


def for_family(model_type: str) -> Change:
    return lambda folder: edit(folder, "config.json", model_type=model_type)


def without(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def only_vocabulary_and_merges(folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    write(folder, "vocab.json", **model["vocab"])
    merges = "\n".join(merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges", []))
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    (folder / "tokenizer.json").unlink()


def together(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]


EXTRA = {
    "content": "<extra>",
    "lstrip": True,
    "rstrip": False,
    "normalized": False,
    "single_word": False,
    "special": True,
}
SPLIT = {"type": "Split", "pattern": {"Regex": r"\d|\s+|\w+"}, "behavior": "Isolated", "invert": False}
DIGITS = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}
TRUNCATION = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None,
    "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>",
}  # fmt: skip
ODD: dict[str, Change] = {
    "as it is": nothing,
    "class of GPT-2": of_class("GPT2Tokenizer"),
    "class of Llama": of_class("LlamaTokenizerFast"),
    "class of Qwen": of_class("Qwen2Tokenizer"),
    "class unknown": of_class("OurOwnTokenizer"),
    "class null": of_class(None),
    "no tokenizer_config": without("tokenizer_config.json"),
    "add_prefix_space": stating(add_prefix_space=True),
    "GPT-2 with add_prefix_space": stating(add_prefix_space=True, tokenizer_class="GPT2Tokenizer"),
    "added_tokens_decoder": stating(added_tokens_decoder={"777": EXTRA}),
    "special_tokens_map": lambda folder: write(folder, "special_tokens_map.json", pad_token="<pad>", bos_token="Mary"),  # noqa: S106
    "added_tokens": lambda folder: write(folder, "added_tokens.json", **{"<new>": 600}),
    "a special token in the middle": stating(eos_token="store"),  # noqa: S106
    "split_special_tokens": stating(split_special_tokens=True),
    "add_bos_token": stating(add_bos_token=True, tokenizer_class="GPT2Tokenizer"),
    "a normalizer": describing(normalizer={"type": "Lowercase"}),
    "a normalizer, class of GPT-2": together(describing(normalizer={"type": "Lowercase"}), of_class("GPT2Tokenizer")),
    "a pattern": describing(pre_tokenizer=SPLIT),
    "digits": describing(pre_tokenizer=DIGITS),
    "digits, class of GPT-2": together(describing(pre_tokenizer=DIGITS), of_class("GPT2Tokenizer")),
    "truncation and padding": describing(truncation=TRUNCATION, padding=PADDING),
    "vocab.json and merges.txt": only_vocabulary_and_merges,
    "vocab.json and merges.txt of GPT-2": together(only_vocabulary_and_merges, of_class("GPT2Tokenizer")),
    "family llama": for_family("llama"),
    "family qwen2": for_family("qwen2"),
    "family gpt_neox": for_family("gpt_neox"),
    "family gemma": for_family("gemma"),
}


def by_transformers(folder: Path) -> list[list[int]] | str:
    """What transformers makes of the texts in this folder, or the error of loading it."""
    from transformers import AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            return [
                tokenizer(text, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
                for text in TEXTS
            ]
        except Exception as exc:
            return f"{type(exc).__name__}"


FEW = ["as it is", "class of GPT-2", "no tokenizer_config", "a normalizer", "added_tokens_decoder"]
CASES = [
    *((demo, odd) for odd in ODD),
    *((base, odd) for base in (metaspace_bpe, unigram, words) for odd in FEW),
    (metaspace_bpe, "family gemma"),
]


@pytest.mark.parametrize(("base", "odd"), CASES, ids=[f"{base.__name__}, {odd}" for base, odd in CASES])
def test_ours_gives_what_transformers_gives_or_refuses(tmp_path: Path, base: Change, odd: str) -> None:
    """A token too many, and every position of a spec means another word."""
    base(tmp_path)
    ODD[odd](tmp_path)
    theirs = by_transformers(tmp_path)
    reader = read_tokenizer(tmp_path, json.loads((tmp_path / "config.json").read_text()))
    if reader.tokenizer is None:
        assert reader.problem and (isinstance(theirs, str) or "does more than the tokenizers library" in reader.problem)
    else:
        assert [reader.tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS] == theirs


def test_no_more_of_these_is_refused_than_transformers_refuses(tmp_path: Path) -> None:
    """A reader that refused everything would pass the test above."""
    for base in (demo, metaspace_bpe, unigram, words):
        folder = tmp_path / base.__name__
        folder.mkdir()
        base(folder)
        config = json.loads((folder / "config.json").read_text())
        assert read_tokenizer(folder, config).problem is None, base.__name__


def test_a_plain_tokenizer_needs_no_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's is read with every start of the service."""
    demo(tmp_path)
    monkeypatch.setattr(readers, "_exported", lambda folder, digest: pytest.fail("asked transformers"))
    assert read_tokenizer(tmp_path, {"model_type": "gpt2"}).bos_id == 0


def test_vocabulary_and_merges_alone_are_converted_as_gpt2s(tmp_path: Path) -> None:
    """Older checkpoints have nothing else."""
    demo(tmp_path)
    expected = read_tokenizer(tmp_path, {"model_type": "gpt2"}).tokenizer
    only_vocabulary_and_merges(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    found = read_tokenizer(tmp_path, {"model_type": "gpt2"}).tokenizer
    assert expected is not None and found is not None
    text = TEXTS[0]
    assert found.encode(text).ids == expected.encode(text).ids


def test_a_pattern_that_breaks_the_library_harms_the_child_alone(tmp_path: Path) -> None:
    """A regular expression of somebody else's, nested until the stack is full."""
    demo(tmp_path)
    describing(pre_tokenizer={**SPLIT, "pattern": {"Regex": "(" * 50_000 + "a" + ")" * 50_000}})(tmp_path)
    reader = read_tokenizer(tmp_path, {"model_type": "gpt2"})
    assert reader.tokenizer is None and reader.problem is not None and reader.problem.startswith("transformers ")
