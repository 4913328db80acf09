"""A folder's tokenizer as transformers loads it; the service itself imports the tokenizers library only."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from api_schemas.errors import InvalidSpec
from api_schemas.wording.values import wrong
from checkpoints.files import MIB, UnusableCheckpoint, parse_json, read_bytes

CHILD = Path(__file__).with_name("tokenizer_child.py")
CHILD_S = 60.0
MAX_TOKENIZER_BYTES = 64 * MIB
FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
"""What transformers reads of a tokenizer, beside ``config.json``."""
VOCABULARIES = ("tokenizer.json", "vocab.json", "tokenizer.model")

PLAIN_CLASSES = {"PreTrainedTokenizerFast", "TokenizersBackend"}
PLAIN_KEYS = {"tokenizer_class", "backend", "model_max_length", "clean_up_tokenization_spaces"}
SPECIAL_TOKENS = {"bos_token", "eos_token", "unk_token", "pad_token"}
NOT_PLAIN = ("normalizer", "padding", "truncation")
PLAIN_SPLITS = {"ByteLevel", "Whitespace", "WhitespaceSplit"}


@dataclass(frozen=True)
class FolderTokenizer:
    """How a model's text becomes tokens."""

    tokenizer: Tokenizer | None = None
    """None where text cannot be read as transformers would read it."""
    bos_id: int | None = None
    adds_bos: bool = False
    """Whether the tokenizer itself puts ``bos_id`` before every text."""
    problem: str | None = None
    """Why there is none, where the folder has one; the model then takes ``tokens`` datasets only."""


def read_tokenizer(folder: Path, config: Mapping[str, Any]) -> FolderTokenizer:
    """The folder's tokenizer. Models whose files are equal share one, for it is most of what a model costs.

    Args:
        config: The folder's ``config.json``, which says of what class a tokenizer is that does not say so itself.

    Raises:
        UnusableCheckpoint: Its ``tokenizer.json`` is damaged.
    """
    files = _contents(folder)
    stated, described = _parsed(files, "tokenizer_config.json"), _parsed(files, "tokenizer.json")
    bos_id = _bos_id(stated, described, config)
    if not files.keys() & set(VOCABULARIES):
        return FolderTokenizer(bos_id=bos_id)
    if _is_plain(files, described, stated):
        tokenizer = _shared(files["tokenizer.json"], False)
        return FolderTokenizer(tokenizer, bos_id, _begins_with(tokenizer, bos_id))
    if "tokenizer.json" in files:
        _check_loadable(described)
    reader = _as_transformers_loads(folder, _digest(files, config))
    if reader.tokenizer is None and "tokenizer.json" not in files:
        reader = replace(reader, problem=f"{reader.problem}; it has no tokenizer.json, which save_pretrained writes")
    is_stated = "bos_token" in stated or "special_tokens_map.json" in files or reader.adds_bos
    return reader if is_stated and reader.tokenizer is not None else replace(reader, bos_id=bos_id)


def _begins_with(tokenizer: Tokenizer, bos_id: int | None) -> bool:
    """Whether the tokenizer's own post-processor puts this token before a text."""
    begun, plain = (tokenizer.encode("a", add_special_tokens=special).ids[:1] for special in (True, False))
    return begun == [bos_id] != plain


def _contents(folder: Path) -> dict[str, bytes]:
    found = {}
    for name in FILES:
        try:
            found[name] = read_bytes(folder / name, MAX_TOKENIZER_BYTES)
        except FileNotFoundError:
            continue
    return found


def _parsed(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    return parse_json(name, files[name]) if name in files else {}


def _bos_id(stated: Mapping[str, Any], described: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    """Of the ``bos_token`` that is stated; else the ``bos_token_id`` of the configuration."""
    token = stated.get("bos_token")
    name = token.get("content") if isinstance(token, dict) else token
    if isinstance(name, str):
        added, model = described.get("added_tokens"), described.get("model")
        ids = dict(model["vocab"]) if isinstance(model, dict) and isinstance(model.get("vocab"), dict) else {}
        ids |= {entry["content"]: entry["id"] for entry in added} if isinstance(added, list) else {}
        return ids.get(name)
    number = config.get("bos_token_id")
    return number if isinstance(number, int) else None


def _is_plain(files: Mapping[str, bytes], described: Mapping[str, Any], stated: Mapping[str, Any]) -> bool:
    """Whether ``tokenizer.json`` is all that counts, and holds no pattern of somebody's own."""
    if (
        files.keys() != {"tokenizer.json", "tokenizer_config.json"}
        or stated.get("tokenizer_class") not in PLAIN_CLASSES
    ):
        return False
    if not stated.keys() <= PLAIN_KEYS | SPECIAL_TOKENS or any(described.get(key) is not None for key in NOT_PLAIN):
        return False
    model, splits, added = (described.get(key) for key in ("model", "pre_tokenizer", "added_tokens"))
    if not (isinstance(model, dict) and isinstance(splits, dict) and isinstance(added, list)):
        return False
    if model.get("dropout") is not None or splits.get("type") not in PLAIN_SPLITS:
        return False
    special = [token.get("content") for token in added if isinstance(token, dict) and token.get("special")]
    return all(stated[key] is None or stated[key] in special for key in SPECIAL_TOKENS & stated.keys())


_sharing = threading.Lock()


def _shared(content: bytes, split_special_tokens: bool) -> Tokenizer:
    with _sharing:
        return _loaded(content, split_special_tokens)


@lru_cache(maxsize=8)
def _loaded(content: bytes, split_special_tokens: bool) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as exc:  # the library raises bare Exceptions
        raise UnusableCheckpoint(f"its tokenizer.json cannot be read: {exc}") from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = split_special_tokens
    return tokenizer


def _check_loadable(described: Mapping[str, Any]) -> None:
    """A damaged file is a fault of the checkpoint, not of how transformers would read it."""
    if not isinstance(described.get("model"), dict):
        raise UnusableCheckpoint("its tokenizer.json cannot be read: it has no model")


def _digest(files: Mapping[str, bytes], config: Mapping[str, Any]) -> str:
    named = json.dumps([config.get("model_type"), config.get("tokenizer_class")]).encode()
    parts = [named, *(part for name in sorted(files) for part in (name.encode(), files[name]))]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


class _BrokeDown(Exception):
    """Another time it may not."""


@lru_cache(maxsize=32)
def _exported(folder: Path, digest: str) -> dict[str, Any]:
    """What the child printed, remembered for as long as the files are the same."""
    command = [sys.executable, "-P", str(CHILD), str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PATHPATCH_")}
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    try:
        run = subprocess.run(command, env=environment, capture_output=True, timeout=CHILD_S)  # noqa: S603
    except subprocess.TimeoutExpired as exc:
        raise _BrokeDown(f"transformers took more than {CHILD_S:g} s to load its tokenizer") from exc
    try:
        answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    except (ValueError, IndexError) as exc:
        raise _BrokeDown(f"transformers broke down as it loaded its tokenizer (exit code {run.returncode})") from exc
    return answer


NO_MEMORY = "PyObject pointer is null"
"""What the library's panic says where Python had no memory for an object."""


@contextmanager
def panics_told(name: str) -> Iterator[None]:
    """Around tokenising: a pattern of somebody's own may panic in the library, and no handler catches that.

    Raises:
        InvalidSpec: It did.
        MemoryError: There was no memory left for the tokens.
    """
    try:
        yield
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":
            raise
        if NO_MEMORY in str(exc):
            raise MemoryError from None
        reason = f"the tokenizer of model {name!r} broke down on this text ({exc}): give kind 'tokens'"
        raise InvalidSpec([wrong(("dataset", "kind"), reason)]) from None


def _as_transformers_loads(folder: Path, digest: str) -> FolderTokenizer:
    try:
        answer = _exported(folder, digest)
    except _BrokeDown as exc:
        return FolderTokenizer(problem=str(exc))
    if "reason" in answer:
        return FolderTokenizer(problem=answer["reason"])
    tokenizer = _shared(answer["tokenizer"].encode(), answer["split_special_tokens"])
    return FolderTokenizer(tokenizer, answer["bos_id"], answer["adds_bos"])
