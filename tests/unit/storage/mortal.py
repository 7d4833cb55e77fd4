"""Work of storage that a SIGKILL ends at a chosen step: `python -m tests.unit.storage.mortal`.

A step is a call that changes the file system. For each verb the same state is laid out, the verb is
done by a process that dies before its n-th step, and what a service then finds, when it starts, is
looked at: all is as before the verb or as after it, nothing is left over, `vic store check` has
nothing to say, and the verb can be done again. With ``--fault EIO`` (or ENOSPC) the step fails in
place of the process, and the verb has to end with an error that its callers know, or do without.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from portlayer.errors import VicError
from portlayer.journal import Journal
from services.storage.archive_work import ArchiveWork
from services.storage.authoring.loading import Loader
from services.storage.authoring.maker import ImageMaker, NewImage
from services.storage.authoring.saving import save
from services.storage.checking.check import check
from services.storage.checking.findings import Findings
from services.storage.compile_pool import CompilePool, LayerLimits
from services.storage.imagec.download import Downloader, DownloadPolicy
from services.storage.imagec.layer_work import LayerWork
from services.storage.imagec.manifest import Platform
from services.storage.imagec.progress import Progress
from services.storage.imagec.reference import parse_reference
from services.storage.imagec.transport import Transport
from services.storage.images import ImageNotFound, Saved
from services.storage.pruning import Pruning
from services.storage.settings import StorageSettings
from services.storage.volumes.catalogue import Volumes
from services.storage.volumes.stores import VolumeStores
from services.storage.volumes.uses import Uses
from tests.images import file, make_tar
from tests.unit.storage.conftest import BASE_SIZE, Storage, wire

OWNER = "0badcafe"
CONTAINER = "cd" * 32
STEPS = ("rename", "replace", "mkdir", "unlink", "rmdir", "fsync", "chmod", "link", "ftruncate")
FAULTED = 3
"""Exit code of a process in which a step failed."""

VOLATILE = ("processes", "turns", "leases")
"""Directories whose files mean nothing once their process has ended."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass
class Service:
    """The parts of a service, as its composition root wires them."""

    storage: Storage
    volumes: Volumes
    maker: ImageMaker
    loader: Loader

    @classmethod
    def open(cls, state: Path, transport: Transport, pool: CompilePool) -> Service:
        storage = wire(state, transport, pool)
        stores = VolumeStores(state / "volumes", {}, {})
        journal = Journal(state / "volume-events.jsonl")
        layers = LayerWork(storage.store, Downloader(DownloadPolicy()), pool)
        archives = ArchiveWork(pool, storage.store.blobs.directory)
        maker = ImageMaker(storage.store, layers, archives)
        return cls(
            storage,
            Volumes(stores, Uses(state), journal, 16 << 20),
            maker,
            Loader(storage.store, maker, archives),
        )


Verb = Callable[[Service, str], Awaitable[object]]


async def pull(service: Service, registry: str) -> None:
    await service.storage.pull(f"{registry}/new")


async def remove(service: Service, registry: str) -> None:
    with suppress(ImageNotFound):  # it was done before
        await service.storage.removal.remove(f"{registry}/old", force=True)


async def retag(service: Service, registry: str) -> None:
    """Take a name from one image and give it to another."""
    await service.storage.images.tag(f"{registry}/old", f"{registry}/other:latest")


async def prune(service: Service, registry: str) -> None:
    pruning = Pruning(service.storage.store, service.storage.removal)
    await pruning.prune(everything=True, until=None, rules=[])
    await service.storage.store.sweep()


async def load(service: Service, registry: str) -> None:
    async def archive() -> AsyncIterator[bytes]:
        yield (service.storage.root.parent / "archive.tar").read_bytes()

    async with service.loader.opened(archive(), Platform("linux", "amd64")) as opened:
        for image in opened.images:
            await opened.load(image, _ignore)


async def commit(service: Service, registry: str) -> None:
    parent = service.storage.images.find(f"{registry}/old")
    name = parse_reference("committed:latest")

    async def tar() -> AsyncIterator[bytes]:
        yield make_tar([file("change", "change")])

    # What an image is called depends on when it was made; here it must not.
    await service.maker.make(NewImage(parent=parent), tar(), [name])


async def prepare(service: Service, registry: str) -> None:
    storage = service.storage
    await storage.disks.prepare(
        storage.store, storage.images.usable, CONTAINER, f"{registry}/old", b"specification"
    )


async def discard(service: Service, registry: str) -> None:
    await service.storage.disks.remove(service.storage.store, "ab" * 32)


async def create_volume(service: Service, registry: str) -> None:
    await service.volumes.create("fresh", "local", {}, {})


async def remove_volume(service: Service, registry: str) -> None:
    await service.volumes.remove("data", force=True)


async def grow_volume(service: Service, registry: str) -> None:
    await service.volumes.grow("data", 32 << 20)


async def nothing(service: Service, registry: str) -> None:
    """Only open what is there, which sweeps."""


VERBS: dict[str, Verb] = {
    "pull": pull,
    "load": load,
    "commit": commit,
    "tag": retag,
    "remove": remove,
    "prune": prune,
    "prepare": prepare,
    "discard": discard,
    "volume create": create_volume,
    "volume remove": remove_volume,
    "volume grow": grow_volume,
    "sweep": nothing,
}


async def lay_out(service: Service, registry: str) -> None:
    """Make the state that all verbs begin with."""
    storage = service.storage
    for name in ("old", "other", "loose"):
        await storage.pull(f"{registry}/{name}")
    # Of an image that is gone, its container's layers stay.
    for container, name in (("ab" * 32, "loose"), ("ef" * 32, "old")):
        await storage.disks.prepare(
            storage.store, storage.images.usable, container, f"{registry}/{name}", b"spec"
        )
    await storage.removal.remove(f"{registry}/loose", force=True)
    await service.volumes.create("data", "local", {}, {})
    await storage.pull(f"{registry}/new")
    image = storage.images.find(f"{registry}/new")
    chosen = [Saved(image, [parse_reference("loaded:latest")])]
    archive = b"".join([piece async for piece in save(storage.store, chosen, None)])
    (storage.root.parent / "archive.tar").write_bytes(archive)
    await storage.removal.remove(f"{registry}/new", force=True)


def leave_behind(state: Path) -> None:
    """Put there what a sweep must take away."""
    layers = next((state / "images" / "layers").iterdir())
    (layers / ("2" * 64 + ".vmdk")).write_bytes(b"half")
    (layers / ".half.vmdk.12.partial").write_bytes(b"half")
    (state / "images" / "blobs" / "sha256" / ("1" * 64)).write_bytes(b"nobody's")
    (state / "images" / "blobs" / "sha256" / ".new-0badf00d-1").mkdir()
    (state / "images" / "images" / ".new-0badf00d-2").mkdir()
    (state / "containers" / ".new-0badf00d-3").mkdir()
    (state / "containers" / ".new-0badf00d-3" / "disk.vmdk").write_bytes(b"half")
    (state / "volumes" / ".new-0badf00d-4").mkdir()
    (state / "volumes" / "data" / ".larger-disk.vmdk.12.partial").write_bytes(b"half")
    (state / "containers" / ("ab" * 32) / ".new-0badf00d-5").write_bytes(b"half")
    (state / "volume-attachments" / "half.new").write_bytes(b"half")


# --- dying ------------------------------------------------------------------------------------


class Faulted(Exception):
    """A step failed."""


@contextmanager
def struck_at(step: int, fault: int | None) -> Iterator[Callable[[], bool]]:
    """Have this process killed before a step that it does from now on, or the step fail.

    Gives whether that has happened.
    """
    count = 0

    def wrapped(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == step and fault is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if count == step and fault is not None:
            raise OSError(fault, os.strerror(fault))
        return call(*args, **kwargs)

    opened = os.open

    def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        call = partial(wrapped, opened) if flags & os.O_CREAT else opened
        return call(path, flags, *args, **kwargs)

    before = {name: getattr(os, name) for name in STEPS}
    for name, call in before.items():
        setattr(os, name, partial(wrapped, call))
    os.open = open_
    try:
        yield lambda: 0 < step <= count
    finally:
        os.open = opened
        for name, call in before.items():
            setattr(os, name, call)


def in_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; return its exit code, of a signal's as -number."""
    child = os.fork()
    if child == 0:
        _end_with(work)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _end_with(work: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        work()
        code = 0
    except Faulted:
        code = FAULTED
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def do(state: Path, registry: str, verb: Verb, step: int = 0, fault: int | None = None) -> None:
    """Open a service on a state, do a verb, and end in order.

    Raises Faulted where a step failed, whatever the verb made of it.
    """

    async def work() -> None:
        async with AsyncExitStack() as stack:
            pool = CompilePool(2, LayerLimits(max_bytes=64 << 20))
            stack.push_async_callback(pool.close)
            transport = Transport()
            stack.push_async_callback(transport.close)
            struck = stack.enter_context(struck_at(step, fault))
            try:
                service = Service.open(state, transport, pool)
            except OSError:
                if struck():
                    raise Faulted from None
                raise
            stack.callback(service.storage.store.close)
            try:
                await verb(service, registry)
            except (OSError, VicError):
                if not struck():
                    raise
                # Nothing of it may be in the way of who tries again at once.
                await verb(service, registry)
            if struck():
                raise Faulted

    asyncio.run(work())


def look(state: Path) -> None:
    """Let `vic store check` look. Raises AssertionError where it finds something."""

    async def work() -> None:
        pool = CompilePool(1, LayerLimits(max_bytes=64 << 20))
        fields = {"instance_id": OWNER, "slot": 0, "base_size_bytes": BASE_SIZE}
        settings = StorageSettings.model_validate({"data_dir": state.parent, **fields})
        findings = Findings(repair=False, tell=lambda finding: print(finding, file=sys.stderr))
        try:
            await check(settings, findings, pool, deep=False)
        finally:
            await pool.close()
        assert findings.exit_code == 0, list(map(str, findings.all))

    asyncio.run(work())


# --- looking ----------------------------------------------------------------------------------


def files(state: Path) -> set[str]:
    """Return every file and directory that counts."""
    return {
        str(path.relative_to(state))
        for path in state.rglob("*")
        if not any(part in VOLATILE for part in path.relative_to(state).parts)
        and not path.name.endswith("-events.jsonl")
    }


def kinds(found: set[str]) -> Counter[str]:
    """Return how many files there are of each kind, whatever digests they are named after."""
    return Counter(_DIGEST.sub("#", name) for name in found)


def struck(
    work: Path, registry: str, name: str, first: int, every: int, fault: int | None
) -> Iterator[tuple[int, str]]:
    """Do a verb with a death at each so many-th of its steps; yield the step and what is wrong."""
    verb, template = VERBS[name], work / "template"
    trial = work / "trial"

    def fresh() -> Path:
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(template, trial, copy_function=shutil.copy2)
        state = trial / "storage"
        if name == "sweep":
            leave_behind(state)
        return state

    state = fresh()
    do_nothing = partial(do, state, registry, nothing)
    before = files(template / "storage")
    assert in_child(partial(do, state, registry, verb)) == 0
    assert in_child(do_nothing) == 0
    after = files(state)
    step = first
    while True:
        state = fresh()
        code = in_child(partial(do, state, registry, verb, step, fault))
        if code == 0:
            return
        yield step, wrong(state, registry, verb, code, before, after)
        step += every


def wrong(
    state: Path, registry: str, verb: Verb, code: int, before: set[str], after: set[str]
) -> str:
    """Say what is wrong after a death, nothing if nothing is."""
    if code not in (-signal.SIGKILL, FAULTED):
        return f"it ended with {code}"
    if in_child(partial(do, state, registry, nothing)) != 0:
        return "no service can start"
    found = files(state)
    if found != before and kinds(found) != kinds(after):
        left, lost = found - before - after, (before & after) - found
        return f"left over {sorted(left)}, lost {sorted(lost)}"
    if in_child(partial(do, state, registry, verb)) != 0:
        return "it can't be done again"
    # A commit makes another image each time.
    if kinds(files(state)) != kinds(after) and verb is not commit:
        return f"done again it makes {sorted(files(state) ^ after)}"
    if in_child(partial(look, state)) != 0:
        return "the check has something to say"
    return ""


def _ignore(_line: Progress) -> None:
    """Nobody watches."""


def main() -> int:
    """Go through verbs. Returns 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("registry", help="where the images old, other, loose and new are")
    parser.add_argument("verbs", nargs="*", default=list(VERBS))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--fault", choices=("EIO", "ENOSPC"))
    arguments = parser.parse_args()
    fault = None if arguments.fault is None else getattr(errno, arguments.fault)
    failures = strikes = 0
    with tempfile.TemporaryDirectory(prefix="vic-mortal-") as directory:
        work = Path(directory)
        (work / "template" / "storage").mkdir(parents=True)
        laid = partial(do, work / "template" / "storage", arguments.registry, lay_out)
        assert in_child(laid) == 0
        for name in arguments.verbs:
            number = 0
            for step, problem in struck(
                work, arguments.registry, name, arguments.first, arguments.every, fault
            ):
                number += 1
                if problem:
                    failures += 1
                    print(f"{name}, struck before step {step}: {problem}", flush=True)
            strikes += number
            print(f"{name}: struck {number} times", flush=True)
    print(f"struck {strikes} times, {failures} with something wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
