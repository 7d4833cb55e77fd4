"""Docker's events of containers: which attributes each carries."""

from vic.exec.v1 import exec_pb2

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
