"""A model's sizes and particulars: all that planning, pricing and the engine know of it besides its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from api_schemas.model_shape import ModelShape

Activation = Literal["gelu_tanh", "gelu", "relu", "silu"]
"""``gelu_tanh`` is GPT-2's ``gelu_new``."""


@dataclass(frozen=True)
class Rotary:
    """How queries and keys are rotated by their position, after projection and after a norm on them."""

    frequencies: tuple[float, ...]
    """Radians per position of each pair of dimensions, scaling included; so many pairs are rotated."""
    is_interleaved: bool = False
    """Whether pairs are neighbours (GPT-J); else the first half of the rotated dimensions pairs with the second."""
    factor: float = 1.0
    """Of cosine and sine: yarn's attention factor."""

    @property
    def n_dims(self) -> int:
        """Dimensions of a head that are rotated."""
        return 2 * len(self.frequencies)


@dataclass(frozen=True)
class Architecture:
    """A decoder, under TransformerLens' names. What is left out is as in GPT-2."""

    n_layers: int
    n_heads: int
    """Query heads per layer."""
    d_model: int
    d_mlp: int
    n_ctx: int
    """Longest prompt, in tokens."""
    d_vocab: int
    family: str = "gpt2"
    """``model_type`` of config.json."""
    n_kv_heads: int = 0
    """Key-value heads per layer, each read by a group of neighbouring query heads; 0 becomes ``n_heads``."""
    d_head: int = 0
    """0 becomes ``d_model / n_heads``."""
    norm: Literal["layer_norm", "rms_norm"] = "layer_norm"
    eps: float = 1e-5
    activation: Activation = "gelu_tanh"
    is_gated: bool = False
    """Whether neurons are ``act(pre) * pre_linear``; ``pre`` is the gate's branch."""
    is_parallel: bool = False
    """Whether attention and MLP of a layer read the same stream; then there is no ``resid_mid``."""
    has_post_norms: bool = False
    """Whether what attention and MLP write is normalised first."""
    has_qk_norms: bool = False
    """Whether each head's queries and keys are normalised, before their rotation."""
    rotary: Rotary | None = None
    """None: positions are learned embeddings."""
    local_rotary: Rotary | None = None
    """Of layers with a window, where they have one of their own (Gemma 3)."""
    windows: tuple[int | None, ...] = ()
    """Keys that a query sees in each layer, itself included; None: all. Empty: no layer has a window."""
    attention_divisor: float = 0.0
    """Scores are divided by it; 0 becomes ``sqrt(d_head)``."""
    attention_cap: float | None = None
    """Scores become ``cap * tanh(score / cap)``."""
    logit_cap: float | None = None
    """Logits likewise."""
    has_value_biases: bool = True
    """Whether values have biases: their own, or LayerNorm's once it is folded."""
    group_size: int = field(init=False)
    """Query heads that read one key-value head."""
    has_positioned_keys: bool = field(init=False)
    """Whether keys are normalised or rotated between their hook and the score."""
    window_of: tuple[int | None, ...] = field(init=False)
    """``windows``, of every layer in any case."""
    rotary_of: tuple[Rotary | None, ...] = field(init=False)
    """How each layer rotates."""

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: A size is no positive integer, or key-value heads do not divide the heads.
        """
        for name in ("n_layers", "n_heads", "d_model", "d_mlp", "n_ctx", "d_vocab"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} is {value!r}, and must be a positive integer")
        filled = {"n_kv_heads": self.n_heads, "d_head": self.d_model // self.n_heads}
        for name, value in filled.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_heads} heads cannot share {self.n_kv_heads} key-value heads")
        windows = self.windows or (None,) * self.n_layers
        local = self.local_rotary or self.rotary
        derived = {
            "attention_divisor": self.attention_divisor or float(self.d_head**0.5),
            "group_size": self.n_heads // self.n_kv_heads,
            "has_positioned_keys": self.rotary is not None or self.has_qk_norms,
            "window_of": windows,
            "rotary_of": tuple(self.rotary if window is None else local for window in windows),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def n_heads_of(self, hook: str) -> int:
        """Heads that an activation counts: key-value heads for ``k`` and ``v``."""
        return self.n_kv_heads if hook in ("k", "v") else self.n_heads

    @property
    def shape(self) -> ModelShape:
        """The sizes that clients see."""
        return ModelShape(
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            d_model=self.d_model,
            d_mlp=self.d_mlp,
            n_ctx=self.n_ctx,
            d_vocab=self.d_vocab,
        )


def architecture_from(stored: Mapping[str, Any]) -> Architecture:
    """An architecture as ``dataclasses.asdict`` and JSON have it."""
    rotaries = {
        name: Rotary(**{**value, "frequencies": tuple(value["frequencies"])})
        for name, value in stored.items()
        if name in ("rotary", "local_rotary") and value is not None
    }
    given = {part.name: stored[part.name] for part in fields(Architecture) if part.init and part.name in stored}
    return Architecture(**{**given, **rotaries, "windows": tuple(stored["windows"])})
