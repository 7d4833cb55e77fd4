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
from gateway.translate.times import nanoseconds

FILTERS = frozenset(
    {
        *("config", "container", "daemon", "event", "image", "label", "network", "node"),
        *("plugin", "scope", "secret", "service", "type", "volume"),
    }
)


def container_event(event: ContainerEvent) -> dict[str, Any]:
    """An event of a container; with the fields of the API before 1.22, which clients still read."""
    action = EventKind.Name(event.kind).removeprefix("EVENT_KIND_").lower()
    legacy = {
        "status": action,
        "id": event.container_id,
        "from": event.attributes.get("image", ""),
    }
    shape = _event("container", action, event.container_id, event.attributes, event.time)
    return {**legacy, **shape}


def image_event(event: ImageEvent) -> dict[str, Any]:
    """An event of an image."""
    action = ImageEventKind.Name(event.kind).removeprefix("IMAGE_EVENT_KIND_").lower()
    shape = _event("image", action, event.actor_id, event.attributes, event.time)
    return {"status": action, "id": event.actor_id, **shape}


def network_event(event: NetworkEvent) -> dict[str, Any]:
    """An event of a network."""
    action = NetworkEventKind.Name(event.kind).removeprefix("EVENT_KIND_").lower()
    return _event("network", action, event.network_id, event.attributes, event.time)


def volume_event(event: VolumeEvent) -> dict[str, Any]:
    """An event of a volume."""
    action = VolumeEventKind.Name(event.kind).removeprefix("VOLUME_EVENT_KIND_").lower()
    return _event("volume", action, event.volume_name, event.attributes, event.time)


def fits(event: Mapping[str, Any], filters: Filters) -> bool:
    """Whether an event is one of those asked for."""
    kind, actor = event["Type"], event["Actor"]
    attributes = actor["Attributes"]
    names = {actor["ID"], attributes.get("name", "")}
    if kind == "container":
        about_image = {attributes.get("image", "")}
    else:
        about_image = names if kind == "image" else set()
    return (
        filters.exact("type", kind)
        and filters.exact("event", event["Action"])
        and filters.exact("scope", event["scope"])
        and filters.labels(attributes)
        and _about(filters, "container", names if kind == "container" else set(), actor["ID"])
        and _about(filters, "network", names if kind == "network" else set(), actor["ID"])
        and _about(filters, "volume", names if kind == "volume" else set(), "")
        and _about(filters, "image", about_image, "")
        and not any(filters.get(key) for key in ("config", "node", "plugin", "secret", "service"))
    )


def _about(filters: Filters, key: str, names: set[str], actor_id: str) -> bool:
    wanted = filters.get(key)
    if not wanted:
        return True
    untagged = {name.partition(":")[0] for name in names} if key == "image" else set()
    return bool(wanted & (names | untagged)) or bool(
        names and any(value and actor_id.startswith(value) for value in wanted)
    )


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
