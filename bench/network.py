"""Network: how much two containers pass to one another and how soon, beside dockerd's.

Also what an endpoint costs the network service, and whether a thousand published ports slow a
packet to one of them. dockerd's containers are on a bridge in a network namespace of its own.
"""

import argparse
import asyncio
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path

import grpc
from vic.network.v1 import network_pb2 as pb
from vic.network.v1 import network_pb2_grpc

from bench.peer import dockerd
from bench.report import Series, report
from bench.start import Engine
from bench.subject import accounted_suite, come_up
from hostagent.taps import create_tap
from installer.instance import Instance, load_instance
from portlayer.client import open_channel
from portlayer.identity import Credentials, Role
from tests.e2e.suite import Suite
from tests.images import Registry, busybox_image

PORT = 5000
PINGS = 200
CONNECTIONS = 300
ENDPOINTS = 100
MANY_PORTS = 999
FIRST_PORT = 21_000
WAIT_SECONDS = 60.0
ROUND_TRIP = re.compile(r"time=([0-9.]+) ms")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--mib", type=int, default=200, help="of one transfer (default: %(default)s)"
    )
    parser.add_argument("--count", type=int, default=5, help="transfers (default: %(default)s)")
    parser.add_argument("--peer", action="store_true", help="beside a dockerd of Debian's")
    parser.add_argument(
        "--endpoints", action="store_true", help="only what they cost, beside 999 published ports"
    )
    parser.add_argument("--out", type=Path, default=Path("network.json"), help="JSON file to write")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    facts: dict[str, object] = {"load before": round(load, 2)}
    series = []
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        suite, account = stack.enter_context(accounted_suite())
        come_up(suite)
        image = registry.push(busybox_image(), "busybox")
        engines = [Engine("vic", suite.endpoint, account)]
        engines[0].docker("pull", image)
        if arguments.endpoints:
            publish_many(suite, image)
            series.append(endpoints(suite))
            report("Endpoints", series, facts, arguments.out, digits=3)
            return
        facts["MiB a transfer"] = arguments.mib
        if arguments.peer:
            engines.append(Engine("dockerd", *stack.enter_context(dockerd(networked=True))))
            engines[1].docker("load", "-i", str(saved(suite, image)))
        pairs = [stack.enter_context(pair(engine, image)) for engine in engines]
        for engine, target in zip(engines, pairs, strict=True):
            # Of the whole conversation, as a client in the container sees it.
            rates = [transferred(engine, target, arguments.mib) for _ in range(arguments.count)]
            facts[f"{engine.name}, MiB/s"] = sorted(round(rate, 1) for rate in rates)[
                len(rates) // 2
            ]
            told = engine.docker("exec", "one", "ping", "-c", str(PINGS), "-i", "0.02", target)
            trips = tuple(float(text) / 1000 for text in ROUND_TRIP.findall(told))
            series.append(Series(f"{engine.name}: round trip of a ping", trips))
        series += published(suite, image)
    report("Network between two containers", series, facts, arguments.out, digits=3)


def saved(suite: Suite, image: str) -> Path:
    """Return the image as a file, for an engine that reaches no registry."""
    path = suite.data_dir / "image.tar"
    suite.ok("save", "-o", str(path), image)
    return path


@contextmanager
def pair(engine: Engine, image: str) -> Iterator[str]:
    """Run two containers, "one" and "two", where "two" takes what it is sent; yield its address."""
    take = f"while :; do nc -l -p {PORT} > /dev/null; done"
    engine.docker("run", "-d", "--name", "one", image, "sleep", "100000")
    engine.docker("run", "-d", "--name", "two", image, "sh", "-c", take)
    template = "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    try:
        yield engine.docker("inspect", template, "two")
    finally:
        engine.docker("rm", "--force", "one", "two")


def transferred(engine: Engine, target: str, mebibytes: int) -> float:
    """Send so much from one container to the other; return the rate in MiB a second."""
    # It is tried again where the other one doesn't listen yet.
    transfer = f"dd if=/dev/zero bs=1M count={mebibytes} 2>/dev/null | nc {target} {PORT}"
    send = f"until {transfer}; do :; done"
    begun = time.perf_counter()
    engine.docker("exec", "one", "sh", "-c", send)
    return mebibytes / (time.perf_counter() - begun)


def published(suite: Suite, image: str) -> list[Series]:
    """Measure connections by a published port, alone and among many, and endpoints' cost."""
    port = FIRST_PORT - 1
    suite.ok("run", "-d", "--name", "web", "-p", f"{port}:80", image, "httpd", "-f", "-p", "80")
    address = "127.0.0.1"
    reach(address, port)
    found = [Series("connect by 1 published port", connections(address, port))]
    publish_many(suite, image)
    found.append(Series("connect among 1,000", connections(address, port)))
    found.append(endpoints(suite))
    return found


def publish_many(suite: Suite, image: str) -> None:
    """Run a container with as many published ports as one may have, all but one."""
    last = FIRST_PORT + MANY_PORTS - 1
    many = f"{FIRST_PORT}-{last}:1-{MANY_PORTS}"
    suite.ok("run", "-d", "--name", "many", "-p", many, image, "sleep", "100000")


def reach(address: str, port: int) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            socket.create_connection((address, port), timeout=WAIT_SECONDS).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.2)
        else:
            return


def connections(address: str, port: int) -> tuple[float, ...]:
    """Return how long connections took to be there.

    Each is answered before the next one is made: the server has room for nine that wait, and drops
    the first packet of a tenth, which is sent again after a second.
    """
    seconds = []
    for _ in range(CONNECTIONS):
        begun = time.perf_counter()
        with socket.create_connection((address, port), timeout=WAIT_SECONDS) as connection:
            seconds.append(time.perf_counter() - begun)
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while connection.recv(4096):
                pass
    return tuple(seconds)


def channel(instance: Instance) -> AbstractAsyncContextManager[grpc.aio.Channel]:
    """Return a channel to the network service in exec's place, which alone gives endpoints."""
    credentials = Credentials.load(instance.pki_dir / Role.EXEC)
    target = f"unix:{instance.socket(Role.NETWORK)}"
    return open_channel(target, Role.NETWORK, instance.id, credentials)


def endpoints(suite: Suite) -> Series:
    """Measure what endpoints cost in all: addresses, taps on their bridges, and back again."""
    instance = load_instance(suite.data_dir)
    assert instance is not None
    return Series("endpoint: Reserve to Release", asyncio.run(reserved_to_released(instance)))


async def reserved_to_released(instance: Instance) -> tuple[float, ...]:
    """Return the seconds that endpoints took, one after the other."""
    seconds = []
    async with channel(instance) as open_:
        stub = network_pb2_grpc.NetworkServiceStub(open_)
        for number in range(ENDPOINTS):
            name = f"bench{number}"
            wish = pb.EndpointRequest(network="bridge")
            begun = time.perf_counter()
            reserved = await stub.Reserve(
                pb.ReserveRequest(container_id=name, endpoints=[wish]), timeout=60
            )
            spent = time.perf_counter() - begun
            # Held as by a VM: a bridge whose taps nobody holds is asleep, and is waited for.
            taps = [create_tap(endpoint.tap_name) for endpoint in reserved.endpoints]
            begun = time.perf_counter()
            await stub.Bind(pb.BindRequest(container_id=name), timeout=60)
            await stub.Unbind(pb.UnbindRequest(container_id=name), timeout=60)
            await stub.Release(pb.ReleaseRequest(container_id=name), timeout=60)
            seconds.append(spent + time.perf_counter() - begun)
            for tap in taps:
                os.close(tap)
    return tuple(seconds)


if __name__ == "__main__":
    main()
