"""What the service must know of one model, read from its files alone. Never imports torch or transformers."""

import logging
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from api_schemas.built_in_models import BUILT_IN, known_by
from api_schemas.errors import ModelUnavailable
from api_schemas.models import ModelOrigin
from checkpoints.files import UnusableCheckpoint
from checkpoints.folder import configuration, is_gguf, revision
from checkpoints.gguf.header import read_gguf
from checkpoints.weights import check_values, check_weights
from planning.architecture import Architecture
from service.models.gguf_tokenizer import tokenizer_of
from service.models.tokenizers import read_tokenizer

log = logging.getLogger(__name__)

HUB_TIMEOUT_S = 3.0
HUB_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)


@dataclass(frozen=True)
class CatalogModel:
    """What the service must know of a model to resolve a spec."""

    name: str
    architecture: Architecture
    tokenizer: Tokenizer | None
    """None where the folder has none that can be used: the model then takes ``tokens`` datasets only."""
    bos_id: int | None
    """Id of the beginning-of-text token."""
    revision: str
    """Hub commit, or a digest of the local files."""
    folder: Path
    text_problem: str | None = None
    """Why there is none, where the folder has one."""
    adds_bos: bool = False
    """Whether the tokenizer itself begins every text with ``bos_id``."""


def read_model(origin: ModelOrigin, folder: Path) -> CatalogModel:
    """A model from its folder.

    Raises:
        ModelUnavailable: It cannot be run; says why.
    """
    try:
        found = configuration(folder)
        if origin.folder is not None:
            check_weights(folder, found)
            check_values(folder)
        elif any(folder.glob("*.safetensors")):
            check_weights(folder, found)
        text = tokenizer_of(read_gguf(folder).metadata) if is_gguf(folder) else read_tokenizer(folder, found.config)
        commit = revision(folder) if origin.folder is not None else folder.name
    except UnusableCheckpoint as exc:
        raise ModelUnavailable(origin.name, f"{exc.reason}.") from exc
    return CatalogModel(
        origin.name, found.architecture, text.tokenizer, text.bos_id, commit, folder, text.problem, text.adds_bos
    )


def locate(origin: ModelOrigin, may_download: bool) -> Path:
    """The model's folder; of a hub model the snapshot in the local cache, named by its commit.

    Raises:
        ModelUnavailable: It is not in the cache and may not be, or cannot be, fetched.
    """
    if origin.folder is not None:
        return Path(origin.folder)
    return _hub_folder(origin, may_download)


def looked_in(origin: ModelOrigin) -> str:
    """For the operator's log alone: clients read file names, and no path of the server."""
    from huggingface_hub import constants

    return str(origin.folder or constants.HF_HUB_CACHE)


def _hub_folder(origin: ModelOrigin, may_download: bool) -> Path:
    from huggingface_hub import constants, try_to_load_from_cache

    name, repository = origin.name, str(origin.repository)
    cached = try_to_load_from_cache(repository, "config.json", revision=origin.revision)
    if isinstance(cached, str):
        return Path(cached).parent
    looked = f"looked for {repository} in the server's hub cache"
    known = BUILT_IN.get(known_by(repository) or "")
    hint = f"A local folder can be registered: PATHPATCH_MODELS={name}=FOLDER."
    if known is not None and known.access:
        hint = f"{known.access} {hint}"
    if constants.HF_HUB_OFFLINE:
        raise ModelUnavailable(name, f"{looked}, and not on the hub (HF_HUB_OFFLINE is set). {hint}")
    if not may_download:
        raise ModelUnavailable(name, f"{looked}. The first job that names it looks for it on the hub. {hint}")
    try:
        return _download(repository, origin.revision)
    except Exception as exc:  # the network and the hub fail in many ways; all of them mean the same here
        log.info("%s could not be fetched from the hub", repository, exc_info=exc)
        raise ModelUnavailable(name, f"{looked} and on the hub, which {_refusal(exc)}. {hint}") from exc


def _refusal(exc: Exception) -> str:
    """What the hub answered, if it answered."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    told = {
        GatedRepoError: "does not give it to this server",
        RevisionNotFoundError: "has no such revision of it",
        RepositoryNotFoundError: "has none that this server may read",
    }
    known = next((sentence for kind, sentence in told.items() if isinstance(exc, kind)), None)
    return known or f"could not be reached ({type(exc).__name__})"


def _download(repository: str, revision: str | None) -> Path:
    """Fetch the small files. One quick request first: the hub library itself retries for half a minute."""
    import httpx
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    httpx.head(hf_hub_url(repository, "config.json", revision=revision), timeout=HUB_TIMEOUT_S)
    folder = Path(hf_hub_download(repository, "config.json", revision=revision, etag_timeout=HUB_TIMEOUT_S)).parent
    for file_name in HUB_FILES[1:]:
        try:
            hf_hub_download(repository, file_name, revision=folder.name, etag_timeout=HUB_TIMEOUT_S)
        except EntryNotFoundError:
            log.info("%s has no %s", repository, file_name)
    return folder
