"""Docker's events of containers: which attributes each carries."""

from collections.abc import Mapping
from dataclasses import replace

from vic.exec.v1 import exec_pb2

from portlayer.errors import InvalidArgument, Reason
from services.exec.history import NewEvent
from services.exec.record import Record


def event(record: Record, kind: exec_pb2.EventKind, **attributes: str) -> NewEvent:
    """Return an event of a container: its labels, image and name, and what the kind adds."""
    return NewEvent(
        kind=kind,
        container_id=record.id,
        attributes={
            **dict(record.spec.labels),
            "image": record.spec.image,
            "name": record.name,
            **attributes,
        },
    )


def told_event(
    record: Record, kind: exec_pb2.EventKind, attributes: Mapping[str, str], detail: str
) -> NewEvent:
    """Return an event of which another facet tells. Raises InvalidArgument for a kind of ours."""
    if not exec_pb2.EVENT_KIND_PRUNE < kind <= max(exec_pb2.EventKind.values()):
        raise InvalidArgument(f"no kind of event to tell: {kind}", Reason.INVALID_REQUEST)
    return replace(event(record, kind, **attributes), detail=detail)
