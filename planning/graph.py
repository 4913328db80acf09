"""Who can change what, in the order of a forward pass."""

from api_schemas.metrics import Head
from api_schemas.nodes import Node


def changes_pattern(node: Node, head: Head) -> bool:
    """Whether a change at the node can change the head's attention pattern: it is earlier, or the head's own input."""
    if node.layer is None or node.layer < head.layer:
        return True
    if node.layer > head.layer or node.hook not in ("q", "k", "pattern", "resid_pre"):
        return False
    return node.head in (None, head.head)
