"""OpenTelemetry traces, from the HTTP request to the shard. Nothing is imported or recorded until enabled.

The job's record carries a trace's context, because queue messages say only that there is work.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

FLUSH_MS = 2000

Kind = Literal["server", "producer", "consumer"]

_provider: Any = None
_tracer: Any = None


def enable(process: str) -> None:
    """Export spans as the ``OTEL_*`` variables say; ``process`` is the default of the service's name.

    Raises:
        ImportError: The extra ``pathpatch[tracing]`` is not installed.
    """
    global _provider, _tracer
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource({SERVICE_NAME: process}).merge(OTELResourceDetector().detect())
    _provider = TracerProvider(resource=named, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("pathpatch")


def is_on() -> bool:
    """Whether spans are recorded."""
    return _tracer is not None


def flush() -> None:
    """Send the recorded spans; called at the end of a process."""
    if _provider is not None:
        _provider.force_flush(FLUSH_MS)


@contextmanager
def span(name: str, kind: Kind, carrier: Mapping[str, str] | None = None, **attributes: Any) -> Iterator[Any]:
    """A span around the block, or None if tracing is off.

    Args:
        carrier: Trace context: a request's headers, or the value of :func:`carried`. Absent: the surrounding span.
        attributes: Two underscores in a name stand for a dot.
    """
    if _tracer is None:
        yield None
        return
    from opentelemetry import trace
    from opentelemetry.propagate import extract

    context = None if carrier is None else extract(carrier)
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    with _tracer.start_as_current_span(name, context, trace.SpanKind[kind.upper()], named) as found:
        yield found


def carried() -> dict[str, str]:
    """The context of the surrounding span, for a job's record; empty if tracing is off."""
    carrier: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.propagate import inject

        inject(carrier)
    return carrier
