"""Specs by plain constructors: what to patch, on which prompts, and what to measure.

>>> import pathpatch as pp
>>> spec = pp.path_patch(
...     senders=pp.heads("9.6", "9.9", "10.10"),
...     receivers=pp.query("10.7"),
...     dataset=pp.ioi(800),
...     metric=pp.attention_diff("end", "IO", "S1"),
... )
>>> spec.patch.receivers[0].hook_name
'blocks.10.attn.hook_q'

Everything is checked as it is built; what only the server knows (has the model a layer 13?) it says at submit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Unpack

from api_schemas.circuits import CircuitPatch
from api_schemas.nodes import Node, SweepOf
from api_schemas.sources import MeanOver, Source
from api_schemas.spec import ActivationPatch, AnyPatch, JobSpec, ModelSpec, PathPatch
from pathpatch.problems import SpecError
from pathpatch.specs.building import build
from pathpatch.specs.ends import (
    End,
    Positions,
    attn,
    embed,
    heads,
    key,
    mlp,
    mlp_in,
    neurons,
    pattern,
    pos_embed,
    query,
    resid,
    sweep,
    value,
)  # fmt: skip
from pathpatch.specs.measures import (
    Metric,
    accuracy,
    attention,
    attention_diff,
    js,
    kl,
    log_prob,
    logit,
    logit_diff,
    loss,
    prob,
    prob_diff,
    rank,
)
from pathpatch.specs.options import Options, check_names
from pathpatch.specs.prompt_files import prompts_from
from pathpatch.specs.prompt_sets import Dataset, greater_than, induction, ioi, prompts, templates, tokens

__all__ = [
    "accuracy", "activation_patch", "as_spec", "attention", "attention_diff", "attn", "circuit", "embed",
    "greater_than", "heads", "induction", "ioi", "js", "key", "kl", "log_prob", "logit", "logit_diff", "loss",
    "mlp", "mlp_in", "neurons", "path_patch", "paths", "pattern", "pos_embed", "prob", "prob_diff", "prompts",
    "prompts_from", "query", "rank", "resid", "sweep", "templates", "tokens", "value",
]  # fmt: skip

DEFAULT_MODEL = "gpt2-small"


def path_patch(
    senders: End,
    receivers: End,
    dataset: Dataset,
    metric: Metric | Sequence[Metric],
    model: str | ModelSpec = DEFAULT_MODEL,
    *,
    positions: Positions | None = None,
    direct_includes_mlps: bool = False,
    receiver_update: Literal["add", "overwrite"] | None = None,
    source: Source = "new",
    mean_over: MeanOver = "position",
    **options: Unpack[Options],
) -> JobSpec:
    """Path patching: only the edges from the senders to the receivers change, all else stays as in orig.

    Args:
        senders: Nodes whose output is patched, together; or a :func:`sweep`, one result per cell.
        receivers: Nodes whose input changes, together; or a sweep.
        metric: What is read from the patched run; a list gives one block of results per metric.
        positions: Where the edges are patched: None (everywhere), an index, a role, a list, or a list per example.
        direct_includes_mlps: False: skip connections only. True: the IOI paper's algorithm, MLPs recomputed.
        receiver_update: By default ``add`` without MLPs, ``overwrite`` with.
        source: What the senders become: their value in ``new``, ``zero``, or their ``mean`` over the new runs.
        mean_over: With source ``mean``: one mean per ``position``, or one over ``all`` positions.
        options: ``per_example``, ``decimals``, ``top``, ``reduce``, ``method``, ``verify``, ``dtype``, ``priority``,
            ``expires_after_s``, ``use_cache``, ``webhook``, ``name``, ``tags``: see :class:`pathpatch.specs.Options`.

    Raises:
        SpecError: Something does not fit.
    """
    patch = build(
        PathPatch,
        senders=_end(senders),
        receivers=_end(receivers),
        positions=positions,
        direct_includes_mlps=direct_includes_mlps,
        receiver_update=receiver_update,
        source=source,
        mean_over=_unless_usual(mean_over),
    )
    return _spec(patch, dataset, metric, model, options, path_patch)


def paths(
    paths: Sequence[Sequence[End]],
    dataset: Dataset,
    metric: Metric | Sequence[Metric],
    model: str | ModelSpec = DEFAULT_MODEL,
    *,
    positions: Positions | None = None,
    receiver_update: Literal["add", "overwrite"] | None = None,
    source: Source = "new",
    **options: Unpack[Options],
) -> JobSpec:
    """Path patching along paths of several hops: the change takes the listed edges only.

    >>> import pathpatch as pp
    >>> hops = [pp.heads("2.2"), pp.value("5.5"), pp.query("9.9"), pp.resid(11)]
    >>> len(pp.paths([hops], pp.ioi(20), pp.logit_diff()).patch.paths[0])
    4

    Args:
        paths: Each a list of single nodes: a sender (or a :func:`sweep`), then receivers. Between two hops the change
            goes on through that head's, MLP's or neuron's own output; after a path's last node the run goes on live.
        options: As of :func:`path_patch`.

    Raises:
        SpecError: Something does not fit.
    """
    listed = [[_place(node) for node in path] for path in paths]
    patch = build(PathPatch, paths=listed, positions=positions, receiver_update=receiver_update, source=source)
    return _spec(patch, dataset, metric, model, options, _PATHS)


_PATHS = paths  # whose argument has its name


def activation_patch(
    nodes: End,
    dataset: Dataset,
    metric: Metric | Sequence[Metric],
    model: str | ModelSpec = DEFAULT_MODEL,
    *,
    positions: Positions | None = None,
    source: Source = "new",
    mean_over: MeanOver = "position",
    **options: Unpack[Options],
) -> JobSpec:
    """Activation patching: whole activations are replaced, and everything later is recomputed.

    Args:
        nodes: Nodes that are patched, together; or a :func:`sweep`, one result per cell.
        positions: Where: None (everywhere), an index, a role, a list, or a list per example.
        options: ``per_example``, ``decimals``, ``top``, ``reduce``, ``method``, ``verify``, ``dtype``, ``priority``,
            ``expires_after_s``, ``use_cache``, ``webhook``, ``tags``: see :class:`pathpatch.specs.Options`.

    Raises:
        SpecError: Something does not fit.
    """
    where = {"positions": positions, "source": source, "mean_over": _unless_usual(mean_over)}
    patch = build(ActivationPatch, kind="activation", nodes=_end(nodes), **where)
    return _spec(patch, dataset, metric, model, options, activation_patch)


def circuit(
    dataset: Dataset,
    metric: Metric,
    model: str | ModelSpec = DEFAULT_MODEL,
    *,
    score: Literal["exact", "attribution", "integrated"] = "exact",
    steps: int | None = None,
    by: Literal["top", "greedy", "iterated", "acdc"] = "top",
    rank: Literal["signed", "absolute"] = "absolute",
    edges: Sequence[int] | None = None,
    fractions: Sequence[float] | None = None,
    rounds: int | None = None,
    threshold: float | None = None,
    circuits: Mapping[str, Any] | None = None,
    source: Source = "new",
    mean_over: MeanOver = "position",
    tests: Sequence[Literal["completeness", "minimality", "random"]] = (),
    resamples: int | None = None,
    seed: int = 0,
    **options: Unpack[Options],
) -> JobSpec:
    """A whole circuit: every edge scored, circuits of several sizes chosen by the scores, and each run alone.

    Args:
        score: Each edge alone patched, or an estimate: EAP, or EAP-IG with ``steps`` (5 by default).
        by: The edges of largest score; ``greedy`` from the logits back; ``iterated`` in ``rounds``, each of which
            scores what is left in the circuit so far; ``acdc`` with a ``threshold`` in place of scores and sizes.
        edges: Sizes in edges; or ``fractions`` of all edges, by default MIB's grid.
        circuits: In place of scores: circuits of your own, each a list of edges by name, or a graph in EAP-IG's JSON.
        source: What edges outside a circuit carry; with ``mean``, ``mean_over`` as of :func:`path_patch`.
        options: As of :func:`path_patch`; ``verify`` says how many of the largest estimates are computed exactly too.

    Raises:
        SpecError: Something does not fit.
    """
    asked: dict[str, Any] = {"edges": circuits, "source": source, "mean_over": _unless_usual(mean_over), "tests": tests}
    asked["seed"] = seed
    verify = options.pop("verify", None)
    if circuits is None:
        how = {"method": score} | ({} if steps is None else {"steps": steps})
        choice = {"edges": edges, "fractions": fractions, "rounds": rounds, "threshold": threshold}
        given = {name: value for name, value in choice.items() if value is not None}
        asked |= {"choose": {"by": by, "rank": rank, **given}, "resamples": resamples, "verify": verify}
        asked |= {} if by == "acdc" else {"score": how}
    return _spec(build(CircuitPatch, kind="circuit", **asked), dataset, metric, model, options, circuit)


def as_spec(spec: JobSpec | Mapping[str, Any]) -> JobSpec:
    """A spec from a dict, as JSON or YAML files hold it; a ``JobSpec`` is returned as it is.

    Raises:
        SpecError: Something does not fit.
    """
    return spec if isinstance(spec, JobSpec) else build(JobSpec, **spec)


def _unless_usual(mean_over: MeanOver) -> MeanOver | None:
    """None for the default: a service of before this field takes the spec."""
    return None if mean_over == "position" else mean_over


def _end(end: End) -> list[Node] | SweepOf:
    if isinstance(end, SweepOf):
        return end
    nodes = [end] if isinstance(end, Node) else end
    if isinstance(nodes, str) or not isinstance(nodes, Iterable):
        raise SpecError(f"{end!r:.60} is no node: call what makes one, such as pp.heads('9.6') or pp.query('10.7')")
    return list(nodes)


def _place(end: End) -> Node | SweepOf:
    """One place of a path."""
    found = _end(end)
    if isinstance(found, SweepOf):
        return found
    if len(found) != 1:
        names = ", ".join(map(str, found))
        raise SpecError(f"a place of a path is one node, and here are {len(found)} ({names}): give a path for each")
    return found[0]


def _spec(
    patch: AnyPatch,
    dataset: Dataset,
    metric: Metric | Sequence[Metric],
    model: str | ModelSpec,
    options: Options,
    constructor: Callable[..., JobSpec],
) -> JobSpec:
    check_names(options, constructor)
    if isinstance(metric, str):
        raise SpecError(f"metric {metric!r} is only a name: call it, such as pp.logit_diff() or pp.kl()")
    rest: dict[str, Any] = dict(options)
    output = {name: rest.pop(name) for name in ("per_example", "decimals", "reduce") if name in rest}
    if "top" in rest:
        output["reduce"] = {"top": rest.pop("top")}
    if "webhook" in rest:
        rest["webhook"] = {"url": rest.pop("webhook")}
    measured = {"metrics": list(metric)} if isinstance(metric, Sequence) else {"metric": metric}
    named = model if isinstance(model, ModelSpec) else {"name": model}
    return build(JobSpec, model=named, dataset=dataset, patch=patch, output=output or None, **measured, **rest)
