"""Fixtures: a guest, and a host agent that has it."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.hostagent import guest
from tests.integration.hostagent.suite import Suite, new_suite


@pytest.fixture(scope="session")
def bootstrap() -> Path:
    """The tiny guest's directory."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if shutil.which("qemu-system-x86_64") is None or shutil.which("qemu-img") is None:
        pytest.skip("needs QEMU")
    return guest.build()


@pytest.fixture
async def suite(bootstrap: Path) -> AsyncIterator[Suite]:
    """An instance whose agent uses emulation."""
    async with new_suite(bootstrap, VIC_ACCELERATOR="tcg") as made:
        yield made
