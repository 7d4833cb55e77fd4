"""Structured logs: one JSON object a line on standard error."""

import logging
import sys

from opentelemetry import trace
from pythonjsonlogger.json import JsonFormatter

from portlayer.identity import Role


class _TraceFilter(logging.Filter):
    """Adds the IDs of the current trace, so that a log line leads to its request."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            record.trace_id = format(context.trace_id, "032x")
            record.span_id = format(context.span_id, "016x")
        return True


def configure_logs(role: Role, level: str) -> None:
    """Send all loggers' records to standard error as JSON lines. Secrets are the callers' duty."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": role.value},
            defaults={},
        )
    )
    handler.addFilter(_TraceFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # One line a migration step, one a gRPC call: noise.
    for name in ("alembic", "sqlalchemy.engine", "grpc"):
        logging.getLogger(name).setLevel(logging.WARNING)
