"""Machines as tests need them."""

from dataclasses import replace

from hostagent.machine import (
    Guest,
    GuestManagement,
    GuestNic,
    Machine,
    MachineKind,
    Nic,
    Shape,
    Surroundings,
)

SLOT = 7
SHAPE = Shape(memory_mib=512, vcpus=2, bootstrap_digest="0123456789ab", disk_size_bytes=8 << 30)
GUEST = Guest(
    hostname="web",
    domainname="",
    machine_id="",
    management=GuestManagement(
        mac_address="02:42:64:70:00:05",
        address="100.112.0.5/20",
        endpoint="100.112.0.1:7443",
        server_name="interaction.0badcafe.vic",
    ),
    surroundings=Surroundings(
        nics=(GuestNic(1, "02:42:ac:11:00:02", ("172.17.0.2/16",), "172.17.0.1", 1500, "eth0"),),
        dns_servers=("172.17.0.1",),
        hosts=(("172.17.0.2", "web"),),
    ),
    root_readonly=False,
    shm_bytes=0,
)
COLD = Machine(
    machine_id="c" * 64,
    launch_id="first",
    kind=MachineKind.COLD,
    shape=SHAPE,
    disk_chain=("/d/storage/own.vmdk", "/d/storage/layer.vmdk", "/d/storage/base.vmdk"),
    nics=(Nic("vt7-0000aa", "02:42:64:70:00:05"), Nic("vt7-0000ab", "02:42:ac:11:00:02")),
    guest=GUEST,
)
CLONE = replace(COLD, kind=MachineKind.CLONE, parent_id="p")
PARENT = Machine("p", "first", MachineKind.PARENT, SHAPE, parent_id="p")
READY = Machine("ready-1", "first", MachineKind.READY, SHAPE, parent_id="p")
DIALLING = replace(
    READY, machine_id="ready-00112233445566aa", nics=COLD.nics[:1], management=GUEST.management
)
