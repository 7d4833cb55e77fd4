"""The RPC shell and its messages."""

from typing import Any, cast

import pytest
from vic.network.v1 import network_pb2 as pb

from portlayer.errors import InvalidArgument, NotImplementedYet
from portlayer.identity import Role
from services.network import messages
from services.network.names.answers import Answers
from services.network.names.askers import Askers
from services.network.names.server import NameServer
from services.network.names.upstream import Upstream
from services.network.outside import OutsideHosts
from services.network.resolvers import Resolvers
from services.network.roles import ACCESS
from services.network.server import SERVICE, Names, NetworkServicer
from tests.unit.network.conftest import Facet

NO_CONTEXT = cast(Any, None)
RESOLVERS = Resolvers(("10.0.0.53",), ("lan",), ("ndots:1",))


@pytest.fixture
def servicer(facet: Facet) -> NetworkServicer:
    """Return the shell over a started service."""
    outside = OutsideHosts(facet.store, facet.networks)
    answers = Answers(
        facet.endpoints.directory, Askers(facet.networks, facet.endpoints).networks_of, outside
    )
    return NetworkServicer(
        facet.networks,
        facet.endpoints,
        driver_name="linux",
        tether_port=7443,
        resolvers=lambda: RESOLVERS,
        publications=facet.publications,
        names=Names(answers, NameServer(facet.networks.all, answers, Upstream(list)), outside),
    )


def test_every_call_says_who_may_make_it() -> None:
    assert set(ACCESS) == {f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods}
    assert all(Role.TETHER not in roles for roles in ACCESS.values())
    assert ACCESS["/vic.network.v1.NetworkService/Bind"] == {Role.EXEC}


async def test_info_tells_where_tethers_go(servicer: NetworkServicer) -> None:
    assert await servicer.Info(pb.InfoRequest(), NO_CONTEXT) == pb.InfoResponse(
        driver="linux",
        management_address="100.112.0.1",
        management_prefix_length=20,
        tether_port=7443,
        default_network="bridge",
    )


async def test_the_default_network_shows_as_docker_s(servicer: NetworkServicer) -> None:
    networks = (await servicer.List(pb.ListRequest(), NO_CONTEXT)).networks
    (bridge,) = (network for network in networks if network.name == "bridge")
    assert bridge.predefined
    assert bridge.kind == pb.NETWORK_KIND_BRIDGE
    assert (bridge.pools[0].subnet, bridge.pools[0].gateway) == ("172.17.0.0/16", "172.17.0.1")
    assert bridge.options["com.docker.network.bridge.name"] == "vic0b0"
    assert bridge.created_at.seconds > 0


async def test_endpoints_carry_all_that_a_guest_needs(servicer: NetworkServicer) -> None:
    request = pb.ReserveRequest(container_id="c1", endpoints=[pb.EndpointRequest(network="bridge")])
    management, bridge = (await servicer.Reserve(request, NO_CONTEXT)).endpoints
    assert management.management
    assert management.ipv4_prefix_length == 20
    assert management.ipv4_gateway == ""
    assert list(management.dns_servers) == []
    assert (bridge.ipv4_address, bridge.ipv4_prefix_length) == ("172.17.0.2", 16)
    assert (bridge.ipv4_gateway, bridge.mtu) == ("172.17.0.1", 1500)
    assert list(bridge.dns_servers) == ["10.0.0.53"]
    assert list(bridge.dns_search) == ["lan"]
    assert list(bridge.dns_options) == ["ndots:1"]
    assert bridge.tap_name.startswith("vt0-")
    assert not bridge.bound
    bound = await servicer.Bind(pb.BindRequest(container_id="c1"), NO_CONTEXT)
    assert [endpoint.bound for endpoint in bound.endpoints] == [True, True]
    found = await servicer.GetReservation(pb.GetReservationRequest(container_id="c1"), NO_CONTEXT)
    assert list(found.endpoints) == list(bound.endpoints)


async def test_a_network_is_shown_with_its_endpoints(servicer: NetworkServicer) -> None:
    request = pb.ReserveRequest(container_id="c1", endpoints=[pb.EndpointRequest(network="none")])
    _, none = (await servicer.Reserve(request, NO_CONTEXT)).endpoints
    assert (none.tap_name, none.ipv4_address, none.mac_address) == ("", "", "")
    network = (await servicer.Get(pb.GetRequest(reference="none"), NO_CONTEXT)).network
    assert [endpoint.container_id for endpoint in network.endpoints] == ["c1"]
    listed = await servicer.ListReservations(pb.ListReservationsRequest(), NO_CONTEXT)
    assert list(listed.container_ids) == ["c1"]
    await servicer.Release(pb.ReleaseRequest(container_id="c1"), NO_CONTEXT)
    listed = await servicer.ListReservations(pb.ListReservationsRequest(), NO_CONTEXT)
    assert list(listed.container_ids) == []


async def test_an_internal_network_has_no_gateway_for_its_members(
    servicer: NetworkServicer,
) -> None:
    made = await servicer.Create(pb.CreateRequest(name="app", internal=True), NO_CONTEXT)
    assert made.network.internal
    request = pb.ReserveRequest(container_id="c1", endpoints=[pb.EndpointRequest(network="app")])
    _, endpoint = (await servicer.Reserve(request, NO_CONTEXT)).endpoints
    assert endpoint.ipv4_gateway == ""


async def test_a_call_without_a_container_is_refused(servicer: NetworkServicer) -> None:
    with pytest.raises(InvalidArgument):
        await servicer.Bind(pb.BindRequest(), NO_CONTEXT)


@pytest.mark.parametrize(
    "request_",
    [
        pb.CreateRequest(name="a", kind=pb.NETWORK_KIND_NONE),
        pb.CreateRequest(name="a", pools=[pb.AddressPool(), pb.AddressPool()]),
    ],
)
def test_what_is_not_implemented_is_named(request_: pb.CreateRequest) -> None:
    with pytest.raises(NotImplementedYet):
        messages.plan(request_)


@pytest.mark.parametrize(
    "pool",
    [
        pb.AddressPool(subnet="nonsense"),
        pb.AddressPool(subnet="10.0.0.0/8", gateway="nonsense"),
        pb.AddressPool(subnet="10.0.0.0/8", auxiliary_addresses={"a": "b"}),
    ],
)
def test_what_is_no_address_is_refused(pool: pb.AddressPool) -> None:
    with pytest.raises(InvalidArgument):
        messages.plan(pb.CreateRequest(name="a", pools=[pool]))


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ({"subnet": "foobar"}, "subnet foobar: invalid CIDR block notation"),
        ({"subnet": "10.1.0.0/33"}, "subnet 10.1.0.0/33: invalid CIDR block notation"),
        ({"subnet": "10.1.0.0"}, "subnet 10.1.0.0: invalid CIDR block notation"),
        ({"subnet": "10.1.0.0/255.255.0.0"}, "invalid CIDR block notation"),
        ({"subnet": "10.1.2.3/16"}, "subnet 10.1.2.3/16: it should be 10.1.0.0/16"),
        ({"ip_range": "10.1.2.3/24"}, "ip-range 10.1.2.3/24: it should be 10.1.2.0/24"),
        ({"ip_range": "2001:db8::/32"}, "ip-range 2001:db8::/32: parent subnet is an IPv4 block"),
        ({"gateway": "1001.10.5.3"}, "gateway 1001.10.5.3: invalid address"),
        ({"gateway": "2001:db8::1"}, "gateway 2001:db8::1: parent subnet is an IPv4 block"),
        ({"auxiliary_addresses": {"a": "b"}}, "auxiliary address a: invalid address"),
        ({"subnet": "2001:db8::1/64"}, "subnet 2001:db8::1/64: it should be 2001:db8::/64"),
    ],
)
def test_addresses_are_refused_in_docker_s_words(pool: dict[str, Any], said: str) -> None:
    asked = pb.AddressPool(**{"subnet": "10.1.0.0/16", **pool})
    with pytest.raises(InvalidArgument) as refused:
        messages.plan(pb.CreateRequest(name="a", pools=[asked], enable_ipv6=True))
    assert refused.value.message.startswith("invalid network config:\ninvalid ")
    assert said in refused.value.message
