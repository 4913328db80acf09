"""Train the demo model: a small GPT-2 that does the IOI task, so that the service has something to patch offline.

    python examples/train_demo_model.py

writes a Hugging Face folder to ``pathpatch/demo_model/`` in about three minutes on two cores: a byte-level BPE
tokenizer in which every name is one token with a leading space, a GPT-2-architecture model in float16, and a card with
what was measured on the weights that ship, the path-patching effect included (see ``demo_model_card.py``).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from demo_model_card import write_card
from demo_model_sweep import is_held_out, pad_right
from jaxtyping import Float, Int
from safetensors.torch import save as serialise
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import ByteLevel as ByteLevelProcessor
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

from service.datasets.ioi import draw_ioi
from service.datasets.ioi_words import NAMES, OBJECTS, PLACES, TEMPLATES

DEMO_FOLDER = Path(__file__).resolve().parents[1] / "pathpatch" / "demo_model"
END_OF_TEXT = "<|endoftext|>"


GUIDED_HEADS = (
    ((0, 0), "S2", "S1"),  # a duplicate token head
    ((1, 0), "end", "S2"),  # two S-inhibition heads
    ((1, 1), "end", "S2"),
    ((2, 0), "end", "IO"),  # two name movers
    ((2, 1), "end", "IO"),
)
"""Heads that the first half of training teaches where to look: (layer, head), query position, key position.

Left alone (seed 0, 2500 steps), the model also gets every prompt right, but END attends to both names alike and then
takes S away by reading S2 in the last layer: no head tells IO from S1. Guided, it grows the circuit that GPT-2 small
has (Wang et al. 2022, section 3); the guide then fades out, and what is left is what the task itself keeps up.
"""


@dataclass(frozen=True)
class Training:
    """Everything that decides the weights, apart from rounding differences between machines."""

    seed: int = 0
    train_steps: int = 1000
    batch: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    other_tokens_weight: float = 0.1
    """Weight of the mean loss on all tokens but the answer, whose own weight is 1: the model should also be able to
    continue a prompt anywhere else."""
    guide_weight: float = 0.3
    """Weight at the first step of the guided heads' loss; it falls to 0 halfway through training."""
    layers: int = 4
    heads: int = 8
    d_model: int = 128
    context: int = 64


def train_tokenizer() -> Tokenizer:
    """Train a byte-level BPE tokenizer as GPT-2's, on our own prompts, until every word of theirs is one token."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = ByteLevelProcessor(trim_offsets=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=4000,  # more than there are merges: training stops when each word is one token
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_corpus(), trainer)
    for word in (*NAMES, *PLACES, *OBJECTS):
        if len(tokenizer.encode(f" {word}").ids) != 1:
            raise RuntimeError(f"The trained tokenizer splits {word!r} into several tokens.")
    return tokenizer


def _tokenizer_corpus() -> Iterator[str]:
    """Prompts in which every template, name, place and object occurs, names most often."""
    for shift, template in enumerate(TEMPLATES):
        for count in range(2 * len(NAMES)):
            first, second = NAMES[count % len(NAMES)], NAMES[(count + shift + 1) % len(NAMES)]
            place, thing = PLACES[count % len(PLACES)], OBJECTS[count % len(OBJECTS)]
            prompt = template.format(first=first, second=second, third=second, place=place, object=thing)
            yield f"{prompt} {first}."


def new_model(training: Training, tokenizer: Tokenizer) -> GPT2LMHeadModel:
    """An untrained GPT-2, drawn from the training seed."""
    torch.manual_seed(training.seed)
    end_of_text_id = tokenizer.token_to_id(END_OF_TEXT)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=training.context,
        n_embd=training.d_model,
        n_layer=training.layers,
        n_head=training.heads,
        activation_function="gelu_new",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end_of_text_id,
        eos_token_id=end_of_text_id,
    )
    model = GPT2LMHeadModel(config)
    model.set_attn_implementation("eager")  # the others return no attention patterns
    return model


def train(model: GPT2LMHeadModel, tokenizer: Tokenizer, training: Training) -> float:
    """Train in place, on examples drawn afresh at each step, and return the seconds it took."""
    started = time.monotonic()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, betas=(0.9, 0.98), weight_decay=training.weight_decay
    )
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=training.warmup_steps)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.train_steps - training.warmup_steps)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], [training.warmup_steps])
    model.train()
    for step in range(training.train_steps):
        batch = _draw_batch(tokenizer, training, step)
        answer_loss, other_loss, guide_loss = _losses(model, batch)
        guide_weight = training.guide_weight * max(0.0, 1 - 2 * step / training.train_steps)
        loss = answer_loss + training.other_tokens_weight * other_loss + guide_weight * guide_loss
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == training.train_steps - 1:
            losses = f"answer {answer_loss:.3f}  other {other_loss:.3f}  guide {guide_loss:.3f} nats"
            print(f"step {step:4d}  {losses}  {time.monotonic() - started:.0f} s", flush=True)
    model.train(False)
    return time.monotonic() - started


class _Batch(NamedTuple):
    """Prompts continued by their answer and a full stop, right-padded, with the positions of their roles."""

    tokens: Int[Tensor, "batch pos"]
    roles: dict[str, Int[Tensor, " batch"]]


def _draw_batch(tokenizer: Tokenizer, training: Training, step: int) -> _Batch:
    """Draw fresh prompts, without the name pairs that are held out for measuring.

    Every other batch begins with ``<|endoftext|>``, so that the model works with a prepended BOS token and without.
    """
    bos_id = tokenizer.token_to_id(END_OF_TEXT) if step % 2 else None
    drawn = draw_ioi(tokenizer, training.batch, seed=training.seed * 1_000_000 + step, prepend_bos_id=bos_id)
    pairs = zip(drawn.answers["IO"], drawn.answers["S"], strict=True)
    kept = [example for example, pair in enumerate(pairs) if not is_held_out(*pair)]
    (full_stop_id,) = tokenizer.encode(".").ids
    return _Batch(
        tokens=pad_right([[*drawn.orig[example], drawn.answers["IO"][example], full_stop_id] for example in kept]),
        roles={role: torch.tensor([pos[example] for example in kept]) for role, pos in drawn.roles.items()},
    )


def _losses(model: GPT2LMHeadModel, batch: _Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy in nats of the answer, of all other tokens but padding, and of the guided heads' attention."""
    tokens, end_pos = batch.tokens, batch.roles["end"][:, None]
    output = model(tokens, output_attentions=True)
    loss = cross_entropy(output.logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    loss = loss.view_as(tokens[:, 1:])
    pos = torch.arange(loss.shape[1])
    is_answer = pos == end_pos
    is_other = (pos <= end_pos + 1) & ~is_answer  # + 1: the full stop
    examples = torch.arange(len(tokens))
    guided = [
        output.attentions[layer][examples, head, batch.roles[query], batch.roles[key]]
        for (layer, head), query, key in GUIDED_HEADS
    ]
    guide_loss = -torch.stack(guided).clamp_min(1e-6).log().mean()
    return loss[is_answer].mean(), loss[is_other].mean(), guide_loss


def save(model: GPT2LMHeadModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a Hugging Face folder with weights in float16; its config says float32, so loaders widen them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict() | {"architectures": ["GPT2LMHeadModel"], "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    weights = {f"transformer.{name}": tensor.half() for name, tensor in model.transformer.state_dict().items()}
    (folder / "model.safetensors").write_bytes(serialise(weights, {"format": "pt"}))
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
        "model_max_length": model.config.n_positions,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")


def main() -> None:
    """Train, save, and measure what was saved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=DEMO_FOLDER, help="where to write the model")
    parser.add_argument("--seed", type=int, default=Training.seed, help="decides weights and training prompts")
    parser.add_argument("--train-steps", type=int, default=Training.train_steps)
    parser.add_argument("--batch", type=int, default=Training.batch)
    parser.add_argument("--guide-weight", type=float, default=Training.guide_weight, help="0 leaves all heads alone")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    training = Training(
        seed=arguments.seed,
        train_steps=arguments.train_steps,
        batch=arguments.batch,
        guide_weight=arguments.guide_weight,
    )
    tokenizer = train_tokenizer()
    model = new_model(training, tokenizer)
    print(f"{tokenizer.get_vocab_size()} tokens, {model.num_parameters():,} parameters")
    train_seconds = train(model, tokenizer, training)
    save(model, tokenizer, arguments.folder)
    write_card(arguments.folder, asdict(training) | {"guided_heads": GUIDED_HEADS}, train_seconds)
    print((arguments.folder / "MODEL_CARD.md").read_text())


if __name__ == "__main__":
    main()
