"""The shipped demo model against its own card, measured through Hugging Face's implementation.

Independent of the training script: patterns and head outputs are read from the model's own forward pass, and a head's
query is patched by hooks inside it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from service.datasets.ioi import IoiPrompts, draw_ioi

DEMO_MODEL = Path(__file__).resolve().parents[1] / "pathpatch" / "demo_model"
FRESH_SEED = 1_234_567_890
EXAMPLES = 300


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEMO_MODEL / "card.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    loaded = AutoModelForCausalLM.from_pretrained(DEMO_MODEL, attn_implementation="eager")
    assert isinstance(loaded, GPT2LMHeadModel)
    return loaded


@pytest.fixture(scope="module")
def prompts() -> IoiPrompts:
    """Fresh prompts with name pairs that never occurred in training, as the card defines them."""
    tokenizer = Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))
    drawn = draw_ioi(tokenizer, 12 * EXAMPLES, FRESH_SEED)
    pairs = zip(drawn.answers["IO"], drawn.answers["S"], strict=True)
    kept = [example for example, (io, s) in enumerate(pairs) if (io + s) % 8 == 0][:EXAMPLES]
    assert len(kept) == EXAMPLES
    return IoiPrompts(
        orig_texts=[drawn.orig_texts[example] for example in kept],
        new_texts=[drawn.new_texts[example] for example in kept],
        orig=[drawn.orig[example] for example in kept],
        new=[drawn.new[example] for example in kept],
        roles={role: [pos[example] for example in kept] for role, pos in drawn.roles.items()},
        answers={answer: [tokens[example] for example in kept] for answer, tokens in drawn.answers.items()},
    )


def padded(rows: list[list[int]]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [0] * (width - len(row)) for row in rows])


@torch.no_grad()
def logit_diffs(model: GPT2LMHeadModel, tokens: Tensor, prompts: IoiPrompts) -> Tensor:
    """Logit of orig's IO minus logit of orig's S at END, in nats."""
    examples = torch.arange(EXAMPLES)
    end_logits: Tensor = model(tokens).logits[examples, prompts.roles["end"]]
    return end_logits[examples, prompts.answers["IO"]] - end_logits[examples, prompts.answers["S"]]


@contextmanager
def hooked(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def head_writes(model: GPT2LMHeadModel, tokens: Tensor, senders: list[list[int]]) -> dict[int, Tensor]:
    """What the senders of each layer write together, at every position."""
    blocks: Any = model.transformer.h
    writes: dict[int, Tensor] = {}

    def keep(layer: int, heads: list[int]) -> Any:
        def hook(module: Any, inputs: tuple[Tensor]) -> None:
            z = inputs[0].reshape(*inputs[0].shape[:2], model.config.n_head, -1)
            kept = torch.zeros_like(z)
            kept[:, :, heads] = z[:, :, heads]
            writes[layer] = kept.flatten(-2) @ module.weight

        return blocks[layer].attn.c_proj.register_forward_pre_hook(hook)

    layers = sorted({layer for layer, _ in senders})
    with hooked([keep(layer, [head for at, head in senders if at == layer]) for layer in layers]):
        model(tokens)
    return writes


def attention_diffs(model: GPT2LMHeadModel, prompts: IoiPrompts, receiver: list[int], change: Tensor | None) -> Tensor:
    """The receiver's END->IO minus END->S1; ``change`` is added to the residual stream its query alone reads."""
    layer, head = receiver
    block: Any = model.transformer.h[layer]
    resid: list[Tensor] = []

    def patch_query(module: Any, inputs: tuple[Tensor], qkv: Tensor) -> Tensor:
        patched = qkv.clone()
        columns = slice(head * block.attn.head_dim, (head + 1) * block.attn.head_dim)
        if change is not None:
            normed = block.ln_1(resid[0] + change)
            patched[..., columns] = (normed @ module.weight + module.bias)[..., columns]
        return patched

    keep_resid = block.register_forward_pre_hook(lambda _, inputs: resid.append(inputs[0]))
    with hooked([keep_resid, block.attn.c_attn.register_forward_hook(patch_query)]):
        pattern = model(padded(prompts.orig), output_attentions=True).attentions[layer][:, head]
    examples = torch.arange(EXAMPLES)
    end_row: Tensor = pattern[examples, prompts.roles["end"]]
    return end_row[examples, prompts.roles["IO"]] - end_row[examples, prompts.roles["S1"]]


def test_the_demo_model_prefers_the_indirect_object(
    model: GPT2LMHeadModel, prompts: IoiPrompts, card: dict[str, Any]
) -> None:
    """A model that does not do the task has nothing to show, whatever is patched."""
    diffs = logit_diffs(model, padded(prompts.orig), prompts)
    assert (diffs > 0).float().mean() >= 0.95
    assert diffs.mean() > 2
    assert diffs.mean().item() == pytest.approx(card["logit_diff_mean"], abs=1.0)
    assert card["accuracy"] >= 0.95


def test_the_demo_model_is_indifferent_on_abc_prompts(
    model: GPT2LMHeadModel, prompts: IoiPrompts, card: dict[str, Any]
) -> None:
    """The new run must not favour orig's answer: it is what the information is removed with."""
    diffs = logit_diffs(model, padded(prompts.new), prompts)
    assert abs(diffs.mean()) < 4 * diffs.std() / EXAMPLES**0.5
    assert abs(diffs.mean()) < 1
    assert abs(card["logit_diff_abc_mean"]) < 0.5


@torch.no_grad()
def test_the_cards_senders_halve_the_receivers_attention_difference(
    model: GPT2LMHeadModel, prompts: IoiPrompts, card: dict[str, Any]
) -> None:
    """This is what ``make demo`` shows; the card's figures hold on prompts it has not seen."""
    senders, receiver = card["senders"], card["receiver"]
    orig, new = (head_writes(model, padded(rows), senders) for rows in (prompts.orig, prompts.new))
    change = torch.stack([new[layer] - orig[layer] for layer in orig]).sum(0)
    orig_mean = attention_diffs(model, prompts, receiver, None).mean().item()
    patched_mean = attention_diffs(model, prompts, receiver, change).mean().item()
    assert all(layer < receiver[0] for layer, _ in senders)
    assert orig_mean > 0.3
    assert patched_mean < orig_mean / 2
    assert orig_mean == pytest.approx(card["orig_mean"], abs=0.05)
    assert patched_mean == pytest.approx(card["patched_mean"], abs=0.05)


def test_the_demo_model_is_small_enough_to_ship() -> None:
    """It travels in the package, so every install pays for it."""
    assert sum(path.stat().st_size for path in DEMO_MODEL.iterdir()) < 4_000_000


def test_the_markdown_card_gives_the_figures_of_the_json_card(card: dict[str, Any]) -> None:
    """Both are written at once; an edit to one by hand would let them drift apart."""
    text = (DEMO_MODEL / "MODEL_CARD.md").read_text()
    assert f"from {card['orig_mean']:.3f} to {card['patched_mean']:.3f}" in text
    assert f"{card['accuracy']:.1%}" in text
    assert f"Seed {card['seed']}, {card['train_steps']} steps" in text
