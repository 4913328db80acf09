"""A small OpenTelemetry collector: takes spans over OTLP/HTTP as protobuf and remembers them."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span:
    """One span as it came over the wire, with the process that sent it."""

    def __init__(self, process: str, span: Any) -> None:
        self.process = process
        self.name: str = span.name
        self.trace_id: str = span.trace_id.hex()
        self.span_id: str = span.span_id.hex()
        self.parent_id: str = span.parent_span_id.hex()
        self.begin_ns: int = span.start_time_unix_nano
        self.end_ns: int = span.end_time_unix_nano
        self.attributes = _plain(span.attributes)


def _plain(attributes: Any) -> dict[str, Any]:
    found = {}
    for attribute in attributes:
        value = attribute.value
        found[attribute.key] = getattr(value, value.WhichOneof("value"))
    return found


class Collector:
    """Listens at ``url``; ``spans`` has what has come so far."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.take(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, body: bytes) -> None:
        """Remember the spans of one export."""
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            process = str(_plain(sent.resource.attributes)["service.name"])
            self.spans += [Span(process, span) for scope in sent.scope_spans for span in scope.spans]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
