"""The boot medium for platforms that give a VM no kernel: a BIOS boots the tether from it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tether.bootstrap.image import BootstrapImage
from tether.bootstrap.iso import build_iso

SECONDS = 240.0


async def test_a_bios_boots_the_tether_from_it(image: BootstrapImage, tmp_path: Path) -> None:
    medium = build_iso(image.directory, tmp_path)
    connected: asyncio.Future[asyncio.StreamReader] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set_result(reader)

    ports = ["vic.config", "vic.exit"]
    server = await asyncio.start_unix_server(accept, tmp_path / "vic.config")
    # With RDRAND, as servers' CPUs have it: nothing else gives the kernel random numbers so early.
    options = ["-accel", "tcg", "-cpu", "max", "-m", "512", "-nodefaults", "-display", "none"]
    options += ["-machine", "q35", "-cdrom", str(medium), "-boot", "d"]
    options += ["-serial", f"file:{tmp_path}/console", "-device", "virtio-serial-pci"]
    options += ["-chardev", f"socket,id=p0,path={tmp_path}/vic.config"]
    options += ["-chardev", f"file,id=p1,path={tmp_path}/exit"]
    for index, name in enumerate(ports):
        options += ["-device", f"virtserialport,chardev=p{index},name={name}"]
    machine = await asyncio.create_subprocess_exec("qemu-system-x86_64", *options)
    try:
        async with asyncio.timeout(SECONDS):
            line = await (await connected).readline()
        assert json.loads(line)["event"] == "ready"
    finally:
        machine.kill()
        await machine.wait()
        server.close()
