"""Path and activation patches: what a spec says is patched."""

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from api_schemas.errors import Misfit
from api_schemas.frozen import Flag, Frozen
from api_schemas.nodes import (
    ACTIVATION_HOOKS,
    RECEIVER_HOOKS,
    SENDER_HOOKS,
    Node,
    NodeList,
    Positions,
    SweepOf,
)
from api_schemas.sources import MeanOver, Source, mean_misfits

PathNodes = Annotated[list[Node | SweepOf], Field(max_length=200)]
"""The nodes of one path, first to last."""
Problems = Iterator[tuple[tuple[str | int, ...], str]]


def _allowed(nodes: "list[Node] | SweepOf", hooks: tuple[str, ...], field: str) -> Problems:
    end = field.removesuffix("s")
    used = [(hook, at) for node in _places(nodes) for hook, at in node]
    for hook, place in used:
        if hook not in hooks:
            yield (field, *place), f"hook {hook!r} cannot be a {end}: a {end} is one of {', '.join(hooks)}"


def _places(nodes: list[Node] | SweepOf) -> Iterator[list[tuple[str, tuple[str | int, ...]]]]:
    """Hooks with their paths, node by node."""
    if isinstance(nodes, SweepOf):
        yield _hooks_in(nodes)
        return
    for index, node in enumerate(nodes):
        yield [(hook, (index, *at)) for hook, at in _hooks_in(node)]


def _hooks_in(node: Node | SweepOf) -> list[tuple[str, tuple[str | int, ...]]]:
    """The hooks that a node or a sweep names, each with its path."""
    if isinstance(node, Node):
        return [(node.hook, ("hook",))]
    listed = isinstance(node.sweep.hook, list)
    return [(hook, ("sweep", "hook", i) if listed else ("sweep", "hook")) for i, hook in enumerate(node.sweep.hooks)]


def _named_hooks(nodes: list[Node] | Node | SweepOf) -> list[str]:
    listed = nodes if isinstance(nodes, list) else [nodes]
    return [hook for node in listed for hook, _ in _hooks_in(node)]


def head_of(node: Node) -> int | None:
    """The head that a receiver is, or is read by."""
    return node.head if node.query_head is None else node.query_head


def refuse(*problems: Problems) -> None:
    """Raise all problems at once, if there are any."""
    found = [problem for part in problems for problem in part]
    if found:
        raise Misfit(*found)


class PathPatch(Frozen):
    """Give the edges from the senders to the receivers their value from the source, and change nothing else."""

    kind: Literal["path"] = "path"
    """Always `path`."""
    senders: Annotated[NodeList | SweepOf | None, Field(examples=[[{"hook": "z", "layer": 9, "head": 6}]])] = None
    """Nodes whose output is patched, together; or a sweep, one result per cell."""
    receivers: Annotated[NodeList | SweepOf | None, Field(examples=[[{"hook": "q", "layer": 10, "head": 7}]])] = None
    """Nodes whose input changes, together; or a sweep, one result per cell."""
    paths: Annotated[
        list[PathNodes] | None,
        Field(min_length=1, max_length=1000, examples=[None]),
    ] = None
    """In place of senders and receivers: paths of several hops, each a list of nodes. The first is a sender, or a sweep
    of senders; all others are receivers. Between them the change goes on through that component's own output."""
    positions: Annotated[Positions | None, Field(examples=["end"])] = None
    """Where the edges are patched: absent (all), an index, a role, a list of these, or a list per example."""
    direct_includes_mlps: Flag = False
    """False: skip connections only. True: the IOI paper's algorithm, with heads frozen to orig and MLPs recomputed."""
    receiver_update: Annotated[Literal["add", "overwrite"] | None, Field(examples=["add"])] = None
    """`add` the change to the receiver's live input (default without MLPs), or `overwrite` it (default with)."""
    source: Annotated[Source, Field(examples=["new"])] = "new"
    """What the senders become: their value in new, zero, or their mean over the dataset's new runs."""
    mean_over: MeanOver = "position"
    """With source `mean`: one mean per `position`, or one over `all` positions together."""

    @model_validator(mode="after")
    def _ends_are_possible(self) -> "PathPatch":
        refuse(self._misfits(), mean_misfits(self.source, self.mean_over, self._written_hooks()))
        return self

    def _written_hooks(self) -> list[str]:
        """Hooks of the senders, or of the first nodes of paths."""
        firsts = [self.senders] if self.paths is None else [path[0] for path in self.paths if path]
        return [hook for first in firsts if first is not None for hook in _named_hooks(first)]

    def _misfits(self) -> Problems:
        if self.paths is not None:
            yield from self._misfits_of_paths(self.paths)
            return
        for field, hooks in (("senders", SENDER_HOOKS), ("receivers", RECEIVER_HOOKS)):
            end = getattr(self, field)
            if end is None:
                about = PathPatch.model_fields[field]
                example = json.dumps((about.examples or [None])[0])
                description = (about.description or "").rstrip(".")
                yield (field,), f"{field} is missing: {description}, such as {example}"
            else:
                yield from _allowed(end, hooks, field)

    def _misfits_of_paths(self, paths: "list[PathNodes]") -> Problems:
        for field in ("senders", "receivers"):
            if getattr(self, field) is not None:
                yield (field,), f"{field} do not go with paths: the nodes of each path are its ends"
        if self.direct_includes_mlps:
            sentence = "direct_includes_mlps does not go with paths: a change takes the listed edges only"
            yield ("direct_includes_mlps",), f"{sentence}; name an MLP as a node, such as mlp_in, to go through it"
        swept: SweepOf | None = None
        for index, path in enumerate(paths):
            if len(path) < 2:
                yield ("paths", index), "a path has at least two nodes: a sender, then receivers"
            for place, node in enumerate(path):
                hooks, noun = (RECEIVER_HOOKS, "receiver") if place else (SENDER_HOOKS, "sender")
                for hook, at in _hooks_in(node):
                    if hook not in hooks:
                        first = "first" if noun == "sender" else "later"
                        told = (
                            f"hook {hook!r} cannot be a {first} node of a path: a {noun} is one of {', '.join(hooks)}"
                        )
                        yield ("paths", index, place, *at), told
                if isinstance(node, SweepOf):
                    if place:
                        yield ("paths", index, place), "a sweep can only be the first node of a path"
                    elif swept is not None and node != swept:
                        yield ("paths", index, place), "all sweeps of one patch must be the same: they vary together"
                    swept = swept or node

    @property
    def update(self) -> Literal["add", "overwrite"]:
        """The receiver update with its default filled in."""
        return self.receiver_update or ("overwrite" if self.direct_includes_mlps else "add")

    @property
    def starts(self) -> list[Node] | SweepOf:
        """The senders: of paths the distinct first nodes, without a sweep."""
        if self.paths is None:
            assert self.senders is not None
            return self.senders
        return _distinct(path[0] for path in self.paths)

    @property
    def swept_start(self) -> SweepOf | None:
        """The sweep of senders, where there is one."""
        if self.paths is None:
            return self.senders if isinstance(self.senders, SweepOf) else None
        return next((path[0] for path in self.paths if isinstance(path[0], SweepOf)), None)

    @property
    def ends(self) -> list[Node] | SweepOf:
        """The receivers: of paths the distinct last nodes."""
        if self.paths is None:
            assert self.receivers is not None
            return self.receivers
        return _distinct(path[-1] for path in self.paths)


def _distinct(nodes: Iterable[Node | SweepOf]) -> list[Node]:
    found: list[Node] = []
    for node in nodes:
        if isinstance(node, Node) and node not in found:
            found.append(node)
    return found


class ActivationPatch(Frozen):
    """Give whole activations their value from the source, and recompute everything after them."""

    kind: Literal["activation"]
    """Always `activation`."""
    nodes: Annotated[NodeList | SweepOf, Field(examples=[[{"hook": "resid_pre", "layer": 3}]])]
    """Nodes that are patched, together; or a sweep, one result per cell."""
    positions: Annotated[Positions | None, Field(examples=["end"])] = None
    """Where they are patched: absent (all), an index, a role, a list of these, or a list per example."""
    source: Annotated[Source, Field(examples=["new"])] = "new"
    """What the nodes become: their value in new, zero, or their mean over the dataset's new runs."""
    mean_over: MeanOver = "position"
    """With source `mean`: one mean per `position`, or one over `all` positions together."""

    @model_validator(mode="after")
    def _nodes_are_possible(self) -> "ActivationPatch":
        refuse(
            _allowed(self.nodes, ACTIVATION_HOOKS, "nodes"),
            mean_misfits(self.source, self.mean_over, _named_hooks(self.nodes)),
        )
        return self
