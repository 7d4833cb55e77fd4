"""Keeping a container's files within reach of a tether, which exec sees to.

A container that runs has its own. Onto any other's disk exec forks a utility VM, and keeps it for
as long as the call lasts.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from vic.exec.v1 import exec_pb2

from portlayer.errors import Unavailable, domain_errors

if TYPE_CHECKING:  # the type stubs alone tell gRPC's two kinds of client apart
    from vic.exec.v1 import exec_pb2_grpc


@dataclass(frozen=True)
class Reached:
    """Where a container's files can be reached."""

    boot_id: str
    utility: bool = False
    """Whether nothing of the container runs there."""
    root_read_only: bool = False
    image_lun: int = 0
    """Where the disk of its image is, where that was asked for."""


class Reach(Protocol):
    """Reached files, while somebody works on them."""

    @property
    def reached(self) -> Reached:
        """Where they are."""

    async def lost(self) -> None:
        """Raise why they can't be reached any more, as soon as that is so. Never returns."""


class Holder(Protocol):
    """Who can keep files within reach."""

    def held(
        self,
        container_id: str,
        volumes: "exec_pb2.VolumeReach",
        *,
        image: bool,
        ended_boot_id: str,
    ) -> AbstractAsyncContextManager[Reach]:
        """Keep them within reach meanwhile. Raises as ExecService.HoldFiles says.

        ``ended_boot_id`` is a boot whose end was seen, empty for none.
        """


class ExecHolder:
    """Has exec hold them."""

    def __init__(self, stub: "exec_pb2_grpc.ExecServiceAsyncStub") -> None:
        self._stub = stub

    @asynccontextmanager
    async def held(
        self,
        container_id: str,
        volumes: "exec_pb2.VolumeReach",
        *,
        image: bool,
        ended_boot_id: str,
    ) -> AsyncIterator[Reach]:
        """Keep them within reach meanwhile. Raises as ExecService.HoldFiles says."""
        request = exec_pb2.HoldFilesRequest(
            container_id=container_id, volumes=volumes, image=image, ended_boot_id=ended_boot_id
        )
        call: Any = self._stub.HoldFiles(request)
        try:
            with domain_errors():
                first = await call.read()
            if first is grpc.aio.EOF:
                raise Unavailable("exec has ended its answer before it began")
            yield _Call(call, first)
        finally:
            call.cancel()


class _Call:
    """A call to exec that lasts."""

    def __init__(self, call: Any, first: exec_pb2.HoldFilesResponse) -> None:
        self._call = call
        self.reached = Reached(
            boot_id=first.boot_id,
            utility=first.utility,
            root_read_only=first.root_read_only,
            image_lun=first.image_lun,
        )

    async def lost(self) -> None:
        """Raise why they can't be reached any more."""
        with domain_errors():
            while await self._call.read() is not grpc.aio.EOF:
                pass
        raise Unavailable("the container's files are out of reach")
