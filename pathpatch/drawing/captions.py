"""The words of a figure: units, and one caption line with n, the model, and the spec."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from pathpatch.results.block import Block
from pathpatch.results.data import ResultData

Spec = Mapping[str, Any]
SEPARATOR = " · "
_LONGEST_LIST = 6
_SOURCES = {"zero": "zero-ablated", "mean": "mean-ablated"}
SCORES = {"exact": "exact score", "attribution": "EAP", "integrated": "EAP-IG"}
_CHOICES = {"top": "the top", "greedy": "greedily added", "iterated": "iteratively kept"}


def plain(spec: Any) -> Spec | None:
    """A spec as a dict, whether it came as a dict or as a ``JobSpec``."""
    if spec is None or isinstance(spec, Mapping):
        return spec
    dumped: Spec = spec.model_dump(mode="json", exclude_none=True)
    return dumped


def unit_words(block: Block) -> str:
    """The unit, or what 0 and 1 mean where there is none."""
    if block.normalize == "none":
        return block.unit
    return f"fraction: 0 = orig, {'−1' if block.normalize == 'noising' else '1'} = new"


def effect_unit(block: Block) -> str:
    """What an effect counts, for a colour bar or an axis: ``effect (nats)``, ``effect (fraction: 1 = new)``."""
    if block.normalize == "none":
        return f"effect ({block.unit})"
    return f"effect (fraction: {'−1' if block.normalize == 'noising' else '1'} = new)"


def signed(value: float) -> str:
    """An effect with its sign and two digits."""
    return f"{value:+.2g}".replace("-", "−")


def _node_words(node: Mapping[str, Any]) -> str:
    index = node.get("head") if node.get("head") is not None else node.get("neuron")
    layer = node.get("layer")
    place = "" if layer is None else f" {layer}" + ("" if index is None else f".{index}")
    if node.get("query_head") is not None:
        place += f".{node['query_head']} (query head)"
    return f"{node['hook']}{place}{_where_words(node.get('positions'))}"


def _where_words(positions: Any) -> str:
    """Where a node or a patch takes part: `` at end``, `` at S1/S2``; nothing where it is everywhere."""
    if positions is None:
        return ""
    listed = positions if isinstance(positions, list) else [positions]
    is_short = len(listed) <= _LONGEST_LIST and not any(isinstance(place, list) for place in listed)
    return f" at {'/'.join(map(str, listed))}" if is_short else " at chosen positions"


def end_words(end: Any) -> str:
    """One end of a patch: ``z 9.6, z 9.9`` or ``each z`` of a sweep."""
    if isinstance(end, Mapping):
        sweep = end["sweep"]
        hook = sweep["hook"] if isinstance(sweep["hook"], str) else "/".join(sweep["hook"])
        return f"each {hook}" + (" at each position" if sweep.get("positions") == "each" else "")
    named = [_node_words(node) for node in end[:_LONGEST_LIST]]
    return ", ".join(named) + (f" and {len(end) - _LONGEST_LIST} more" if len(end) > _LONGEST_LIST else "")


def patch_words(patch: Spec) -> str:
    """What was patched: ``z 9.6 → q 10.7, skip connections only``."""
    if patch.get("kind") == "activation":
        words = [f"activations {end_words(patch['nodes'])}"]
    elif patch.get("kind") == "circuit":
        words = [_circuit_words(patch)]
    elif patch.get("paths"):
        words = [_paths_words(patch["paths"])]
    else:
        words = [f"{end_words(patch['senders'])} → {end_words(patch['receivers'])}"]
        words.append("through MLPs" if patch.get("direct_includes_mlps") else "skip connections only")
    words += [where.strip()] if (where := _where_words(patch.get("positions"))) else []
    words += [_SOURCES[patch["source"]]] if patch.get("source") in _SOURCES else []
    return ", ".join(words)


def _circuit_words(patch: Spec) -> str:
    """Which circuits: ``circuits of the top edges by exact score``, or the names of one's own."""
    edges, choice = patch.get("edges"), patch.get("choose") or {}
    if edges is not None:
        own = [] if "cfg" in edges else list(edges)
        named = ", ".join(own[:_LONGEST_LIST])
        more = f" and {len(own) - _LONGEST_LIST} more" if len(own) > _LONGEST_LIST else ""
        return f"circuit {named}{more}" if own else "circuit of a graph file"
    if choice.get("by") == "acdc":
        return f"circuit by ACDC, threshold {choice['threshold']:g}"
    score = patch.get("score") or {"method": "exact"}
    return f"circuits of {_CHOICES[choice.get('by', 'top')]} edges by {SCORES[score['method']]}"


def _paths_words(paths: Sequence[Sequence[Any]]) -> str:
    """Paths of several hops: ``z 2.2 → v 5.5 → q 9.9``; of many the first."""
    named = [" → ".join(end_words([node] if "sweep" not in node else node) for node in path) for path in paths[:2]]
    return "; ".join(named) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")


def dataset_words(dataset: Spec) -> str:
    """The dataset: ``ioi prompts, abc, seed 0``."""
    kind = str(dataset["kind"]).replace("_", " ")
    words = [kind if kind in ("prompts", "tokens") else f"{kind} prompts"]
    words += [str(dataset["new"])] if isinstance(dataset.get("new"), str) else []
    words += [f"seed {dataset['seed']}"] if "seed" in dataset else []
    words += ["orig and new swapped"] if dataset.get("swap") else []
    return ", ".join(words)


def caption_lines(text: str, columns: int) -> list[str]:
    """A caption in lines of at most so many characters, broken between its parts."""
    lines: list[str] = []
    for part in text.split(SEPARATOR):
        if lines and len(lines[-1]) + len(SEPARATOR) + len(part) <= columns:
            lines[-1] += SEPARATOR + part
        else:
            lines += wrap(part, columns)
    return lines


def caption(result: ResultData, block: Block, spec: Spec | None, *extra: str) -> str:
    """One line: unit, n, model, what was patched, the dataset, and what the reader should know."""
    parts = [spec["name"]] if spec is not None and spec.get("name") else []
    parts += [f"unit: {block.unit}", f"n = {block.n}"]
    model = result.provenance.get("model") or (spec or {}).get("model", {}).get("name")
    parts += [str(model)] if model else []
    if spec is not None:
        parts += [patch_words(spec["patch"]), dataset_words(spec["dataset"])]
        parts += ["first-order estimate (attribution)"] if spec.get("method") == "attribution" else []
        parts += [str(spec["dtype"])] if spec.get("dtype", "float32") != "float32" else []
    elif result.job_id:
        parts.append(result.job_id)
    return SEPARATOR.join([*parts, *filter(None, extra)])
