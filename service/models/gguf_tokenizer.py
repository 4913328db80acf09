"""The tokenizer that a GGUF file describes in its metadata, as the tokenizers library's own."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from service.models.tokenizers import FolderTokenizer

PREFIX = "tokenizer.ggml."
CONTROL, USER_DEFINED = 3, 4
"""Types of tokens that stand for themselves, whatever the vocabulary makes of their letters."""
MARK = "▁"
"""A space, in SentencePiece's pieces."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


class _Split(NamedTuple):
    """How text is cut before bytes are merged."""

    pattern: str | None = None
    """None: GPT-2's own."""
    digits_apart: bool = False
    normalizer: Any = None
    ignores_merges: bool = False
    """Whether a word of the vocabulary is taken whole."""
    begins: bool = False
    """Whether a text begins with a token of its own, where the file does not say."""


SPLITS = {
    "gpt-2": _Split(),
    "smollm": _Split(digits_apart=True),
    "llama-bpe": _Split(_WORDS % r"\p{N}{1,3}", ignores_merges=True, begins=True),
    "qwen2": _Split(_WORDS % r"\p{N}", normalizer=normalizers.NFC()),
}
"""By what llama.cpp calls them."""


def tokenizer_of(metadata: Mapping[str, Any]) -> FolderTokenizer:
    """The tokenizer, or why there is none.

    Args:
        metadata: The file's keys, such as ``tokenizer.ggml.tokens``, with strings and lists as values.
    """
    known = {key.removeprefix(PREFIX): value for key, value in metadata.items() if key.startswith(PREFIX)}
    if "tokens" not in known:
        return FolderTokenizer()
    try:
        return _read(known)
    except Exception as exc:  # the library raises bare Exceptions, and panics of its own kind
        return FolderTokenizer(problem=f"its GGUF file's tokenizer is damaged ({exc})")


def _read(known: Mapping[str, Any]) -> FolderTokenizer:
    bos_id = known.get("bos_token_id")
    kind, split = known.get("model"), known.get("pre", "default")
    if kind == "gpt2" and split in SPLITS:
        tokenizer, begins = _byte_level(known, SPLITS[split]), SPLITS[split].begins
    elif kind == "llama":
        tokenizer, begins = _pieces(known), True
    else:
        what = f"({kind}, {split})" if kind == "gpt2" else f"({kind})"
        return FolderTokenizer(bos_id=bos_id, problem=f"the kind of its GGUF file's tokenizer {what} is not known here")
    tokenizer.add_tokens(_standing_alone(known))
    return FolderTokenizer(tokenizer, bos_id, bos_id is not None and bool(known.get("add_bos_token", begins)))


def _vocabulary(known: Mapping[str, Any]) -> dict[str, int]:
    return {token: index for index, token in enumerate(known["tokens"])}


def _standing_alone(known: Mapping[str, Any]) -> list[AddedToken]:
    types = known.get("token_type", [])
    return [
        AddedToken(token, special=kind == CONTROL, normalized=False)
        for token, kind in zip(known["tokens"], types, strict=False)
        if kind in (CONTROL, USER_DEFINED)
    ]


def _byte_level(known: Mapping[str, Any], split: _Split) -> Tokenizer:
    merges = [tuple(pair.split(" ", 1)) for pair in known.get("merges", [])]
    tokenizer = Tokenizer(models.BPE(_vocabulary(known), merges, ignore_merges=split.ignores_merges))
    level: Any = pre_tokenizers.ByteLevel(
        add_prefix_space=bool(known.get("add_space_prefix", False)), use_regex=split.pattern is None
    )
    before: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if split.digits_apart else []
    if split.pattern is not None:
        before.append(pre_tokenizers.Split(Regex(split.pattern), "isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, level]) if before else level
    tokenizer.decoder = decoders.ByteLevel()
    if split.normalizer is not None:
        tokenizer.normalizer = split.normalizer
    return tokenizer


def _pieces(known: Mapping[str, Any]) -> Tokenizer:
    """SentencePiece's BPE: of two neighbouring pieces those are joined first whose joint piece has the best score."""
    vocabulary = _vocabulary(known)
    unknown = known["tokens"][known.get("unknown_token_id", 0)]
    merges = _merges(vocabulary, known["scores"], known.get("token_type", []))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefixes = bool(known.get("add_space_prefix", True))
    spaces = normalizers.Replace(" ", MARK)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), spaces]) if prefixes else spaces
    steps: list[Any] = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefixes else steps)
    return tokenizer


def _merges(vocabulary: Mapping[str, int], scores: Sequence[float], types: Sequence[int]) -> list[tuple[str, str]]:
    """Every way to join two pieces to a third, best first."""
    found = []
    for piece, index in vocabulary.items():
        if types and types[index] != 1:
            continue
        halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        pairs = [pair for pair in halves if pair[0] in vocabulary and pair[1] in vocabulary]
        pairs.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        found += [(scores[index], len(left), len(right), left, right) for left, right in pairs]
    found.sort(key=lambda merge: merge[:3], reverse=True)
    return [(left, right) for *_, left, right in found]
