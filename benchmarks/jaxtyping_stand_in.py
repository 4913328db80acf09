"""Plain tensors stand in for jaxtyping where it is missing: it only writes shapes into signatures.

Imported before the engine is.
"""

import sys
import types
from importlib.util import find_spec
from typing import Any


class _Shaped:
    """One of jaxtyping's types: the shape is dropped."""

    def __class_getitem__(cls, array_and_shape: tuple[Any, str]) -> Any:
        return array_and_shape[0]


if find_spec("jaxtyping") is None:
    module = types.ModuleType("jaxtyping")
    module.__dict__.update(dict.fromkeys(("Bool", "Float", "Int", "Shaped"), _Shaped))
    sys.modules["jaxtyping"] = module
