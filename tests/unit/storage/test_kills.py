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
LONG = ("pull", "load", "commit", "discard", "prune", "sweep")
"""Verbs of so many steps that most are left out here."""

IN_WORKERS = ("pull", "load", "commit")
"""Verbs that have work for them."""


async def test_a_kill_in_the_middle_loses_and_leaves_nothing(registry: FakeRegistry) -> None:
    await strike(registry, *LONG, "--every=17")


async def test_a_kill_in_the_middle_of_a_short_verb_loses_and_leaves_nothing(
    registry: FakeRegistry,
) -> None:
    await strike(registry, *(verb for verb in VERBS if verb not in LONG), "--every=6")


async def test_a_disk_that_fails_in_the_middle_loses_and_leaves_nothing(
    registry: FakeRegistry,
) -> None:
    await strike(registry, "pull", "--every=25", "--fault=EIO")


@pytest.mark.parametrize(("fault", "verb"), [*zip(FAULTS, IN_WORKERS, strict=True)])
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
