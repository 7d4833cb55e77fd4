"""The service as a process: a user of its own with CAP_NET_ADMIN alone, and gRPC over mTLS."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from vic.network.v1 import network_pb2 as pb
from vic.network.v1 import network_pb2_grpc

from portlayer.client import open_channel
from portlayer.errors import PermissionDenied, Reason, VicError
from portlayer.identity import Credentials, Role
from tests.in_view import REPOSITORY, in_view
from tests.integration.network.guest import Guest
from tests.integration.network.namespaces import run
from tests.integration.network.state import comparable, host_state, talk
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority

UID = 1_900_000_004
START_SECONDS = 60.0


@dataclass
class Instance:
    """A data directory, and the network service that runs on it."""

    directory: Path
    authority: TestAuthority
    process: subprocess.Popen[bytes] | None = None
    guests: list[Guest] = field(default_factory=list)

    @property
    def socket(self) -> str:
        return f"unix:{self.directory}/run/network.sock"

    def prepare(self) -> None:
        """Lay the directory out as the installer does."""
        for name in ("run", "network", "pki/network"):
            path = self.directory / name
            path.mkdir(parents=True)
        issued = self.authority.issue(Role.NETWORK)
        pki = self.directory / "pki/network"
        for name, content in (
            ("ca.crt", issued.ca),
            ("tls.crt", issued.certificate),
            ("tls.key", issued.key),
        ):
            (pki / name).write_bytes(content)
        for path in (self.directory, *self.directory.rglob("*")):
            os.chown(path, UID, UID)

    def command(self, module: str = "services.network") -> list[str]:
        """Return what runs the service, or a part of it, with nothing but CAP_NET_ADMIN."""
        setpriv = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups"]
        setpriv += ["--no-new-privs", "--bounding-set", "-all,+net_admin"]
        setpriv += ["--inh-caps", "+net_admin", "--ambient-caps", "+net_admin"]
        return in_view([*setpriv, sys.executable, "-m", module], self.directory)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/protos",
            "PYTHONDONTWRITEBYTECODE": "1",
            "VIC_DATA_DIR": str(self.directory),
            "VIC_INSTANCE_ID": INSTANCE,
            "VIC_SLOT": "0",
            "VIC_MACHINE_LOCK": str(self.directory),
        }

    async def start(self) -> None:
        """Start the service and wait until it serves."""
        self.begin()
        async with self.client(Role.INSTALLER) as client:
            await client.Info(pb.InfoRequest(), timeout=START_SECONDS, wait_for_ready=True)

    def begin(self) -> None:
        """Start the service."""
        self.process = subprocess.Popen(
            self.command(), env=self.environment, cwd="/", stderr=subprocess.PIPE
        )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run something in the service's environment to its end."""
        return subprocess.run(
            command,
            env=self.environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )

    def end(self, number: signal.Signals) -> str:
        """End the service by a signal; returns what it logged."""
        assert self.process is not None
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=START_SECONDS)
        self.process = None
        return log.decode()

    @asynccontextmanager
    async def client(self, role: Role) -> AsyncIterator[Any]:
        """Yield a client that plays a role."""
        credentials: Credentials = self.authority.issue(role)
        async with open_channel(self.socket, Role.NETWORK, INSTANCE, credentials) as channel:
            yield network_pb2_grpc.NetworkServiceStub(channel)

    def plug_in(self, endpoints: list[pb.Endpoint], gateway: str) -> Guest:
        """Make a container's taps; returns its card on the default network."""
        cards = [
            Guest(e.tap_name, e.mac_address, e.ipv4_address, gateway, "02:42:ac:11:00:01")
            for e in endpoints
        ]
        for card in cards:
            card.plug_in()
        self.guests += cards
        return cards[1]


@pytest.fixture
def instance(host: None) -> Iterator[Instance]:
    """An instance whose service is not started yet."""
    # Short, since a socket's path has 107 bytes, and every directory above must let others in.
    directory = Path(tempfile.mkdtemp(prefix="vic-network-", dir="/tmp"))
    directory.chmod(0o755)
    instance = Instance(directory, TestAuthority())
    instance.prepare()
    yield instance
    for guest in instance.guests:
        guest.unplug()
    if instance.process is not None:
        instance.end(signal.SIGKILL)
    run("rm", "-r", str(directory))


def request(container_id: str) -> pb.ReserveRequest:
    """Return a request for a place on the default network."""
    return pb.ReserveRequest(
        container_id=container_id, endpoints=[pb.EndpointRequest(network="bridge")]
    )


async def test_it_does_all_with_cap_net_admin_alone(instance: Instance) -> None:
    before = comparable(host_state())
    await instance.start()
    async with instance.client(Role.EXEC) as client:
        answers = await asyncio.gather(*(client.Reserve(request(f"c{i}")) for i in range(100)))
        assert len({e.ipv4_address for a in answers for e in a.endpoints}) == 200
        cards = [instance.plug_in(list(a.endpoints), "172.17.0.1") for a in answers[:2]]
        for number in range(2):
            bound = await client.Bind(pb.BindRequest(container_id=f"c{number}"))
            assert all(endpoint.bound for endpoint in bound.endpoints)
        talk(cards[0], cards[1], b"hello")

        log = instance.end(signal.SIGKILL)
        assert "Traceback" not in log
        talk(cards[0], cards[1], b"while it is away")
        await instance.start()
        again = await client.Reserve(request("c7"), wait_for_ready=True)
        assert [e.id for e in again.endpoints] == [e.id for e in answers[7].endpoints]
        found = await client.GetReservation(pb.GetReservationRequest(container_id="c0"))
        assert all(endpoint.bound for endpoint in found.endpoints)
        talk(cards[0], cards[1], b"afterwards")
        await asyncio.gather(
            *(client.Release(pb.ReleaseRequest(container_id=f"c{i}")) for i in range(100))
        )
        listed = await client.ListReservations(pb.ListReservationsRequest())
        assert list(listed.container_ids) == []
    for guest in instance.guests:
        guest.unplug()
    log = instance.end(signal.SIGTERM)
    assert "Traceback" not in log
    assert "vic0b0" in run("ip", "link")
    done = instance.run(*instance.command("services.network.teardown"))
    assert done.returncode == 0, done.stderr
    assert comparable(host_state()) == before


async def test_each_caller_may_do_what_its_role_says(instance: Instance) -> None:
    await instance.start()
    async with instance.client(Role.VIEWER) as client:
        assert len((await client.List(pb.ListRequest())).networks) == 2
        with pytest.raises(PermissionDenied):
            await client.Reserve(request("c1"))
    async with instance.client(Role.OPERATOR) as client:
        with pytest.raises(VicError) as unknown:
            await client.Get(pb.GetRequest(reference="nope"))
        assert unknown.value.reason is Reason.NETWORK_NOT_FOUND
        with pytest.raises(VicError) as missing:
            await client.SetOutsideAlias(pb.SetOutsideAliasRequest(network="nope"))
        assert missing.value.reason is Reason.NETWORK_NOT_FOUND
    stranger = TestAuthority().issue(Role.EXEC)
    async with open_channel(instance.socket, Role.NETWORK, INSTANCE, stranger) as channel:
        with pytest.raises((VicError, grpc.aio.AioRpcError)):
            stub = network_pb2_grpc.NetworkServiceStub(channel)
            await stub.List(pb.ListRequest(), timeout=START_SECONDS)


def test_without_the_capability_it_says_so_and_ends(instance: Instance) -> None:
    command = instance.command()
    done = instance.run(*command[: command.index("--no-new-privs")], *command[-3:])
    assert done.returncode != 0
    assert "not permitted" in done.stderr
    assert "vic0" not in run("ip", "link")
