"""Networks of a create request that are named twice: by the name and by the ID."""

import re

from vic.exec.v1.container_pb2 import ContainerSpec, NetworkAttachment
from vic.network.v1.network_pb2 import GetRequest

from gateway.errors import bad_parameter
from gateway.facets import Facets
from portlayer.errors import NotFound

_ID = re.compile("[0-9a-f]{1,64}")


async def join_each_once(facets: Facets, spec: ContainerSpec) -> None:
    """Leave one of a network's names, as a container is in each network once.

    dockerd creates such a container, fails to start it, and starts it the next time with either
    one's settings. Raises a 400 where they ask for different things.
    """
    if len(spec.networks) < 2 or not any(_ID.fullmatch(one.network) for one in spec.networks):
        return
    joined: dict[str, NetworkAttachment] = {}
    for attachment in spec.networks:
        try:
            request = GetRequest(reference=attachment.network)
            network = (await facets.network.Get(request)).network
        except NotFound:
            joined[attachment.network] = attachment  # create itself refuses it
            continue
        known = joined.get(network.id)
        joined[network.id] = _merged(network.name, known, attachment)
    if len(joined) < len(spec.networks):
        attachments = list(joined.values())
        del spec.networks[:]
        spec.networks.extend(attachments)


def _merged(
    name: str, known: NetworkAttachment | None, other: NetworkAttachment
) -> NetworkAttachment:
    if known is None:
        return other
    first, second = _without_name(known), _without_name(other)
    nothing = NetworkAttachment()
    if nothing not in (first, second) and first != second:
        raise bad_parameter(
            f"network {name} is named by its name and by its ID, with different settings"
        )
    chosen = NetworkAttachment(network=known.network)
    chosen.MergeFrom(second if first == nothing else first)
    return chosen


def _without_name(attachment: NetworkAttachment) -> NetworkAttachment:
    bare = NetworkAttachment()
    bare.CopyFrom(attachment)
    bare.ClearField("network")
    return bare
