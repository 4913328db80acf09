"""`pathpatch mcp`: tools for assistants that speak the Model Context Protocol."""

from typing import Annotated

import typer

from pathpatch.cli.terminal import DEFAULT_URL, CommandFailed, Url, note


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Serve streamable HTTP instead of standard input.")] = False,
    host: Annotated[str, typer.Option(help="With --http: address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="With --http: port to listen on.", min=1, max=65535)] = 8765,
    url: Url = DEFAULT_URL,
) -> None:
    """Let an assistant run experiments: an MCP server of this service's models, jobs and results.

    An assistant starts it itself, and talks to it on standard input and output
    with the key in PATHPATCH_API_KEY. With --http it serves /mcp to several;
    each request brings its own key, as Authorization: Bearer.

    Examples:

      pathpatch mcp

      pathpatch mcp --http --port 8765
    """
    try:
        from pathpatch.assistant.server import serve
    except ModuleNotFoundError as exc:
        raise CommandFailed("This needs the MCP SDK: pip install 'pathpatch[mcp]'.") from exc
    if http:
        note(f"serving http://{host}:{port}/mcp; Ctrl-C stops")
    serve(url, host if http else None, port)
