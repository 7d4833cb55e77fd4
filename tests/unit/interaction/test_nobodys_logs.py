"""Logs of containers that no database knows."""

import os
import time

from tests.unit.interaction.suite import CONTAINER, Suite


async def test_a_lost_database_takes_no_log_with_it(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(b"kept\n")
        await stdio.close()
        await tether.exit(0)
    for _ in range(2):
        await suite.stop()
        for file in suite.directory.glob("interaction.db*"):
            file.unlink()
        await suite.start()
    # What nobody registers is removed, but not before a day is over.
    directory = suite.directory / "logs" / CONTAINER
    mark = directory / "nobodys"
    assert mark.exists()
    await suite.register()
    assert await suite.log_text() == b"kept\n"
    assert not mark.exists()
    # Nor is it where the mark of a former loss is there yet.
    mark.touch()
    os.utime(mark, (1, 1))
    await suite.restart()
    assert not mark.exists()


async def test_a_log_that_has_been_nobodys_for_a_day_is_removed(suite: Suite) -> None:
    await suite.stop()
    mark = suite.directory / "logs" / CONTAINER / "nobodys"
    mark.parent.mkdir(parents=True)
    mark.touch()
    await suite.start()
    assert mark.exists()
    await suite.stop()
    os.utime(mark, (1, time.time() - 25 * 3600))
    await suite.start()
    assert not mark.parent.exists()
