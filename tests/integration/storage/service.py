"""The storage service as a process of its own, without privileges where the tests have them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from vic.storage.v1 import (
    disk_pb2,
    disk_pb2_grpc,
    image_pb2,
    image_pb2_grpc,
    volume_pb2_grpc,
)

from installer.pki import Authority
from installer.spawn import SpawnPlan, spawn_command
from installer.view import code_directories, windows_for
from portlayer.client import open_channel
from portlayer.errors import domain_errors
from portlayer.identity import Credentials, Role, peer_uri, server_name

INSTANCE = "5704a6e0"
UID = 1_965_000_005
BASE_SIZE = 256 << 20


def run(*command: str) -> bytes:
    """Run a program that must end well; returns its output."""
    return subprocess.run(command, check=True, capture_output=True).stdout


@dataclass
class Pull:
    """What a pull said."""

    lines: list[image_pb2.Progress] = field(default_factory=list)
    result: image_pb2.PullResult = field(default_factory=image_pb2.PullResult)


class Service:
    """A running storage service and a client that plays a role."""

    def __init__(self, data: Path, name: str = "storage", **settings: Any) -> None:
        """`name` is of its socket: replicas have one each."""
        self.data = data
        self._address = f"unix:{data}/run/{name}.sock"
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def pid(self) -> int:
        """Its process ID."""
        assert self._process is not None
        return self._process.pid

    @property
    def state(self) -> Path:
        """The facet's own directory."""
        return self.data / "storage"

    def files(self) -> list[str]:
        """Every file of its state but the base disk's and the events'."""
        return sorted(
            str(path.relative_to(self.state))
            for path in self.state.rglob("*")
            if path.is_file()
            and path.name not in ("base.vmdk", "lock")
            and path.parent.name != "processes"
            and not path.name.endswith("-events.jsonl")
        )

    def prepare(self) -> None:
        """Lay out the instance's directory."""
        self.data.chmod(0o711)
        fields = {"instance_id": INSTANCE, "slot": 0, "base_size_bytes": BASE_SIZE}
        (self.data / "instance.json").write_text(json.dumps({**fields, **self._settings}))
        (self.data / "instance.json").chmod(0o644)
        (self.data / "pki").mkdir(mode=0o711)
        authority = Authority.create(INSTANCE)
        owner = (UID, UID) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        for role in (Role.STORAGE, Role.EXEC, Role.VIEWER):
            directory = self.data / "pki" / role.value
            directory.mkdir()
            identity = authority.issue(
                role.value,
                uri=peer_uri(role, INSTANCE),
                dns_names=[server_name(role, INSTANCE)],
            )
            identity.write(directory, owner=owner)
        for name in ("run", "storage"):
            (self.data / name).mkdir(mode=0o700)
            os.chown(self.data / name, *owner)

    async def start(self) -> None:
        """Start it and wait until it serves."""
        command = [sys.executable, "-m", "services.storage"]
        if os.geteuid() == 0:
            windows = tuple(windows_for([*code_directories(), self.data]))
            command = spawn_command(SpawnPlan(UID, UID, (), windows), command)
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            env={
                "PATH": "/usr/bin:/bin",
                "VIC_DATA_DIR": str(self.data),
                "VIC_LISTEN": json.dumps([self._address]),
                "LANG": "C.UTF-8",
            },
        )
        self._channel = self.channel(Role.EXEC)
        ready = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        await ready(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60)

    def channel(self, role: Role) -> grpc.aio.Channel:
        """A channel of a caller that plays a role."""
        credentials = Credentials.load(self.data / "pki" / role.value)
        return open_channel(self._address, Role.STORAGE, INSTANCE, credentials)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; returns its exit code."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.returncode is None:
            process.send_signal(number)
        return await asyncio.wait_for(process.wait(), 60)

    @property
    def images(self) -> image_pb2_grpc.ImageServiceAsyncStub:
        """The image service."""
        return image_pb2_grpc.ImageServiceStub(self._channel)  # type: ignore[arg-type]

    @property
    def disks(self) -> disk_pb2_grpc.DiskServiceAsyncStub:
        """The disk service."""
        return disk_pb2_grpc.DiskServiceStub(self._channel)  # type: ignore[arg-type]

    @property
    def volumes(self) -> volume_pb2_grpc.VolumeServiceAsyncStub:
        """The volume service."""
        return volume_pb2_grpc.VolumeServiceStub(self._channel)  # type: ignore[arg-type]

    async def pull(self, reference: str, **credentials: str) -> Pull:
        """Pull an image; raises domain errors."""
        request = image_pb2.PullRequest(
            reference=reference, credentials=image_pb2.RegistryCredentials(**credentials)
        )
        pull = Pull()
        with domain_errors():
            async for response in self.images.Pull(request):
                if response.HasField("result"):
                    pull.result = response.result
                else:
                    pull.lines.append(response.progress)
        return pull

    async def disk(self, image: str, container_id: str, spec: bytes = b"spec") -> disk_pb2.Disk:
        """Prepare a container's disk."""
        response = await self.disks.Prepare(
            disk_pb2.PrepareRequest(container_id=container_id, image=image, specification=spec)
        )
        return response.disk

    async def save(self, *references: str, into: Path) -> Path:
        """Save images into a file; raises domain errors."""
        with into.open("wb") as file, domain_errors():
            async for piece in self.images.Save(image_pb2.SaveRequest(references=references)):
                file.write(piece.data)
        return into

    async def load(self, archive: Path, *, complete: bool = True) -> list[image_pb2.LoadResponse]:
        """Load images from a file; raises domain errors."""

        async def requests() -> AsyncIterator[image_pb2.LoadRequest]:
            yield image_pb2.LoadRequest(start=image_pb2.LoadStart())
            with archive.open("rb") as file:
                while data := file.read(256 << 10):
                    yield image_pb2.LoadRequest(data=data)
            if complete:
                yield image_pb2.LoadRequest(complete=True)

        with domain_errors():
            return [response async for response in self.images.Load(requests())]

    async def import_tar(self, tar: bytes, *, complete: bool = True, **start: Any) -> str:
        """Make an image of a tar; its ID. Raises domain errors."""

        async def requests() -> AsyncIterator[image_pb2.ImportRequest]:
            yield image_pb2.ImportRequest(start=image_pb2.ImportStart(**start))
            for at in range(0, len(tar), 64 << 10):
                yield image_pb2.ImportRequest(data=tar[at : at + (64 << 10)])
            if complete:
                yield image_pb2.ImportRequest(complete=True)

        with domain_errors():
            answers = [answer async for answer in self.images.Import(requests())]
        return answers[-1].image_id

    async def commit(self, tar: bytes, *, complete: bool = True, **start: Any) -> str:
        """Make an image of a layer on another one; its ID. Raises domain errors."""

        async def requests() -> AsyncIterator[image_pb2.CommitRequest]:
            yield image_pb2.CommitRequest(start=image_pb2.CommitStart(**start))
            for at in range(0, len(tar), 64 << 10):
                yield image_pb2.CommitRequest(data=tar[at : at + (64 << 10)])
            if complete:
                yield image_pb2.CommitRequest(complete=True)

        with domain_errors():
            return (await self.images.Commit(requests())).image_id

    async def image(self, reference: str) -> image_pb2.Image:
        """One image."""
        return (await self.images.Get(image_pb2.ImageServiceGetRequest(reference=reference))).image


@asynccontextmanager
async def storage_service(**settings: Any) -> AsyncIterator[Service]:
    """A service with a data directory of its own, gone at the end."""
    data = Path(tempfile.mkdtemp(prefix="vic-storage-"))
    try:
        async with storage_service_in(data, **settings) as service:
            yield service
    finally:
        shutil.rmtree(data)


@asynccontextmanager
async def storage_service_in(data: Path, **settings: Any) -> AsyncIterator[Service]:
    """A service in a directory that is there."""
    service = Service(data, **settings)
    try:
        service.prepare()
        await service.start()
        yield service
    finally:
        await service.stop(signal.SIGKILL)


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """A directory on a file system of `size` bytes. Needs root."""
    data = Path(tempfile.mkdtemp(prefix="vic-small-"))
    try:
        options = f"size={size},mode=0711"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "vic-test", data], check=True)
        try:
            yield data
        finally:
            subprocess.run(["umount", data], check=True)
    finally:
        data.rmdir()
