"""All families, and why the model of a config.json cannot be run."""

from checkpoints.families.gemma import GEMMA_FAMILIES
from checkpoints.families.gpt2 import GPT2
from checkpoints.families.llama import LLAMA_FAMILIES
from checkpoints.families.neo import NEO_FAMILIES
from checkpoints.families.record import Config, Family

FAMILIES = {family.model_type: family for family in (GPT2, *NEO_FAMILIES, *LLAMA_FAMILIES, *GEMMA_FAMILIES)}
"""By ``model_type``."""

REFUSED = {
    "quantization_config": "it is quantised (quantization_config), and quantised weights are not loaded",
    "compression_config": "it is quantised (compression_config), and quantised weights are not loaded",
    "auto_map": "its config.json brings code of its own (auto_map), which is never run",
    "pruned_heads": "some of its heads are pruned (pruned_heads), so heads would not be those of config.json",
    "is_encoder_decoder": "it is an encoder-decoder (is_encoder_decoder), and only decoders can be run",
    "alibi": "its positions are linear biases of attention (alibi), which cannot be run",
    "add_cross_attention": "it has cross-attention (add_cross_attention), and only decoders without can be run",
}
"""Keys that no family may set, and why."""
NATIVE = ("phi", "phi3")
"""Families whose checkpoints name their authors' code although transformers has the same as its own."""
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def unsupported(config: Config) -> str | None:
    """Why the model of a ``config.json`` cannot be run here, in words; None where it can."""
    model_type = config.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    listed = config.get("architectures")
    architectures = [str(name) for name in listed] if isinstance(listed, list) else []
    for key in EXPERTS:
        if isinstance(config.get(key), int) and config[key] > 1:
            return f"it has {config[key]} experts ({key}), and mixtures of experts cannot be run"
    if family is None or not family.architectures.issuperset(architectures):
        known = ", ".join(sorted(family.title for family in FAMILIES.values()))
        named = ", ".join(architectures) or "not named"
        return f"its architecture is {named} ({model_type}), and only these can be run: {known}"
    for key, reason in REFUSED.items():
        if config.get(key) and not (key == "auto_map" and model_type in NATIVE):
            return reason
    return next(filter(None, (rule.problem(config) for rule in family.rules)), None) or _contradiction(family, config)


def _contradiction(family: Family, config: Config) -> str | None:
    for alias, key in family.aliases.items():
        if alias in config and key in config and config[alias] != config[key]:
            return f"config.json says {key} {config[key]!r} and {alias} {config[alias]!r}, which are the same thing"
    return None
