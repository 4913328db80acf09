"""Path patching on the demo model, in plain PyTorch: which earlier heads tell a later head's query whom to attend to?

The founding experiment: take what earlier heads write on prompts about other people (``abc``), add the change to the
query input of a later head alone, and see whether that head still tells IO from S1. Skip connections only, LayerNorm
exact.

Source: Wang et al. 2022, arXiv:2211.00593, section 3 and appendix B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2LMHeadModel

from service.datasets.ioi import draw_ioi

Head = tuple[int, int]
"""Layer and head, 0-based."""

ATTENDING = 0.3
"""A receiver counts if its mean attention difference on orig prompts is above this."""
MOST_SENDERS = 8


def is_held_out(io_token: int, s_token: int) -> bool:
    """Whether a pair of names is kept out of training, in either order: one pair in eight."""
    return (io_token + s_token) % 8 == 0


def pad_right(rows: list[list[int]]) -> Int[Tensor, "batch pos"]:
    """Token rows as one tensor. Any token can pad on the right: attention is causal."""
    width = max(map(len, rows))
    return torch.tensor([row + [0] * (width - len(row)) for row in rows])


@dataclass(frozen=True)
class IoiExamples:
    """Held-out examples as tensors; positions and answers are those of the orig prompts."""

    orig: Int[Tensor, "batch pos"]
    new: Int[Tensor, "batch pos"]
    end_pos: Int[Tensor, " batch"]
    io_pos: Int[Tensor, " batch"]
    s1_pos: Int[Tensor, " batch"]
    answer_tokens: Int[Tensor, "batch 2"]
    """Column 0 is IO, column 1 is S."""


def held_out_examples(tokenizer: Tokenizer, examples: int, seed: int, prepend_bos: bool = False) -> IoiExamples:
    """The first ``examples`` of a draw whose pair of names was held out of training."""
    bos_id = tokenizer.token_to_id("<|endoftext|>") if prepend_bos else None
    drawn = draw_ioi(tokenizer, 12 * examples, seed, prepend_bos_id=bos_id)
    pairs = list(zip(drawn.answers["IO"], drawn.answers["S"], strict=True))
    kept = [example for example, pair in enumerate(pairs) if is_held_out(*pair)][:examples]
    return IoiExamples(
        orig=pad_right([drawn.orig[example] for example in kept]),
        new=pad_right([drawn.new[example] for example in kept]),
        end_pos=torch.tensor([drawn.roles["end"][example] for example in kept]),
        io_pos=torch.tensor([drawn.roles["IO"][example] for example in kept]),
        s1_pos=torch.tensor([drawn.roles["S1"][example] for example in kept]),
        answer_tokens=torch.tensor([pairs[example] for example in kept]),
    )


class Run(NamedTuple):
    """What a forward pass leaves behind, one entry per layer."""

    resid_pre: list[Float[Tensor, "batch pos d_model"]]
    k: list[Float[Tensor, "batch pos head_index d_head"]]
    z: list[Float[Tensor, "batch pos head_index d_head"]]
    logits: Float[Tensor, "batch pos d_vocab"]


def run(model: GPT2LMHeadModel, tokens: Int[Tensor, "batch pos"]) -> Run:
    """GPT-2's forward pass, written out, keeping the residual stream, keys and head outputs."""
    gpt2: Any = model.transformer
    pos = torch.arange(tokens.shape[1])
    is_future = pos[None, :] > pos[:, None]  # (query_pos, key_pos)
    resid = gpt2.wte(tokens) + gpt2.wpe(pos)
    kept = Run([], [], [], torch.empty(0))
    for block in gpt2.h:
        qkv = block.attn.c_attn(block.ln_1(resid)).unflatten(-1, (3, block.attn.num_heads, -1))
        q, k, v = qkv.unbind(2)  # each (batch, pos, head_index, d_head)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
        pattern = scores.masked_fill(is_future, -torch.inf).softmax(-1)
        z = torch.einsum("bhqk,bkhd->bqhd", pattern, v)
        kept.resid_pre.append(resid)
        kept.k.append(k)
        kept.z.append(z)
        resid = resid + block.attn.c_proj(z.flatten(-2))
        resid = resid + block.mlp(block.ln_2(resid))
    return kept._replace(logits=model.lm_head(gpt2.ln_f(resid)))


def sender_change(
    model: GPT2LMHeadModel, orig: Run, new: Run, sender: Head, end_pos: Int[Tensor, " batch"]
) -> Float[Tensor, "batch d_model"]:
    """What one head writes at END on the new prompts, minus what it writes on the orig ones."""
    layer, head = sender
    batch = torch.arange(len(end_pos))
    z_change = (new.z[layer] - orig.z[layer])[batch, end_pos, head]  # (batch, d_head)
    block: Any = model.transformer.h[layer]
    W_O: Float[Tensor, "d_head d_model"] = block.attn.c_proj.weight.unflatten(0, (-1, z_change.shape[1]))[head]
    return z_change @ W_O


def attention_diff(
    model: GPT2LMHeadModel,
    orig: Run,
    examples: IoiExamples,
    receiver: Head,
    change: Float[Tensor, "batch d_model"] | float = 0.0,
) -> Float[Tensor, " batch"]:
    """The receiver's attention END->IO minus END->S1, with ``change`` added to its query's residual input.

    Unit: probability. Positive means that the head attends to the indirect object rather than the subject.
    """
    layer, head = receiver
    block: Any = model.transformer.h[layer]
    batch = torch.arange(len(examples.end_pos))
    resid = orig.resid_pre[layer][batch, examples.end_pos] + change
    k = orig.k[layer][:, :, head]  # (batch, key_pos, d_head)
    qkv: Float[Tensor, "batch 3 head_index d_head"] = block.attn.c_attn(block.ln_1(resid)).unflatten(
        -1, (3, block.attn.num_heads, -1)
    )
    q = qkv[:, 0, head]
    scores = torch.einsum("bd,bkd->bk", q, k) / q.shape[-1] ** 0.5
    is_future = torch.arange(k.shape[1]) > examples.end_pos[:, None]
    attention = scores.masked_fill(is_future, -torch.inf).softmax(-1)
    diff: Float[Tensor, " batch"] = attention[batch, examples.io_pos] - attention[batch, examples.s1_pos]
    return diff


class Cell(NamedTuple):
    """One receiver and the senders patched into its query together, with the mean attention difference."""

    receiver: Head
    senders: tuple[Head, ...]
    orig_mean: float
    patched_mean: float


class Sweep:
    """Means over one set of examples, for any senders into any receiver."""

    def __init__(self, model: GPT2LMHeadModel, examples: IoiExamples) -> None:
        self.model, self.examples = model, examples
        self.orig, new = run(model, examples.orig), run(model, examples.new)
        reference = model(examples.orig).logits
        torch.testing.assert_close(self.orig.logits, reference, rtol=1e-4, atol=1e-4)
        self.heads = [(layer, head) for layer in range(model.config.n_layer) for head in range(model.config.n_head)]
        self.changes = {sender: sender_change(model, self.orig, new, sender, examples.end_pos) for sender in self.heads}

    def cell(self, receiver: Head, senders: tuple[Head, ...]) -> Cell:
        """Patch ``senders`` together into the query of ``receiver``."""
        change = torch.stack([self.changes[sender] for sender in senders]).sum(0)
        orig = attention_diff(self.model, self.orig, self.examples, receiver)
        patched = attention_diff(self.model, self.orig, self.examples, receiver, change)
        return Cell(receiver, senders, orig.mean().item(), patched.mean().item())

    def single_senders(self, receiver: Head) -> list[Cell]:
        """Every earlier layer's head on its own, those that leave the least of the attention difference first."""
        cells = [self.cell(receiver, (sender,)) for sender in self.heads if sender[0] < receiver[0]]
        return sorted(cells, key=lambda cell: abs(cell.patched_mean))

    def join_senders(self, singles: list[Cell]) -> Cell:
        """Join the strongest senders, one after another, as long as each brings the mean 0.01 closer to 0.

        At 0 the receiver no longer tells IO from S1; below, it attends to the wrong one.
        """
        best = singles[0]
        for single in singles[1:]:
            if len(best.senders) == MOST_SENDERS:
                break
            joined = self.cell(best.receiver, (*best.senders, *single.senders))
            if abs(joined.patched_mean) < abs(best.patched_mean) - 0.01:
                best = joined
        return best
