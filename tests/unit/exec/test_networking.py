"""Connect and disconnect, of containers that run and that don't."""

import pytest
from vic.exec.v1 import container_pb2
from vic.exec.v1.container_pb2 import NetworkAttachment, PortBinding
from vic.network.v1 import network_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Reason,
    Unavailable,
    VicError,
)
from services.exec.drivers import Surroundings
from services.exec.drivers.guest import surroundings
from services.exec.interfaces import interface_names
from services.exec.record import Record
from services.exec.states import State
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import spec

DB = NetworkAttachment(network="back", aliases=["db"])


def networks_of(record: Record) -> list[str]:
    return [endpoint.network_name for endpoint in record.endpoints]


def asked_of(record: Record) -> list[str]:
    return [attachment.network for attachment in record.spec.networks]


async def test_a_container_that_stands_is_started_in_what_it_joined(facet: Facet) -> None:
    container_id = (await facet.creator.create("", spec())).id
    record = await facet.lifecycle.connect(container_id, DB)
    assert networks_of(record) == asked_of(record) == ["bridge", "back"]
    assert facet.hypervisor.plugged == []
    assert facet.peers.disks[container_id] == record.specification()
    record = await facet.lifecycle.start(container_id)
    assert [endpoint.interface_name for endpoint in record.endpoints] == ["eth0", "eth1"]
    await facet.lifecycle.stop(container_id, 0, "")
    record = await facet.lifecycle.disconnect(container_id, "id-of-bridge")
    assert networks_of(record) == asked_of(record) == ["back"]


async def test_a_container_that_stands_changes_its_wishes(facet: Facet) -> None:
    container_id = (await facet.creator.create("", spec())).id
    await facet.lifecycle.connect(container_id, DB)
    record = await facet.lifecycle.connect(
        container_id, NetworkAttachment(network="back", aliases=["other"])
    )
    assert networks_of(record) == ["bridge", "back"]
    assert list(record.endpoints[1].aliases) == ["other"]
    # Nothing new, and nothing lost.
    again = await facet.lifecycle.connect(container_id, NetworkAttachment(network="back"))
    assert again == record
    facet.peers.failing["Connect"] = InvalidArgument("no such address", Reason.INVALID_ADDRESS)
    with pytest.raises(InvalidArgument):
        await facet.lifecycle.connect(container_id, DB)
    # As before, in all that there is of it.
    assert await facet.containers.get(container_id) == record
    assert len(facet.peers.reservations[container_id]) == 3


async def test_a_running_container_joins_and_leaves_at_once(facet: Facet) -> None:
    container_id = await facet.run()
    record = await facet.lifecycle.connect(container_id, DB)
    assert facet.hypervisor.plugged == ["back"]
    assert facet.hypervisor.interfaces[container_id] == {"eth0": "bridge", "eth1": "back"}
    assert record.state is State.RUNNING
    record = await facet.lifecycle.disconnect(container_id, "bridge")
    assert facet.hypervisor.interfaces[container_id] == {"eth1": "back"}
    record = await facet.lifecycle.connect(container_id, NetworkAttachment(network="bridge"))
    # Who stays keeps its name; who comes gets the first that is free.
    assert facet.hypervisor.interfaces[container_id] == {"eth1": "back", "eth0": "bridge"}
    assert await facet.containers.get(container_id) == record
    assert facet.peers.disks[container_id] == record.specification()


async def test_a_paused_guest_is_told_and_not_waited_for(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.pause(container_id)
    record = await facet.lifecycle.connect(container_id, DB)
    assert record.state is State.PAUSED
    assert "eth1" in facet.hypervisor.interfaces[container_id]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("Connect", NotFound("network back not found", Reason.NETWORK_NOT_FOUND)),
        ("plug", Internal("no", Reason.PLUG_FAILED)),
        ("Bind", FailedPrecondition("no tap", Reason.TAP_MISSING)),
        ("surround", Unavailable("no", Reason.PLUG_FAILED)),
        ("PutSpecification", Unavailable("away", Reason.SERVICE_UNAVAILABLE)),
    ],
)
async def test_a_join_that_fails_leaves_all_as_it_was(
    facet: Facet, call: str, error: VicError
) -> None:
    container_id = await facet.run(
        port_bindings=[PortBinding(container_port=80, protocol=container_pb2.PROTOCOL_TCP)]
    )
    before = await facet.containers.get(container_id)
    ports, reservation = facet.peers.published, list(facet.peers.reservations[container_id])
    target = facet.hypervisor if call in ("plug", "surround") else facet.peers
    target.failing[call] = error
    with pytest.raises(type(error)):
        await facet.lifecycle.connect(container_id, DB)
    assert await facet.containers.get(container_id) == before
    assert facet.peers.reservations[container_id] == reservation
    assert facet.peers.published == ports
    assert facet.hypervisor.plugged == []
    assert facet.hypervisor.interfaces.get(container_id, {"eth0": "bridge"}) == {"eth0": "bridge"}
    assert before is not None
    assert facet.peers.disks[container_id] == before.specification()


@pytest.mark.parametrize("call", ["surround", "unplug"])
async def test_a_guest_has_no_say_in_being_taken_out(facet: Facet, call: str) -> None:
    container_id = await facet.run()
    await facet.lifecycle.connect(container_id, DB)
    facet.hypervisor.failing[call] = Unavailable("it is stubborn", Reason.PLUG_FAILED)
    record = await facet.lifecycle.disconnect(container_id, "back")
    assert networks_of(record) == ["bridge"]
    assert len(facet.peers.reservations[container_id]) == 2


async def test_what_is_no_change_of_networks_is_refused(facet: Facet) -> None:
    running = await facet.run()
    isolated = (await facet.creator.create("", spec(network_mode="none"))).id
    cases = [
        (running, NetworkAttachment(network="bridge"), AlreadyExists, "already exists in network"),
        (running, NetworkAttachment(), InvalidArgument, "no network"),
        (running, NetworkAttachment(network="none"), InvalidArgument, "private \\(none\\) mode"),
        (isolated, DB, InvalidArgument, "private \\(none\\) mode"),
    ]
    for container_id, attachment, error, words in cases:
        with pytest.raises(error, match=words):
            await facet.lifecycle.connect(container_id, attachment)
    with pytest.raises(FailedPrecondition, match="is not connected to the network back") as refusal:
        await facet.lifecycle.disconnect(running, "back")
    assert refusal.value.reason is Reason.NOT_CONNECTED
    # dockerd looks for the network of one that runs before it looks for the container in it.
    with pytest.raises(NotFound, match="network nowhere not found"):
        await facet.lifecycle.disconnect(running, "nowhere")
    with pytest.raises(FailedPrecondition, match="is not connected to the network nowhere"):
        await facet.lifecycle.disconnect(isolated, "nowhere")


@pytest.mark.parametrize("runs", [False, True])
async def test_a_container_of_no_network_leaves_that_and_joins_one(
    facet: Facet, runs: bool
) -> None:
    if runs:
        container_id = await facet.run(network_mode="none")
    else:
        container_id = (await facet.creator.create("", spec(network_mode="none"))).id
    record = await facet.lifecycle.disconnect(container_id, "none")
    assert record.spec.none_left
    assert facet.peers.disks[container_id] == record.specification()
    with pytest.raises(FailedPrecondition, match="is not connected to the network none"):
        await facet.lifecycle.disconnect(container_id, "none")
    record = await facet.lifecycle.connect(container_id, DB)
    assert networks_of(record) == asked_of(record) == ["back"]
    record = await facet.lifecycle.disconnect(container_id, "back")
    assert networks_of(record) == []
    assert networks_of(await facet.lifecycle.connect(container_id, DB)) == ["back"]


async def test_one_of_mode_none_that_was_on_a_network_joins_it_again(facet: Facet) -> None:
    made = await facet.creator.create("", spec(network_mode="none", networks=[DB]))
    assert networks_of(await facet.lifecycle.disconnect(made.id, "back")) == []
    assert networks_of(await facet.lifecycle.connect(made.id, DB)) == ["back"]


async def test_a_container_ends_while_it_joins(facet: Facet) -> None:
    container_id = await facet.run()
    put = facet.peers.PutSpecification

    async def put_after_the_end(request: object) -> None:
        await facet.peers.end(container_id, 3)
        await put(request)  # type: ignore[arg-type]

    facet.peers.PutSpecification = put_after_the_end  # type: ignore[method-assign]
    await facet.lifecycle.connect(container_id, DB)
    record = await facet.containers.get(container_id)
    assert record is not None
    assert (record.state, record.exit_code) == (State.EXITED, 3)
    assert networks_of(record) == asked_of(record) == ["bridge", "back"]


async def test_a_container_whose_network_was_removed_is_not_started(facet: Facet) -> None:
    container_id = (await facet.creator.create("", spec())).id
    await facet.lifecycle.connect(container_id, DB)
    facet.peers.reservations[container_id].pop()
    with pytest.raises(NotFound, match="networking: network id-of-back not found"):
        await facet.lifecycle.start(container_id)
    assert facet.hypervisor.machines == {}
    # Once it has left what isn't there, it can be.
    facet.peers.failing["Disconnect"] = NotFound("no network", Reason.NETWORK_NOT_FOUND)
    await facet.lifecycle.disconnect(container_id, "back")
    await facet.lifecycle.start(container_id)


async def test_ports_are_closed_when_nothing_leads_to_them_and_come_back(facet: Facet) -> None:
    bindings = [PortBinding(container_port=80, protocol=container_pb2.PROTOCOL_TCP)]
    container_id = await facet.run(port_bindings=bindings)
    facet.peers.failing["Publish"] = FailedPrecondition("no way in", Reason.WRONG_STATE)
    record = await facet.lifecycle.disconnect(container_id, "bridge")
    assert record.published_ports == ()
    assert container_id not in facet.peers.published
    record = await facet.lifecycle.connect(container_id, NetworkAttachment(network="bridge"))
    assert len(record.published_ports) == 1


def endpoint(name: str, number: int, **fields: object) -> network_pb2.Endpoint:
    return network_pb2.Endpoint(
        id=name,
        network_name=name,
        tap_name=f"vt0-00000{number}",
        mac_address=f"02:42:ac:11:00:0{number}",
        ipv4_address=f"172.17.0.{number}",
        ipv4_prefix_length=16,
        ipv4_gateway=f"172.17.{number}.1",
        mtu=1500,
        **fields,  # type: ignore[arg-type]
    )


def test_a_guest_is_told_of_all_its_networks() -> None:
    management = network_pb2.Endpoint(id="m", management=True, tap_name="vt0-000001")
    a = endpoint("bridge", 2, dns_servers=["9.9.9.9"])
    b = endpoint("own", 3, default_route=True, own_name_server=True, dns_servers=["172.17.3.1"])
    endpoints = [management, a, b]
    wanted = container_pb2.ContainerSpec(hostname="h", extra_hosts=["out:host-gateway"])
    told = surroundings(Surroundings(wanted, endpoints, interface_names(endpoints)))
    assert [(nic.name, nic.index, nic.gateway) for nic in told.nics] == [
        ("eth0", 1, ""),
        ("eth1", 2, "172.17.3.1"),
    ]
    # Only that server knows the names of the members.
    assert list(told.dns.servers) == ["172.17.3.1"]
    assert [(host.address, host.name) for host in told.hosts] == [
        ("172.17.3.1", "out"),
        ("172.17.0.2", "h"),
        ("172.17.0.3", "h"),
    ]
    changed = [management, b, endpoint("new", 4)]
    assert interface_names(changed, {"bridge": "eth0", "own": "eth1"}) == {
        "own": "eth1",
        "new": "eth0",
    }
