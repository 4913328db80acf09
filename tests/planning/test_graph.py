"""Where activations lie in a layer."""

from api_schemas.nodes import EMBEDDING_HOOKS, HEAD_HOOKS, NEURON_HOOKS, NODE_HOOKS
from planning.graph import is_in_attention, is_in_mlp


def test_heads_lie_within_attention_and_neurons_within_the_mlp() -> None:
    """The final run computes only what a patch names there; what a whole layer writes lies in neither."""
    assert {hook for hook in NODE_HOOKS if is_in_attention(hook)} == HEAD_HOOKS
    assert {hook for hook in NODE_HOOKS if is_in_mlp(hook)} == NEURON_HOOKS
    assert not any(is_in_attention(hook) or is_in_mlp(hook) for hook in (*EMBEDDING_HOOKS, "attn_out", "mlp_out"))
