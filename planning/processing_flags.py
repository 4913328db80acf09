"""Which of TransformerLens' ways of processing weights leave a model's function as it is, and why others do not."""

from planning.architecture import Architecture


def inapplicable_flags(architecture: Architecture) -> dict[str, str]:
    """The flags of a ``ModelSpec`` that cannot apply to a model, each with the reason in words.

    Every other flag leaves the model's function as it is: log probabilities, not logits, of ``center_unembed``.
    """
    found = {
        "center_writing_weights": _uncentred(architecture),
        "center_unembed": _uncentred_logits(architecture),
        "refactor_factored_attn_matrices": _unfactored(architecture),
        "fold_value_biases": None if architecture.has_value_biases else "this model's values have no biases",
    }
    return {flag: reason for flag, reason in found.items() if reason is not None}


def _uncentred(architecture: Architecture) -> str | None:
    if architecture.norm == "rms_norm":
        return "this model's RMSNorm reads the mean of the residual stream, which LayerNorm subtracts"
    if architecture.has_post_norms:
        return "this model normalises what attention and MLP write"
    return None


def _uncentred_logits(architecture: Architecture) -> str | None:
    if architecture.logit_cap is None:
        return None
    return f"this model caps its logits at {architecture.logit_cap:g}, so a shift of all logits changes probabilities"


def _unfactored(architecture: Architecture) -> str | None:
    if architecture.rotary is not None:
        return "this model rotates queries and keys, so their product is no fixed matrix"
    if architecture.has_qk_norms:
        return "this model normalises queries and keys, so their product is no fixed matrix"
    if architecture.group_size > 1:
        return "this model's query heads share their keys and values"
    return None
