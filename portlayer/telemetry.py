"""OpenTelemetry: one trace from the Docker request through each facet into the tether.

Without a collector no span processor is installed; spans are then made and dropped, and their IDs
still travel, so that logs of one request can be put together.
"""

from collections.abc import Iterable, Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from portlayer.identity import Role

tracer = trace.get_tracer("vic")
# Alone: OpenTelemetry's own choice also looks for baggage, which nobody here has.
_PROPAGATOR = TraceContextTextMapPropagator()


def configure_telemetry(role: Role, instance_id: str, endpoint: str) -> None:
    """Install the tracer provider, and the OTLP exporter where an endpoint is given."""
    resource = Resource.create({SERVICE_NAME: f"vic-{role.value}", "vic.instance": instance_id})
    # What nobody takes in is not recorded either; its IDs travel all the same.
    provider = TracerProvider(ALWAYS_ON if endpoint else ALWAYS_OFF, resource=resource)
    if endpoint:
        # Costs 30 MB and 100 ms to import, which who exports nothing need not pay.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)


def inject(metadata: dict[str, str]) -> None:
    """Add the current trace's context to outgoing metadata."""
    _PROPAGATOR.inject(metadata)


def extract(metadata: Iterable[tuple[str, str | bytes]]) -> Context:
    """Return the trace's context that came with a call."""
    carrier: Mapping[str, str] = {k: v for k, v in metadata if isinstance(v, str)}
    return _PROPAGATOR.extract(carrier)
