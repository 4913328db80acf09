"""Senders and receivers of every kind, on a model of three layers of two heads, for property tests."""

from tests.tiny_weights import node

SENDERS = [
    [node("z", 0, head=1)],
    [node("z", 0)],
    [node("attn_out", 0)],
    [node("mlp_out", 0)],
    [node("post", 0, neuron=3)],
    [node("post", 0)],
    [node("resid_pre", 1)],
    [node("resid_mid", 0)],
    [node("resid_post", 0)],
    [node("embed")],
    [node("embed"), node("pos_embed")],
    [node("z", 0, head=0), node("mlp_out", 0), node("z", 1, head=1)],
]
RECEIVERS = [
    [node("q", 2, head=0)],
    [node("k", 2, head=1)],
    [node("v", 2)],
    [node("pattern", 2, head=0)],
    [node("pre", 2, neuron=5)],
    [node("pre", 2)],
    [node("resid_pre", 2)],
    [node("resid_mid", 2)],
    [node("resid_post", 2)],
    [node("v", 1, head=0)],
    [node("q", 1), node("k", 2, head=0), node("resid_post", 2)],
]
ATTENTION = {"kind": "attention", "query": "end", "key": "first", "head": {"layer": 2, "head": 0}}
