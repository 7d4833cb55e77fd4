"""Storage is killed in the middle of what it does, or its disk fails: nothing is lost or left.

Some steps of each verb here; `make soak` goes through all of them.
"""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.images import Image, Layer, file, make_tar
from tests.unit.storage.fake_registry import FakeRegistry
from tests.unit.storage.mortal_verbs import VERBS
from tests.unit.storage.strikes import FAULTS

BELOW = Layer(make_tar([file("below", "below")]))
IMAGES = {
    name: Image((BELOW, Layer(make_tar([file(name, name * 30_000)]))))
    for name in ("old", "other", "loose", "new")
}
MANY = {"pull": 9, "load": 9, "commit": 9, "prune": 9, "sweep": 9}
"""Verbs of many steps, and how many of them are left out after each."""

IN_WORKERS = ("pull", "load", "commit")
"""Verbs that have work for them."""


@pytest.mark.parametrize("verb", VERBS)
async def test_a_kill_in_the_middle_loses_and_leaves_nothing(
    registry: FakeRegistry, verb: str
) -> None:
    await strike(registry, verb, f"--every={MANY.get(verb, 4)}")


async def test_a_disk_that_fails_in_the_middle_loses_and_leaves_nothing(
    registry: FakeRegistry,
) -> None:
    await strike(registry, "pull", "--every=25", "--fault=EIO")


@pytest.mark.parametrize(("fault", "verb"), zip(FAULTS, IN_WORKERS, strict=True))
async def test_a_worker_that_dies_or_whose_disk_fails_loses_and_leaves_nothing(
    registry: FakeRegistry, fault: str, verb: str
) -> None:
    await strike(registry, verb, "--worker", f"--fault={fault}", "--every=13")


async def strike(registry: FakeRegistry, *arguments: str) -> None:
    """Have nothing wrong after it."""
    for name, image in IMAGES.items():
        registry.add(image, name, "latest")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.unit.storage.mortal", registry.address, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, errors = await process.communicate()
    assert process.returncode == 0, told.decode() + errors.decode()[-4000:]
