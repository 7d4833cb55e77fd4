"""The address at which container VMs of a vCenter find the VCH."""

from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from installer.errors import PreconditionError
from installer.instance import Instance, default_options
from installer.vsphere import management


def instance(path: Path) -> Instance:
    """Return one in slot 7."""
    section = {"management_network": "VM Management"}
    options = replace(default_options(path), driver="vsphere", vsphere=section)
    return Instance(path, "0a1b2c3d", 7, options)


def test_where_no_interface_has_it_is_said_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not this machine's interfaces: an instance in the same slot may run here.
    monkeypatch.setattr(management, "bind_error", lambda _: "Cannot assign requested address")
    with pytest.raises(PreconditionError) as refused:
        management.require_address(instance(tmp_path))
    said = str(refused.value)
    assert "at 100.112.112.1, which no interface of this machine has (Cannot assign" in said
    assert "port group VM Management: ip address add 100.112.112.1/20 dev INTERFACE" in said


def test_where_one_has_it_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback = IPv4Interface("127.0.0.1/8")
    monkeypatch.setattr(management, "management_interface", lambda _: loopback)
    management.require_address(instance(tmp_path))
