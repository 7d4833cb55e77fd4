"""The forker: what the agent has of it, and what is left when somebody dies."""

import asyncio
import errno
import os
import select
import signal
import socket

import pytest

from hostagent.forking.forker import Fork, Forker, ForkOrder
from hostagent.processes import ExitStatus
from portlayer.errors import Internal
from tests.unit.hostagent.forking.subject import UID, Subject, ask

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

SECONDS = 60.0


async def seize(subject: Subject) -> Forker:
    """Hold a subject; it may be on its way to where it waits, for which the forker waits."""
    forker = Forker(subject.process.pid)
    await forker.seized()
    return forker


async def fork(forker: Forker, subject: Subject) -> tuple[Fork, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(SECONDS)
    null = os.stat(os.devnull)
    with theirs:
        replacements = {theirs.fileno(): [subject.number]}
        order = ForkOrder(UID, [], replacements, [(null.st_dev, null.st_ino)])
        return await forker.fork(order), ours


async def test_a_fork_is_our_own_child_and_outlives_its_template() -> None:
    subject = Subject()
    forker = await seize(subject)
    made, channel = await fork(forker, subject)
    ended: list[ExitStatus] = []
    with channel:
        assert (await asyncio.to_thread(ask, channel, "on")).startswith("on 1")
        # The template is gone when it is killed, though somebody else holds it.
        subject.process.kill()
        await asyncio.to_thread(subject.process.wait, SECONDS)
        with pytest.raises(Internal):
            await fork(forker, subject)
        assert (await asyncio.to_thread(ask, channel, "alone")).startswith("alone 2")
        made.watch(ended.append)
    async with asyncio.timeout(SECONDS):
        await made.process.ended.wait()
    assert ended == [ExitStatus(code=7)]
    await forker.end()
    subject.end()


async def test_a_template_ends_with_its_forker() -> None:
    subject = Subject()
    forker = await seize(subject)
    made, channel = await fork(forker, subject)
    await forker.end()
    assert await asyncio.to_thread(subject.process.wait, SECONDS) == -signal.SIGKILL
    with channel:
        assert (await asyncio.to_thread(ask, channel, "on")).startswith("on 1")
    await made.end()
    assert not os.path.exists(f"/proc/{made.pid}")
    subject.end()


async def test_a_forker_whose_fork_cannot_be_taken_over_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its second answer would be the next order's, and that one's fork another's."""
    subject = Subject()
    forker = await seize(subject)

    def too_many(pid: int, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pidfd_open", too_many)
        with pytest.raises(OSError, match="Too many open files"):
            await fork(forker, subject)
    with pytest.raises(Internal):
        await fork(forker, subject)
    assert await asyncio.to_thread(subject.process.wait, SECONDS) == -signal.SIGKILL
    await forker.end()
    subject.end()


async def test_a_refusal_is_told_and_leaves_no_fork() -> None:
    subject = Subject()
    forker = await seize(subject)
    with pytest.raises(Internal, match="would be its template's"):
        await forker.fork(ForkOrder(UID, [], {}, []))
    made, channel = await fork(forker, subject)
    channel.close()
    await made.end()
    await forker.end()
    subject.end()


async def test_what_went_wrong_is_told_though_the_fork_has_died_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """We are told that there is a fork when it is gone already, as we were busy."""
    subject = Subject()
    forker = await seize(subject)
    answer = forker._answer

    async def late(seconds: float) -> bytes:
        found = await answer(seconds)
        if found.isdigit():
            fork = os.pidfd_open(int(found))
            poll = select.poll()
            poll.register(fork, select.POLLIN)
            assert poll.poll(SECONDS * 1000)
            os.close(fork)
        return found

    null = os.stat(os.devnull)
    shared = [(null.st_dev, null.st_ino)]
    no_capability = 1000
    replacements = {subject.socket.fileno(): [subject.number]}
    with monkeypatch.context() as patches, pytest.raises(Internal, match="Invalid argument"):
        patches.setattr(forker, "_answer", late)
        await forker.fork(ForkOrder(UID, [no_capability], replacements, shared))
    # The template is none the worse for it.
    made, channel = await fork(forker, subject)
    channel.close()
    await made.end()
    await forker.end()
    subject.end()


async def test_who_watches_late_is_told_of_an_end_that_has_been() -> None:
    subject = Subject()
    forker = await seize(subject)
    made, channel = await fork(forker, subject)
    channel.close()
    async with asyncio.timeout(SECONDS):
        await made.process.ended.wait()
    ended: list[ExitStatus] = []
    made.watch(ended.append)
    assert ended == [ExitStatus(code=7)]
    await forker.end()
    subject.end()
