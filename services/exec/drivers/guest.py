"""What a container's guest is told, out of its specification and its endpoints."""

from collections.abc import Callable, Iterable

from vic.exec.v1 import container_pb2
from vic.hostagent.v1 import hostagent_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import FailedPrecondition, Reason
from services.exec.drivers import MachineSpec, Surroundings
from services.exec.interfaces import interface_names
from services.exec.mounts import in_order, may_copy, tmpfs_options

# Docker's way to say that no domain is to be searched.
NO_SEARCH = "."
# Docker's word for the address of the host as a container sees it.
HOST_GATEWAY = "host-gateway"


def guest_config(
    machine: MachineSpec, connected: Callable[[network_pb2.Endpoint], bool], root_device: str = ""
) -> hostagent_pb2.GuestConfig:
    """Return the guest's configuration. Raises FailedPrecondition without a management endpoint.

    ``connected`` tells which endpoints have a NIC, ``root_device`` what the platform calls the
    container's disk, below /dev.
    """
    management = next((e for e in machine.endpoints if e.management), None)
    if management is None:
        raise FailedPrecondition(
            f"container {machine.container_id} has no management endpoint", Reason.WRONG_STATE
        )
    spec = machine.spec
    names = interface_names([e for e in machine.endpoints if connected(e)])
    around = surroundings(Surroundings(spec, machine.endpoints, names))
    return hostagent_pb2.GuestConfig(
        hostname=spec.hostname,
        domainname=spec.domainname,
        # The same after every start, and different for each container.
        guest_machine_id=machine.container_id[:32],
        management=hostagent_pb2.GuestManagement(
            mac_address=management.mac_address,
            address=f"{management.ipv4_address}/{management.ipv4_prefix_length}",
            endpoint=machine.tether_endpoint,
            server_name=machine.tether_server_name,
        ),
        nics=around.nics,
        dns=around.dns,
        hosts=around.hosts,
        root_readonly=spec.read_only_root,
        mounts=[_mount(machine, mount) for mount in in_order(spec.mounts)],
        shm_bytes=spec.shm_bytes,
        root_device=root_device,
    )


def surroundings(around: Surroundings) -> hostagent_pb2.SurroundRequest:
    """Return what a guest is told of its container's networks, without whose it is."""
    # On network `none` there is an endpoint, and no NIC.
    endpoints = [endpoint for endpoint in around.endpoints if endpoint.id in around.names]
    return hostagent_pb2.SurroundRequest(
        nics=[_nic(endpoint, around.names[endpoint.id]) for endpoint in endpoints],
        dns=_dns(around.spec.dns, endpoints),
        hosts=[
            hostagent_pb2.GuestHost(address=address, name=name)
            for address, name in _hosts(around.spec, endpoints)
        ],
    )


def _mount(machine: MachineSpec, mount: container_pb2.Mount) -> hostagent_pb2.GuestMount:
    guest = hostagent_pb2.GuestMount(target=mount.target, read_only=mount.read_only)
    if mount.kind == container_pb2.MOUNT_KIND_TMPFS:
        flags, data = tmpfs_options(mount)
        guest.tmpfs.CopyFrom(hostagent_pb2.GuestTmpfs(flags=flags, data=data))
        return guest
    places = {disk.volume_name: place for place, disk in enumerate(machine.volumes)}
    place = places[mount.source]
    writable = not machine.volumes[place].read_only
    guest.volume.CopyFrom(
        hostagent_pb2.GuestVolume(
            disk=place,
            copy_up=may_copy(mount) and machine.first_start and writable,
            subpath=mount.subpath,
        )
    )
    return guest


def _nic(endpoint: network_pb2.Endpoint, name: str) -> hostagent_pb2.GuestNic:
    addresses = [f"{endpoint.ipv4_address}/{endpoint.ipv4_prefix_length}"]
    if endpoint.ipv6_address:
        addresses.append(f"{endpoint.ipv6_address}/{endpoint.ipv6_prefix_length}")
    return hostagent_pb2.GuestNic(
        # The first one is in its place from the beginning; see interface_names for the names.
        index=int(name.removeprefix("eth")) + 1,
        mac_address=endpoint.mac_address,
        addresses=addresses,
        gateway=endpoint.ipv4_gateway if endpoint.default_route else "",
        mtu=endpoint.mtu,
        name=name,
    )


def _dns(
    options: container_pb2.DnsOptions, endpoints: Iterable[network_pb2.Endpoint]
) -> hostagent_pb2.GuestDns:
    """What the container asked for wins over what its first network offers.

    But for servers where a network has one of its own, without which its members' names would be
    lost: that one asks the container's in its place.
    """
    ordered = sorted(endpoints, key=lambda endpoint: not endpoint.own_name_server)
    first = next(iter(ordered), network_pb2.Endpoint())
    wanted = first.dns_servers if first.own_name_server else options.servers or first.dns_servers
    search = [] if list(options.search) == [NO_SEARCH] else options.search or first.dns_search
    return hostagent_pb2.GuestDns(
        servers=wanted,
        search=search,
        options=options.options or first.dns_options,
    )


def _hosts(
    spec: container_pb2.ContainerSpec, endpoints: list[network_pb2.Endpoint]
) -> Iterable[tuple[str, str]]:
    """Lines of /etc/hosts beyond the loopback ones: the extra ones first, as Docker has them."""
    gateway = next((e.ipv4_gateway for e in endpoints if e.default_route), "")
    for entry in spec.extra_hosts:
        name, _, address = entry.partition(":")
        yield (gateway if address == HOST_GATEWAY else address), name
    names = [spec.hostname]
    if spec.domainname:
        names.insert(0, f"{spec.hostname}.{spec.domainname}")
    for endpoint in endpoints:
        for name in names:
            yield endpoint.ipv4_address, name
