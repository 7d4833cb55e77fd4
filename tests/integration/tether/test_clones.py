"""Clones of one frozen parent: each wakes as its own machine."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.tether.authority import INSTANCE, Authority
from tests.integration.tether.clones import Qmp, clone, freeze_parent
from tests.integration.tether.interaction import BOUND, serve
from tests.integration.tether.machine import (
    MAC,
    configuration,
    container_id,
    make_disk,
    make_tree,
    warm_up,
)
from tether.bootstrap.image import BootstrapImage

_CLONES = 3
_MOST_FORGOTTEN = 10
_SCRIPT = (
    "head -c 16 /dev/urandom | xxd -p; cat /proc/sys/kernel/random/boot_id /etc/machine-id;"
    " cat /sys/class/net/eth0/address; hostname; date +%s"
)


async def test_clones_differ_in_all_that_makes_a_machine(
    image: BootstrapImage, authority: Authority, tmp_path: Path
) -> None:
    parent = await freeze_parent(image, tmp_path)
    tree = make_tree(tmp_path / "tree")
    seen: list[list[str]] = []
    for number in range(_CLONES):
        directory = tmp_path / f"clone{number}"
        directory.mkdir()
        disk = make_disk(directory, tree)
        async with (
            serve(authority) as (interaction, port),
            clone(parent, directory / "vm", disk) as (vm, qmp),
        ):
            await vm.configure(configuration(authority, port, number))
            await qmp.run("cont")
            assert (await vm.line())["event"] == "configured"
            result = await interaction.run("sh", "-c", _SCRIPT)
            assert result.code == 0, result.stderr
            seen.append(result.stdout.decode().split())
            # Its clock is this machine's, and not the parent's that stood still.
            assert abs(int(seen[-1][-1]) - time.time()) < 300
            assert interaction.peers == {f"spiffe://{INSTANCE}.vic/tether/{container_id(number)}"}
    # Random bytes, boot ID, machine ID, MAC address, host name; the date need not differ.
    for column in list(zip(*seen, strict=True))[:-1]:
        assert len(set(column)) == _CLONES, column
    assert [line[3] for line in seen] == [
        f"02:42:ac:11:00:{number:02x}" for number in range(_CLONES)
    ]


async def test_clones_draw_different_random_numbers_for_tls(
    image: BootstrapImage, authority: Authority, tmp_path: Path
) -> None:
    parent = await freeze_parent(image, tmp_path)
    tree = make_tree(tmp_path / "tree")
    hellos = []
    for number in range(2):
        directory = tmp_path / f"clone{number}"
        directory.mkdir()
        async with (
            first_bytes() as (port, received),
            clone(parent, directory / "vm", make_disk(directory, tree)) as (vm, qmp),
        ):
            await vm.configure(configuration(authority, port))
            await qmp.run("cont")
            async with asyncio.timeout(BOUND):
                hellos.append(await received)
    # TLS record header (5), handshake header (4), version (2), then the client's random bytes.
    assert all(hello[0] == 22 and hello[5] == 1 for hello in hellos)
    assert hellos[0][11:43] != hellos[1][11:43]


@asynccontextmanager
async def first_bytes() -> AsyncIterator[tuple[int, asyncio.Future[bytes]]]:
    """A listener that reads what the first caller has to say, and says nothing."""
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readexactly(43)
        if not received.done():
            received.set_result(data)
        writer.close()

    server = await asyncio.start_server(read, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


async def test_rehearsal_leaves_nothing_behind(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    parent = await freeze_parent(image, tmp_path)
    async with (
        serve(authority) as (interaction, port),
        clone(parent, tmp_path / "vm", disk) as (vm, qmp),
    ):
        await vm.configure(warm_up(authority))
        await qmp.run("cont")
        assert await vm.line() == {"event": "warm"}
        forgotten = await blocks_forgotten(qmp)
        await vm.configure(configuration(authority, port))
        assert (await vm.line())["event"] == "configured"
        script = "ip addr; ip route; cat /proc/mounts; hostname; ps; cat /etc/machine-id"
        script += "; ip neigh; echo sent $(cat /sys/class/net/eth0/statistics/tx_packets)"
        result = await interaction.run("sh", "-c", script)
        forgotten = await blocks_forgotten(qmp) - forgotten
    text = result.stdout.decode()
    assert result.code == 0
    # Code of the rehearsal's program in pages that are others' since: for each block of it that a
    # fork comes to write over, QEMU looks for all others anew.
    assert forgotten < _MOST_FORGOTTEN
    assert "192.0.2." not in text
    assert "rehearsal" not in text
    assert "loop" not in text.replace("LOOPBACK", "").replace("loopback", "")
    assert f"{MAC}" in text
    assert "tethered" in text
    assert "sent 0\n" in text


async def blocks_forgotten(qmp: Qmp) -> int:
    """How many translated blocks were given up because their guest's memory was written to."""
    answer = await qmp.run("x-query-jit")
    found = re.search(r"TB invalidate count\s+(\d+)", answer["human-readable-text"])
    assert found is not None
    return int(found[1])


async def test_clone_leaves_its_parents_memory_alone(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    parent = await freeze_parent(image, tmp_path)
    before = parent.digest()
    async with (
        serve(authority) as (interaction, port),
        clone(parent, tmp_path / "vm", disk) as (vm, qmp),
    ):
        await vm.configure(configuration(authority, port))
        await qmp.run("cont")
        assert (await interaction.run("sh", "-c", "echo hello")).stdout == b"hello\n"
    assert parent.digest() == before


async def test_parent_holds_no_secret(
    image: BootstrapImage, authority: Authority, tmp_path: Path
) -> None:
    parent = await freeze_parent(image, tmp_path)
    assert b"PRIVATE KEY-----\nM" not in parent.content()
