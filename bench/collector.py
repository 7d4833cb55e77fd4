"""Takes in the spans that the services export, as an OpenTelemetry collector does."""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


@dataclass(frozen=True)
class Span:
    """A piece of work of one service, in nanoseconds since the epoch."""

    service: str
    name: str
    path: str
    """Of an HTTP request."""
    begin_ns: int
    end_ns: int


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps all spans."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._spans: list[Span] = []
        self._exported: set[str] = set()
        self._changed = threading.Condition()

    def Export(  # noqa: N802 # gRPC's name
        self, request: pb.ExportTraceServiceRequest, context: object
    ) -> pb.ExportTraceServiceResponse:
        """Take in a batch."""
        with self._changed:
            for resource in request.resource_spans:
                service = _texts(resource.resource.attributes).get("service.name", "")
                self._exported.add(service.removeprefix("vic-"))
                self._spans += [
                    Span(
                        service.removeprefix("vic-"),
                        span.name,
                        _texts(span.attributes).get("path", ""),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                    )
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
            self._changed.notify_all()
        return pb.ExportTraceServiceResponse()

    def between(self, begin_ns: int, end_ns: int) -> list[Span]:
        """Return what began in a time, in its order."""
        with self._changed:
            found = [span for span in self._spans if begin_ns <= span.begin_ns <= end_ns]
        return sorted(found, key=lambda span: span.begin_ns)

    def await_all(self, seconds: float) -> None:
        """Return when each service has exported once more: all have some call every few seconds."""
        with self._changed:
            waiting = {span.service for span in self._spans}
            self._exported.clear()
            self._changed.wait_for(lambda: self._exported >= waiting, seconds)


def _texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in attributes}


@contextmanager
def collect() -> Iterator[Collector]:
    """Run a collector on loopback."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    # The package has no types for it.
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()
