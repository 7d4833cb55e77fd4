"""What of a machine a caller may ask for."""

from dataclasses import replace
from typing import Any

import pytest

from hostagent.machine import (
    MOST_NICS,
    GuestManagement,
    Machine,
    MachineKind,
    Nic,
    Surroundings,
)
from portlayer.errors import InvalidArgument, Reason
from tests.unit.hostagent.machines import CLONE, COLD, DIALLING, GUEST, PARENT, READY, SHAPE, SLOT

NIC = GUEST.surroundings.nics[0]


@pytest.mark.parametrize("machine", [COLD, CLONE, PARENT, READY, DIALLING])
def test_good_machines_pass(machine: Machine) -> None:
    machine.check(SLOT)


@pytest.mark.parametrize(
    ("machine", "field", "value"),
    [
        (COLD, "machine_id", "../../etc"),
        (COLD, "machine_id", ""),
        (COLD, "machine_id", "c" * 65),
        (COLD, "machine_id", "a\n"),
        (COLD, "launch_id", "UPPER"),
        (COLD, "disk_chain", ()),
        (COLD, "disk_chain", ("/d/storage/a", "/d/storage/a")),
        (COLD, "disk_chain", tuple(f"/d/storage/{n}" for n in range(300))),
        (COLD, "parent_id", "p"),
        (CLONE, "parent_id", ""),
        (CLONE, "parent_id", "a/b"),
        (COLD, "identity", bytes(70_000)),
        (COLD, "guest", None),
        (PARENT, "kind", MachineKind.COLD),
        (COLD, "kind", MachineKind.PARENT),
        (READY, "guest", GUEST),
        (READY, "disk_chain", ("/d/storage/a",)),
        (READY, "nics", COLD.nics),
        (READY, "parent_id", ""),
        (DIALLING, "nics", ()),
        (DIALLING, "nics", COLD.nics),
        (DIALLING, "management", None),
        (DIALLING, "kind", MachineKind.TEMPLATE),
        # No container's certificate can be had under a waiting machine's name, nor the reverse.
        (DIALLING, "machine_id", "c" * 64),
        (COLD, "machine_id", DIALLING.machine_id),
        (COLD, "management", GUEST.management),
    ],
)
def test_a_wrong_field_is_refused(machine: Machine, field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        replace(machine, **{field: value}).check(SLOT)
    assert caught.value.reason is Reason.INVALID_MACHINE
    assert caught.value.metadata["field"]


@pytest.mark.parametrize(
    "nic",
    [
        Nic("eth0", "02:42:00:00:00:01"),
        Nic("vt8-0000aa", "02:42:00:00:00:01"),
        Nic("vt7-0000AA", "02:42:00:00:00:01"),
        Nic("vt7-0000aa\n", "02:42:00:00:00:01"),
        Nic("vt7-%d0000", "02:42:00:00:00:01"),
        Nic("vt7-0000aa", "03:42:00:00:00:01"),
        Nic("vt7-0000aa", "ff:ff:ff:ff:ff:ff"),
        Nic("vt7-0000aa", "02:42:00:00:00:01,romfile=/etc/shadow"),
    ],
)
def test_a_nic_of_somebody_else_or_with_more_in_its_name_is_refused(nic: Nic) -> None:
    with pytest.raises(InvalidArgument):
        replace(COLD, nics=(nic,)).check(SLOT)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_mib": 0},
        {"memory_mib": 64},
        {"memory_mib": 500},
        {"memory_mib": 1 << 30},
        {"vcpus": 0},
        {"vcpus": 33},
        {"bootstrap_digest": "../bootstrap"},
        {"bootstrap_digest": ""},
        {"disk_size_bytes": 0},
        {"disk_size_bytes": 12345},
        {"disk_size_bytes": 1 << 60},
    ],
)
def test_a_shape_that_we_do_not_run_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        replace(SHAPE, **changes).check()


@pytest.mark.parametrize(
    "changes",
    [
        {"machine_id": "abc"},
        {"hostname": "web\nroot::0:0"},
        {"surroundings": Surroundings(dns_search=("a\0b",))},
        {"surroundings": Surroundings(hosts=(("172.17.0.2", "web\n1.2.3.4 bank"),))},
        {"surroundings": Surroundings(hosts=(("not an address", "web"),))},
        {"surroundings": Surroundings(nics=(NIC, NIC))},
        {"surroundings": Surroundings(nics=(replace(NIC, index=MOST_NICS),))},
        {"surroundings": Surroundings(nics=(replace(NIC, gateway6="::g"),))},
        {"management": GuestManagement("02:42:64:70:00:05", "100.112.0.5", "1.2.3.4:1", "n")},
        {"management": GuestManagement("02:42:64:70:00:05", "100.112.0.5/20", "host:1", "n")},
    ],
)
def test_a_guest_is_told_nothing_that_is_no_value(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        replace(GUEST, **changes).check()
