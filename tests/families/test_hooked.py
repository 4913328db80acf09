"""Every family against transformers itself: the clean run, and path patches made of PyTorch hooks."""

import copy
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from api_schemas.models import ModelOrigin
from api_schemas.nodes import Node
from api_schemas.spec import ModelSpec
from planning.circuit import CircuitGraph
from planning.circuit_nodes import reader_nodes, writer_nodes
from tests.clean_runs import clean_logits
from tests.family_patches import padded
from tests.hooked import patch
from tests.hooked_circuits import circuit_logits
from tests.hooked_parts import Hooked, ungrouped
from tests.hooked_patches import Drawn, patches
from tests.random_configs import CONFIGS, Config
from tests.tiny_families import random_model
from tests.tiny_weights import LOGIT_DIFF, prompts, result_of
from tests.ways import paths_of, random_ways
from worker.engine.model import Weights
from worker.models.loading import load_model

GOLDEN = Path(__file__).parents[1] / "golden" / "families"
GOLDEN_TOLERANCE = 1e-4
CLEAN_TOLERANCE, TOLERANCE = 1e-5, 1e-4
"""Of the largest logit."""
LENGTHS = st.lists(st.sampled_from([7, 5, 9, 2, 1]), min_size=1, max_size=3)
PATCHES_OF_A_MODEL = 4
EXAMPLES = int(os.environ.get("HOOKED_EXAMPLES", 4))
"""Models of each family; set it higher to search for longer."""


# ---- the oracle itself ------------------------------------------------------------------------------------------


@cache
def golden_model(family: str) -> Hooked:
    return ungrouped(AutoModelForCausalLM.from_pretrained(GOLDEN / family / "model", attn_implementation="eager"))


def golden_cases() -> list[Any]:
    found = []
    for folder in sorted(GOLDEN.iterdir()):
        for case in json.loads((folder / "cases.json").read_text())["cases"]:
            found.append(pytest.param(folder.name, case, id=f"{folder.name}-{case['id']}"))
    return found


def golden_node(stored: dict[str, Any], case: dict[str, Any]) -> Node:
    if case.get("kv_index") == "query" and stored["hook"] in ("k", "v") and "head" in stored:
        stored = {**stored, "query_head": stored["head"], "head": None}
    return Node.model_validate(stored)


@pytest.mark.parametrize(("family", "case"), golden_cases())
def test_the_oracle_gives_the_golden_figures(family: str, case: dict[str, Any]) -> None:
    """Somebody else's engine computed them."""
    with np.load(GOLDEN / family / "arrays.npz") as arrays:
        orig, new = (torch.from_numpy(arrays[name]) for name in ("orig", "new"))
        logits, pattern = arrays[f"{case['id']}/logits"], arrays[f"{case['id']}/pattern"]
    if case["swap"]:
        orig, new = new, orig
    here = torch.ones_like(orig, dtype=torch.bool)
    if (positions := case["positions"]) is not None:
        here[:] = False
        for row in range(len(orig)):
            here[row, positions if isinstance(positions, int) else positions[row]] = True
    senders, receivers = ([golden_node(one, case) for one in case[end]] for end in ("senders", "receivers"))
    masks = {id(node): here for node in (*senders, *receivers)}
    through_mlps = not case["freeze_mlps"]
    final = patch(golden_model(family), orig, new, senders, receivers, masks, through_mlps, through_mlps)
    np.testing.assert_allclose(final.logits[:, -1], logits, atol=GOLDEN_TOLERANCE, rtol=0)
    patterns = torch.stack([pattern[:, :, -1] for pattern in final.patterns], dim=1)
    np.testing.assert_allclose(patterns, pattern, atol=GOLDEN_TOLERANCE, rtol=0)


# ---- random models of every family ------------------------------------------------------------------------------


@cache
def models(family: str) -> st.SearchStrategy[tuple[Config, int, float]]:
    """Config, seed and size of the weights."""
    return st.tuples(CONFIGS[family], st.integers(0, 999), st.sampled_from([0.3, 0.4, 0.5]))


@pytest.mark.parametrize("family", CONFIGS)
def test_a_random_model_is_that_of_transformers(family: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its clean logits, and any path patch of it, through the loader and the job."""

    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
    @given(models(family), LENGTHS, st.data())
    def holds(drawn: tuple[Config, int, float], lengths: list[int], data: st.DataObject) -> None:
        config, seed, scale = drawn
        model = random_model(family, config, seed, scale)
        folder = tmp_path_factory.mktemp("model")
        model.save_pretrained(folder / "model")
        registry = {"random": ModelOrigin(name="random", folder=str(folder / "model"))}
        weights = load_model("random", ModelSpec(name="random"), registry, "cpu", folder / "cache").weights
        check_clean_logits(model, weights, seed)
        hooked, dataset = ungrouped(model), prompts(lengths, seed)
        for _ in range(PATCHES_OF_A_MODEL):
            drawn_patch = data.draw(patches(weights.architecture, dataset))
            check_patch(hooked, weights, dataset, drawn_patch, data)
        if not weights.architecture.has_post_norms:  # where heads share a norm's factor, there is no reference
            check_circuits(hooked, weights, dataset, seed)
            check_paths(hooked, weights, dataset, seed)

    holds()


def check_clean_logits(model: Any, weights: Weights, seed: int) -> None:
    """At every position, up to a constant each where the unembedding is centred."""
    tokens = torch.randint(19, (2, 12), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected, found = model(tokens).logits, clean_logits(weights, tokens)
        precise = copy.deepcopy(model).double()(tokens).logits
    atol = CLEAN_TOLERANCE * expected.abs().max().item()
    # a few models magnify rounding so much that transformers differs from itself in float64
    assume((precise - expected).abs().max() <= atol / 5)
    np.testing.assert_allclose(uncentred(found, weights), uncentred(expected, weights), atol=atol, rtol=0)


def uncentred(logits: Tensor, weights: Weights) -> Tensor:
    return logits if weights.architecture.logit_cap else logits - logits.mean(-1, keepdim=True)


def check_patch(hooked: Hooked, weights: Weights, dataset: Any, drawn: Drawn, data: st.DataObject) -> None:
    """A difference of logits, a log probability and an attention of the last run."""
    final = patch(
        hooked, padded(dataset.orig), padded(dataset.new), drawn.senders, drawn.receivers, drawn.masks,
        drawn.through_mlps, drawn.overwrites,
    )  # fmt: skip
    layer = data.draw(st.integers(0, hooked.n_layers - 1))
    head, key = data.draw(st.integers(0, hooked.n_heads - 1)), data.draw(st.sampled_from(["first", "middle", "end"]))
    attention = {"kind": "attention", "query": "end", "key": key, "head": {"layer": layer, "head": head}}
    metrics = [LOGIT_DIFF, {"kind": "log_prob", "answer": "A"}, attention]
    found = result_of(weights, dataset, drawn.spec, metrics, output={"per_example": True}).arrays
    batch, end = torch.arange(len(dataset)), torch.tensor(dataset.roles["end"])
    logits, (a, b) = final.logits[batch, end], (torch.tensor(dataset.answers[name]) for name in "AB")
    atol = TOLERANCE * logits.abs().max().item()
    np.testing.assert_allclose(found["0/patched"], logits[batch, a] - logits[batch, b], atol=atol, rtol=0)
    np.testing.assert_allclose(found["1/patched"], logits.log_softmax(-1)[batch, a], atol=atol, rtol=0)
    pattern = final.patterns[layer][batch, head, end, torch.tensor(dataset.roles[key])]
    np.testing.assert_allclose(found["2/patched"], pattern, atol=TOLERANCE, rtol=0)


def check_circuits(hooked: Hooked, weights: Weights, dataset: Any, seed: int) -> None:
    """Random edge sets by a plain recursion, among them all edges but one, which is that edge's path patch."""
    graph, draws = CircuitGraph(weights.architecture), np.random.default_rng(seed)
    sets = {str(share): set(draws.choice(graph.names, int(share * len(graph)), replace=False)) for share in (0.2, 0.7)}
    edge = str(draws.choice(graph.names))
    circuits = {name: sorted(own) for name, own in sets.items()} | {
        "all but one": [e for e in graph.names if e != edge]
    }
    output = {"output": {"per_example": True}}
    found = result_of(weights, dataset, {"kind": "circuit", "edges": circuits}, **output)
    batch, end = torch.arange(len(dataset)), torch.tensor(dataset.roles["end"])
    for index, names in enumerate(circuits.values()):
        logits = circuit_logits(hooked, padded(dataset.orig), padded(dataset.new), set(names))[batch, end]
        expected = logits[batch, torch.tensor(dataset.answers["A"])] - logits[batch, torch.tensor(dataset.answers["B"])]
        atol = TOLERANCE * logits.abs().max().item()
        np.testing.assert_allclose(found.arrays[f"0/circuits/{index}/per_example"], expected, atol=atol, rtol=0)
    writer, reader = (int(end[graph.edge(edge)]) for end in graph.ends)
    ends = {
        "senders": [writer_nodes(graph)[writer].model_dump()],
        "receivers": [reader_nodes(graph)[reader].model_dump()],
    }
    removed = result_of(weights, dataset, ends, **output).arrays["0/patched"]
    np.testing.assert_allclose(found.arrays["0/circuits/2/per_example"], removed, atol=atol, rtol=0)


def check_paths(hooked: Hooked, weights: Weights, dataset: Any, seed: int) -> None:
    """A few ways from the embedding to the logits by the same recursion, orig and new swapped."""
    graph = CircuitGraph(weights.architecture)
    members = random_ways(graph, np.random.default_rng(seed))
    names = {graph.names[edge] for edge in np.flatnonzero(members)}
    swapped = dataset.model_copy(update={"orig": dataset.new, "new": dataset.orig})
    patch = {"paths": paths_of(graph, members)}
    found = result_of(weights, swapped, patch, [LOGIT_DIFF], output={"per_example": True}).arrays["0/patched"]
    batch, end = torch.arange(len(dataset)), torch.tensor(dataset.roles["end"])
    logits = circuit_logits(hooked, padded(dataset.orig), padded(dataset.new), names)[batch, end]
    expected = logits[batch, torch.tensor(dataset.answers["A"])] - logits[batch, torch.tensor(dataset.answers["B"])]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * logits.abs().max().item(), rtol=0)
