"""A store that is full: a clear error, nothing left behind, and work again when there is room."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.host import TESTS_MOUNT
from tests.e2e.suite import Suite
from tests.images import Layer, Registry, busybox_image, file, make_tar

STORE_MIB = 48


@pytest.fixture
def cramped() -> Iterator[Suite]:
    """A suite whose images have little room."""
    suite = Suite()
    store = suite.data_dir / "storage"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={STORE_MIB}m", TESTS_MOUNT, str(store)]
    subprocess.run(mount, check=True)
    try:
        yield suite.up()
        suite.down()
    finally:
        subprocess.run(["umount", str(store)], check=True)
        suite.remove()


def test_a_full_disk_during_a_pull(cramped: Suite, registry: Registry) -> None:
    small = registry.push(busybox_image(), "small")
    cramped.ok("pull", small)
    before = cramped.stored_files()
    content = os.urandom(STORE_MIB * 1024 * 1024)
    big = replace(
        busybox_image(), layers=(*busybox_image().layers, Layer(make_tar([file("big", content)])))
    )
    done = cramped.docker("pull", registry.push(big, "big"))
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert cramped.stored_files() == before
    assert cramped.ok("run", "--rm", small, "echo", "still here") == "still here"
