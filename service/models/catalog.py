"""The models that specs may name: their shape and tokenizer, from files alone. Never imports torch or transformers."""

import hashlib
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from api_schemas.errors import ModelUnavailable, UnknownModel
from api_schemas.models import (
    FAMILY,
    REVISION_FILES,
    ModelInfo,
    ModelOrigin,
    ModelShape,
    local_revision,
    unsupported_architecture,
)

log = logging.getLogger(__name__)

RETRY_AFTER_S = 30.0
"""For how long an unavailable model is not looked for again."""
HUB_TIMEOUT_S = 3.0
HUB_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class CatalogModel:
    """What the service must know of a model to resolve a spec."""

    name: str
    shape: ModelShape
    tokenizer: Tokenizer | None
    """None where the folder has none: the model then takes ``tokens`` datasets only."""
    bos_id: int | None
    """Id of the beginning-of-text token."""
    revision: str
    """Hub commit, or a digest of the local files."""
    folder: Path


@dataclass(frozen=True)
class _Missing:
    """A model that was looked for in vain."""

    reason: str
    looked_at: float


class ModelCatalog:
    """The registry's models, each read when it is first asked for and then kept. Safe to use from several threads."""

    def __init__(self, registry: dict[str, ModelOrigin], clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._found: dict[str, CatalogModel | _Missing] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._tokenizers: dict[str, Tokenizer] = {}

    def get(self, name: str) -> CatalogModel:
        """A model, its small files fetched from the hub if need be.

        Raises:
            UnknownModel: It is not in the registry.
            ModelUnavailable: Its files are not there, or it is not a GPT-2; says what was looked for and where.
        """
        return self._get(name, may_download=True)

    def list(self) -> list[ModelInfo]:
        """All models of the registry, in its order; nothing is downloaded."""
        return [self.info(name) for name in self._registry]

    def info(self, name: str) -> ModelInfo:
        """One model as clients see it; nothing is downloaded.

        Raises:
            UnknownModel: It is not in the registry.
        """
        try:
            model = self._get(name, may_download=False)
        except ModelUnavailable as exc:
            known = self._registry[name].repository
            shape = next((shape for repository, shape in FAMILY.values() if repository == known), None)
            return ModelInfo(name=name, available=False, reason=exc.reason, shape=shape)
        return ModelInfo(
            name=name,
            available=True,
            shape=model.shape,
            revision=model.revision,
            max_prompt_tokens=model.shape.n_ctx,
        )

    def _get(self, name: str, may_download: bool) -> CatalogModel:
        origin = self._registry.get(name)
        if origin is None:
            raise UnknownModel(name, list(self._registry))
        with self._locks[name]:
            found = self._found.get(name)
            if isinstance(found, _Missing) and self._clock() - found.looked_at < RETRY_AFTER_S:
                raise ModelUnavailable(name, found.reason)
            if isinstance(found, CatalogModel):
                return found
            try:
                self._found[name] = model = self._read(origin, may_download)
            except ModelUnavailable as exc:
                if may_download or origin.folder is not None:
                    log.warning("model %s is unavailable: %s", name, exc.reason, extra={"folder": _looked_in(origin)})
                    self._found[name] = _Missing(exc.reason, self._clock())
                raise
            return model

    def _read(self, origin: ModelOrigin, may_download: bool) -> CatalogModel:
        name = origin.name
        if origin.folder is not None:
            folder, revision = Path(origin.folder), None
            _check_weights(name, folder)
        else:
            folder = _hub_folder(name, str(origin.repository), may_download)
            revision = folder.name
        shape, config = _shape(name, folder)
        tokenizer = self._tokenizer(name, folder)
        bos_id = _bos_id(folder, config, tokenizer)
        return CatalogModel(name, shape, tokenizer, bos_id, revision or _revision(folder), folder)

    def _tokenizer(self, name: str, folder: Path) -> Tokenizer | None:
        """The folder's tokenizer; models whose files are equal share one, for it is most of what a model costs."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            return None
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._tokenizers:
            try:
                tokenizer = Tokenizer.from_buffer(content)
            except Exception as exc:  # the library raises bare Exceptions
                raise ModelUnavailable(name, f"its tokenizer.json cannot be read: {exc}") from exc
            tokenizer.no_truncation()
            tokenizer.no_padding()
            self._tokenizers[digest] = tokenizer
        return self._tokenizers[digest]


def _shape(name: str, folder: Path) -> tuple[ModelShape, dict[str, Any]]:
    path = folder / "config.json"
    if not folder.is_dir():
        raise ModelUnavailable(name, "its folder does not exist.")
    if not path.is_file():
        raise ModelUnavailable(name, "looked for config.json in its folder, which has none.")
    try:
        config = json.loads(path.read_bytes())
        reason = unsupported_architecture(config)
        if reason is None:
            return ModelShape.from_config(config), config
    except KeyError as exc:
        reason = f"config.json has no {exc}"
    except (ValueError, AttributeError, TypeError) as exc:
        reason = f"config.json is damaged ({type(exc).__name__})"
    raise ModelUnavailable(name, f"{reason}.")


def _check_weights(name: str, folder: Path) -> None:
    """A worker will look for these; better to say now that they are not there."""
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    found = f"only {', '.join(pickles)}; pickled weights are never loaded" if pickles else "none"
    if (folder / "config.json").is_file():
        raise ModelUnavailable(name, f"looked for model.safetensors in its folder, which has {found}.")


def _bos_id(folder: Path, config: dict[str, Any], tokenizer: Tokenizer | None) -> int | None:
    """Of the tokenizer's ``bos_token``; else the ``bos_token_id`` of the configuration."""
    token: Any = None
    path = folder / "tokenizer_config.json"
    if path.is_file():
        try:
            token = json.loads(path.read_bytes()).get("bos_token")
        except (ValueError, AttributeError):
            log.warning("%s is damaged and was not used", path)
    if isinstance(token, dict):
        token = token.get("content")
    if isinstance(token, str) and tokenizer is not None:
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    number = config.get("bos_token_id")
    return number if isinstance(number, int) else None


def _revision(folder: Path) -> str:
    digests: dict[str, str] = {}
    for path in (path for pattern in REVISION_FILES for path in folder.glob(pattern)):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return local_revision(digests)


def _looked_in(origin: ModelOrigin) -> str:
    """For the operator's log alone: clients read file names, and no path of the server."""
    from huggingface_hub import constants

    return str(origin.folder or constants.HF_HUB_CACHE)


def _hub_folder(name: str, repository: str, may_download: bool) -> Path:
    """The repository's snapshot in the local hub cache, named by its commit."""
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "config.json")
    if isinstance(cached, str):
        return Path(cached).parent
    looked = f"looked for {repository} in the server's hub cache"
    hint = f"A local folder can be registered: PATHPATCH_MODELS={name}=FOLDER."
    if constants.HF_HUB_OFFLINE:
        raise ModelUnavailable(name, f"{looked}, and not on the hub (HF_HUB_OFFLINE is set). {hint}")
    if not may_download:
        raise ModelUnavailable(name, f"{looked}. The first job that names it looks for it on the hub. {hint}")
    try:
        return _download(repository)
    except Exception as exc:  # the network and the hub fail in many ways; all of them mean the same here
        log.info("%s could not be fetched from the hub", repository, exc_info=exc)
        raise ModelUnavailable(
            name, f"{looked} and on the hub, which could not be reached ({type(exc).__name__}). {hint}"
        ) from exc


def _download(repository: str) -> Path:
    """Fetch the small files. One quick request first: the hub library itself retries for half a minute."""
    import httpx
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    httpx.head(hf_hub_url(repository, "config.json"), timeout=HUB_TIMEOUT_S)
    folder = Path(hf_hub_download(repository, "config.json", etag_timeout=HUB_TIMEOUT_S)).parent
    for file_name in HUB_FILES[1:]:
        try:
            hf_hub_download(repository, file_name, revision=folder.name, etag_timeout=HUB_TIMEOUT_S)
        except EntryNotFoundError:
            log.info("%s has no %s", repository, file_name)
    return folder
