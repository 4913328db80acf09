"""Which hooks a model has, and how many heads each of them counts."""

from collections.abc import Iterator, Sequence

from api_schemas.nodes import Node, SweepOf
from planning.architecture import Architecture


def why_no_hook(hook: str, architecture: Architecture) -> str | None:
    """Why a model lacks a hook; None where it has it."""
    if hook == "resid_mid" and architecture.is_parallel:
        return (
            "this model's blocks are parallel: attention and MLP of a layer read the same resid_pre, and there is no "
            "stream between them"
        )
    if hook == "pos_embed" and architecture.rotary is not None:
        return "this model's positions are rotary: queries and keys are rotated, and no position embedding is added"
    return None


def head_name(hook: str, architecture: Architecture) -> str:
    """What ``head`` counts on a hook: ``head``, or ``key-value head`` where query heads share them."""
    is_grouped = architecture.n_kv_heads < architecture.n_heads and hook in ("k", "v")
    return "key-value head" if is_grouped else "head"


def uneven_heads(hooks: Sequence[str], architecture: Architecture) -> Iterator[str]:
    """Hooks of one sweep that count different heads, in words."""
    counts = {hook: architecture.n_heads_of(hook) for hook in hooks}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{hook} has {count} {head_name(hook, architecture)}s" for hook, count in counts.items())
        yield f"{told}: sweep them apart, or with heads 'joint'"


def shared_receivers(receivers: list[Node] | SweepOf, architecture: Architecture) -> Iterator[str]:
    """Why an attention metric cannot take its head from a receiver that several query heads read, in words."""
    size = architecture.group_size
    if size == 1:
        return
    if isinstance(receivers, SweepOf):
        shared = [hook for hook in receivers.sweep.hooks if hook in ("k", "v")]
        if shared:
            told = f"each key-value head of {shared[0]} is read by {size} query heads"
            yield f"{told}: name the head whose attention is read"
        return
    for node in receivers[:1]:
        # a head that does not exist is told at the node
        if node.hook in ("k", "v") and node.head is not None and node.head < architecture.n_kv_heads:
            first = node.head * size
            yield (
                f"key-value head {node.head} is read by query heads {first} to {first + size - 1}: name the head whose "
                f'attention is read, or give the receiver as "query_head" in place of "head"'
            )
