"""Additional processes, more than are remembered."""

import asyncio

import pytest

from portlayer.errors import FailedPrecondition, NotFound
from services.interaction import execs
from tests.unit.interaction.suite import CONTAINER, Suite
from tests.unit.interaction.test_execs import create, inspect, start


async def test_there_is_no_end_of_execs_that_end(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execs, "MAX_PROCESSES", 3)
    monkeypatch.setattr(execs, "MOST_ENDED", 4)
    monkeypatch.setattr(execs, "_AT_ONCE", 2)
    async with suite.running() as tether:
        for number in range(20):
            exec_id = f"{number:064x}"
            await create(suite, exec_id)
            await asyncio.gather(start(suite, exec_id, detach=True), tether.take_launch())
            await tether.exit(0, exec_id)
            assert (await inspect(suite, exec_id)).exit_code == 0
        # The newest are known yet, also after a restart; those that run are counted.
        assert (await inspect(suite, f"{16:064x}")).exit_code == 0
        with pytest.raises(NotFound):
            await inspect(suite, f"{10:064x}")
        for number in range(3):
            await create(suite, f"{number + 100:064x}")
        with pytest.raises(FailedPrecondition, match="more than 3 execs"):
            await create(suite)
    assert suite.service is not None
    assert len(suite.service.sessions.get(CONTAINER).execs) <= 9
    await suite.restart()
    assert (await inspect(suite, f"{16:064x}")).exit_code == 0
    assert len(suite.service.sessions.get(CONTAINER).execs) <= 9
