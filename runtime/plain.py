"""Text that a person reads in a terminal or a log: nothing in it steers the terminal or forges a line."""

import re

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, line separators, what changes the direction of writing, and halves of characters."""


def plain(text: str, keep: str = "") -> str:
    """The text with every such character as ``\\u001b``, but for those in ``keep``; JSON stays the same JSON."""
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else f"\\u{ord(found[0]):04x}", text)
