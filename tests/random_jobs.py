"""Random jobs on small random models, as hypothesis draws them: everything that a spec may ask for."""

from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from pydantic import ValidationError

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import ACTIVATION_HOOKS, HEAD_HOOKS, NEURON_HOOKS, RECEIVER_HOOKS, SENDER_HOOKS
from api_schemas.spec import JobSpec, ModelSpec
from planning.architecture import Architecture
from planning.graph import Graph
from planning.grid import sweep_sizes
from planning.prompts import Places
from service.specs.comparison import overlap_errors
from tests.tiny_models import tiny_shape

LONGEST = 7
MODELS = {
    "processed": (tiny_shape(n_layers=3, n_heads=2, d_head=4), {}),
    "raw": (
        tiny_shape(n_layers=2, n_heads=3, d_head=4, d_mlp=5),
        dict.fromkeys(ModelSpec.model_fields.keys() - {"name"}, False),
    ),
    "layer norm kept": (tiny_shape(n_layers=4, n_heads=1, d_head=6), {"fold_ln": False, "fold_value_biases": False}),
    "one layer": (tiny_shape(n_layers=1, n_heads=4, d_head=2), {"refactor_factored_attn_matrices": False}),
}
MODEL_NAMES = st.sampled_from(sorted(MODELS))


@st.composite
def datasets(draw: DrawFn, d_vocab: int) -> ResolvedDataset:
    """One to four pairs of prompts of equal or different lengths; roles ``A`` and ``B``, answers ``X`` and ``Y``.

    An answer is one token of each example, or a set of several.
    """
    lengths = draw(st.lists(st.integers(2, LONGEST), min_size=1, max_size=4))
    if draw(st.booleans()):
        lengths = [lengths[0]] * len(lengths)
    random = np.random.default_rng(draw(st.integers(0, 2**16)))

    def tokens() -> list[list[int]]:
        return [random.integers(0, d_vocab, length).tolist() for length in lengths]

    def places() -> list[int]:
        return [draw(st.integers(0, length - 1)) for length in lengths]

    def one_each() -> list[int]:
        return random.integers(0, d_vocab, len(lengths)).tolist()

    def sets() -> list[list[int]]:
        return [random.choice(d_vocab, random.integers(1, 5), replace=False).tolist() for _ in lengths]

    return ResolvedDataset(
        orig=tokens(),
        new=tokens(),
        roles={"A": places(), "B": places(), "end": [length - 1 for length in lengths]},
        answers={name: draw(st.sampled_from([one_each, sets]))() for name in ("X", "Y")},
    )


def positions(dataset: ResolvedDataset) -> st.SearchStrategy[Any]:
    """Every form that a spec allows, absent included."""
    shortest = min(map(len, dataset.orig))
    one = st.integers(0, shortest - 1) | st.sampled_from(["A", "B", "end"])
    per_example = st.tuples(*(st.lists(st.integers(0, len(prompt) - 1), max_size=3) for prompt in dataset.orig)).map(
        list
    )
    some = one | st.lists(one, min_size=1, max_size=3) | per_example
    return st.booleans().flatmap(lambda everywhere: st.none() if everywhere else some)


def layers(hooks: tuple[str, ...], n_layers: int) -> st.SearchStrategy[int]:
    """Senders rather early, receivers rather late, so that most patches have an effect."""
    two = st.tuples(st.integers(0, n_layers - 1), st.integers(0, n_layers - 1))
    return two.map(min if hooks == SENDER_HOOKS else max)


@st.composite
def nodes(draw: DrawFn, hooks: tuple[str, ...], shape: Architecture, dataset: ResolvedDataset) -> dict[str, Any]:
    hook = draw(st.sampled_from(hooks))
    node: dict[str, Any] = {"hook": hook}
    if hook not in ("embed", "pos_embed"):
        node["layer"] = draw(layers(hooks, shape.n_layers))
    if hook in HEAD_HOOKS:
        node["head"] = draw(st.none() | st.integers(0, shape.n_heads - 1))
    if hook in NEURON_HOOKS:
        node["neuron"] = draw(st.none() | st.integers(0, shape.d_mlp - 1))
    if draw(st.integers(0, 3)) == 0:
        node["positions"] = draw(positions(dataset))
    return node


@st.composite
def sweeps(draw: DrawFn, hooks: tuple[str, ...], shape: Architecture) -> dict[str, Any]:
    hooks = tuple(hook for hook in hooks if hook not in ("embed", "pos_embed"))
    several = draw(st.booleans())
    hook = draw(
        st.lists(st.sampled_from(hooks), min_size=2, max_size=3, unique=True) if several else st.sampled_from(hooks)
    )
    sweep: dict[str, Any] = {"hook": hook}
    used = set(hook) if several else {hook}
    sweep["layers"] = draw(st.just("all") | index_lists(shape.n_layers))
    if used <= HEAD_HOOKS:
        sweep["heads"] = draw(st.sampled_from(["all", "joint", None]) | index_lists(shape.n_heads))
    if used <= NEURON_HOOKS:
        sweep["neurons"] = draw(st.sampled_from(["joint", None]) | index_lists(shape.d_mlp))
    sweep["positions"] = draw(
        st.none() | st.just("each") | st.lists(st.sampled_from(["A", "end", 0, 1]), min_size=1, max_size=2, unique=True)
    )
    return {"sweep": sweep}


def index_lists(size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, size - 1), min_size=1, max_size=2, unique=True)


def metrics(shape: Architecture) -> st.SearchStrategy[list[dict[str, Any]]]:
    """One to three metrics, attention of any head included."""
    place = st.sampled_from(["end", "end", "end", "A", "B", 0, 1])
    head = st.fixed_dictionaries(
        {"layer": st.integers(0, shape.n_layers - 1), "head": st.integers(0, shape.n_heads - 1)}
    )
    kinds = [
        {"kind": st.just("attention"), "query": place, "key": place, "head": head},
        {"kind": st.just("attention_diff"), "query": place, "key": place, "minus_key": place, "head": head},
        {"kind": st.just("logit_diff"), "answer": st.just("X"), "minus_answer": st.just("Y"), "position": place},
        {"kind": st.just("prob_diff"), "answer": st.just("X"), "minus_answer": st.just("Y"), "position": place},
        {"kind": st.just("kl"), "position": place},
        {"kind": st.just("js"), "position": place},
        {"kind": st.just("loss")},
        *({"kind": st.just(kind), "answer": st.just("X"), "position": place} for kind in ("logit", "prob", "log_prob")),
    ]
    return st.lists(st.one_of([st.fixed_dictionaries(kind) for kind in kinds]), min_size=1, max_size=4)


SOURCES = st.sampled_from(["new", "new", "zero", "mean"])


def ends(hooks: tuple[str, ...], shape: Architecture, dataset: ResolvedDataset, swept: bool) -> st.SearchStrategy[Any]:
    several = st.lists(nodes(hooks, shape, dataset), min_size=1, max_size=3)
    return sweeps(hooks, shape) if swept else several


@st.composite
def jobs(
    draw: DrawFn, name: str, kind: str, sender_sweep: bool, receiver_sweep: bool, per_example: bool = True
) -> tuple[JobSpec, ResolvedDataset]:
    """A job that the schemas accept."""
    shape = MODELS[name][0]
    dataset = draw(datasets(shape.d_vocab))
    patch: dict[str, Any] = {"kind": kind, "source": draw(SOURCES), "positions": draw(positions(dataset))}
    if patch["source"] == "mean":
        patch["mean_over"] = draw(st.sampled_from(["position", "all"]))
    if kind == "activation":
        hooks = ACTIVATION_HOOKS
        patch["nodes"] = draw(ends(hooks, shape, dataset, sender_sweep))
    else:
        patch["senders"] = draw(ends(SENDER_HOOKS, shape, dataset, sender_sweep))
        patch["receivers"] = draw(ends(RECEIVER_HOOKS, shape, dataset, receiver_sweep))
        patch["direct_includes_mlps"] = draw(st.booleans())
        patch["receiver_update"] = draw(st.sampled_from([None, None, "add", "overwrite"]))
    measured = draw(metrics(shape))
    if swept_single_heads(patch.get("receivers")) and draw(st.booleans()):
        measured = [{key: value for key, value in metric.items() if key != "head"} for metric in measured]
    try:
        spec = JobSpec.model_validate(
            {
                "model": {"name": name},
                "dataset": {"kind": "tokens", **dataset.model_dump(exclude={"start"})},
                "patch": patch,
                "metrics": measured,
                "output": {"per_example": per_example},
            }
        )
    except ValidationError:  # a hook that cannot be swept with another, and the like
        assume(False)
    assume(not list(overlap_errors(spec.patch, Places(spec.patch.positions, dataset, Graph(shape)))))
    assume(sweep_sizes(spec.patch, shape, dataset.longest) <= 24)
    return spec, dataset


def swept_single_heads(receivers: Any) -> bool:
    """Whether each cell's own head can be an attention metric's default."""
    if not isinstance(receivers, dict):
        return False
    hook, heads = receivers["sweep"]["hook"], receivers["sweep"].get("heads")
    return {hook} <= HEAD_HOOKS and heads != "joint" if isinstance(hook, str) else False
