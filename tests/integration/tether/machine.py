"""A container VM under QEMU's emulation, as the host agent would start it, without privileges.

Its two interfaces are QEMU's user networks: what the guest sends to the management gateway's
address arrives at this machine's loopback.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from tests.integration.tether.authority import INSTANCE, Authority
from tether.bootstrap.image import BootstrapImage
from tether.guestconfig import (
    Container,
    Dns,
    GuestConfig,
    Identity,
    Management,
    Nic,
    Root,
    Tls,
    WarmUp,
    format_frame,
)

DISK_BYTES = 256 * 1024 * 1024
MAC = "02:42:ac:11:00:00"
MANAGEMENT_MAC = "02:00:00:00:00:05"
MACHINE_ID = "0123456789abcdef0123456789abcde0"
_BOOT_BOUND = 240.0
_MACHINE = (
    "q35,memory-backend=ram0,usb=off,sata=off,smbus=off,hpet=off,vmport=off,smm=off,i8042=off,"
    "graphics=off"
)


def container_id(number: int) -> str:
    """ID of the container with this number."""
    return "c" * 63 + str(number)


CONTAINER_ID = container_id(0)


def make_disk(directory: Path, tree: Path) -> Path:
    """An ext4 disk with the files of ``tree``."""
    disk = directory / "disk.img"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", str(tree), str(disk)], check=True
    )
    return disk


def make_tree(tree: Path) -> Path:
    """A tiny image: busybox and the files that users are resolved by."""
    for name in ("bin", "etc", "root", "tmp", "home/app"):
        (tree / name).mkdir(parents=True)
    busybox = tree / "bin/busybox"
    busybox.write_bytes(Path("/bin/busybox").read_bytes())
    busybox.chmod(0o755)
    answer = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in answer.stdout.split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    (tree / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
    )
    (tree / "etc/group").write_text("root:x:0:\napp:x:1001:\nextra:x:2000:app\n")
    (tree / "etc/machine-id").write_text("")
    for name in ("dev", "proc", "sys"):  # as imagec leaves them
        (tree / name).mkdir()
    for name in ("hosts", "hostname", "resolv.conf"):
        (tree / "etc" / name).write_text("")
    (tree / "bin/noexec").write_text("#!/bin/sh\n")
    (tree / "bin/garbage").write_bytes(b"\x7fNOT A PROGRAM")
    (tree / "bin/garbage").chmod(0o755)
    return tree


@dataclass(frozen=True)
class Hardware:
    """Which devices a platform gives its machines, as QEMU names them."""

    nic: str
    """With all its options but bus and backend."""
    disk: tuple[str, ...]
    """The disk, and what it hangs on."""
    disk_name: str
    """What the guest calls the disk."""
    macs: tuple[str, ...] = ()
    """Of the interfaces, where the platform gives them: QEMU's vmxnet3 lets no guest change its."""


VIRTIO = Hardware(
    "virtio-net-pci-non-transitional,romfile=,rombar=0",
    ("virtio-blk-pci-non-transitional,id=root,drive=disk,addr=0x4",),
    "vda",
)
VMWARE = Hardware(
    "vmxnet3,romfile=,rombar=0",
    ("pvscsi,id=scsi,addr=0x4", "scsi-hd,id=root,bus=scsi.0,drive=disk"),
    "sda",
    (MANAGEMENT_MAC, MAC),
)


def configuration(
    authority: Authority,
    port: int,
    number: int = 0,
    *,
    readonly: bool = False,
    hardware: Hardware = VIRTIO,
) -> GuestConfig:
    """What the host agent would tell the VM of the container with this number."""
    own = authority.for_tether(container_id(number))
    hostname = f"tethered{number or ''}"
    return GuestConfig(
        time_ns=time.time_ns(),
        entropy=secrets.token_bytes(512),
        identity=Identity(
            instance=INSTANCE,
            container_id=container_id(number),
            boot_id="boot-1",
            machine_id=f"{MACHINE_ID[:-1]}{number}",
            management=Management(
                mac=MANAGEMENT_MAC,
                address="100.112.0.5/20",
                endpoint=f"100.112.0.1:{port}",
                server_name=f"interaction.{INSTANCE}.vic",
            ),
            tls=Tls(authority.pem.decode(), own.certificate.decode(), own.key.decode()),
        ),
        container=Container(
            hostname=hostname,
            domainname="",
            nics=(Nic(1, f"{MAC[:-1]}{number}", ("172.17.0.2/16",), "172.17.0.1"),),
            dns=Dns(("172.17.0.3",), ("example.org",)),
            hosts=(("172.17.0.2", hostname),),
            root=Root(device=hardware.disk_name, readonly=readonly),
        ),
    )


def warm_up(authority: Authority) -> GuestConfig:
    """The frame that lets a clone rehearse."""
    own = authority.issue(x509.DNSName("rehearsal"))
    certificates = WarmUp(
        authority.pem.decode(), own.certificate.decode(), own.key.decode(), "rehearsal"
    )
    return GuestConfig(time.time_ns(), secrets.token_bytes(512), warm_up=certificates)


@dataclass
class Machine:
    """A running VM, seen from the host."""

    process: subprocess.Popen[bytes]
    config: socket.socket
    exit: socket.socket
    directory: Path
    qmp_path: Path
    started: float

    async def line(self) -> dict[str, object]:
        """The next line that the tether writes on its configuration port."""
        return await self._read_line(self.config)

    async def exit_record(self) -> dict[str, object]:
        """The exit record, as soon as it is written."""
        return await self._read_line(self.exit)

    async def _read_line(self, port: socket.socket) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        text = b""
        async with asyncio.timeout(_BOOT_BOUND):
            while not text.endswith(b"\n"):
                piece = await loop.sock_recv(port, 1)
                assert piece, f"the VM has gone: {self.console()}"
                text += piece
        return dict(json.loads(text))

    async def configure(self, config: GuestConfig) -> None:
        """Write a frame to the configuration port."""
        await asyncio.get_running_loop().sock_sendall(self.config, format_frame(config))

    async def power_off(self) -> dict[str, object]:
        """Wait until the VM has powered itself off; returns its exit record."""
        record = await self.exit_record()
        await self.gone(record)
        return record

    async def gone(self, record: dict[str, object]) -> None:
        """Wait until the VM has powered itself off, and has told so by its record once more."""
        assert await self.exit_record() == record
        async with asyncio.timeout(_BOOT_BOUND):
            await asyncio.to_thread(self.process.wait)

    def console(self) -> str:
        """What the guest has said on its console."""
        return (self.directory / "console.log").read_text(errors="replace")


@asynccontextmanager
async def machine(
    image: BootstrapImage,
    directory: Path,
    disk: Path | None,
    *,
    extra: tuple[str, ...] = (),
    memory: str = "memory-backend-ram,id=ram0,size=512M",
    pass_fds: tuple[int, ...] = (),
    snapshot: bool = True,
    vcpus: int = 1,
    hardware: Hardware = VIRTIO,
    nets: tuple[str, str] = (
        "user,net=100.112.0.0/20,host=100.112.0.1,ipv6=off",
        "user,net=172.17.0.0/16,host=172.17.0.1,ipv6=off",
    ),
) -> AsyncIterator[Machine]:
    """Start a VM; at the end it is killed if it still runs."""
    directory.mkdir(exist_ok=True)
    config, config_end = socket.socketpair()
    exits, exits_end = socket.socketpair()
    config.setblocking(False)
    exits.setblocking(False)
    manifest = json.loads((image.directory / "manifest.json").read_text())
    qmp = directory / "qmp.sock"
    # Ours, so that it listens before there is a QEMU.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(qmp))
    listener.listen()
    block = {"driver": "null-co", "node-name": "disk", "size": DISK_BYTES, "read-zeroes": True}
    if disk is not None:
        block = {
            "driver": "raw",
            "node-name": "disk",
            "file": {"driver": "file", "filename": str(disk)},
        }
    command = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none", "-accel", "tcg,thread=multi,tb-size=256"),
        *(
            "-machine",
            _MACHINE,
            "-cpu",
            "max,la57=off,erms=off,fsrm=off",
        ),
        *("-smp", f"cpus={vcpus}", "-m", "512M", "-object", memory),
        *("-kernel", str(image.directory / "vmlinuz")),
        *("-initrd", str(image.directory / "initrd.img")),
        *("-append", manifest["kernel_arguments"]),
        *("-chardev", f"socket,id=qmp,fd={listener.fileno()},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-serial", f"file:{directory / 'console.log'}"),
        *("-object", "rng-builtin,id=rng0"),
        *("-device", "virtio-rng-pci-non-transitional,rng=rng0,addr=0x2"),
        *("-device", "virtio-serial-pci-non-transitional,id=ports,max_ports=8,addr=0x3"),
        *("-chardev", f"socket,id=config,fd={config_end.fileno()}"),
        *("-device", "virtserialport,bus=ports.0,nr=1,chardev=config,name=vic.config"),
        *("-chardev", f"socket,id=exit,fd={exits_end.fileno()}"),
        *("-device", "virtserialport,bus=ports.0,nr=2,chardev=exit,name=vic.exit"),
        *("-blockdev", json.dumps(block)),
        *(word for device in hardware.disk for word in ("-device", device)),
        *extra,
    ]
    for index, net in enumerate(nets):
        mac = f",mac={hardware.macs[index]}" if hardware.macs else ""
        command += [
            *("-device", f"pcie-root-port,id=port{index},chassis={index + 1},addr={8 + index:#x}"),
            *("-netdev", f"{net},id=net{index}"),
            "-device",
            f"{hardware.nic},id=nic{index},bus=port{index},netdev=net{index}{mac}",
        ]
    descriptors = [config_end.fileno(), exits_end.fileno(), listener.fileno(), *pass_fds]
    process = subprocess.Popen(command, pass_fds=descriptors)  # noqa: ASYNC220
    config_end.close()
    exits_end.close()
    listener.close()
    try:
        yield Machine(process, config, exits, directory, qmp, time.monotonic())
    finally:
        config.close()
        exits.close()
        process.kill()
        process.wait()


def cache_directory() -> Path:
    """Where the tests find and put bootstrap images."""
    return Path(os.environ.get("VIC_BOOTSTRAP_CACHE", "/var/cache/vic/bootstrap"))
