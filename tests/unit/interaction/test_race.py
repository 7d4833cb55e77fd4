"""Doing several things at once, and being told to stop meanwhile."""

import asyncio

import pytest

from gateway.streams import until_first as until_first_of_gateway
from services.interaction.race import all_of, until_first

RACES = pytest.mark.parametrize("race", [until_first, until_first_of_gateway, all_of])


async def _for_ever(ended: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


async def _fail() -> None:
    raise ValueError("failed")


@RACES
async def test_a_failure_is_raised_as_it_is_and_ends_the_others(race: object) -> None:
    ended = asyncio.Event()
    with pytest.raises(ValueError, match="failed"):
        await race(_for_ever(ended), _fail())  # type: ignore[operator]
    assert ended.is_set()


@RACES
async def test_a_cancel_that_comes_while_a_part_fails_is_not_forgotten(race: object) -> None:
    failing = asyncio.Event()

    async def fail() -> None:
        await failing.wait()
        raise ValueError("failed")

    went_on = False

    async def run() -> None:
        nonlocal went_on
        try:
            await race(fail(), _for_ever(asyncio.Event()))  # type: ignore[operator]
        except ValueError:
            went_on = True

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # In the same step of the loop: the failure is seen, and so is the cancel.
    failing.set()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not went_on


async def test_the_first_to_return_ends_the_others() -> None:
    ended = asyncio.Event()
    await until_first(_for_ever(ended), asyncio.sleep(0))
    assert ended.is_set()


async def test_all_are_waited_for() -> None:
    done = []

    async def part(number: int) -> int:
        for _ in range(number):
            await asyncio.sleep(0)
        done.append(number)
        return number

    assert await all_of(part(3), part(1)) == [3, 1]
    assert done == [1, 3]
