"""The server of these tools, on standard input and output or over streamable HTTP."""

import os
from typing import Any

from mcp.server import MCPServer

from pathpatch.assistant.tools import Tools
from pathpatch.version import __version__

INSTRUCTIONS = """\
Path patching of transformer language models: which edges between heads, MLPs and the logits carry a behaviour.
A spec names the model, the prompts (orig and new), what is patched (senders to receivers) and the metric. Start with
list_models and starting_spec, check with validate, then submit, wait and summarise; figure draws the result.
An effect is patched minus orig, in the metric's unit; 0 means that patching changed nothing.
"""


def assistant_server(url: str, api_key: str | None) -> MCPServer[Any]:
    """The tools of one service.

    Args:
        api_key: For callers on standard input and output; over HTTP each request brings its own.
    """
    server: MCPServer[Any] = MCPServer(
        "pathpatch", title="Path patching", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING"
    )
    Tools(url, api_key).register(server)
    return server


def serve(url: str, host: str | None, port: int) -> None:
    """Serve until the input ends, or over HTTP until Ctrl-C; ``host`` None is standard input and output."""
    api_key = os.environ.pop("PATHPATCH_API_KEY", None)  # no caller over HTTP acts with the key of this process
    server = assistant_server(url, api_key)
    if host is None:
        server.run("stdio")
    else:
        server.run("streamable-http", host=host, port=port)
