"""Measure a demo model as it ships, and write what was found to its card: ``card.json`` and ``MODEL_CARD.md``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from demo_model_sweep import ATTENDING, Cell, Head, IoiExamples, Sweep, held_out_examples
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

HELD_OUT_SEED = 2_000_000_000
EXAMPLES = 800


def measure_task(model: GPT2LMHeadModel, examples: IoiExamples) -> dict[str, float]:
    """Share of examples in which IO beats S, and mean logit differences IO minus S, in nats, at END."""
    batch = torch.arange(len(examples.end_pos))
    by_prompts = {}
    for prompts, tokens in (("orig", examples.orig), ("abc", examples.new)):
        end_logits = model(tokens).logits[batch, examples.end_pos]
        io, s = end_logits.gather(1, examples.answer_tokens).unbind(1)
        by_prompts[prompts] = io - s
    return {
        "accuracy": (by_prompts["orig"] > 0).float().mean().item(),
        "logit_diff_mean": by_prompts["orig"].mean().item(),
        "logit_diff_sd": by_prompts["orig"].std().item(),
        "logit_diff_abc_mean": by_prompts["abc"].mean().item(),
        "logit_diff_abc_sd": by_prompts["abc"].std().item(),
    }


def choose_cell(joined: list[Cell]) -> Cell:
    """The cell that loses most of its attention difference; it must lose more than half."""
    best = max(joined, key=lambda cell: cell.orig_mean - abs(cell.patched_mean), default=None)
    if best is None or best.patched_mean >= best.orig_mean / 2:
        raise RuntimeError(f"No senders halve the attention difference of any receiver above {ATTENDING}: {best}")
    return best


@torch.no_grad()
def write_card(folder: Path, training: Mapping[str, Any], train_seconds: float) -> None:
    """Measure the model in ``folder`` on held-out prompts, and write ``card.json`` and ``MODEL_CARD.md`` beside it."""
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)  # in eval mode
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    examples = held_out_examples(tokenizer, EXAMPLES, HELD_OUT_SEED)
    sweep = Sweep(model, examples)
    singles = [cells for receiver in sweep.heads if (cells := sweep.single_senders(receiver))]
    joined = [sweep.join_senders(cells) for cells in singles if cells[0].orig_mean > ATTENDING]
    chosen = choose_cell(joined)
    chosen = chosen._replace(senders=tuple(sorted(chosen.senders)))
    card = {
        **chosen._asdict(),
        **measure_task(model, examples),
        "with_bos": measure_task(model, held_out_examples(tokenizer, EXAMPLES, HELD_OUT_SEED, prepend_bos=True)),
        **training,
        "train_seconds": round(train_seconds, 1),
        "held_out": {"examples": EXAMPLES, "seed": HELD_OUT_SEED, "name_pairs": "(IO token + S token) % 8 == 0"},
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "joined_senders": [cell._asdict() for cell in joined],
        "single_senders": [cell._asdict() for cells in singles for cell in cells],
    }
    (folder / "card.json").write_text(_json(card), encoding="utf-8")
    chosen_singles = next(cells for cells in singles if cells[0].receiver == chosen.receiver)
    (folder / "MODEL_CARD.md").write_text(_markdown(card, chosen, joined, chosen_singles), encoding="utf-8")


def _json(card: Mapping[str, Any]) -> str:
    """One line per key, and one per cell in the lists of cells, so that the file can be read and diffed."""
    lines = []
    for key, figure in card.items():
        text = json.dumps(_rounded(figure))
        lines.append(f' "{key}": ' + text.replace("[{", "[\n  {").replace("}, {", "},\n  {").replace("}]", "}\n ]"))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _rounded(figure: Any) -> Any:
    """The same figures with floats cut to six decimals, which is more than they are worth."""
    if isinstance(figure, float):
        return round(figure, 6)
    if isinstance(figure, Mapping):
        return {key: _rounded(inner) for key, inner in figure.items()}
    if isinstance(figure, (list, tuple)):
        return [_rounded(inner) for inner in figure]
    return figure


def _markdown(card: Mapping[str, Any], chosen: Cell, joined: list[Cell], chosen_singles: list[Cell]) -> str:
    with_bos = card["with_bos"]
    task_rows = [
        ("IO beats S", "accuracy", ".1%"),
        ("logit difference IO - S, nats", "logit_diff_mean", ".2f"),
        ("the same, sd", "logit_diff_sd", ".2f"),
        ("the same tokens on `abc` prompts, nats", "logit_diff_abc_mean", ".2f"),
        ("the same, sd", "logit_diff_abc_sd", ".2f"),
    ]
    task_table = [f"| {label} | {card[key]:{form}} | {with_bos[key]:{form}} |" for label, key, form in task_rows]
    return CARD_TEMPLATE.format(
        **card,
        senders_dotted=_dotted(*chosen.senders),
        receiver_dotted=_dotted(chosen.receiver),
        task_table="\n".join(task_table),
        joined_table="\n".join(_cell_rows(joined)),
        singles_table="\n".join(_cell_rows(chosen_singles)),
    )


def _cell_rows(cells: list[Cell]) -> Iterator[str]:
    for cell in cells:
        figures = f"{cell.orig_mean:.3f} | {cell.patched_mean:.3f}"
        yield f"| {_dotted(*cell.senders)} | {_dotted(cell.receiver)} | {figures} |"


def _dotted(*heads: Head) -> str:
    return ", ".join(f"{layer}.{head}" for layer, head in heads)


CARD_TEMPLATE = """\
# The demo model

A GPT-2 of {layers} layers, {heads} heads and d_model {d_model} that does the indirect-object-identification task (IOI,
Wang et al. 2022, arXiv:2211.00593) on the prompts of `service/datasets/ioi_words.py`, and hardly anything else. It
ships with pathpatch so that there is something to patch without a download. `examples/train_demo_model.py` trains it
and writes this card; `card.json` holds the same figures, and every single sender into every receiver.

## Training

Seed {seed}, {train_steps} steps of {batch} fresh prompts, {train_seconds:.0f} s on {hardware}. AdamW,
learning rate {learning_rate} after {warmup_steps} steps of warm-up, with cosine decay over the last
{decay_steps} steps; weight decay {weight_decay}. Loss: cross-entropy of the answer, plus {other_tokens_weight}
times that of the other tokens, names excepted. Every other batch began with `<|endoftext|>`. Context: {context} tokens.
The weights ship in float16; all figures are of those, computed in float32.

**No loss looks at attention: the heads below are what training on prompts made of them.** Two choices of the recipe
decide which circuit grows:

- The last layer learned first ({last_layer_steps} steps, with the embeddings and the final LayerNorm); then every
  layer did. A trial that trained all layers at once (1400 steps, four templates, weights drawn at 0.06) preferred IO
  in 95.0% of 200 held-out prompts as well, but no head after layer 0 had an attention difference above 0.15: its layer
  0 carried both names to END.
- A third of the training prompts name IO last ("When John and John arrived ..., Mary handed a cup to" is continued by
  Mary), so the third name is not always S. They are not among the service's prompts, and no figure below counts them.

## The task

{held_out[examples]} held-out prompts (seed {held_out[seed]}, ABBA and BABA alike): the pairs of names with
`{held_out[name_pairs]}` never occurred in training. `abc` prompts name three other people; there the
model has no reason to prefer either of the two tokens.

| | no BOS | BOS prepended |
|---|---|---|
{task_table}

## The effect

Metric: attention END->IO minus END->S1 of the receiver, mean over the held-out prompts. Patched: the change of what
the senders write between `orig` and `abc` prompts is added to the receiver's query input at END; skip connections
only, LayerNorm exact.

**{senders_dotted} into the query of {receiver_dotted}: from {orig_mean:.3f} to {patched_mean:.3f}.**

Every receiver above 0.3, with its strongest senders, up to eight, joined as long as each brings the mean 0.01 closer
to 0:

| senders | receiver | orig mean | patched mean |
|---|---|---|---|
{joined_table}

Every single sender into {receiver_dotted}:

| sender | receiver | orig mean | patched mean |
|---|---|---|---|
{singles_table}
"""
