"""`vic create` for a VCH on a vCenter that is made already."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from installer.container_networks import parse_container_networks, recorded
from installer.instance import Instance, default_options, load_instance, save_instance
from installer.networks import ExternalWish
from installer.vsphere import creation
from installer.vsphere.plan import Plan
from installer.vsphere.record import changed, section
from installer.vsphere.wishes import Store, VchWishes
from portlayer.vsphere.target import Target
from services.network.drivers.vsphere.portgroups import Wanted

PLAN = Plan(datacenter_path="/DC0", parent_path="/DC0/host/C/Resources")


@pytest.fixture
def wishes(tmp_path: Path) -> VchWishes:
    """Those of a VCH with one network outside."""
    (tmp_path / "secret").write_text("new\n")
    return VchWishes(
        name="one",
        target=Target("vcenter.test", "user", tmp_path / "secret", thumbprint="ab" * 32),
        compute_resource="C",
        image_store=Store("ds"),
        management_network="management",
        switch="/DC0/network/DVS0",
        vlans="200-210",
        container_networks=networks("PG1:ext"),
    )


def networks(*named: str) -> tuple[ExternalWish, ...]:
    gateways = [f"{name.partition(':')[0]}:10.2.0.1/16" for name in named]
    return parse_container_networks(named, gateways)


@pytest.fixture
def known(tmp_path: Path, wishes: VchWishes) -> Instance:
    """The record of the VCH."""
    options = replace(
        default_options(tmp_path),
        driver="vsphere",
        name="one",
        container_networks=recorded(wishes.container_networks),
        vsphere=section(wishes, PLAN, "[ds] boot.iso", tmp_path),
    )
    save_instance(Instance(tmp_path, "0a1b2c3d", 3, options))
    read = load_instance(tmp_path)
    assert read is not None
    return read


def test_the_same_words_are_taken_also_when_its_networks_are_mapped(
    known: Instance, wishes: VchWishes
) -> None:
    assert changed(known, wishes, PLAN) == []
    mapped = replace(known, options=replace(known.options, container_networks=()))
    assert changed(mapped, wishes, PLAN) == []


@pytest.mark.parametrize("named", [["PG2:ext"], [], ["PG1:ext", "PG2:other"]])
def test_other_networks_are_refused(
    known: Instance, wishes: VchWishes, named: Sequence[str]
) -> None:
    others = replace(wishes, container_networks=networks(*named))
    assert changed(known, others, PLAN) == [
        "--container-network: VCH one is made already, with another value; `vic network external` "
        "changes it when the VCH is up"
    ]


def test_a_record_of_an_earlier_version_may_be_repeated(known: Instance, wishes: VchWishes) -> None:
    former = dict(known.options.vsphere)
    del former["container_networks"]
    earlier = replace(known, options=replace(known.options, vsphere=former))
    assert changed(earlier, wishes, PLAN) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another group")
def test_a_new_password_can_be_read_by_who_could_read_the_old_one(
    tmp_path: Path, wishes: VchWishes
) -> None:
    creation._write_credentials(tmp_path, wishes.target)
    directory = tmp_path / "vcenter"
    for path in (directory, directory / "password"):
        os.chown(path, 0, 1_900_000_000)
    creation._write_credentials(tmp_path, wishes.target)
    kept = (directory / "password").stat()
    assert (kept.st_gid, kept.st_mode & 0o777) == (1_900_000_000, 0o640)


@pytest.mark.parametrize("up", [True, False])
def test_the_services_of_one_that_is_up_are_restarted(
    known: Instance, wishes: VchWishes, monkeypatch: pytest.MonkeyPatch, up: bool
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(creation, "require_root", lambda verb: None)
    monkeypatch.setattr(creation, "with_vcenter", lambda target, work: known)
    monkeypatch.setattr(creation, "is_running", lambda instance: up)
    monkeypatch.setattr(creation, "ask", lambda socket, verb, *_, **__: asked.append(verb))
    creation.create(wishes, known.data_dir, lambda: Path("/none"), print)
    assert asked == (["restart"] if up else [])


@pytest.mark.parametrize("there", [True, False])
def test_a_failure_takes_back_only_a_port_group_that_it_made(
    wishes: VchWishes, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    name = "vic-0a1b2c3d-net0"
    removed: list[str] = []

    class Portgroups:
        def __init__(self, *_: Any) -> None:
            pass

        async def of_switch(self) -> list[Any]:
            return [SimpleNamespace(name=name)] if there else []

        async def ensure(self, wanted: Wanted) -> list[str]:
            return []

        async def remove(self, name: str, label: str) -> bool:
            removed.append(name)
            return True

    async def fail() -> None:
        async with AsyncExitStack() as undo:
            vcenter: Any = None
            making = creation._Making(vcenter, undo)
            await creation._make_port_group(vcenter, PLAN, wishes, "0a1b2c3d", making, print)
            raise KeyError

    monkeypatch.setattr(creation, "Portgroups", Portgroups)
    with pytest.raises(KeyError):
        asyncio.run(fail())
    assert removed == ([] if there else [name])
