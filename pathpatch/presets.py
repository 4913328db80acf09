"""Starting specs with comments, filled in for a model: its last layer, and heads worth patching."""

import json
from importlib.resources import files
from string import Template

NOTEBOOK_HEADS = {"senders": [[9, 6], [9, 9], [10, 10]], "receiver": [10, 7]}
"""The founding notebook's own, for GPT-2 small: 9.6, 9.9, 10.10 into the query of 10.7."""
LAST_LAYER = {"demo": 3, "distilgpt2": 5, "gpt2-small": 11, "gpt2-medium": 23, "gpt2-large": 35, "gpt2-xl": 47}
DEFAULT_LAST_LAYER = 11

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


def experiment_heads(model: str) -> tuple[list[list[int]], list[int]]:
    """Senders and receiver of the founding experiment on a model: those of its card for `demo`, else the notebook's."""
    if model != "demo":
        return NOTEBOOK_HEADS["senders"], NOTEBOOK_HEADS["receiver"]  # type: ignore[return-value]
    card = json.loads((files("pathpatch") / "demo_model" / "card.json").read_text(encoding="utf-8"))
    return card["senders"], card["receiver"]


def preset(name: str, model: str = "demo") -> str:
    """The preset's YAML, comments included.

    Raises:
        UnknownPreset: There is none of this name.
    """
    if name not in PRESETS:
        raise UnknownPreset(name)
    text = (files("pathpatch") / "data" / "specs" / f"{name}.yaml").read_text(encoding="utf-8")
    senders, (layer, head) = experiment_heads(model)
    lines = "\n".join(f"    - {{hook: z, layer: {sender[0]}, head: {sender[1]}}}" for sender in senders)
    last_layer = LAST_LAYER.get(model, DEFAULT_LAST_LAYER)
    return Template(text).substitute(model=model, senders=lines, layer=layer, head=head, last_layer=last_layer)
