"""Results: numpy arrays with named axes, everything needed to trust them, and their pictures in one call."""

from pathpatch.results.block import Block
from pathpatch.results.circuit import CircuitResult, FoundCircuit, NoSuchCircuit, result_from
from pathpatch.results.data import NotOneMetric
from pathpatch.results.pooling import Pooled, ResultsDiffer, pool
from pathpatch.results.result import Result

__all__ = [
    "Block", "CircuitResult", "FoundCircuit", "NoSuchCircuit", "NotOneMetric", "Pooled", "Result", "ResultsDiffer",
    "pool", "result_from",
]  # fmt: skip
