"""Results: numpy arrays with named axes, everything needed to trust them, and their pictures in one call."""

from pathpatch.results.block import Block
from pathpatch.results.data import NotOneMetric
from pathpatch.results.pooling import Pooled, ResultsDiffer, pool
from pathpatch.results.result import Result

__all__ = ["Block", "NotOneMetric", "Pooled", "Result", "ResultsDiffer", "pool"]
