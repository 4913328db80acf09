"""The sizes of a model."""

from typing import Annotated, Any

from pydantic import Field

from api_schemas.frozen import Frozen


class ModelShape(Frozen):
    """Sizes of a model, under TransformerLens' names."""

    n_layers: Annotated[int, Field(ge=1, examples=[12])]
    """Layers."""
    n_heads: Annotated[int, Field(ge=1, examples=[12])]
    """Query heads per layer."""
    d_model: Annotated[int, Field(ge=1, examples=[768])]
    """Width of the residual stream."""
    d_mlp: Annotated[int, Field(ge=1, examples=[3072])]
    """Neurons per MLP."""
    n_ctx: Annotated[int, Field(ge=1, examples=[1024])]
    """Longest prompt, in tokens."""
    d_vocab: Annotated[int, Field(ge=1, examples=[50257])]
    """Tokens of the vocabulary."""

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ModelShape":
        """The shape that a Hugging Face ``config.json`` of a GPT-2 states.

        Raises:
            KeyError: A size is missing.
        """
        width = config["n_embd"]
        return cls(
            n_layers=config["n_layer"],
            n_heads=config["n_head"],
            d_model=width,
            d_mlp=config.get("n_inner") or 4 * width,
            n_ctx=config["n_positions"],
            d_vocab=config["vocab_size"],
        )
