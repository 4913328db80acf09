"""Train the demo model: a small GPT-2 that does the IOI task, so that the service has something to patch offline.

    python examples/train_demo_model.py

writes a Hugging Face folder to ``pathpatch/demo_model/`` in about five minutes on two cores: a byte-level BPE
tokenizer in which every name is one token with a leading space, a GPT-2-architecture model in float16, and a card with
what was measured on the weights that ship, the path-patching effect included (see ``demo_model_card.py``).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
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

from service.datasets.ioi import single_token_words
from service.datasets.ioi_words import NAMES, OBJECTS, PLACES, TEMPLATES

DEMO_FOLDER = Path(__file__).resolve().parents[1] / "pathpatch" / "demo_model"
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Training:
    """Everything that decides the weights, apart from rounding differences between machines.

    If all layers learn at once, the model prefers IO just as often, but layer 0 carries both names to END and no head
    tells them apart. So the last layer learns first, above layers as they were drawn, and learns to copy names; what
    the layers below it then learn is to steer it towards IO.
    """

    seed: int = 0
    train_steps: int = 4200
    last_layer_steps: int = 800
    """For so long, only the last layer, the embeddings and the final LayerNorm learn."""
    batch: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay_steps: int = 2000
    weight_decay: float = 0.01
    other_tokens_weight: float = 0.1
    """Weight of the mean loss on all tokens but names, which cannot be foreseen; the answer's own weight is 1."""
    layers: int = 4
    heads: int = 8
    d_model: int = 128
    context: int = 64
    initializer_range: float = 0.04
    """Standard deviation of the weights drawn: GPT-2's 0.02 is for wider layers, and is slow to leave here."""


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
        initializer_range=training.initializer_range,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end_of_text_id,
        eos_token_id=end_of_text_id,
    )
    return GPT2LMHeadModel(config)


def train(model: GPT2LMHeadModel, tokenizer: Tokenizer, training: Training) -> float:
    """Train in place, on examples drawn afresh at each step, and return the seconds it took."""
    started = time.monotonic()
    random = Random(training.seed)
    name_tokens = single_token_words(tokenizer).names
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, betas=(0.9, 0.98), weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_learning_rate_factor, training))
    model.train()
    for step in range(training.train_steps):
        _let_learn(model, all_layers=step >= training.last_layer_steps)
        batch = _draw_batch(tokenizer, name_tokens, training, random, step)
        answer_loss, other_loss = _losses(model, batch, name_tokens)
        loss = answer_loss + training.other_tokens_weight * other_loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == training.train_steps - 1:
            losses = f"answer {answer_loss:.3f}  other {other_loss:.3f} nats"
            print(f"step {step:4d}  {losses}  {time.monotonic() - started:.0f} s", flush=True)
    model.train(False)
    return time.monotonic() - started


def _learning_rate_factor(training: Training, step: int) -> float:
    """Linear warm-up, then constant, then a cosine down to 0."""
    decaying = max(0, step - training.train_steps + training.decay_steps) / training.decay_steps
    return min(1, (step + 1) / training.warmup_steps) * (1 + math.cos(math.pi * decaying)) / 2


def _let_learn(model: GPT2LMHeadModel, all_layers: bool) -> None:
    """Freeze the layers below the last, or none."""
    for block in model.transformer.h[:-1]:
        block.requires_grad_(all_layers)


class _Batch(NamedTuple):
    """Prompts continued by their answer and a full stop, right-padded, and the position of each one's last token."""

    tokens: Int[Tensor, "batch pos"]
    end_pos: Int[Tensor, " batch"]


def _draw_batch(
    tokenizer: Tokenizer, name_tokens: Mapping[str, int], training: Training, random: Random, step: int
) -> _Batch:
    """Draw fresh prompts; every other batch begins with ``<|endoftext|>``, so that the model works with and without."""
    bos: list[int] = tokenizer.encode(END_OF_TEXT).ids if step % 2 else []
    (full_stop,) = tokenizer.encode(".").ids
    rows: list[list[int]] = []
    end_pos: list[int] = []
    while len(rows) < training.batch:
        io, s = random.sample(NAMES, 2)
        if is_held_out(name_tokens[io], name_tokens[s]):
            continue
        prompt = [*bos, *tokenizer.encode(_prompt(random, io, s)).ids]
        rows.append([*prompt, name_tokens[io], full_stop])
        end_pos.append(len(prompt) - 1)
    return _Batch(tokens=pad_right(rows), end_pos=torch.tensor(end_pos))


def _prompt(random: Random, io: str, s: str) -> str:
    """A prompt that names ``io`` once and ``s`` twice, in any order.

    BBA, with IO named last, is not among the service's prompts. It makes the model find the name that occurs once,
    rather than learn that the third name is always S.
    """
    first, second, third = random.choice(((io, s, s), (s, io, s), (s, s, io)))
    place, thing = random.choice(PLACES), random.choice(OBJECTS)
    return random.choice(TEMPLATES).format(first=first, second=second, third=third, place=place, object=thing)


def _losses(
    model: GPT2LMHeadModel, batch: _Batch, name_tokens: Mapping[str, int]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy in nats of the answer, and of all other tokens but names and padding."""
    tokens, end_pos = batch.tokens, batch.end_pos[:, None]
    targets = tokens[:, 1:]
    logits = model(tokens).logits[:, :-1]
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    pos, names = torch.arange(loss.shape[1]), torch.tensor(list(name_tokens.values()))
    is_answer = pos == end_pos
    is_other = (pos <= end_pos + 1) & ~torch.isin(targets, names)  # + 1: the full stop
    return loss[is_answer].mean(), loss[is_other].mean()


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
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    training = Training(seed=arguments.seed)
    tokenizer = train_tokenizer()
    model = new_model(training, tokenizer)
    print(f"{tokenizer.get_vocab_size()} tokens, {model.num_parameters():,} parameters")
    train_seconds = train(model, tokenizer, training)
    save(model, tokenizer, arguments.folder)
    write_card(arguments.folder, asdict(training), train_seconds)
    print((arguments.folder / "MODEL_CARD.md").read_text())


if __name__ == "__main__":
    main()
