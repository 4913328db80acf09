"""Rotary frequencies from what a config.json says of them, in float32 as transformers computes them.

Source: ``modeling_rope_utils.py`` of transformers 5.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from checkpoints.families.record import Config
from checkpoints.files import UnusableCheckpoint
from planning.architecture import Rotary

Numbers = npt.NDArray[np.float32]
Parameters = Mapping[str, Any]
MAX_DIMS = 1 << 16


def rope_parameters(config: Config, theta: float = 10000.0, fraction: float | None = None) -> dict[str, Any]:
    """What a config.json says of rotation: in ``rope_scaling``, else ``rope_parameters``, else in keys of its own.

    Args:
        theta: What an absent ``rope_theta`` means.
        fraction: What an absent ``partial_rotary_factor`` means; None: the family rotates whole heads.
    """
    chosen = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(chosen, dict):
        raise ValueError(f"its rope parameters are {chosen!r}")
    nested = sorted(key for key, value in chosen.items() if isinstance(value, dict))
    if nested:
        raise UnusableCheckpoint(f"its rope parameters differ between layers ({', '.join(nested)}), which is not known")
    found = {"rope_theta": config.get("rope_theta", theta)} | chosen
    partial = found.setdefault("partial_rotary_factor", config.get("partial_rotary_factor", fraction))
    if fraction is None and partial not in (None, 1):
        raise UnusableCheckpoint(f"its partial_rotary_factor is {partial!r}, and this family rotates whole heads")
    if config.get("original_max_position_embeddings"):
        found["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    return found


def rotary(parameters: Parameters, d_head: int, n_ctx: int, kinds: tuple[str, ...] = ()) -> Rotary:
    """How the heads are rotated.

    Args:
        n_ctx: ``max_position_embeddings``; no prompt is longer.
        kinds: Those that transformers runs for the family; empty: ``UNLIMITED``.

    Raises:
        UnusableCheckpoint: They are scaled in a way that is not known here; names it.
    """
    kind = scaling_kind(parameters)
    known = kinds or UNLIMITED
    if kind not in known:
        raise UnusableCheckpoint(
            f"its rotary embedding is scaled by {kind!r} (rope_scaling or rope_parameters), and only "
            f"{', '.join(known)} can be run here"
        )
    partial = parameters.get("partial_rotary_factor")
    n_dims = int(d_head * (1.0 if partial is None else partial))
    if not 1 < n_dims <= min(d_head, MAX_DIMS):
        raise ValueError(f"{n_dims} of a head's {d_head} dimensions would be rotated")
    with np.errstate(all="ignore"):  # what is no number is told below
        frequencies, factor = KINDS[kind](parameters, n_dims, n_ctx)
    if not (np.isfinite(frequencies).all() and (frequencies >= 0).all() and math.isfinite(factor)):
        raise ValueError("its rope parameters give frequencies that are no numbers")
    return Rotary(tuple(frequencies.tolist()), factor=factor)


def scaling_kind(parameters: Parameters) -> Any:
    """How frequencies are scaled: one of ``KINDS``, if it is known."""
    return parameters.get("rope_type", parameters.get("type", "default"))


def powers(base: float, n_dims: int) -> Numbers:
    """``base`` to the power of each pair's share of the dimensions."""
    exponents = np.arange(0, n_dims, 2, dtype=np.float32) / np.float32(n_dims)
    # rounded once: float32 powers of numpy and torch differ in the last place, float64's almost never
    return np.power(float(base), exponents.astype(np.float64)).astype(np.float32)


def inverse(values: Numbers) -> Numbers:
    """1 / values."""
    return (np.float32(1) / values).astype(np.float32)


def _default(parameters: Parameters, n_dims: int, n_ctx: int) -> tuple[Numbers, float]:
    return inverse(powers(parameters["rope_theta"], n_dims)), 1.0


def _linear(parameters: Parameters, n_dims: int, n_ctx: int) -> tuple[Numbers, float]:
    plain, _ = _default(parameters, n_dims, n_ctx)
    return plain / np.float32(parameters["factor"]), 1.0


def _dynamic(parameters: Parameters, n_dims: int, n_ctx: int) -> tuple[Numbers, float]:
    """As of prompts within ``n_ctx``, of which it changes nothing but the rounding."""
    factor = parameters["factor"]
    base = parameters["rope_theta"] * (factor - (factor - 1)) ** (n_dims / (n_dims - 2))
    return inverse(powers(base, n_dims)), 1.0


def _llama3(parameters: Parameters, n_dims: int, n_ctx: int) -> tuple[Numbers, float]:
    plain, _ = _default(parameters, n_dims, n_ctx)
    factor, trained = parameters["factor"], parameters.get("original_max_position_embeddings", n_ctx)
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    wavelength = np.float32(2 * math.pi) / plain
    scaled = np.where(wavelength > trained / low, plain / np.float32(factor), plain)
    smooth = (np.float32(trained) / wavelength - np.float32(low)) / np.float32(high - low)
    smoothed = (1 - smooth) * scaled / np.float32(factor) + smooth * scaled
    is_medium = ~(wavelength < trained / high) & ~(wavelength > trained / low)
    return np.where(is_medium, smoothed, scaled).astype(np.float32), 1.0


def _yarn(parameters: Parameters, n_dims: int, n_ctx: int) -> tuple[Numbers, float]:
    trained = parameters.get("original_max_position_embeddings", n_ctx)
    base, factor = parameters["rope_theta"], parameters.get("factor")
    factor = n_ctx / trained if factor is None else factor
    turns = (parameters.get("beta_fast") or 32, parameters.get("beta_slow") or 1)
    low, high = (n_dims * math.log(trained / (one * 2 * math.pi)) / (2 * math.log(base)) for one in turns)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, n_dims - 1)
    high += 0.001 if low == high else 0
    ramp = np.clip((np.arange(n_dims // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    kept, base_powers = 1 - ramp, powers(base, n_dims)
    frequencies = inverse(np.float32(factor) * base_powers) * (1 - kept) + inverse(base_powers) * kept
    return frequencies.astype(np.float32), _yarn_factor(parameters, factor)


def _yarn_factor(parameters: Parameters, factor: float) -> float:
    """Of cosine and sine."""

    def scale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    given, one, all_dims = (parameters.get(key) for key in ("attention_factor", "mscale", "mscale_all_dim"))
    if given is not None:
        return float(given)
    return scale(one) / scale(all_dims) if one and all_dims else scale(1)


def _longrope(parameters: Parameters, n_dims: int, n_ctx: int) -> tuple[Numbers, float]:
    """As of prompts within the length that the model was trained on first: the others have other frequencies."""
    trained, factor = parameters["original_max_position_embeddings"], parameters.get("factor")
    factor = n_ctx / trained if factor is None else factor
    given = parameters.get("attention_factor")
    if given is None:
        given = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(trained))
    short = np.array(parameters["short_factor"], np.float32)
    if short.shape != (n_dims // 2,):
        raise ValueError(f"its short_factor has {short.size} numbers, and {n_dims // 2} pairs are rotated")
    return inverse(short * powers(parameters["rope_theta"], n_dims)), float(given)


KINDS: dict[str, Callable[[Parameters, int, int], tuple[Numbers, float]]] = {
    "default": _default,
    "dynamic": _dynamic,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
    "su": _longrope,
    "yarn": _yarn,
}
"""Frequencies and factor by ``rope_type``; ``su`` is an older name of ``longrope``."""
UNLIMITED = ("default", "dynamic", "linear", "llama3", "yarn")
"""Those whose frequencies are the same of every prompt that the model takes."""
