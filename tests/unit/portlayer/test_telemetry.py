"""Traces where nobody takes them in."""

from opentelemetry import trace
from opentelemetry.trace import format_trace_id

from portlayer.telemetry import PassingProvider, extract, inject

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def test_a_call_goes_on_in_its_callers_trace_under_a_span_of_its_own() -> None:
    """The ID of the trace travels, so that the logs of one request can be put together."""
    tracer = PassingProvider().get_tracer("test")
    parent = extract([("traceparent", f"00-{TRACE}-{PARENT}-01")])
    carried: dict[str, str] = {}
    with trace.use_span(tracer.start_span("call", parent)):
        inject(carried)
    version, trace_id, span_id, flags = carried["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id != PARENT


def test_a_call_without_a_trace_begins_one() -> None:
    """Each its own."""
    tracer = PassingProvider().get_tracer("test")
    made = [tracer.start_span("call", extract([])).get_span_context() for _ in range(2)]
    assert all(context.is_valid for context in made)
    assert len({format_trace_id(context.trace_id) for context in made}) == 2
