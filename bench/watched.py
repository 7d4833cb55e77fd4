"""What `docker stats` of many containers costs interaction and the gateway, without their VMs.

The containers' tethers are stand-ins: each has a TLS connection of its own, and tells a sample a
second while it is asked for them. Both services are processes of their own, as in a suite; what
exec, the tethers and the clients take is not counted. `bench.exec --stats` has real VMs.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from vic.exec.v1 import container_pb2, exec_pb2, exec_pb2_grpc
from vic.interaction.v1 import process_pb2, process_pb2_grpc
from vic.tether.v1 import tether_pb2

from bench.cpu import process_seconds
from bench.report import Series, report
from gateway.app import build_app
from gateway.facets import connect
from gateway.listeners import bound
from gateway.origins import OriginPolicy
from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from portlayer.client import open_channel
from portlayer.heap import settle
from portlayer.identity import Credentials, Role
from portlayer.server import FacetServer, rpc_names, stop_requested
from services.interaction.service import InteractionService
from services.interaction.store import MIGRATIONS
from tests.databases import place_database
from tests.unit.interaction.fake_tether import FakeTether
from tests.unit.interaction.suite import FakeHolder
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority

# As many entries as Linux 6.1 has in memory.stat.
MEMORY_STAT = {f"memory_stat_entry_{number}": number * 4096 for number in range(44)}
SETTLE_SECONDS = 4.0
BOOT = "b001"


def address(directory: Path, role: Role) -> str:
    """Where a service is."""
    return f"unix:{directory}/{role.value}.sock"


def save(credentials: Credentials, directory: Path, role: Role) -> None:
    """Leave a service's credentials where its process finds them."""
    parts = {"ca": credentials.ca, "crt": credentials.certificate, "key": credentials.key}
    for name, data in parts.items():
        (directory / f"{role.value}.{name}").write_bytes(data)


def load(directory: Path, role: Role) -> Credentials:
    """Read them there."""
    ca, certificate, key = (
        (directory / f"{role.value}.{name}").read_bytes() for name in ("ca", "crt", "key")
    )
    return Credentials(ca=ca, certificate=certificate, key=key)


async def serve_interaction(directory: Path) -> None:
    """Be the interaction service."""
    stop = stop_requested()
    place_database(directory / "interaction.db", MIGRATIONS)
    service = await InteractionService.open(
        load(directory, Role.INTERACTION),
        INSTANCE,
        f"sqlite:///{directory}/interaction.db",
        directory,
        FakeHolder(),
    )
    await service.serve_clients([address(directory, Role.INTERACTION)])
    await service.serve_tethers([f"unix:{directory}/tether.sock"])
    print("ready", flush=True)
    await stop.wait()
    await service.close()


async def serve_gateway(directory: Path) -> None:
    """Be the gateway."""
    stop = stop_requested()
    roles = (Role.EXEC, Role.INTERACTION, Role.NETWORK, Role.STORAGE)
    settings = GatewaySettings.model_validate(
        {
            "instance_id": INSTANCE,
            "slot": 0,
            "targets": {role.value: address(directory, role) for role in roles},
        }
    )
    async with connect(settings, load(directory, Role.GATEWAY)) as facets:
        app = build_app(facets, OriginPolicy(), "0")
        settle()
        listeners = bound([f"unix://{directory}/docker.sock"])
        print("ready", flush=True)
        await GatewayServer(app, stop).serve_on(listeners)


class Containers(exec_pb2_grpc.ExecServiceServicer):
    """exec, as far as the gateway asks for a container."""

    async def Get(  # noqa: N802 # gRPC's name
        self, request: exec_pb2.GetRequest, context: object
    ) -> exec_pb2.GetResponse:
        """Any container runs."""
        container = container_pb2.Container(id=request.reference)
        container.spec.name = request.reference[:12]
        container.status.state = container_pb2.CONTAINER_STATE_RUNNING
        return exec_pb2.GetResponse(container=container)


async def tell(tether: FakeTether, number: int) -> None:
    """Be a tether: tell a sample a second while asked for them, at a moment of its own."""
    asked = asyncio.Event()

    async def listen() -> None:
        while True:
            command = await tether.control.read()
            if command.stats.period_ms:
                asked.set()
            else:
                asked.clear()

    listening = asyncio.create_task(listen())
    try:
        await asyncio.sleep(random.random())
        while True:
            await asked.wait()
            await tether.say(stats=sample(number))
            await asyncio.sleep(1)
    finally:
        listening.cancel()


def sample(number: int) -> Any:
    """Return what a tether tells."""
    told = tether_pb2.StatsSample(
        cpu_usage_us=time.monotonic_ns() // 3000,
        cpu_user_us=time.monotonic_ns() // 4000,
        cpu_system_us=time.monotonic_ns() // 12000,
        system_cpu_us=time.monotonic_ns() // 1000,
        online_cpus=1,
        memory_bytes=20_000_000 + number,
        memory_limit_bytes=536_870_912,
        memory_stat=MEMORY_STAT,
        pids=3,
        pids_limit=2**64 - 1,
        interfaces=[{"name": "eth0", "rx_bytes": number, "tx_bytes": number}],
        blocks=[{"major": 8, "minor": 0, "read_bytes": number, "write_bytes": number}],
    )
    told.time.GetCurrentTime()
    return told


async def watch(directory: Path, container: str, lines: list[float]) -> None:
    """Be a client: read one container's samples."""
    reader, writer = await asyncio.open_unix_connection(f"{directory}/docker.sock")
    writer.write(b"GET /containers/%b/stats HTTP/1.1\r\nHost: docker\r\n\r\n" % container.encode())
    try:
        while line := await reader.readline():
            if line.startswith(b"{"):
                assert json.loads(line)["id"] == container
                lines.append(time.monotonic())
    finally:
        writer.close()


@contextmanager
def service(name: str, directory: Path) -> Iterator[int]:
    """Run a service in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "bench.watched",
        "--serve",
        name,
        "--directory",
        str(directory),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it says so when it serves
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


async def measure(
    directory: Path, authority: TestAuthority, pids: dict[str, int], count: int, seconds: float
) -> dict[str, float]:
    """Return the share of a core that each service takes, idle and watched."""
    exec_channel = open_channel(
        address(directory, Role.INTERACTION),
        Role.INTERACTION,
        INSTANCE,
        authority.issue(Role.EXEC),
    )
    processes: process_pb2_grpc.ProcessServiceAsyncStub
    processes = process_pb2_grpc.ProcessServiceStub(exec_channel)
    tethers: list[asyncio.Task[None]] = []
    names = [f"{number:064x}" for number in range(count)]
    channels = [exec_channel]
    for number, name in enumerate(names):
        await processes.Register(process_pb2.RegisterRequest(container_id=name))
        channel = open_channel(
            f"unix:{directory}/tether.sock",
            Role.INTERACTION,
            INSTANCE,
            authority.issue(Role.TETHER, name),
        )
        channels.append(channel)
        tether = FakeTether(channel)
        await tether.connect()
        launch = process_pb2.LaunchRequest(
            container_id=name, boot_id=BOOT, process_id="init", process={"args": ["true"]}
        )
        await asyncio.gather(processes.Launch(launch, timeout=60), tether.take_launch())
        tethers.append(asyncio.create_task(tell(tether, number)))

    async def share() -> dict[str, float]:
        await asyncio.sleep(SETTLE_SECONDS)
        before, begun = {name: process_seconds(pid) for name, pid in pids.items()}, time.monotonic()
        await asyncio.sleep(seconds)
        passed = time.monotonic() - begun
        return {name: (process_seconds(pid) - before[name]) / passed for name, pid in pids.items()}

    idle = await share()
    lines: list[list[float]] = [[] for _ in names]
    clients = [
        asyncio.create_task(watch(directory, name, times))
        for name, times in zip(names, lines, strict=True)
    ]
    busy = await share()
    for task in [*clients, *tethers]:
        task.cancel()
    await asyncio.wait([*clients, *tethers])
    for channel in channels:
        await channel.close()
    gaps = [b - a for times in lines for a, b in pairwise(times[2:])]
    return {
        **{f"{name}, idle": round(part, 4) for name, part in idle.items()},
        **{f"{name}, watched": round(part, 4) for name, part in busy.items()},
        "both, watched": round(sum(busy.values()), 4),
        "longest gap, s": round(max(gaps), 2),
        "samples a second": round(len(gaps) / (seconds + SETTLE_SECONDS), 1),
    }


async def run(directory: Path, count: int, seconds: float) -> dict[str, float]:
    """Start everything, and measure."""
    authority = TestAuthority()
    for role in (Role.INTERACTION, Role.GATEWAY):
        save(authority.issue(role), directory, role)
    descriptor = exec_pb2.DESCRIPTOR.services_by_name["ExecService"]
    access = {name: frozenset({Role.GATEWAY}) for name in rpc_names(descriptor)}
    server = FacetServer(authority.issue(Role.EXEC), INSTANCE, access, [descriptor], reflect=False)
    exec_pb2_grpc.add_ExecServiceServicer_to_server(Containers(), server.server)
    await server.start([address(directory, Role.EXEC)])
    with ExitStack() as stack:
        pids = {
            name: stack.enter_context(service(name, directory))
            for name in ("interaction", "gateway")
        }
        try:
            return await measure(directory, authority, pids, count, seconds)
        finally:
            await server.server.stop(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=50, metavar="N")
    parser.add_argument("--seconds", type=float, default=20, help="of each look")
    parser.add_argument("--out", type=Path, default=Path("watched.json"), help="JSON file to write")
    parser.add_argument("--serve", choices=("interaction", "gateway"), help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.serve:
        serve = serve_interaction if asked.serve == "interaction" else serve_gateway
        asyncio.run(serve(asked.directory))
        return
    load_before = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory(prefix="vic-watched-") as directory:
        shares = asyncio.run(run(Path(directory), asked.containers, asked.seconds))
    facts: dict[str, object] = {"load before": load_before, **shares}
    series: list[Series] = []
    report(f"docker stats of {asked.containers} stand-ins, cores", series, facts, asked.out)


if __name__ == "__main__":
    main()
