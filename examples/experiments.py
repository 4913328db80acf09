"""The examples' specs: each template of ``spec_templates/``, filled in with the heads of one model.

The demo model's heads come from its card, so that a new demo model needs no edit here; GPT-2 small's are those that
Wang et al. 2022 (arXiv:2211.00593) and the founding notebook name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from string import Template
from typing import Any

from service.datasets.greater_than_words import NOUNS

FOLDER = Path(__file__).resolve().parent
TEMPLATES = FOLDER / "spec_templates"
CARD = FOLDER.parent / "pathpatch" / "demo_model" / "card.json"
DEMO_TOKENIZER = FOLDER.parent / "pathpatch" / "demo_model" / "tokenizer.json"
Head = tuple[int, int]
PROMPTS = {
    "clean": "When Mary and John arrived at the library that evening, John handed a lamp to",
    "corrupted": "When Mary and John arrived at the library that evening, Mary handed a lamp to",
    "io": "Mary",
    "s": "John",
}
NOISING = "Noising: orig is the clean run, and the paths carry their values from the run with exchanged names."
DENOISING = "Denoising: orig is the run with exchanged names, and the paths carry their values from the clean run."


@dataclass(frozen=True)
class Cast:
    """Which heads of a model play which part."""

    model: str
    layers: int
    founding_senders: list[Head]
    founding_receiver: Head
    name_movers: list[Head]
    s_inhibition: list[Head]
    later_layers: str
    """Layers after the S-inhibition heads', as a YAML list."""
    vocabulary: range
    """Token ids to draw random prompts from."""
    bos_id: int
    half: int
    """Random tokens before they repeat."""


GPT2_SMALL = Cast(
    model="gpt2-small",
    layers=12,
    founding_senders=[(9, 6), (9, 9), (10, 10)],
    founding_receiver=(10, 7),
    name_movers=[(9, 9), (9, 6), (10, 0)],
    s_inhibition=[(7, 3), (7, 9), (8, 6), (8, 10)],
    later_layers="[9, 10, 11]",
    vocabulary=range(1000, 40_000),
    bos_id=50256,
    half=16,
)


def demo_cast() -> Cast:
    """The demo model's, from its card."""
    card = json.loads(CARD.read_text(encoding="utf-8"))
    vocabulary = json.loads(DEMO_TOKENIZER.read_text(encoding="utf-8"))["model"]["vocab"]
    senders = [(layer, head) for layer, head in card["senders"]]
    receiver = (card["receiver"][0], card["receiver"][1])
    attending = {(cell["receiver"][0], cell["receiver"][1]) for cell in card["joined_senders"]}
    last_sender_layer = max(layer for layer, _ in senders)
    bos_id = vocabulary.get("<|endoftext|>", 0)
    return Cast(
        model="demo",
        layers=card["layers"],
        founding_senders=senders,
        founding_receiver=receiver,
        name_movers=sorted(attending),
        s_inhibition=senders,
        later_layers=str(list(range(last_sender_layer + 1, card["layers"]))),
        vocabulary=range(bos_id + 1, len(vocabulary)),
        bos_id=bos_id,
        half=8,
    )


def nodes(hook: str, heads: Sequence[Head]) -> str:
    """A YAML list of heads, one per line."""
    return "\n".join(f"    - {node(hook, head)}" for head in heads)


def node(hook: str, head: Head) -> str:
    """One head in YAML."""
    return f"{{hook: {hook}, layer: {head[0]}, head: {head[1]}}}"


def random_tokens(cast: Cast, prompts: int = 20, seed: int = 0) -> str:
    """Random tokens twice over, as the body of a ``tokens`` dataset.

    In ``new``, the token before ``key`` is another one, so that nothing repeats at ``query`` any more.
    """
    random = Random(seed)
    orig, new, queries, keys = [], [], [], []
    for _ in range(prompts):
        *half, other = random.sample(cast.vocabulary, cast.half + 1)
        place = random.randrange(1, cast.half - 1)
        orig.append([cast.bos_id, *half, *half])
        new.append([cast.bos_id, *half[:place], other, *half[place + 1 :], *half])
        queries.append(1 + cast.half + place)
        keys.append(1 + place + 1)
    rows = {run: "\n".join(f"    - {row}" for row in both) for run, both in (("orig", orig), ("new", new))}
    roles = f"  roles:\n    query: {queries}\n    key: {keys}"
    return f"  orig:\n{rows['orig']}\n  new:\n{rows['new']}\n{roles}"


def digit_prompts(prompts: int = 24, seed: int = 0) -> str:
    """Greater-than prompts for tokenizers that read years digit by digit, as the body of a ``prompts`` dataset.

    The next digit must be larger than the start year's third one; an equal one leaves both open, so it is no answer.
    """
    random = Random(seed)
    rows: dict[str, list[str]] = {"orig": [], "new": [], "after": [], "before": []}
    for _ in range(prompts):
        noun, century, third, last = (random.choice(one) for one in (NOUNS, range(11, 18), range(1, 9), range(2, 9)))
        rows["orig"].append(f"The {noun} lasted from the year {century}{third}{last} to the year {century}")
        rows["new"].append(f"The {noun} lasted from the year {century}0{last} to the year {century}")
        rows["after"].append(json.dumps([str(digit) for digit in range(third + 1, 10)]))
        rows["before"].append(json.dumps([str(digit) for digit in range(third)]))
    lines = {name: "\n".join(f"    - {row}" for row in listed) for name, listed in rows.items()}
    after, before = (lines[name].replace("    - ", "      - ") for name in ("after", "before"))
    answers = f"  answers:\n    after:\n{after}\n    before:\n{before}"
    return f"  kind: prompts\n  orig:\n{lines['orig']}\n  new:\n{lines['new']}\n{answers}"


Fields = dict[str, Any]


def _founding(cast: Cast, receiver: Head | None = None) -> Fields:
    return {
        "senders": nodes("z", cast.founding_senders),
        "receiver": node("q", receiver or cast.founding_receiver),
    }


def _direction(cast: Cast, receiver: Head | None, swap: bool) -> Fields:
    words = (DENOISING, "denoising") if swap else (NOISING, "noising")
    return _founding(cast, receiver) | {"direction": words[0], "swap": str(swap).lower(), "normalize": words[1]}


def _logits(cast: Cast, through_mlps: bool) -> Fields:
    said = "Through MLPs: the paper's algorithm." if through_mlps else "Skip connections only: no MLP in between."
    flag = str(through_mlps).lower()
    return {"last_layer": cast.layers - 1, "direct_includes_mlps": flag, "algorithm": said}


def _circuit(cast: Cast) -> Fields:
    return {
        "name_mover_queries": nodes("q", cast.name_movers),
        "s_inhibition": nodes("z", cast.s_inhibition),
        "s_inhibition_values": nodes("v", cast.s_inhibition),
        "later_layers": cast.later_layers,
    }


def _induction(cast: Cast, reader: Head, words: str) -> Fields:
    return {"random_tokens": random_tokens(cast), "receiver": node("k", reader), "reader": words}


def specs_of(cast: Cast, stem: str, is_demo: bool) -> Iterator[tuple[str, str, str, Fields]]:
    """Example, file name, template and what fills it, for each spec of one model."""
    backup = None if is_demo else (10, 2)
    yield "founding-experiment", f"{stem}.yaml", "founding-experiment", _founding(cast)
    if not is_demo:
        yield "founding-experiment", f"{stem}-11.10.yaml", "founding-experiment", _founding(cast, (11, 10))
    yield "backup-heads", f"{stem}.yaml", "backup-heads", _direction(cast, backup, swap=False)
    yield "backup-heads", f"{stem}-denoising.yaml", "backup-heads", _direction(cast, backup, swap=True)
    yield "heads-to-logits", f"{stem}.yaml", "heads-to-logits", _logits(cast, through_mlps=True)
    yield "heads-to-logits", f"{stem}-skip-only.yaml", "heads-to-logits", _logits(cast, through_mlps=False)
    for suffix in ("", "-by-input", "-values"):
        yield "s-inhibition", f"{stem}{suffix}.yaml", f"s-inhibition{suffix}", _circuit(cast)
    if is_demo:
        head = cast.s_inhibition[0]
        named = f"the S-inhibition head {head[0]}.{head[1]}"
        yield "induction-heads", f"{stem}.yaml", "induction-heads", _induction(cast, head, named)
    else:
        yield "induction-heads", f"{stem}.yaml", "induction-heads", _induction(cast, (5, 5), "the induction head 5.5")
    yield "activation-patching", f"{stem}.yaml", "activation-patching", PROMPTS
    yield "activation-patching", f"{stem}-heads.yaml", "activation-patching-heads", {}
    top = {"what": "The result holds only the strongest.", "output": "\noutput:\n  reduce: {top: 30}\n"}
    yield "edge-matrix", f"{stem}.yaml", "edge-matrix", top
    if is_demo:
        yield "edge-matrix", f"{stem}-matrix.yaml", "edge-matrix", {"what": "The result holds all cells.", "output": ""}
    yield "attribution", f"{stem}.yaml", "attribution", {}
    score = "{method: exact}" if is_demo else "{method: integrated, steps: 5}"
    first = {"what": "Score every edge, and run circuits of the largest.", "score": score, "by": "top"}
    yield "circuit", f"{stem}.yaml", "circuit", first
    again = "Score every edge again in the circuit that is left, and drop the least, round by round."
    rounds = {"what": again, "score": "{method: integrated, steps: 5}", "by": "iterated"}
    yield "circuit", f"{stem}-iterated.yaml", "circuit", rounds


WITHOUT_A_CAST = (("gpt2-small", 12, "gpt2-small"), ("smollm2-135m", 30, "smollm2"))
"""Models, their layers, and the stem of their specs."""
BY_DIGITS = "This tokenizer reads a year digit by digit: the answers are the digits after the third one, and before it."
BY_YEARS = "The built-in dataset: in new, the start year ends in 01."
SENDERS = {"": ("z", "Every head by itself"), "-mlps": ("mlp_out", "Every MLP by itself")}


def specs_without_a_cast(model: str, layers: int, stem: str) -> Iterator[tuple[str, str, str, Fields]]:
    """The same for the experiments that name no heads."""
    common = {"model": model, "last_layer": layers - 1}
    if model == "gpt2-small":
        dataset = {"dataset": "  kind: greater_than\n  examples: 200\n  seed: 0", "prompts": BY_YEARS}
        answers = {"answer": "after", "minus_answer": "not_after"}
    else:
        dataset = {"dataset": digit_prompts(), "prompts": BY_DIGITS}
        answers = {"answer": "after", "minus_answer": "before"}
    for suffix, (hook, words) in SENDERS.items():
        if model != "demo" or not suffix:
            fields = {
                "hook": hook,
                "what": f"{words} to the logits, on greater-than prompts: which raise the later years?",
            }
            yield "greater-than", f"{stem}{suffix}.yaml", "greater-than", common | dataset | answers | fields
    yield "induction", f"{stem}.yaml", "induction", common


def written_specs() -> dict[Path, str]:
    """Every spec file of the examples, and its text."""
    texts = {}
    for cast, stem, is_demo in ((demo_cast(), "spec", True), (GPT2_SMALL, "gpt2-small", False)):
        for example, file_name, template, fields in specs_of(cast, stem, is_demo):
            text = (TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8")
            texts[FOLDER / example / file_name] = Template(text).substitute(model=cast.model, **fields)
    for model, layers, stem in (("demo", demo_cast().layers, "spec"), *WITHOUT_A_CAST):
        for example, file_name, template, fields in specs_without_a_cast(model, layers, stem):
            text = (TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8")
            texts[FOLDER / example / file_name] = Template(text).substitute(**fields)
    return texts
