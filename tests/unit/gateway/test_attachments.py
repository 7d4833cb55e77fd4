"""Networks of a create request: which of them a container is in, as dockerd has it."""

from typing import Any

import pytest
from vic.exec.v1.container_pb2 import NetworkAttachment

from gateway.errors import ApiError
from gateway.translate.create import read_create_request

NEW, OLD = (1, 51), (1, 43)
ID = "0123456789ab"
MAC = "02:42:0a:09:00:05"


def attachments(
    mode: str | None,
    endpoints: dict[str, Any],
    version: tuple[int, int] = NEW,
    **config: Any,
) -> list[NetworkAttachment]:
    """What a request with this mode and these endpoints asks for."""
    body = {
        "Image": "busybox",
        "HostConfig": {} if mode is None else {"NetworkMode": mode},
        "NetworkingConfig": {"EndpointsConfig": endpoints},
        **config,
    }
    return list(read_create_request(body, "", "", version).networks)


@pytest.mark.parametrize("version", [NEW, OLD])
@pytest.mark.parametrize("mode", [None, "default", "bridge", "other"])
def test_networks_that_are_named_are_the_only_ones(
    mode: str | None, version: tuple[int, int]
) -> None:
    asked = attachments(mode, {"mynet": {"Aliases": ["a"]}}, version)
    assert asked == [NetworkAttachment(network="mynet", aliases=["a"])]
    assert attachments(mode, {"mynet": {}}, version) == [NetworkAttachment(network="mynet")]


def test_a_network_is_joined_once_by_its_name_and_its_id() -> None:
    asked = attachments("mynet", {ID: {"Aliases": ["a"]}})
    assert asked == [NetworkAttachment(network=ID, aliases=["a"])]


def test_the_network_of_the_mode_comes_first() -> None:
    asked = attachments("b", {"a": {}, "b": {}, "c": {}})
    assert [one.network for one in asked] == ["b", "a", "c"]
    asked = attachments("default", {"a": {}, "default": {}})
    assert [one.network for one in asked] == ["bridge", "a"]


def test_default_and_bridge_are_one_network() -> None:
    endpoints = {"default": {"GwPriority": 1}, "bridge": {"GwPriority": 2}}
    asked = attachments(None, endpoints)
    assert asked == [NetworkAttachment(network="bridge", gateway_priority=1)]
    assert attachments(None, {"default": {}, "bridge": {}}, OLD) == []


@pytest.mark.parametrize("mode", ["none", "mynet"])
def test_no_network_goes_with_no_other(mode: str) -> None:
    with pytest.raises(ApiError, match=r"private \(none\) mode"):
        attachments(mode, {"none": {}, "mynet": {}})


def test_the_mode_of_no_network_leaves_what_is_named() -> None:
    assert attachments("none", {"mynet": {}}) == [NetworkAttachment(network="mynet")]
    assert attachments("mynet", {"none": {}}) == [NetworkAttachment(network="none")]


def test_without_endpoints_it_is_the_network_of_the_mode() -> None:
    # The facet adds it.
    for mode in (None, "default", "mynet", "none"):
        assert attachments(mode, {}) == []
    assert attachments("mynet", {"mynet": {}}) == []


def test_versions_before_1_44_have_one_endpoint_and_its_mac_address_container_wide() -> None:
    with pytest.raises(ApiError, match="multiple network endpoints: a, b"):
        attachments("a", {"a": {}, "b": {}}, OLD)
    endpoints = {"mynet": {"MacAddress": "02:42:0a:09:00:06"}}
    assert attachments("mynet", endpoints, OLD) == []
    asked = attachments("bridge", endpoints, OLD, MacAddress=MAC)
    assert asked == [NetworkAttachment(network="mynet", mac_address=MAC)]
    asked = attachments("mynet", {}, OLD, MacAddress=MAC)
    assert asked == [NetworkAttachment(network="mynet", mac_address=MAC)]
    with pytest.raises(ApiError, match="conflicting options: mac-address and the network mode"):
        attachments("none", {}, OLD, MacAddress=MAC)


def test_a_container_wide_mac_address_is_of_the_modes_network() -> None:
    asked = attachments("b", {"a": {}, "b": {}}, MacAddress=MAC)
    assert asked == [
        NetworkAttachment(network="b", mac_address=MAC),
        NetworkAttachment(network="a"),
    ]
    asked = attachments(None, {}, MacAddress=MAC)
    assert asked == [NetworkAttachment(network="bridge", mac_address=MAC)]
    assert attachments("none", {}, MacAddress=MAC) == []
    for mode in ("mynet", "bridge"):
        with pytest.raises(ApiError, match=r"HostConfig\.NetworkMode must match the identity"):
            attachments(mode, {ID: {}}, MacAddress=MAC)
    with pytest.raises(ApiError, match="must match the endpoint-specific MAC address"):
        attachments("a", {"a": {"MacAddress": "02:42:0a:09:00:06"}}, MacAddress=MAC)


def test_versions_before_1_48_have_no_priorities_of_gateways() -> None:
    asked = attachments("a", {"a": {"GwPriority": 5}, "b": {}}, (1, 47))
    assert [one.gateway_priority for one in asked] == [0, 0]
