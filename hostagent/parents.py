"""Memory of parent machines: made, sealed, kept on disk, and given to clones.

A parent's memory is a memfd. While its machine boots, that writes to it; then it is sealed, after
which no process at all can change it (F_SEAL_WRITE), and clones map it privately. A copy on disk,
with holes where the guest touched nothing, brings it back after a restart.
"""

import asyncio
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from hostagent.machine import Shape, check_name
from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
)

MOST_PARENTS = 64
LARGEST_STATE = 4 << 20
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_COPY_CHUNK = 1 << 20


class ParentState(StrEnum):
    """How far a parent is."""

    CREATED = "created"
    BOOTING = "booting"
    SEALED = "sealed"


@dataclass
class Parent:
    """A parent; ``memory`` is None where it is on disk alone."""

    parent_id: str
    shape: Shape
    shape_key: str
    created_ns: int
    state: ParentState = ParentState.CREATED
    memory: int | None = None
    device_state: bytes | None = None
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Parents:
    """All parents of the instance. A directory holds one directory for each that is kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._parents: dict[str, Parent] = {}

    def __iter__(self) -> Iterator[Parent]:
        return iter(list(self._parents.values()))

    def load(self) -> None:
        """Find those that are kept; their memory comes back when it is first needed."""
        for path in self._directory.iterdir():
            try:
                check_name("parent_id", path.name)
                fields = json.loads((path / "parent.json").read_text())
                parent = Parent(
                    parent_id=path.name,
                    shape=Shape(**fields["shape"]),
                    shape_key=fields["shape_key"],
                    created_ns=fields["created_ns"],
                    state=ParentState.SEALED,
                )
            except (OSError, ValueError, KeyError, TypeError, InvalidArgument):
                # Left by an agent that was killed while it wrote or removed one.
                shutil.rmtree(path)
            else:
                self._parents[parent.parent_id] = parent

    def close(self) -> None:
        """Let go of all memory."""
        for parent in self._parents.values():
            _release(parent)

    def get(self, parent_id: str) -> Parent:
        """Return a parent. Raises NotFound (PARENT_NOT_FOUND)."""
        try:
            return self._parents[parent_id]
        except KeyError:
            raise NotFound(
                f"there is no parent {parent_id}", Reason.PARENT_NOT_FOUND, parent_id=parent_id
            ) from None

    def create(self, parent_id: str, shape: Shape, shape_key: str) -> Parent:
        """Make a parent's memory. Idempotent on ID and shape.

        Raises AlreadyExists (PARENT_EXISTS), ResourceExhausted.
        """
        parent = self._parents.get(parent_id)
        if parent is not None:
            if parent.shape != shape or parent.shape_key != shape_key:
                raise AlreadyExists(
                    f"there is a parent {parent_id} of another shape",
                    Reason.PARENT_EXISTS,
                    parent_id=parent_id,
                )
            return parent
        if len(self._parents) >= MOST_PARENTS:
            raise ResourceExhausted(f"there are {MOST_PARENTS} parents already")
        memory = _memory(parent_id, shape)
        parent = Parent(parent_id, shape, shape_key, time.time_ns(), memory=memory)
        self._parents[parent_id] = parent
        return parent

    def memory_to_boot(self, parent: Parent) -> int:
        """Return the memory in which a parent's machine is about to boot; the caller closes it.

        Raises FailedPrecondition where one was booted in it before.
        """
        if parent.state is not ParentState.CREATED or parent.memory is None:
            raise FailedPrecondition(f"parent {parent.parent_id} is {parent.state}")
        return os.dup(parent.memory)

    def boot(self, parent: Parent) -> None:
        """Note that a parent's machine runs."""
        parent.state = ParentState.BOOTING

    def seal(self, parent: Parent, device_state: bytes) -> None:
        """Make a parent's memory unchangeable; its machine has ended. Idempotent.

        Raises FailedPrecondition where nothing was booted in it.
        """
        if parent.state is ParentState.SEALED:
            return
        if parent.state is not ParentState.BOOTING or parent.memory is None:
            raise FailedPrecondition(f"parent {parent.parent_id} is {parent.state}")
        if not 0 < len(device_state) <= LARGEST_STATE:
            raise InvalidArgument(f"device_state: not 1 to {LARGEST_STATE} bytes")
        fcntl.fcntl(parent.memory, fcntl.F_ADD_SEALS, _SEALS)
        parent.device_state = device_state
        parent.state = ParentState.SEALED

    async def keep(self, parent: Parent) -> None:
        """Write a sealed parent to disk, in one step. Raises OSError; nothing is left then."""
        async with parent.loading:
            if parent.memory is not None and parent.parent_id in self._parents:
                final = self._directory / parent.parent_id
                await asyncio.to_thread(_write, parent, parent.memory, final)

    async def clone(self, parent: Parent) -> tuple[int, bytes]:
        """Return memory, which the caller closes, and device state for a clone.

        Raises FailedPrecondition where the parent isn't sealed, OSError where its copy is damaged.
        """
        if parent.state is not ParentState.SEALED:
            raise FailedPrecondition(f"parent {parent.parent_id} is {parent.state}")
        async with parent.loading:
            if parent.memory is None or parent.device_state is None:
                directory = self._directory / parent.parent_id
                memory, state = await asyncio.to_thread(_read, parent, directory)
                parent.memory, parent.device_state = memory, state
            return os.dup(parent.memory), parent.device_state

    async def remove(self, parent: Parent) -> None:
        """Forget a parent, on disk as well. Clones keep their mappings."""
        async with parent.loading:
            self._parents.pop(parent.parent_id, None)
            _release(parent)
            path = self._directory / parent.parent_id
            with suppress(FileNotFoundError):
                await asyncio.to_thread(shutil.rmtree, path)


def _memory(parent_id: str, shape: Shape) -> int:
    name = f"vic-parent-{parent_id}"
    memory = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, shape.memory_mib << 20)
    return memory


def _release(parent: Parent) -> None:
    if parent.memory is not None:
        os.close(parent.memory)
        parent.memory = None


def _write(parent: Parent, memory: int, final: Path) -> None:
    if final.exists():
        return
    staged = final.with_name(f"{final.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(mode=0o700)
    try:
        with (staged / "ram").open("xb") as file:
            _copy_data(memory, file.fileno())
            os.fsync(file.fileno())
        assert parent.device_state is not None
        _write_synced(staged / "state", parent.device_state)
        fields = {
            "shape": asdict(parent.shape),
            "shape_key": parent.shape_key,
            "created_ns": parent.created_ns,
        }
        _write_synced(staged / "parent.json", json.dumps(fields).encode())
        staged.rename(final)
    except BaseException:
        shutil.rmtree(staged)
        raise


def _read(parent: Parent, directory: Path) -> tuple[int, bytes]:
    memory = _memory(parent.parent_id, parent.shape)
    try:
        with (directory / "ram").open("rb") as file:
            if os.fstat(file.fileno()).st_size != parent.shape.memory_mib << 20:
                raise OSError(f"the copy of parent {parent.parent_id} has a wrong size")
            _copy_data(file.fileno(), memory)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
        return memory, (directory / "state").read_bytes()
    except BaseException:
        os.close(memory)
        raise


def _copy_data(source: int, target: int) -> None:
    """Copy a file but for its holes; the target gets the same size and the same holes."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    position = 0
    while position < size:
        try:
            position = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # nothing but a hole is left
        end = os.lseek(source, position, os.SEEK_HOLE)
        while position < end:
            data = os.pread(source, min(_COPY_CHUNK, end - position), position)
            position += os.pwrite(target, data, position)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
