"""The reconciler."""

import asyncio

import pytest

from portlayer.errors import Unavailable
from services.network import reconcile
from services.network.reconcile import Reconciler
from tests.unit.network.conftest import RememberedPlatform


class Restoring(RememberedPlatform):
    """Counts its restorations, and fails the first ones it is told to fail."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.restored: asyncio.Queue[bool] = asyncio.Queue()

    async def restore(self) -> list[str]:
        self.doubt.clear()
        if self.failures:
            self.failures -= 1
            self.restored.put_nowait(False)
            raise Unavailable("nft is away")
        self.restored.put_nowait(True)
        return ["put the rules back"]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs follow one another at once."""
    monkeypatch.setattr(reconcile, "SHORTEST_PAUSE", 0)


async def running(platform: Restoring, period: float, runs: int) -> list[bool]:
    """Return how the first runs of a reconciler went."""
    task = asyncio.create_task(Reconciler(platform, period).run())
    try:
        async with asyncio.timeout(60):
            return [await platform.restored.get() for _ in range(runs)]
    finally:
        task.cancel()


async def test_it_runs_on_a_period() -> None:
    assert await running(Restoring(), 0.001, 3) == [True, True, True]


async def test_a_doubt_brings_it_forward() -> None:
    platform = Restoring()
    platform.doubt.set()
    assert await running(platform, 3600, 1) == [True]


async def test_a_run_that_fails_is_followed_by_another() -> None:
    assert await running(Restoring(failures=1), 0.001, 2) == [False, True]


async def test_one_run_tells_what_it_repaired() -> None:
    assert await Reconciler(Restoring(), 1).once() == ["put the rules back"]
    assert await Reconciler(Restoring(failures=1), 1).once() == []
