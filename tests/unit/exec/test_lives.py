"""Whatever is done to containers in whatever order, Docker's rules hold, also after crashes."""

import asyncio
import tempfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings

from portlayer.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Reason
from portlayer.store import open_store
from services.exec.store import MIGRATIONS
from tests.databases import place_database
from tests.lifemodel import Lives, Subject
from tests.unit.exec.conftest import Facet, wire
from tests.unit.exec.fake_facets import FakeFacets
from tests.unit.exec.fake_hypervisor import FakeHypervisor
from tests.unit.exec.specs import spec
from tests.unit.exec.test_fault_points import check_sound, settle

T = TypeVar("T")


class OverFakes(Subject):
    """The facet's domain over fakes of its peers."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._directory = tempfile.TemporaryDirectory()
        self.facet = self._run(self._open(Path(self._directory.name)))

    async def _open(self, directory: Path) -> Facet:
        place_database(directory / "exec.db", MIGRATIONS)
        store = await open_store(f"sqlite:///{directory}/exec.db", MIGRATIONS)
        return wire(store, FakeFacets(), FakeHypervisor())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def create(self, name: str) -> int:
        return self._run(self._status(self.facet.creator.create("", spec(name=name)), 201))

    def do(self, verb: str, name: str) -> int:
        return self._run(self._status(self._do(verb, name), 204))

    async def _do(self, verb: str, name: str) -> None:
        lifecycle = self.facet.lifecycle
        container_id = (await self.facet.containers.resolve(name)).id
        match verb:
            case "start":
                await lifecycle.start(container_id)
            case "stop":
                await lifecycle.stop(container_id, 60, "")
            case "restart":
                await lifecycle.restart(container_id, 60, "")
            case "kill":
                await lifecycle.signal(container_id, "KILL")
            case "pause":
                await lifecycle.pause(container_id)
            case "unpause":
                await lifecycle.unpause(container_id)
            case _:
                await lifecycle.remove(container_id, name, force=verb.endswith("force"))
        await self._calm()

    def rename(self, name: str, new_name: str) -> int:
        async def work() -> None:
            container_id = (await self.facet.containers.resolve(name)).id
            await self.facet.lifecycle.rename(container_id, new_name)

        return self._run(self._status(work(), 204))

    def end(self, name: str) -> None:
        async def work() -> None:
            container_id = (await self.facet.containers.resolve(name)).id
            await self.facet.peers.end(container_id, 3)
            await self._calm()

        self._run(work())

    def crash(self) -> None:
        async def work() -> None:
            self.facet = self.facet.restarted()
            await settle(self.facet)

        self._run(work())

    def states(self) -> Mapping[str, str]:
        async def work() -> dict[str, str]:
            return {r.name: r.state.word for r in await self.facet.containers.select()}

        return self._run(work())

    def check(self) -> None:
        self._run(check_sound(self.facet))

    def close(self) -> None:
        async def work() -> None:
            await self._calm()
            await self.facet.store.close()

        self._run(work())
        self._runner.close()
        self._directory.cleanup()

    async def _calm(self) -> None:
        while self.facet.hypervisor.telling:
            await asyncio.wait(self.facet.hypervisor.telling)
        await self.facet.exits.drain()

    async def _status(self, work: Coroutine[Any, Any, object], done: int) -> int:
        try:
            await work
        except NotFound:
            return 404
        except InvalidArgument:
            return 400
        except AlreadyExists:
            return 409
        except FailedPrecondition as error:
            return 304 if error.reason is Reason.ALREADY_DONE else 409
        return done


class LivesOverFakes(Lives):
    """The model held against the facet's domain."""

    can_end = True
    can_crash = True

    def open(self) -> Subject:
        return OverFakes()


TestLives = LivesOverFakes.TestCase
TestLives.settings = settings(max_examples=15, stateful_step_count=30)
