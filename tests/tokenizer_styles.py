"""Small tokenizers of every family's style, trained here, in the files that each family's checkpoints have."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from service.datasets.ioi_words import NAMES, OBJECTS, PLACES, TEMPLATES

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def corpus() -> Iterator[str]:
    """Every word of the ioi dataset, so often that each becomes one token."""
    for template in TEMPLATES:
        for index, name in enumerate(NAMES):
            other = NAMES[(index + 7) % len(NAMES)]
            place, thing = PLACES[index % len(PLACES)], OBJECTS[index % len(OBJECTS)]
            yield template.format(first=name, second=other, third=other, place=place, object=thing) + f" {name}."


def _save(tokenizer: Tokenizer, folder: Path, model_type: str, config: dict[str, Any]) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


def _byte_level(folder: Path, pattern: str | None, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    parts = [level] if pattern is None else [pre_tokenizers.Split(Regex(pattern), "isolated"), level]
    tokenizer.pre_tokenizer = level if pattern is None else pre_tokenizers.Sequence(parts)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def pythia(folder: Path) -> None:
    """GPT-NeoX: byte-level BPE with NFC, and runs of spaces as added tokens."""
    tokenizer = _byte_level(folder, None, ["<|endoftext|>", "<|padding|>"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.add_tokens([AddedToken(" " * count, normalized=True) for count in (4, 3, 2)])
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    _save(tokenizer, folder, "gpt_neox", {"tokenizer_class": "GPTNeoXTokenizer", "add_prefix_space": False, **special})


def llama3(folder: Path) -> None:
    """Byte-level BPE after a pattern, with a post-processor that puts a token before every text."""
    bos = "<|begin_of_text|>"
    tokenizer = _byte_level(folder, LLAMA3, [bos, "<|end_of_text|>", "<|eot_id|>"])
    template = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": "<|end_of_text|>"}
    _save(tokenizer, folder, "llama", {**config, "clean_up_tokenization_spaces": True, "model_max_length": 131072})


def qwen2(folder: Path) -> None:
    """Byte-level BPE after a pattern, with NFC and no token before a text, nor one to put there."""
    tokenizer = _byte_level(folder, QWEN, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    config = {"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": False, "bos_token": None, "add_bos_token": False}
    _save(tokenizer, folder, "qwen2", {**config, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})


def smollm2(folder: Path) -> None:
    """Byte-level BPE with digits apart; a token to begin with, which is not put there."""
    tokenizer = _byte_level(folder, None, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    _save(tokenizer, folder, "llama", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, **special})


def _pieces(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))  # noqa: S106
    words = pre_tokenizers.Metaspace(prepend_scheme="first")  # while it is trained: words apart, as SentencePiece does
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Punctuation("isolated")])
    trainer = trainers.BpeTrainer(vocab_size=2200, special_tokens=[*special, *BYTES], show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def _begins(tokenizer: Tokenizer, bos: str) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )


def llama2(folder: Path) -> None:
    """SentencePiece's BPE, with a space of its own before every text."""
    tokenizer = _pieces(["<unk>", "<s>", "</s>"])
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    strip = decoders.Strip(" ", 1, 0)
    replace = decoders.Replace("▁", " ")
    tokenizer.decoder = decoders.Sequence([replace, decoders.ByteFallback(), decoders.Fuse(), strip])
    _begins(tokenizer, "<s>")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    _save(tokenizer, folder, "llama", {"tokenizer_class": "LlamaTokenizer", "legacy": True, **special})


def mistral(folder: Path) -> None:
    """The same by a pre-tokenizer, which adds no second space."""
    tokenizer = _pieces(["<unk>", "<s>", "</s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    strip = decoders.Strip(" ", 1, 0)
    replace = decoders.Replace("▁", " ")
    tokenizer.decoder = decoders.Sequence([replace, decoders.ByteFallback(), decoders.Fuse(), strip])
    _begins(tokenizer, "<s>")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    _save(tokenizer, folder, "mistral", {"tokenizer_class": "LlamaTokenizer", "legacy": False, **special})


def gemma(folder: Path) -> None:
    """Pieces without a space before a text, and a token there."""
    tokenizer = _pieces(["<pad>", "<eos>", "<bos>", "<unk>"])
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    _begins(tokenizer, "<bos>")
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    _save(tokenizer, folder, "gemma2", {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, **special})


STYLES: dict[str, tuple[Callable[[Path], None], bool]] = {
    "pythia": (pythia, False),
    "llama3": (llama3, True),
    "qwen2": (qwen2, False),
    "smollm2": (smollm2, False),
    "llama2": (llama2, True),
    "mistral": (mistral, True),
    "gemma": (gemma, True),
}
"""Writer of each folder, and whether a text begins with a token of the tokenizer's own."""
