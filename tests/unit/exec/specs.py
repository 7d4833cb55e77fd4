"""What tests create containers of, and what they are told of them."""

from vic.exec.v1 import container_pb2, exec_pb2

from tests.unit.exec.conftest import Facet

SPEC = container_pb2.ContainerSpec(image="busybox")


def spec(**fields: object) -> container_pb2.ContainerSpec:
    """Return the specification of a container of the image that is there."""
    return container_pb2.ContainerSpec(image="busybox", **fields)  # type: ignore[arg-type]


async def kinds(facet: Facet) -> list[str]:
    """Return the kinds of all events so far."""
    stored = await facet.history.after(0)
    return [exec_pb2.EventKind.Name(e.kind).removeprefix("EVENT_KIND_").lower() for e in stored]
