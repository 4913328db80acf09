"""What a job's result must hold, computed by the oracle: cell by cell, prompts of one length at a time."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformer_lens.model_bridge import TransformerBridge

from api_schemas.datasets import ResolvedDataset
from api_schemas.metrics import Metric
from api_schemas.nodes import Node, Positions
from api_schemas.spec import ActivationPatch, JobSpec, PathPatch
from planning.architecture import Architecture
from planning.grid import grid_of
from tests import reference
from tests.reference_runs import activations


@dataclass(frozen=True)
class Expected:
    """One metric's values: [*cells, example] each, not normalised."""

    patched: np.ndarray
    orig: np.ndarray
    new: np.ndarray


def expected_result(
    model: TransformerBridge, shape: Architecture, spec: JobSpec, dataset: ResolvedDataset
) -> list[Expected]:
    """Per metric, the values of the final patched run and of the clean runs."""
    grid = grid_of(spec.patch, shape, dataset.longest)
    receiver_cells = grid.receivers.cells if grid.receivers else [[]]
    means = None
    if spec.patch.source == "mean":
        nodes = [node for cell in grid.senders.cells for node in cell]
        means = reference.dataset_means(model, dataset.new, nodes, spec.patch.mean_over)
    n_cells = len(grid.senders.cells) * len(receiver_cells)
    values = [np.zeros((3, n_cells, len(dataset))) for _ in spec.all_metrics]
    for examples in same_length(dataset):
        part = select(dataset, examples)
        orig_tokens, new_tokens = torch.tensor(part.orig), torch.tensor(part.new)
        clean = {"orig": reference.run(model, orig_tokens), "new": reference.run(model, new_tokens)}
        positions = select_positions(spec.patch.positions, examples)
        cells = [(senders, receivers) for senders in grid.senders.cells for receivers in receiver_cells]
        for cell, (senders, receivers) in enumerate(cells):
            common = {"positions": positions, "source": spec.patch.source, "means": means, "roles": part.roles}
            senders = [own_positions(node, examples) for node in senders]
            receivers = [own_positions(node, examples) for node in receivers]
            if isinstance(spec.patch, ActivationPatch):
                patched = reference.patch_activations(model, orig_tokens, new_tokens, senders, **common)  # type: ignore[arg-type]
            else:
                patched = reference.patch(
                    model,
                    orig_tokens,
                    new_tokens,
                    senders,
                    receivers,
                    direct_includes_mlps=spec.patch.direct_includes_mlps,
                    update=spec.patch.receiver_update,
                    **common,  # type: ignore[arg-type]
                )
            for number, metric in enumerate(spec.all_metrics):
                for row, run in enumerate((patched, clean["orig"], clean["new"])):
                    values[number][row, cell, examples] = metric_of(metric, run, clean["orig"], part, receivers)
    return [Expected(*(rows.reshape(*grid.shape, len(dataset)) for rows in value)) for value in values]


def expected_attribution(
    model: TransformerBridge, shape: Architecture, spec: JobSpec, dataset: ResolvedDataset, scale: float = 0.01
) -> list[np.ndarray]:
    """Per metric, [*cells]: orig plus the slope of the exact method, for a dataset of one example.

    The senders become orig + s (new - orig), by way of source ``mean``, for s of once and twice the scale, either way:
    the difference of fourth order, so that what a metric's curvature adds is below float error.
    """
    patch = spec.patch
    assert isinstance(patch, PathPatch) and patch.source == "new" and len(dataset) == 1
    grid = grid_of(patch, shape, dataset.longest)
    assert grid.receivers is not None
    names = {node.hook_name for cell in grid.senders.cells for node in cell}
    orig_tokens, new_tokens = torch.tensor(dataset.orig), torch.tensor(dataset.new)
    orig_cache = activations(model, orig_tokens, names)
    new_cache = activations(model, new_tokens, names)
    orig = reference.run(model, orig_tokens)
    estimates: list[list[float]] = []
    for senders in grid.senders.cells:
        for receivers in grid.receivers.cells:
            around = [
                reference.patch(
                    model,
                    orig_tokens,
                    new_tokens,
                    senders,
                    receivers,
                    patch.positions,
                    patch.direct_includes_mlps,
                    patch.receiver_update,
                    "mean",
                    {name: (orig_cache[name] + step * (new_cache[name] - orig_cache[name]))[0] for name in names},
                    dataset.roles,
                )
                for step in (2 * scale, scale, -scale, -2 * scale)
            ]
            estimates.append([])
            for metric in spec.all_metrics:
                runs = (*around, orig)
                f2, f1, b1, b2, base = (metric_of(metric, run, orig, dataset, receivers)[0] for run in runs)
                estimates[-1].append(base + (8 * (f1 - b1) - (f2 - b2)) / (12 * scale))
    return [np.array(column).reshape(grid.shape) for column in zip(*estimates, strict=True)]


def metric_of(
    metric: Metric, run: reference.Run, orig: reference.Run, part: ResolvedDataset, receivers: Sequence[Node]
) -> np.ndarray:
    head = (receivers[0].layer, receivers[0].head) if receivers else None
    return reference.metric_values(metric, run, orig, part.roles, part.answers, head).numpy()  # type: ignore[arg-type]


def same_length(dataset: ResolvedDataset) -> list[list[int]]:
    """Indices of the examples, prompts of one length together."""
    groups = defaultdict(list)
    for example, prompt in enumerate(dataset.orig):
        groups[len(prompt)].append(example)
    return list(groups.values())


def select(dataset: ResolvedDataset, examples: Sequence[int]) -> ResolvedDataset:
    def chosen(values: list) -> list:  # type: ignore[type-arg]
        return [values[example] for example in examples]

    return ResolvedDataset(
        orig=chosen(dataset.orig),
        new=chosen(dataset.new),
        roles={name: chosen(places) for name, places in dataset.roles.items()},
        answers={name: chosen(ids) for name, ids in dataset.answers.items()},
    )


def select_positions(positions: Positions | None, examples: Sequence[int]) -> Positions | None:
    """A list per example is cut to the examples; every other form is the same for all."""
    if isinstance(positions, list) and isinstance(positions[0], list):
        return [positions[example] for example in examples]  # type: ignore[misc]
    return positions


def own_positions(node: Node, examples: Sequence[int]) -> Node:
    return node.model_copy(update={"positions": select_positions(node.positions, examples)})
