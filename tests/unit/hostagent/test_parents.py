"""Memory of parents."""

import mmap
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hostagent.parents import Parents, ParentState
from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
)
from tests.unit.hostagent.machines import SHAPE

SMALL = replace(SHAPE, memory_mib=128)


@pytest.fixture
def parents(tmp_path: Path) -> Parents:
    made = Parents(tmp_path)
    made.load()
    return made


async def test_sealed_memory_can_be_mapped_privately_and_not_be_changed(parents: Parents) -> None:
    parent = parents.create("p", SMALL, "key")
    memory = parents.memory_to_boot(parent)
    os.pwrite(memory, b"guest", 4096)
    parents.boot(parent)
    parents.seal(parent, b"state")
    parents.seal(parent, b"state")
    shared, state = await parents.clone(parent)
    assert (os.pread(shared, 5, 4096), state) == (b"guest", b"state")
    with pytest.raises(PermissionError):
        os.pwrite(shared, b"x", 0)
    private = mmap.mmap(shared, 8192, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    private[4096:4101] = b"clone"
    assert os.pread(shared, 5, 4096) == b"guest"
    private.close()
    parents.close()


def test_memory_that_is_still_mapped_for_writing_cannot_be_sealed(parents: Parents) -> None:
    parent = parents.create("p", SMALL, "key")
    memory = parents.memory_to_boot(parent)
    parents.boot(parent)
    mapped = mmap.mmap(memory, 4096)
    with pytest.raises(OSError, match="busy"):
        parents.seal(parent, b"state")
    assert parent.state is ParentState.BOOTING
    mapped.close()
    parents.close()


async def test_what_is_kept_comes_back_with_its_holes(parents: Parents, tmp_path: Path) -> None:
    parent = parents.create("p", SMALL, "key")
    memory = parents.memory_to_boot(parent)
    os.pwrite(memory, b"a" * 5000, 1 << 20)
    os.pwrite(memory, b"end", (128 << 20) - 3)
    parents.boot(parent)
    parents.seal(parent, b"state")
    await parents.keep(parent)
    kept = tmp_path / "p" / "ram"
    assert kept.stat().st_size == 128 << 20
    assert kept.stat().st_blocks * 512 < 1 << 20
    parents.close()
    again = Parents(tmp_path)
    again.load()
    (found,) = again
    assert (found.state, found.shape, found.shape_key) == (ParentState.SEALED, SMALL, "key")
    shared, state = await again.clone(found)
    assert os.pread(shared, 5000, 1 << 20) == b"a" * 5000
    assert os.pread(shared, 3, (128 << 20) - 3) == b"end"
    assert state == b"state"
    with pytest.raises(PermissionError):
        os.pwrite(shared, b"x", 0)
    assert os.fstat(shared).st_blocks * 512 < 1 << 20
    await again.remove(found)
    assert os.listdir(tmp_path) == []
    again.close()


async def test_a_copy_of_the_wrong_size_is_not_used(parents: Parents, tmp_path: Path) -> None:
    parent = parents.create("p", SMALL, "key")
    parents.boot(parent)
    parents.seal(parent, b"state")
    await parents.keep(parent)
    parents.close()
    os.truncate(tmp_path / "p" / "ram", 1000)
    again = Parents(tmp_path)
    again.load()
    with pytest.raises(OSError, match="size"):
        await again.clone(again.get("p"))


def test_what_an_agent_left_half_done_is_removed(tmp_path: Path) -> None:
    (tmp_path / "p.new").mkdir()
    (tmp_path / "p.new" / "ram").touch()
    (tmp_path / "half").mkdir()
    parents = Parents(tmp_path)
    parents.load()
    assert list(parents) == []
    assert os.listdir(tmp_path) == []


async def test_each_step_needs_the_one_before(parents: Parents) -> None:
    parent = parents.create("p", SMALL, "key")
    assert parents.create("p", SMALL, "key") is parent
    with pytest.raises(AlreadyExists) as exists:
        parents.create("p", SHAPE, "key")
    assert exists.value.reason is Reason.PARENT_EXISTS
    with pytest.raises(FailedPrecondition):
        parents.seal(parent, b"state")
    with pytest.raises(FailedPrecondition):
        await parents.clone(parent)
    parents.memory_to_boot(parent)
    parents.boot(parent)
    with pytest.raises(FailedPrecondition):
        parents.memory_to_boot(parent)
    for wrong in (b"", bytes(5 << 20)):
        with pytest.raises(InvalidArgument):
            parents.seal(parent, wrong)
    with pytest.raises(NotFound) as missing:
        parents.get("q")
    assert missing.value.reason is Reason.PARENT_NOT_FOUND
    parents.close()
