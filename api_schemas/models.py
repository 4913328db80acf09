"""Models of the registry: their shape, and where they may come from."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from api_schemas.built_in_models import BUILT_IN
from api_schemas.frozen import Flag, Frozen
from api_schemas.model_shape import ModelShape

MAX_NAME = 128
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{,{MAX_NAME - 1}}}")
"""Names of models stand in URLs and in the names of queues."""

DEMO_FOLDER = Path(__file__).resolve().parent.parent / "pathpatch" / "demo_model"
"""The small model that ships with the project."""


HUB = "hub:"
"""What a hub repository begins with in ``PATHPATCH_MODELS``."""
_REPOSITORY = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?")


class ModelOrigin(Frozen):
    """Where a registered model is loaded from: a folder in Hugging Face format, a GGUF file, or the hub."""

    name: Annotated[str, Field(examples=["gpt2-small"])]
    """Name in the registry."""
    folder: Annotated[str | None, Field(examples=["/models/gpt2"])] = None
    """Local checkpoint folder, or a GGUF file."""
    repository: Annotated[str | None, Field(examples=["openai-community/gpt2"])] = None
    """Hub repository, looked for in the local hub cache first."""
    revision: Annotated[str | None, Field(examples=["main"])] = None
    """Branch, tag or commit of the repository; absent: its main branch."""


def parse_registry(local_models: str) -> dict[str, ModelOrigin]:
    """The registry: the demo model, the built-in names, and the operator's ``name=folder[,name=hub:owner/repository]``.

    A model registered under a built-in name takes that name's place.

    Raises:
        ValueError: An entry is not of this form, its name cannot stand in a URL, or two entries have one name.
    """
    registry = {"demo": ModelOrigin(name="demo", folder=str(DEMO_FOLDER))}
    registry |= {name: ModelOrigin(name=name, repository=known.repository) for name, known in BUILT_IN.items()}
    given: dict[str, ModelOrigin] = {}
    for entry in filter(None, map(str.strip, local_models.split(","))):
        name, separator, place = map(str.strip, entry.partition("="))
        if not (name and separator and place):
            raise ValueError(f"PATHPATCH_MODELS entry {entry!r} is not name=folder or name=hub:owner/repository")
        _check_name(name, place)
        if name in given:
            raise ValueError(
                f"PATHPATCH_MODELS gives the name {name!r} twice, to {_place(given[name])} and to {place}: "
                f"write another name for one of them, such as {name}-2={place}"
            )
        given[name] = _origin(name, place)
    return registry | given


def _origin(name: str, place: str) -> ModelOrigin:
    """What stands behind ``name=``."""
    if not place.startswith(HUB):
        return ModelOrigin(name=name, folder=str(Path(place).expanduser()))
    found = _REPOSITORY.fullmatch(place.removeprefix(HUB))
    if found is None:
        example = "hub:EleutherAI/pythia-70m or hub:EleutherAI/pythia-70m@step1000"
        raise ValueError(f"PATHPATCH_MODELS entry {name}={place}: write hub:owner/repository[@revision], as {example}")
    return ModelOrigin(name=name, repository=found[1], revision=found[2])


def _place(origin: ModelOrigin) -> str:
    revision = f"@{origin.revision}" if origin.revision else ""
    return origin.folder or f"{HUB}{origin.repository}{revision}"


def _check_name(name: str, folder: str) -> None:
    if NAME.fullmatch(name):
        return
    plain = "-".join(re.findall(r"[A-Za-z0-9._-]+", name.rpartition("/")[2]))[:MAX_NAME].lstrip("._-") or "mine"
    raise ValueError(
        f"PATHPATCH_MODELS entry {name!r}: a name has at most {MAX_NAME} letters, digits, '.', '_' and '-', and starts "
        f"with a letter or digit; write {plain}={folder}"
    )


class HooksOfModel(Frozen):
    """Which hooks can be senders, and which receivers."""

    senders: Annotated[list[str], Field(examples=[["z", "attn_out", "mlp_out", "post"]])]
    """Hooks of `senders`."""
    receivers: Annotated[list[str], Field(examples=[["q", "k", "v", "pattern", "pre"]])]
    """Hooks of `receivers`."""


class ModelArchitecture(Frozen):
    """What kind of decoder a model is, under TransformerLens' names."""

    family: Annotated[str, Field(examples=["llama"])]
    """`model_type` of its config.json."""
    n_layers: Annotated[int, Field(examples=[30])]
    """Layers."""
    n_heads: Annotated[int, Field(examples=[9])]
    """Query heads per layer: what `head` counts on `q z pattern`."""
    n_kv_heads: Annotated[int, Field(examples=[3])]
    """Key-value heads per layer, each read by a group of neighbouring query heads: what `head` counts on `k v`."""
    d_model: Annotated[int, Field(examples=[576])]
    """Width of the residual stream."""
    d_head: Annotated[int, Field(examples=[64])]
    """Width of one head."""
    d_mlp: Annotated[int, Field(examples=[1536])]
    """Neurons per MLP."""
    norm: Annotated[Literal["layer_norm", "rms_norm"], Field(examples=["rms_norm"])]
    """Its norms: of mean and variance, or of the mean square alone."""
    positions: Annotated[Literal["learned", "rotary"], Field(examples=["rotary"])]
    """Positions are embeddings in the residual stream, or rotations of queries and keys."""
    is_parallel: Flag
    """Whether attention and MLP of a layer read the same stream; then there is no `resid_mid`."""
    is_gated: Flag
    """Whether a neuron is `act(pre)` times a second branch; `pre` is the first, `mlp_in` the input of both."""
    has_post_norms: Flag
    """Whether what attention and MLP write is normalised first: then heads of one layer are not additive."""
    has_qk_norms: Flag
    """Whether each head's query and key are normalised, after their hooks."""
    windows: Annotated[list[int | None], Field(examples=[[None, None]])]
    """Keys that a query sees in each layer, itself included; null: all before it."""
    hooks: HooksOfModel
    """Hooks of this model."""


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
    architecture: ModelArchitecture | None = None
    """What kind of decoder it is; null until its files were found."""
    revision: Annotated[str | None, Field(examples=["607a30d783dfa663caf39e06633721c8d4cfcd7e"])] = None
    """Hub commit, or a digest of the local files."""
    max_prompt_tokens: Annotated[int | None, Field(examples=[1024])] = None
    """Longest prompt accepted."""
    workers: Annotated[list[str], Field(examples=[["worker-1"]])] = []
    """Workers that hold it now."""
