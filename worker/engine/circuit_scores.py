"""First-order scores of the edges of a circuit, in the circuit's own run: what removing one more edge would change.

``score = sum over positions of (base_u - live_u) . dm/dI_v``, with all values and the gradient from the circuit's run;
of the circuit of all edges these are the scores of EAP.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from planning.circuit import CircuitGraph
from worker.engine.edge_run import Base, EdgeRun
from worker.engine.edge_sums import EdgeSums, TracedSums
from worker.engine.metrics import LogitReads
from worker.engine.rows import on_device


def circuit_estimates(
    base: Base, edges: Bool[Tensor, "reader writer"], logits: LogitReads, steps: int = 0
) -> Float[Tensor, "batch edge"]:
    """The score of every edge of a circuit by example; 0 for all other edges.

    Args:
        steps: 0 takes the gradient in the circuit's run; m the mean over runs whose token embeddings lie between the
            source's and orig's, as EAP-IG does.
    """
    orig, source = base.runs.orig("embed", None), base.runs.source_value("embed", None)
    sums, graph, n_examples = EdgeSums(edges[None], orig), CircuitGraph(base.weights.architecture), len(orig)
    EdgeRun(base, sums).to_end()
    changes = sums.changes[:, 0].transpose(0, 1).flatten(2)  # (batch, live writer, numbers)
    found = changes.new_zeros(n_examples, len(graph.readers), len(graph.writers))
    embeddings = [source + (orig - source) * (step / steps) for step in range(steps)] if steps else [orig]
    for embedded in embeddings:
        for readers, gradient in _gradients(base, edges, logits, embedded):
            product = gradient.flatten(2) @ changes.transpose(1, 2) / len(embeddings)
            index = on_device(readers, found.device)
            columns = on_device(np.array(sums.live, dtype=np.int64), found.device)
            found[:, index[:, None], columns[None]] -= product
    found = found * edges
    writers, all_readers = (on_device(ends, found.device) for ends in graph.ends)
    return found[:, all_readers, writers]


def _gradients(
    base: Base, edges: Bool[Tensor, "reader writer"], logits: LogitReads, embedded: Float[Tensor, "batch pos d_model"]
) -> list[tuple[list[int], Float[Tensor, "batch own_reader pos d_model"]]]:
    """The gradient of the metric at the inputs of the circuit's nodes."""
    with torch.enable_grad():
        sums = TracedSums(edges[None], embedded)
        at_rows = logits.rows.take(EdgeRun(base, sums, embedded).to_end().transpose(1, 2)).transpose(1, 2)
        total = torch.stack([value.sum() for value in logits.values(base.weights, at_rows).values()]).sum()
        found = torch.autograd.grad(total, [addend for _, addend in sums.addends], allow_unused=True)
    return [
        (readers, gradient[0].transpose(0, 1))
        for (readers, _), gradient in zip(sums.addends, found, strict=True)
        if gradient is not None
    ]
