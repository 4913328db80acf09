"""Where a model of transformers keeps what path patching reads and sets: one row of names per ``model_type``."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel


@dataclass(frozen=True)
class Names:
    """Submodules, the embedding and the list of layers from the model, all others from a layer."""

    embed: str = "model.embed_tokens"
    layers: str = "model.layers"
    attn: str = "self_attn"
    ln1: str = "input_layernorm"
    ln2: str = "post_attention_layernorm"
    q: str = "self_attn.q_proj"
    k: str = "self_attn.k_proj"
    v: str = "self_attn.v_proj"
    o: str = "self_attn.o_proj"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    attn_writer: str = "self_attn.o_proj"
    """Whose output attention adds to the stream."""
    mlp_writer: str = "mlp.down_proj"


def _plain(attn: str, o: str, first: str, last: str, **names: str) -> Names:
    """With neurons that have no gate: both branches are the same."""
    heads = {hook: f"{attn}.{hook}_proj" for hook in "qkv"}
    neurons = {"gate": first, "up": first, "down": last, "mlp_writer": last}
    return Names(attn=attn, o=f"{attn}.{o}", attn_writer=f"{attn}.{o}", **{**heads, **neurons, **names})


_FUSED = "attention.query_key_value"
_POST_NORMS = Names(
    ln2="pre_feedforward_layernorm", attn_writer="post_attention_layernorm", mlp_writer="post_feedforward_layernorm"
)
_GPT = {"embed": "transformer.wte", "layers": "transformer.h", "ln1": "ln_1"}
NAMES = {
    "gpt_neo": _plain("attn.attention", "out_proj", "mlp.c_fc", "mlp.c_proj", **_GPT, ln2="ln_2"),
    "gpt_neox": _plain(
        "attention", "dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h",
        embed="gpt_neox.embed_in", layers="gpt_neox.layers", q=_FUSED, k=_FUSED, v=_FUSED,
    ),
    "gptj": _plain("attn", "out_proj", "mlp.fc_in", "mlp.fc_out", **_GPT, ln2="ln_1"),
    "opt": _plain(
        "self_attn", "out_proj", "fc1", "fc2",
        embed="model.decoder.embed_tokens", layers="model.decoder.layers",
        ln1="self_attn_layer_norm", ln2="final_layer_norm",
    ),
    "phi": _plain("self_attn", "dense", "mlp.fc1", "mlp.fc2", ln2="input_layernorm"),
    "phi3": Names(
        q="self_attn.qkv_proj", k="self_attn.qkv_proj", v="self_attn.qkv_proj",
        gate="mlp.gate_up_proj", up="mlp.gate_up_proj",
    ),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma"), Names()),
    **dict.fromkeys(("gemma2", "gemma3_text"), _POST_NORMS),
}  # fmt: skip


@dataclass(frozen=True)
class Hooked:
    """A model in which every query head has a key-value head of its own, and where its parts are."""

    model: PreTrainedModel
    group: int
    """Query heads that shared one key-value head before."""

    @property
    def family(self) -> str:
        return self.model.config.model_type

    @property
    def n_layers(self) -> int:
        return len(self.model.get_submodule(NAMES[self.family].layers))  # type: ignore[arg-type]

    @property
    def n_heads(self) -> int:
        return self.model.config.num_attention_heads

    @property
    def is_parallel(self) -> bool:
        """Whether attention and neurons of a layer read the same stream."""
        config = self.model.config
        return config.model_type in ("gptj", "phi") or getattr(config, "use_parallel_residual", False)

    @property
    def embedding(self) -> nn.Module:
        return self.model.get_submodule(NAMES[self.family].embed)

    def block(self, layer: int) -> nn.Module:
        return self.model.get_submodule(f"{NAMES[self.family].layers}.{layer}")

    def part(self, layer: int, name: str) -> nn.Module:
        """A part of a layer, by a field of ``Names``."""
        return self.block(layer).get_submodule(getattr(NAMES[self.family], name))

    def columns(self, layer: int, hook: str) -> Tensor:
        """Of an activation in its module's output, or input for ``z`` and ``post``: [unit within_unit]."""
        if hook in ("gate", "up", "post"):
            width = self.part(layer, "down").in_features
            if self.family == "phi3" and hook != "post":
                return torch.arange(2 * width).view(2, width, 1)[("gate", "up").index(hook)]
            return torch.arange(width).view(width, 1)
        width = self.part(layer, "o").in_features
        if hook == "z" or self.family not in ("gpt_neox", "phi3"):
            return torch.arange(width).view(self.n_heads, -1)
        if self.family == "phi3":
            return torch.arange(3 * width).view(3, self.n_heads, -1)["qkv".index(hook)]
        return torch.arange(3 * width).view(self.n_heads, 3, -1)[:, "qkv".index(hook)]


def ungrouped(model: PreTrainedModel) -> Hooked:
    """The same function with each key-value head once per query head that reads it, so that each can be set alone."""
    config = copy.deepcopy(model.config)
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    if shared == heads:
        return Hooked(model, 1)
    config.num_key_value_heads = heads
    tensors = {name: _repeated(name, value, heads, shared) for name, value in model.state_dict().items()}
    alike: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=model.dtype)
    alike.load_state_dict(tensors)
    return Hooked(alike.eval(), heads // shared)


def _repeated(name: str, value: Tensor, heads: int, shared: int) -> Tensor:
    if "qkv_proj" in name:
        per_head = value.unflatten(0, (heads + 2 * shared, -1))
        q, kv = per_head[:heads], per_head[heads:].repeat_interleave(heads // shared, dim=0)
        return torch.cat([q, kv]).flatten(0, 1)
    if "k_proj" in name or "v_proj" in name:
        return value.unflatten(0, (shared, -1)).repeat_interleave(heads // shared, dim=0).flatten(0, 1)
    return value
