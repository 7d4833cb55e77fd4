"""Events of the facets in Docker's one shape."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from vic.exec.v1.exec_pb2 import Event as ContainerEvent
from vic.exec.v1.exec_pb2 import EventKind
from vic.network.v1.network_pb2 import Event as NetworkEvent
from vic.network.v1.network_pb2 import EventKind as NetworkEventKind
from vic.storage.v1.image_pb2 import ImageEvent, ImageEventKind
from vic.storage.v1.volume_pb2 import VolumeEvent, VolumeEventKind

from gateway.translate.filters import Filters
from gateway.translate.references import without_tag
from gateway.translate.times import nanoseconds

FILTERS = frozenset(
    {
        *("config", "container", "daemon", "event", "image", "label", "network", "node"),
        *("plugin", "scope", "secret", "service", "type", "volume"),
    }
)

_KINDS = ("container", "network", "volume")
# Of what there is nothing here.
_NEVER = ("config", "daemon", "node", "plugin", "secret", "service")
# With one of them in a filter, others may be shortened, too: Docker's.
_DETAILED = {"health_status", "exec_create", "exec_start"}
_ACTIONS = {
    EventKind.EVENT_KIND_ARCHIVE_PATH: "archive-path",
    EventKind.EVENT_KIND_EXTRACT_TO_DIR: "extract-to-dir",
}


def container_event(event: ContainerEvent) -> dict[str, Any]:
    """An event of a container; with the fields of the API before 1.22, which clients still read."""
    action = _ACTIONS.get(event.kind) or _action(EventKind, event.kind, "EVENT_KIND_")
    if event.detail:
        action = f"{action}: {event.detail}"
    legacy = {
        "status": action,
        "id": event.container_id,
        "from": event.attributes.get("image", ""),
    }
    shape = _event("container", action, event.container_id, event.attributes, event.time)
    return {**legacy, **shape}


def image_event(event: ImageEvent) -> dict[str, Any]:
    """An event of an image."""
    action = _action(ImageEventKind, event.kind, "IMAGE_EVENT_KIND_")
    shape = _event("image", action, event.actor_id, event.attributes, event.time)
    return {"status": action, "id": event.actor_id, **shape}


def network_event(event: NetworkEvent) -> dict[str, Any]:
    """An event of a network."""
    action = _action(NetworkEventKind, event.kind, "EVENT_KIND_")
    return _event("network", action, event.network_id, event.attributes, event.time)


def volume_event(event: VolumeEvent) -> dict[str, Any]:
    """An event of a volume."""
    action = _action(VolumeEventKind, event.kind, "VOLUME_EVENT_KIND_")
    return _event("volume", action, event.volume_name, event.attributes, event.time)


def fits(event: Mapping[str, Any], filters: Filters) -> bool:
    """Whether an event is one of those asked for.

    Source: moby, daemon/events/filter.go: of containers, networks and volumes the beginning of an
    ID or a name will do.
    """
    kind, actor = event["Type"], event["Actor"]
    return (
        filters.exact("type", kind)
        and _is_action(filters, event["Action"])
        and filters.exact("scope", event["scope"])
        and filters.labels(actor["Attributes"])
        and all(_names(filters, key, kind, actor) for key in _KINDS)
        and _is_of_image(filters, kind, actor)
        and not any(filters.get(key) for key in _NEVER)
    )


def _is_action(filters: Filters, action: str) -> bool:
    if filters.get("event") & _DETAILED:
        return filters.prefix("event", action)
    return filters.exact("event", action)


def _names(filters: Filters, key: str, kind: str, actor: Mapping[str, Any]) -> bool:
    if not filters.get(key):
        return True
    name = actor["Attributes"].get("name", "")
    return kind == key and (filters.prefix(key, actor["ID"]) or filters.prefix(key, name))


def _is_of_image(filters: Filters, kind: str, actor: Mapping[str, Any]) -> bool:
    wanted = filters.get("image")
    attribute = "name" if kind == "image" else "image"
    names = {actor["ID"], actor["Attributes"].get(attribute, "")}
    return not wanted or bool(wanted & (names | {without_tag(name) for name in names}))


def _action(kinds: Any, kind: int, prefix: str) -> str:
    name: str = kinds.Name(kind)
    return name.removeprefix(prefix).lower()


def _event(
    kind: str, action: str, actor: str, attributes: Mapping[str, str], time: Timestamp
) -> dict[str, Any]:
    return {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": actor, "Attributes": dict(attributes)},
        "scope": "local",
        "time": time.seconds,
        "timeNano": nanoseconds(time),
    }
