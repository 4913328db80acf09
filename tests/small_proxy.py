"""A real reverse proxy in a thread: it puts a service below a path, and takes the path off or leaves it."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


@contextmanager
def small_proxy(target: str, prefix: str, strips: bool = True, tells: bool = False) -> Iterator[str]:
    """Address of the service below ``prefix``.

    Args:
        strips: Whether the path is taken off before the service is asked.
        tells: Whether ``X-Forwarded-Prefix`` says what it is.
    """
    to = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            if not (self.path + "/").startswith(f"{prefix}/"):
                self.send_error(404)
                return
            path = (self.path.removeprefix(prefix) or "/") if strips else self.path
            told = {"X-Forwarded-Prefix": prefix} if tells else {}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = http.client.HTTPConnection(to.hostname or "", to.port or 80, timeout=60)
            upstream.request(self.command, path, body, {**dict(self.headers.items()), **told})
            answer = upstream.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP | {"content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            upstream.close()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler.forward)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
