"""Parts of a config.json that several families share: activations, sizes of heads, windows."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from checkpoints.families.record import Config, Rule
from checkpoints.files import UnusableCheckpoint
from planning.architecture import Activation

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Under transformers' names."""

MAX_LAYERS = 4096
"""Lists of layers are made only up to here."""
FULL, SLIDING = "full_attention", "sliding_attention"


def activation(config: Config, key: str, default: str) -> Activation:
    """The function of the neurons.

    Raises:
        UnusableCheckpoint: It is none of ``ACTIVATIONS``; names it.
    """
    name = config.get(key, default)
    if name not in ACTIVATIONS:
        raise UnusableCheckpoint(f"its {key} is {name!r}, and only {', '.join(sorted(ACTIVATIONS))} can be run")
    return ACTIVATIONS[name]


def head_size(width: int, n_heads: int, given: int | None = None) -> int:
    """Width of a head.

    Raises:
        ValueError: The heads do not divide the model's width and no width of their own is given, or it is none.
    """
    if given is not None:
        return counted("head_dim", given)
    if width % n_heads:
        raise ValueError(f"hidden_size {width} is not a multiple of num_attention_heads {n_heads}")
    return width // n_heads


def counted(key: str, value: Any) -> int:
    """A value that counts something.

    Raises:
        ValueError: It is no positive integer.
    """
    if type(value) is not int or value < 1:
        raise ValueError(f"{key} is {value!r}, and must be a positive integer")
    return value


def positive(config: Config, key: str, default: float) -> float:
    """A number more than 0.

    Raises:
        ValueError: It is none.
    """
    value = float(config.get(key, default))
    if not (isfinite(value) and value > 0):
        raise ValueError(f"{key} is {value!r}, and must be more than 0")
    return value


def layers(config: Config, key: str = "num_hidden_layers") -> int:
    """How many layers there are.

    Raises:
        ValueError: It is no number of layers.
    """
    found = config[key]
    if type(found) is not int or not 0 < found <= MAX_LAYERS:
        raise ValueError(f"{key} is {found!r}, and must be an integer from 1 to {MAX_LAYERS}")
    return found


def windows(kinds: Sequence[Any], window: int | None, n_layers: int) -> tuple[int | None, ...]:
    """The window of each layer, from what ``layer_types`` calls it; empty where no layer has one.

    Raises:
        UnusableCheckpoint: A kind of layer is not known, or a local one has no window.
        ValueError: There are more or fewer kinds than layers.
    """
    if len(kinds) != n_layers:
        raise ValueError(f"layer_types names {len(kinds)} layers of {n_layers}")
    if unknown := sorted({str(kind) for kind in kinds} - {FULL, SLIDING}):
        raise UnusableCheckpoint(f"its layer_types name {', '.join(unknown)}, and only {FULL} and {SLIDING} can be run")
    if SLIDING not in kinds:
        return ()
    if type(window) is not int or window < 1:
        raise UnusableCheckpoint(f"its layer_types name {SLIDING}, and its sliding_window is {window!r}")
    return tuple(window if kind == SLIDING else None for kind in kinds)


def is_off(key: str, what: str, *, default: Any = False) -> Rule:
    """A rule: the key must be false, for what it turns on is not known here."""
    return Rule(key, default, (False, None), f"its {key} is {{value}}: {what}")


def is_on(key: str, what: str) -> Rule:
    """A rule: the key must be true, as it is by default."""
    return Rule(key, True, (True,), f"its {key} is {{value}}: {what}")
