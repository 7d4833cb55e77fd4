"""The options `vic create --container-network…`, and what becomes of them."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from installer import container_networks
from installer.container_networks import map_recorded, parse_container_networks, recorded
from installer.errors import InstallerError, UsageError
from installer.instance import Instance, Options, load_instance, save_instance
from installer.networks import ExternalWish

GATEWAY = ["lan:10.2.0.1/16"]


def test_the_words_of_vic_mean_an_external_network() -> None:
    (one, other) = parse_container_networks(
        ["VM Network:lan", "lab"],
        ["VM Network:10.2.0.1/16", "VM Network:2001:db8::1/64", "lab:192.0.2.1/24"],
        ["VM Network:10.2.7.0-10.2.7.255", "lab:192.0.2.64/26"],
        ["VM Network:10.2.0.53", "VM Network:10.2.0.54"],
        ["lab:open"],
    )
    assert one == ExternalWish(
        name="lan",
        parent="VM Network",
        subnets=["10.2.0.0/16", "2001:db8::/64"],
        gateways=["10.2.0.1", "2001:db8::1"],
        ip_ranges=["10.2.7.0/24"],
        dns=["10.2.0.53", "10.2.0.54"],
        firewall="published",
    )
    assert (other.name, other.parent, other.firewall) == ("lab", "lab", "open")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((["lan:"],), "expected NETWORK or NETWORK:ALIAS"),
        ((["lan", "lan:other"], GATEWAY), "given twice"),
        ((["a:lan", "b:lan"],), "given twice"),
        ((["lan"],), "say its router by --container-network-gateway lan:ADDRESS/MASK"),
        ((["lan"], ["lan:10.2.0.1"]), "with its mask"),
        ((["lan"], ["lan:10.2.0.300/16"]), "'lan:10.2.0.300/16'"),
        ((["lan"], ["wan:10.2.0.1/16"]), "of a network that --container-network names"),
        ((["lan"], GATEWAY, ["lan:10.2.0.1-10.2.0.9"]), "the largest within it is 10.2.0.4/30"),
        ((["lan"], GATEWAY, ["lan:10.2.0.9-10.2.0.1"]), "last IP address must be greater"),
        ((["lan"], GATEWAY, ["lan:10.2.0.9-::1"]), "same version of IP"),
        ((["lan"], GATEWAY, ["lan:10.3.0.0/24"]), "doesn't contain ip-range"),
        ((["lan"], GATEWAY, ["lan:2001:db8::/80"]), "no --subnet of its version"),
        ((["lan"], GATEWAY, [], ["lan:dns.example"]), "'lan:dns.example'"),
        ((["lan"], GATEWAY, [], ["lan:127.0.0.1"]), "invalid name server 127.0.0.1"),
        ((["lan"], GATEWAY, [], [], ["lan:shut"]), "closed, outbound, peers, published, open"),
        ((["lan"], GATEWAY, [], [], ["lan:open", "lan:open"]), "given twice"),
        ((["lan:bridge"], GATEWAY), "predefined bridge network"),
        ((["lan:no/name"], GATEWAY), "invalid network name"),
    ],
)
def test_what_cannot_be_is_one_line(options: tuple[list[str], ...], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_container_networks(*options)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        parse_container_networks(["lan"], ["lan:x"], ["lan:y"], ["lan:z"], ["lan:w"])
    assert len(str(refused.value).splitlines()) == 4


@pytest.fixture
def instance() -> Iterator[Instance]:
    wishes = parse_container_networks(
        ["br1:one", "br2:two"], ["br1:10.2.0.1/16", "br2:10.3.0.1/16"]
    )
    with tempfile.TemporaryDirectory() as name:
        options = Options(host="unix:///x", container_networks=recorded(wishes))
        save_instance(Instance(Path(name), "0a1b2c3d", 0, options))
        known = load_instance(Path(name))
        assert known is not None
        yield known


def as_told(name: str, parent: str) -> SimpleNamespace:
    """A network as the network service tells of it."""
    return SimpleNamespace(name=name, external=SimpleNamespace(parent=parent))


def test_one_that_is_there_already_is_told_of_as_it_is(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [as_told("one", "br9"), as_told("two", "")]
    monkeypatch.setattr(container_networks, "list_networks", lambda data_dir: there)
    said: list[str] = []
    map_recorded(instance, said.append)
    assert said == [
        "container network one is br9 already, and stays so; it is not made of br1",
        "container network two is of another kind already, and stays so; it is not made of br2",
    ]
    done = load_instance(instance.data_dir)
    assert done is not None
    assert not done.options.container_networks


def test_they_are_mapped_once_and_what_failed_is_tried_again(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: dict[str, ExternalWish] = {}
    away = {"br2"}

    def map_external(data_dir: Path, wish: ExternalWish) -> None:
        if wish.parent in away:
            raise InstallerError(f"there is no network interface {wish.parent}")
        assert wish.name not in there
        there[wish.name] = wish

    def list_networks(data_dir: Path) -> list[Any]:
        return [as_told(wish.name, wish.parent) for wish in there.values()]

    monkeypatch.setattr(container_networks, "map_external", map_external)
    monkeypatch.setattr(container_networks, "list_networks", list_networks)
    said: list[str] = []
    with pytest.raises(InstallerError, match=r"without container network two.*br2.*again"):
        map_recorded(instance, said.append)
    record = instance.data_dir / "instance.json"
    assert [one["name"] for one in json.loads(record.read_text())["container_networks"]] == ["two"]
    away.clear()
    again = load_instance(instance.data_dir)
    assert again is not None
    map_recorded(again, said.append)
    assert said == ["container network one is br1", "container network two is br2"]
    assert there["two"].gateways == ["10.3.0.1"]
    done = load_instance(instance.data_dir)
    assert done is not None
    assert done.options == Options(host="unix:///x")
    # One that an administrator lets go of later stays away.
    there.clear()
    map_recorded(done, said.append)
    assert not there
