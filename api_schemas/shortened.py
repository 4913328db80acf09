"""JSON short enough to be looked at."""

from typing import Any

LONGEST_SHOWN = 8


def shortened(value: Any) -> Any:
    """JSON with at most a few items of each list, and the number of the others."""
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    if not isinstance(value, list):
        return value
    shown = [shortened(item) for item in value[:LONGEST_SHOWN]]
    return shown + ([f"… {len(value) - LONGEST_SHOWN} more"] if len(value) > LONGEST_SHOWN else [])
