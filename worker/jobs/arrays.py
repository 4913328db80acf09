"""Arrays as bytes between workers: safetensors, in a fixed order, so that equal arrays are equal bytes."""

import numpy as np
from safetensors.numpy import load, save

Arrays = dict[str, np.ndarray]


def pack(arrays: Arrays) -> bytes:
    """The arrays as safetensors."""
    return save({name: np.array(arrays[name], order="C") for name in sorted(arrays)})


def unpack(content: bytes) -> Arrays:
    """The arrays of ``pack``; none for no bytes."""
    return load(content) if content else {}
