"""QEMU's command line: the whole of it, and what must hold for any machine."""

import json
from dataclasses import replace

from hostagent import monitor
from hostagent.assembly import resource_limits
from hostagent.commandline import command_line, places_for, shape_key
from hostagent.machine import Accelerator, Machine, Shape, VolumeDisk
from tests.unit.hostagent.machines import CLONE, COLD, PARENT, READY, SHAPE

GOLDEN = """\
/usr/bin/qemu-system-x86_64
-name guest=cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc
-nodefaults
-no-user-config
-no-reboot
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-display none
-accel tcg,thread=multi,tb-size=256
-machine q35,memory-backend=ram0,usb=off,sata=off,smbus=off,hpet=off,vmport=off,smm=off,\
i8042=off,graphics=off,dump-guest-core=off,mem-merge=off
-cpu max,la57=off,erms=off,fsrm=off
-smp cpus=2,sockets=1,cores=2,threads=1
-m 512M
-object memory-backend-file,id=ram0,size=512M,mem-path=/proc/self/fd/8,share=off
-rtc base=utc
-global migration.announce-rounds=0
-chardev socket,id=qmp,fd=4,server=on,wait=off
-mon chardev=qmp,mode=control
-add-fd fd=3,set=1
-chardev file,id=console,path=/dev/fdset/1,append=on
-serial chardev:console
-object rng-builtin,id=rng0
-device virtio-rng-pci-non-transitional,rng=rng0,addr=0x2
-device virtio-serial-pci-non-transitional,id=ports,max_ports=8,addr=0x3
-chardev socket,id=config,fd=5,server=off
-device virtserialport,bus=ports.0,nr=1,chardev=config,name=vic.config
-add-fd fd=7,set=2
-chardev file,id=exit,path=/dev/fdset/2,append=on
-device virtserialport,bus=ports.0,nr=2,chardev=exit,name=vic.exit
-device vmgenid,guid=auto
-add-fd fd=12,set=10
-blockdev {"driver":"vmdk","node-name":"layer0","read-only":true,"backing":null,"file":\
{"driver":"file","filename":"/dev/fdset/10","read-only":true,"locking":"on"}}
-add-fd fd=11,set=11
-blockdev {"driver":"vmdk","node-name":"layer1","read-only":true,"backing":"layer0","file":\
{"driver":"file","filename":"/dev/fdset/11","read-only":true,"locking":"on"}}
-add-fd fd=10,set=12
-blockdev {"driver":"vmdk","node-name":"disk","read-only":false,"backing":"layer1","file":\
{"driver":"file","filename":"/dev/fdset/12","read-only":false,"locking":"on"}}
-device virtio-blk-pci-non-transitional,id=root,drive=disk,addr=0x4
-device virtio-scsi-pci-non-transitional,id=volumes,hotplug=off,addr=0x5
-device pcie-root-port,id=nicport0,chassis=1,addr=0x8
-netdev tap,id=net0,fd=13,vhost=off
-device virtio-net-pci-non-transitional,id=nic0,bus=nicport0,netdev=net0,\
mac=02:42:64:70:00:05,romfile=,rombar=0,guest_announce=off
-device pcie-root-port,id=nicport1,chassis=2,addr=0x9
-netdev tap,id=net1,fd=14,vhost=off
-device virtio-net-pci-non-transitional,id=nic1,bus=nicport1,netdev=net1,\
mac=02:42:ac:11:00:02,romfile=,rombar=0,guest_announce=off
-device pcie-root-port,id=spare0,chassis=3,addr=0xa
-device pcie-root-port,id=spare1,chassis=4,addr=0xb
-device pcie-root-port,id=spare2,chassis=5,addr=0xc
-device pcie-root-port,id=spare3,chassis=6,addr=0xd
-device pcie-root-port,id=spare4,chassis=7,addr=0xe
-device pcie-root-port,id=spare5,chassis=8,addr=0xf
-device pcie-root-port,id=spare6,chassis=9,addr=0x10
-device pcie-root-port,id=spare7,chassis=10,addr=0x11
-incoming defer
"""


VOLUMES = replace(
    CLONE,
    volumes=(
        VolumeDisk("/d/storage/volumes/a/disk.vmdk", False, 1 << 30),
        VolumeDisk("/d/storage/volumes/b/disk.vmdk", True, 20 << 30),
    ),
)


def arguments(machine: Machine, accelerator: Accelerator = Accelerator.TCG) -> list[str]:
    return command_line(
        "/usr/bin/qemu-system-x86_64",
        machine,
        accelerator,
        "max,la57=off,erms=off,fsrm=off",
        "console=ttyS0",
        places_for(machine),
    )


def pairs(line: list[str]) -> list[tuple[str, str]]:
    """Return options with their arguments, "" where there is none."""
    found: list[tuple[str, str]] = []
    for word in line[1:]:
        if word.startswith("-"):
            found.append((word, ""))
        else:
            found[-1] = (found[-1][0], word)
    return found


def test_a_clones_command_line_is_this() -> None:
    line = arguments(CLONE)
    text = "\n".join([line[0], *(" ".join(pair).strip() for pair in pairs(line))]) + "\n"
    assert text == GOLDEN


def test_only_an_emulated_kernel_goes_without_mitigations() -> None:
    appended = {
        accelerator: dict(pairs(arguments(PARENT, accelerator)))["-append"]
        for accelerator in Accelerator
    }
    assert appended == {
        Accelerator.TCG: "console=ttyS0 mitigations=off vic.emulated",
        Accelerator.KVM: "console=ttyS0",
    }


def test_parent_and_clone_have_the_same_devices_in_the_same_order() -> None:
    def devices(machine: Machine) -> list[tuple[str, str]]:
        options = ("-machine", "-cpu", "-smp", "-m", "-accel", "-device", "-rtc")
        mine = [pair for pair in pairs(arguments(machine)) if pair[0] in options]
        # A block node's name is no part of what the guest sees.
        return [
            (option, argument.partition("mac=")[0].replace("drive=placeholder", "drive=disk"))
            for option, argument in mine
        ]

    assert devices(PARENT) == devices(READY) == devices(CLONE) == devices(COLD)


def test_a_disk_that_comes_later_is_the_same_as_one_that_was_there() -> None:
    nodes = [json.loads(a) for o, a in pairs(arguments(CLONE)) if o == "-blockdev"]
    commands = monitor.attach_disk([30, 31, 32])
    assert [c.arguments for c in commands if c.name == "blockdev-add"] == nodes
    # QEMU's own numbers for the files: the base has the first.
    added = {c.arguments["fdset-id"]: c.descriptor for c in commands if c.name == "add-fd"}
    assert added == {10: 32, 11: 31, 12: 30}
    assert [c.name for c in commands[-2:]] == ["qom-set", "blockdev-del"]


def test_a_volume_that_comes_later_is_the_same_as_one_that_was_there() -> None:
    line = pairs(arguments(VOLUMES))
    commands = monitor.attach_volumes([(30, False), (31, True)])
    nodes = [json.loads(a) for o, a in line if o == "-blockdev"][-2:]
    assert [c.arguments for c in commands if c.name == "blockdev-add"] == nodes
    assert [node["read-only"] for node in nodes] == [False, True]
    devices = [json.loads(a) for o, a in line if o == "-device" and "scsi-hd" in a]
    assert [c.arguments for c in commands if c.name == "device_add"] == devices
    assert [device["lun"] for device in devices] == [0, 1]
    added = {c.arguments["fdset-id"]: c.descriptor for c in commands if c.name == "add-fd"}
    assert added == {1000: 30, 1001: 31}
    assert ("-add-fd", "fd=13,set=1000") in line


def test_a_machine_may_write_files_as_long_as_the_largest_disk_that_it_writes() -> None:
    assert VOLUMES.largest_disk_bytes == SHAPE.disk_size_bytes
    larger = replace(VOLUMES, volumes=(VolumeDisk("/d/a", False, 20 << 30),))
    assert larger.largest_disk_bytes == 20 << 30
    assert resource_limits(SHAPE, 20 << 30)["FSIZE"] > 20 << 30


def test_a_parents_placeholder_has_the_size_of_the_clones_disks() -> None:
    (node,) = [argument for option, argument in pairs(arguments(PARENT)) if option == "-blockdev"]
    assert node == (
        '{"driver":"null-co","node-name":"placeholder","size":8589934592,"read-zeroes":true}'
    )


def test_only_a_parents_memory_is_shared_for_writing() -> None:
    memory = {
        machine.kind: next(a for o, a in pairs(arguments(machine)) if a.startswith("memory-"))
        for machine in (COLD, PARENT, CLONE)
    }
    assert memory[COLD.kind] == "memory-backend-ram,id=ram0,size=512M"
    assert memory[PARENT.kind].endswith(",share=on")
    assert memory[CLONE.kind].endswith(",share=off")


def test_no_path_of_the_host_and_no_secret_is_in_it() -> None:
    for machine in (COLD, PARENT, CLONE):
        line = " ".join(arguments(machine)[1:])
        assert "/d/storage" not in line
        assert "vt7-" not in line


def test_every_descriptor_has_a_number_of_its_own_without_gaps() -> None:
    for machine in (COLD, PARENT, CLONE, VOLUMES, replace(COLD, nics=())):
        places = places_for(machine)
        numbers = [
            places.console,
            places.qmp,
            places.config,
            places.config_peer,
            places.exit,
            places.kernel,
            places.initrd,
            places.memory,
            places.state,
            *places.disks,
            *places.volumes,
            *places.nics,
        ]
        given = [number for number in numbers if number is not None]
        assert given == list(range(3, 3 + len(given)))


def test_everything_that_a_clone_depends_on_changes_the_key() -> None:
    def key(
        shape: Shape = SHAPE,
        accelerator: Accelerator = Accelerator.TCG,
        cpu: str = "max",
        kernel: str = "quiet",
        version: str = "7.2",
        host: str = "epyc",
    ) -> str:
        return shape_key(shape, accelerator, cpu, kernel, version, host)

    keys = [
        key(),
        key(replace(SHAPE, memory_mib=1024)),
        key(replace(SHAPE, vcpus=1)),
        key(replace(SHAPE, bootstrap_digest="ba9876543210")),
        key(replace(SHAPE, disk_size_bytes=16 << 30)),
        key(accelerator=Accelerator.KVM),
        key(accelerator=Accelerator.KVM, host="xeon"),
        key(cpu="host"),
        key(kernel="debug"),
        key(version="8.0"),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == key(host="xeon")
