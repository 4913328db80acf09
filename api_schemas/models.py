"""Models of the registry: their shape, and where they may come from."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from api_schemas.frozen import Flag, Frozen


class ModelShape(Frozen):
    """Sizes of a GPT-2-architecture model, under TransformerLens' names."""

    n_layers: Annotated[int, Field(ge=1, examples=[12])]
    """Layers."""
    n_heads: Annotated[int, Field(ge=1, examples=[12])]
    """Heads per layer."""
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


def _gpt2(n_layers: int, n_heads: int, d_model: int) -> ModelShape:
    return ModelShape(n_layers=n_layers, n_heads=n_heads, d_model=d_model, d_mlp=4 * d_model, n_ctx=1024, d_vocab=50257)


FAMILY: dict[str, tuple[str, ModelShape]] = {
    "gpt2-small": ("openai-community/gpt2", _gpt2(12, 12, 768)),
    "gpt2-medium": ("openai-community/gpt2-medium", _gpt2(24, 16, 1024)),
    "gpt2-large": ("openai-community/gpt2-large", _gpt2(36, 20, 1280)),
    "gpt2-xl": ("openai-community/gpt2-xl", _gpt2(48, 25, 1600)),
    "distilgpt2": ("distilbert/distilgpt2", _gpt2(6, 12, 768)),
}
"""Hub repository and shape of the models known by name."""

MAX_NAME = 128
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{,{MAX_NAME - 1}}}")
"""Names of models stand in URLs and in the names of queues."""

DEMO_FOLDER = Path(__file__).resolve().parent.parent / "pathpatch" / "demo_model"
"""The small model that ships with the project."""


class ModelOrigin(Frozen):
    """Where a registered model is loaded from: a local folder in Hugging Face format, or a hub repository."""

    name: Annotated[str, Field(examples=["gpt2-small"])]
    """Name in the registry."""
    folder: Annotated[str | None, Field(examples=["/models/gpt2"])] = None
    """Local checkpoint folder."""
    repository: Annotated[str | None, Field(examples=["openai-community/gpt2"])] = None
    """Hub repository, looked for in the local hub cache first."""


def parse_registry(local_models: str) -> dict[str, ModelOrigin]:
    """The registry: the demo model, the GPT-2 family, and the operator's ``name=folder[,name=folder]``.

    A local folder registered under a family name takes that name's place.

    Raises:
        ValueError: An entry is not ``name=folder``, its name cannot stand in a URL, or two entries have one name.
    """
    registry = {"demo": ModelOrigin(name="demo", folder=str(DEMO_FOLDER))}
    registry |= {name: ModelOrigin(name=name, repository=repository) for name, (repository, _) in FAMILY.items()}
    local: dict[str, ModelOrigin] = {}
    for entry in filter(None, map(str.strip, local_models.split(","))):
        name, separator, folder = map(str.strip, entry.partition("="))
        if not (name and separator and folder):
            raise ValueError(f"PATHPATCH_MODELS entry {entry!r} is not name=folder")
        _check_name(name, folder)
        if name in local:
            raise ValueError(
                f"PATHPATCH_MODELS gives the name {name!r} twice, to {local[name].folder} and to {folder}: "
                f"write another name for one of them, such as {name}-2={folder}"
            )
        local[name] = ModelOrigin(name=name, folder=str(Path(folder).expanduser()))
    return registry | local


def _check_name(name: str, folder: str) -> None:
    if NAME.fullmatch(name):
        return
    plain = "-".join(re.findall(r"[A-Za-z0-9._-]+", name.rpartition("/")[2]))[:MAX_NAME].lstrip("._-") or "mine"
    raise ValueError(
        f"PATHPATCH_MODELS entry {name!r}: a name has at most {MAX_NAME} letters, digits, '.', '_' and '-', and starts "
        f"with a letter or digit; write {plain}={folder}"
    )


class ModelInfo(Frozen):
    """One model as clients see it."""

    object: Annotated[str, Field(examples=["model"])] = "model"
    """Always `model`."""
    name: Annotated[str, Field(examples=["gpt2-small"])]
    """Name to use in a spec."""
    available: Flag
    """Whether its files were found on this server."""
    reason: Annotated[str | None, Field(examples=[None])] = None
    """Why it is not available, with what was looked for and where."""
    shape: ModelShape | None = None
    """Its sizes."""
    revision: Annotated[str | None, Field(examples=["607a30d783dfa663caf39e06633721c8d4cfcd7e"])] = None
    """Hub commit, or a digest of the local files."""
    max_prompt_tokens: Annotated[int | None, Field(examples=[1024])] = None
    """Longest prompt accepted."""
    workers: Annotated[list[str], Field(examples=[["worker-1"]])] = []
    """Workers that hold it now."""
