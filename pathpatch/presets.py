"""Starting specs with comments, filled in for a model: its last layer, and heads worth patching."""

import json
from importlib.resources import files
from string import Template
from typing import Any

import yaml

from api_schemas.datasets import PromptsDataset, TokensDataset
from api_schemas.models import FAMILY, ModelShape

Heads = tuple[list[list[int]], list[int]]
"""Senders and receiver, each as layer and head."""
NOTEBOOK_HEADS: Heads = [[9, 6], [9, 9], [10, 10]], [10, 7]
"""The founding notebook's own, for GPT-2 small: 9.6, 9.9, 10.10 into the query of 10.7."""

PRESETS = {
    "ioi-heads": "heads into a later head's query, per example: the founding experiment",
    "sweep": "every head's direct effect on the answer, as a heatmap",
    "receiver-sweep": "every head into one head's query, key and value",
    "activation": "activation patching by layer and position",
    "prompts": "your own prompts, roles and answers",
    "templates": "a data set drawn from templates with slots",
    "attribution": "an estimate of every edge at once, the strongest computed exactly",
    "several-metrics": "several readings of one run",
}


class UnknownPreset(ValueError):
    """No such preset; says which there are."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no preset {name!r}: choose one of {', '.join(PRESETS)}.")


def experiment_heads(model: str, shape: ModelShape | None = None) -> Heads:
    """Heads for the founding experiment: those of its card for `demo`, the notebook's where they are GPT-2 small's.

    In a model of another shape, all heads of a late layer into the first of the next.
    """
    if model == "demo":
        card = _of_demo("card.json")
        return card["senders"], card["receiver"]
    layers, heads = (known := shape or shape_of(model)).n_layers, known.n_heads
    if (layers, heads) == (12, 12):
        return NOTEBOOK_HEADS
    late = min(max(1, int(layers * 0.75 + 0.5)), layers - 1)
    return [[max(0, late - 1), head] for head in range(heads)], [late, 0]


def shape_of(model: str) -> ModelShape:
    """The shape of `demo` and of GPT-2's family by name; a name of somebody's own is taken for a GPT-2 small."""
    if model == "demo":
        return ModelShape.from_config(_of_demo("config.json"))
    return FAMILY.get(model, FAMILY["gpt2-small"])[1]


def _of_demo(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((files("pathpatch") / "demo_model" / name).read_text(encoding="utf-8"))
    return content


def spec_of_prompts(dataset: PromptsDataset | TokensDataset, model: str = "demo") -> str:
    """A commented spec of one's own prompts: which heads write the answer themselves?

    The metric is the logit of ``correct`` minus that of ``incorrect`` where the prompts have both, else ``kl``.
    """
    has_answers = {"correct", "incorrect"} <= set(dataset.answers)
    metric = {"kind": "logit_diff", "answer": "correct", "minus_answer": "incorrect"} if has_answers else {"kind": "kl"}
    last = {"hook": "resid_post", "layer": shape_of(model).n_layers - 1}
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


def preset(name: str, model: str = "demo", shape: ModelShape | None = None) -> str:
    """The preset's YAML, comments included.

    Args:
        shape: The model's, where it is known better than by its name.

    Raises:
        UnknownPreset: There is none of this name.
    """
    if name not in PRESETS:
        raise UnknownPreset(name)
    text = (files("pathpatch") / "data" / "specs" / f"{name}.yaml").read_text(encoding="utf-8")
    senders, (layer, head) = experiment_heads(model, shape)
    lines = "\n".join(f"    - {{hook: z, layer: {sender[0]}, head: {sender[1]}}}" for sender in senders)
    last_layer = (shape or shape_of(model)).n_layers - 1
    return Template(text).substitute(model=model, senders=lines, layer=layer, head=head, last_layer=last_layer)
