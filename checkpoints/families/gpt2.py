"""GPT-2, whose checkpoints TransformerLens reads and processes."""

import re
from collections.abc import Iterator

from checkpoints.families.record import Config, Family, Part, Rule
from checkpoints.families.sizes import layers
from planning.architecture import Architecture


def _architecture(config: Config) -> Architecture:
    if config["n_embd"] % config["n_head"]:
        raise ValueError(f"n_embd {config['n_embd']} is not a multiple of n_head {config['n_head']}")
    width = config["n_embd"]
    return Architecture(
        n_layers=layers(config, "n_layer"),
        n_heads=config["n_head"],
        d_model=width,
        d_mlp=config.get("n_inner") or 4 * width,
        n_ctx=config["n_positions"],
        d_vocab=config["vocab_size"],
        eps=float(config.get("layer_norm_epsilon", 1e-5)),
    )


def _tensors(config: Config, shape: Architecture) -> Iterator[Part]:
    width = shape.d_model
    yield Part("wte.weight", (shape.d_vocab, width))
    yield Part("wpe.weight", (shape.n_ctx, width))
    for layer in range(shape.n_layers):
        block = f"h.{layer}"
        for norm in ("ln_1", "ln_2"):
            yield from _with_bias(f"{block}.{norm}", (width,))
        yield from _with_bias(f"{block}.attn.c_attn", (width, 3 * width))
        yield from _with_bias(f"{block}.attn.c_proj", (width, width))
        yield from _with_bias(f"{block}.mlp.c_fc", (width, shape.d_mlp))
        yield from _with_bias(f"{block}.mlp.c_proj", (shape.d_mlp, width))
    yield from _with_bias("ln_f", (width,))


def _with_bias(name: str, shape: tuple[int, ...]) -> Iterator[Part]:
    """A weight and the bias of its outputs."""
    yield Part(f"{name}.weight", shape)
    yield Part(f"{name}.bias", shape[-1:])


UNSCALED = "its attention scores are not scaled by 1/sqrt(d_head), as GPT-2's are"

ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
"""What transformers takes in place of GPT-2's own keys; GPT-J's are the same."""

GPT2 = Family(
    model_type="gpt2",
    title="GPT-2",
    architectures=frozenset({"GPT2LMHeadModel", "GPT2Model"}),
    rules=(
        Rule(
            "activation_function",
            "gelu_new",
            ("gelu_new", "gelu_pytorch_tanh"),
            "its activation_function is {value}, and GPT-2's is 'gelu_new'",
        ),
        Rule("scale_attn_weights", True, (True,), UNSCALED),
        Rule("scale_attn_by_inverse_layer_idx", False, (False, None), UNSCALED),
        Rule("add_cross_attention", False, (False, None), "it has cross-attention, which GPT-2 has not"),
    ),
    aliases=ALIASES,
    architecture=_architecture,
    eps_key="layer_norm_epsilon",
    tensors=_tensors,
    tied=("wte.weight", "lm_head.weight"),
    is_tied_by_default=True,
    prefixes=("transformer.",),
    unused=re.compile(r"h\.\d+\.attn\.(bias|masked_bias)"),
)
