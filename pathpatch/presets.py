"""Starting specs with comments, filled in for a model: its last layer, and heads worth patching."""

import json
from collections.abc import Iterator
from importlib.resources import files
from string import Template
from typing import Any, NamedTuple, Protocol

import yaml

from api_schemas.built_in_models import BUILT_IN
from api_schemas.datasets import PromptsDataset, TokensDataset
from api_schemas.model_shape import ModelShape
from api_schemas.models import ModelArchitecture


class Sizes(Protocol):
    """What a preset asks of a model's shape."""

    @property
    def n_layers(self) -> int: ...
    @property
    def n_heads(self) -> int: ...


class LayersAndHeads(NamedTuple):
    """What is known of a model: its sizes."""

    n_layers: int
    n_heads: int
    n_kv_heads: int = 0
    """Key-value heads per layer, where query heads share them; 0: each has its own."""

    @property
    def is_grouped(self) -> bool:
        """Whether ``k`` and ``v`` count other heads than ``q``, so that one sweep cannot name both."""
        return 0 < self.n_kv_heads < self.n_heads

    @classmethod
    def of(cls, model: str, known: "Sizes | None") -> "LayersAndHeads":
        """Of a model known by its sizes, else by its name."""
        if isinstance(known, LayersAndHeads):
            return known
        if isinstance(known, ModelArchitecture):
            return cls(known.n_layers, known.n_heads, known.n_kv_heads)
        shape = known or shape_of(model)
        return cls(shape.n_layers, shape.n_heads, BUILT_IN[model].n_kv_heads if model in BUILT_IN else 0)


Heads = tuple[list[list[int]], list[int]]
"""Senders and receiver, each as layer and head."""
NOTEBOOK_HEADS: Heads = [[9, 6], [9, 9], [10, 10]], [10, 7]
"""The founding notebook's own, for GPT-2 small: 9.6, 9.9, 10.10 into the query of 10.7."""
SMOLLM2_HEADS: Heads = [[23, 3], [23, 0], [23, 2]], [24, 4]
"""SmolLM2-135M's strongest name movers of layer 23, and the negative head after them (examples/real-model)."""

PRESETS = {
    "founding-experiment": "Heads into a later head's query: where does it look once they are patched?",
    "heads-to-logits": "Every head to the logits: which heads write the answer?",
    "mlps-to-logits": "Every MLP to the logits: which MLPs write the answer?",
    "receiver-sweep": "Every head into one head's query, key and value: what does that head listen to?",
    "edge-matrix": "Every head into every later head's query and key: all edges at once",
    "residual-by-position": "Residual stream by layer and position: where is the answer, and when?",
    "activation-patching": "Activation patching at the prompt's named positions, denoising",
    "attribution": "An estimate of every edge at once, the strongest computed exactly",
    "circuit": "A whole circuit: which edges suffice for the task, and how much of it do they keep?",
    "greater-than": "Every head to the logits on greater-than prompts: which heads raise the later years?",
    "induction": "Every head to the logits on repeated random tokens: which heads write what followed?",
    "prompts": "Your own prompts, roles and answers",
    "templates": "A data set drawn from templates with slots",
    "several-metrics": "Several readings of one run",
}
EARLIER_NAMES = {"ioi-heads": "founding-experiment", "sweep": "heads-to-logits", "activation": "activation-patching"}
"""What presets were called before the command line, the page and ``examples/`` had one name for each."""


class UnknownPreset(ValueError):
    """No such preset; says which there are."""

    def __init__(self, name: str) -> None:
        earlier = ", ".join(f"{old} ({new})" for old, new in EARLIER_NAMES.items())
        known = ", ".join(PRESETS)
        super().__init__(f"There is no preset {name!r}: choose one of {known}, or by its earlier name: {earlier}.")


def experiment_heads(model: str, shape: Sizes | None = None) -> Heads:
    """Heads for the founding experiment: those of its card for `demo`, found ones for SmolLM2.

    The notebook's where they are GPT-2 small's; in a model of another shape, all heads of a late layer into the first
    of the next.
    """
    if model == "demo":
        card = _of_demo("card.json")
        return card["senders"], card["receiver"]
    if model == "smollm2-135m":
        return SMOLLM2_HEADS
    layers, heads = (known := shape or shape_of(model)).n_layers, known.n_heads
    if (layers, heads) == (12, 12) and (model not in BUILT_IN or BUILT_IN[model].family == "gpt2"):
        return NOTEBOOK_HEADS
    late = min(max(1, int(layers * 0.75 + 0.5)), layers - 1)
    return [[max(0, late - 1), head] for head in range(heads)], [late, 0]


def shape_of(model: str) -> ModelShape:
    """The shape of `demo` and of the built-in models by name; a name of somebody's own is taken for a GPT-2 small."""
    if model == "demo":
        return ModelShape.from_config(_of_demo("config.json"))
    return BUILT_IN.get(model, BUILT_IN["gpt2-small"]).shape


def _of_demo(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((files("pathpatch") / "demo_model" / name).read_text(encoding="utf-8"))
    return content


def spec_of_prompts(dataset: PromptsDataset | TokensDataset, model: str = "demo", shape: Sizes | None = None) -> str:
    """A commented spec of one's own prompts: which heads write the answer themselves?

    The metric is the logit of ``correct`` minus that of ``incorrect`` where the prompts have both, else ``kl``.
    """
    has_answers = {"correct", "incorrect"} <= set(dataset.answers)
    metric = {"kind": "logit_diff", "answer": "correct", "minus_answer": "incorrect"} if has_answers else {"kind": "kl"}
    last = {"hook": "resid_post", "layer": (shape or shape_of(model)).n_layers - 1}
    parts: dict[str, Any] = {
        "model": {"name": model},
        "patch": {"senders": {"sweep": {"hook": "z", "layers": "all", "heads": "all"}}, "receivers": [last]},
        "metric": metric,
        "dataset": dataset.model_dump(mode="json", exclude_unset=True),
    }
    return _OF_PROMPTS + yaml.safe_dump(parts, sort_keys=False, allow_unicode=True, width=10_000)


_OF_PROMPTS = """\
# Every head's direct path into the final residual stream, on your own prompts (the dataset, at the end).
#
#   pathpatch validate this-file.yaml     shows the tokens and the roles before anything runs
#   pathpatch run this-file.yaml --plot heatmap.html

"""


def preset(name: str, model: str = "demo", shape: Sizes | None = None) -> str:
    """The preset's YAML, comments included.

    Args:
        shape: The model's, where it is known better than by its name.

    Raises:
        UnknownPreset: There is none of this name.
    """
    name = EARLIER_NAMES.get(name, name)
    if name not in PRESETS:
        raise UnknownPreset(name)
    text = (files("pathpatch") / "data" / "specs" / f"{name}.yaml").read_text(encoding="utf-8")
    sizes = LayersAndHeads.of(model, shape)
    senders, (layer, head) = experiment_heads(model, sizes)
    lines = "\n".join(f"    - {{hook: z, layer: {sender[0]}, head: {sender[1]}}}" for sender in senders)
    return Template(text).substitute(
        model=model, senders=lines, layer=layer, head=head, last_layer=sizes.n_layers - 1, **_inputs(sizes, head)
    )


def _inputs(sizes: LayersAndHeads, head: int) -> dict[str, str]:
    """Sweeps of a head's inputs: where query heads share keys and values, one list of hooks cannot count both."""
    if not sizes.is_grouped:
        return {"queries_and_keys": "hook: [q, k], layers: all, heads: all}", "inputs_of_head": f"heads: [{head}]}}"}
    return {
        "queries_and_keys": "hook: q, layers: all, heads: all}   # k counts key-value heads: sweep it apart",
        "inputs_of_head": "heads: joint}   # k and v count key-value heads: q apart from them, or the layer's together",
    }


def filled_in(model: str, shape: Sizes | None = None) -> Iterator[dict[str, Any]]:
    """Every preset for a model: its ``name``, its ``title``, and its ``spec`` as data."""
    for name, title in PRESETS.items():
        yield {"name": name, "title": title, "spec": yaml.safe_load(preset(name, model, shape))}
