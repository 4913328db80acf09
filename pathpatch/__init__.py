"""Path patching as a service: the client, the specs, the results and their pictures.

>>> import pathpatch as pp
>>> spec = pp.path_patch(
...     senders=pp.heads("9.6", "9.9", "10.10"),
...     receivers=pp.query("10.7"),
...     dataset=pp.ioi(800),
...     metric=pp.attention_diff("end", "IO", "S1"),
... )
>>> result = pp.Client().run(spec)  # doctest: +SKIP
>>> result.histogram()  # doctest: +SKIP

Names are imported when first used, so that ``import pathpatch`` costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pathpatch.version import __version__ as __version__

if TYPE_CHECKING:
    from pathpatch.client import AsyncClient, AsyncJobHandle, Client, JobHandle
    from pathpatch.problems import JobFailed, PathPatchingError, ServiceError, SpecError, Unreachable, WaitTimedOut
    from pathpatch.results import Block, CircuitResult, Pooled, Result, pool
    from pathpatch.specs import (
        accuracy,
        activation_patch,
        attention,
        attention_diff,
        attn,
        circuit,
        embed,
        greater_than,
        heads,
        induction,
        ioi,
        js,
        key,
        kl,
        log_prob,
        logit,
        logit_diff,
        loss,
        mlp,
        mlp_in,
        neurons,
        path_patch,
        paths,
        pattern,
        pos_embed,
        prob,
        prob_diff,
        prompts,
        prompts_from,
        query,
        rank,
        resid,
        sweep,
        templates,
        tokens,
        value,
    )

_HOMES = {
    "pathpatch.client": ("AsyncClient", "AsyncJobHandle", "Client", "JobHandle"),
    "pathpatch.problems": (
        "JobFailed",
        "PathPatchingError",
        "ServiceError",
        "SpecError",
        "Unreachable",
        "WaitTimedOut",
    ),
    "pathpatch.results": ("Block", "CircuitResult", "Pooled", "Result", "pool"),
    "pathpatch.specs": (
        "accuracy",
        "activation_patch",
        "attention",
        "attention_diff",
        "attn",
        "circuit",
        "embed",
        "greater_than",
        "heads",
        "induction",
        "ioi",
        "js",
        "key",
        "kl",
        "log_prob",
        "logit",
        "logit_diff",
        "loss",
        "mlp",
        "mlp_in",
        "neurons",
        "path_patch",
        "paths",
        "pattern",
        "pos_embed",
        "prob",
        "prob_diff",
        "prompts",
        "prompts_from",
        "query",
        "rank",
        "resid",
        "sweep",
        "templates",
        "tokens",
        "value",
    ),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncClient",
    "AsyncJobHandle",
    "Block",
    "CircuitResult",
    "Client",
    "JobFailed",
    "JobHandle",
    "PathPatchingError",
    "Pooled",
    "Result",
    "ServiceError",
    "SpecError",
    "Unreachable",
    "WaitTimedOut",
    "__version__",
    "accuracy",
    "activation_patch",
    "attention",
    "attention_diff",
    "attn",
    "circuit",
    "embed",
    "greater_than",
    "heads",
    "induction",
    "ioi",
    "js",
    "key",
    "kl",
    "local",
    "log_prob",
    "logit",
    "logit_diff",
    "loss",
    "mlp",
    "mlp_in",
    "neurons",
    "path_patch",
    "paths",
    "pattern",
    "pool",
    "pos_embed",
    "prob",
    "prob_diff",
    "prompts",
    "prompts_from",
    "query",
    "rank",
    "resid",
    "sweep",
    "templates",
    "tokens",
    "value",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'pathpatch' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def local(**options: Any) -> Any:
    """Start a private stack (broker, worker, service) on this machine, and stop it at the end of the ``with`` block.

    >>> with pathpatch.local() as client:  # doctest: +SKIP
    ...     result = client.run(spec)

    Options as of :func:`pathpatch.local.local`; needs ``pip install 'pathpatch[local]'``.
    """
    return import_module("pathpatch.local").local(**options)


class _Package(ModuleType):
    """Keeps ``pathpatch.local`` the function, though importing the submodule of that name would rebind it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "local" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
