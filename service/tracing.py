"""OpenTelemetry traces, from the HTTP request to the shard; nothing happens, and nothing is imported, until enabled."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Scope

_tracer: Any = None


def enable() -> None:
    """Export spans as the usual ``OTEL_*`` variables say.

    Raises:
        ImportError: The extra ``pathpatch[tracing]`` is not installed.
    """
    global _tracer
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "pathpatch-service"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _tracer = trace.get_tracer("pathpatch.service")


@contextmanager
def request_span(scope: Scope) -> Iterator[None]:
    """A span around one request, continuing the caller's trace."""
    if _tracer is None:
        yield
        return
    from opentelemetry import propagate

    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    with _tracer.start_as_current_span(
        f"{scope['method']} {scope['path']}",
        context=propagate.extract(headers),
        attributes={"http.request.method": scope["method"], "url.path": scope["path"]},
    ):
        yield


def carried() -> dict[str, str]:
    """The trace context that travels with a job to its shards."""
    carrier: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry import propagate

        propagate.inject(carrier)
    return carrier
