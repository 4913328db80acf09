"""A model's architecture as clients see it."""

from api_schemas.models import HooksOfModel, ModelArchitecture
from api_schemas.nodes import RECEIVER_HOOKS, SENDER_HOOKS
from planning.architecture import Architecture
from service.specs.model_hooks import why_no_hook


def told(architecture: Architecture) -> ModelArchitecture:
    """What ``GET /v1/models/{name}`` says of it."""
    return ModelArchitecture(
        family=architecture.family,
        n_layers=architecture.n_layers,
        n_heads=architecture.n_heads,
        n_kv_heads=architecture.n_kv_heads,
        d_model=architecture.d_model,
        d_head=architecture.d_head,
        d_mlp=architecture.d_mlp,
        norm=architecture.norm,
        positions="learned" if architecture.rotary is None else "rotary",
        is_parallel=architecture.is_parallel,
        is_gated=architecture.is_gated,
        has_post_norms=architecture.has_post_norms,
        has_qk_norms=architecture.has_qk_norms,
        windows=list(architecture.window_of),
        hooks=HooksOfModel(
            senders=[hook for hook in SENDER_HOOKS if why_no_hook(hook, architecture) is None],
            receivers=[hook for hook in RECEIVER_HOOKS if why_no_hook(hook, architecture) is None],
        ),
    )
