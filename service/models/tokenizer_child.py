"""Run as a process of its own: load a folder's tokenizer as transformers does, and print what makes another like it.

Without torch, which tokenizers do not need, and without a network. What others wrote into the folder may panic, loop or
take all memory here: this process alone dies of it.
"""

import json
import resource
import sys
from typing import Any

MEMORY_BYTES = 4 << 30
CPU_S = 60
PROBES = (
    "When Mary and John went to the store, John gave a drink to Mary",
    " The year 1732  and   3.14159,\n\n\tdon't I'LL we've it's",
    "Élan naïve 東京 🙂 \u00a0x\u200by ﬁ K Ⅳ",
    "",
    " ",
    "a",
    "<s>[INST] <|endoftext|></s> <unk><pad>",
)
"""Texts on which the copy must agree with the original."""


def main(folder: str) -> None:
    """Print a JSON object: the ``tokenizer`` and what else counts, or the ``reason`` why there is none."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    sys.modules["torch"] = None  # type: ignore[assignment]  # as if it were not installed: it takes a second
    try:
        answer = _export(folder)
    except Exception as exc:
        first = (str(exc).splitlines() or [""])[0]
        answer = {"reason": f"transformers cannot load its tokenizer ({type(exc).__name__}: {first})"}
    print(json.dumps(answer))


def _export(folder: str) -> dict[str, Any]:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    original: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    backend = getattr(original, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return {
            "reason": f"transformers loads its tokenizer as {type(original).__name__}, which is not of the fast kind"
        }
    text = backend.to_str()
    split = bool(getattr(original, "split_special_tokens", False))
    copy = Tokenizer.from_str(text)
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = split
    for probe in (*PROBES, *map(str, original.all_special_tokens)):
        if copy.encode(probe, add_special_tokens=False).ids != original(probe, add_special_tokens=False)["input_ids"]:
            return {
                "reason": f"its tokenizer, as transformers loads it, does more than the tokenizers library: {probe!r}"
            }
    bos_id = original.bos_token_id
    adds_bos = bos_id is not None and original("a")["input_ids"][:1] == [bos_id]
    return {"tokenizer": text, "split_special_tokens": split, "bos_id": bos_id, "adds_bos": adds_bos}


if __name__ == "__main__":
    main(sys.argv[1])
