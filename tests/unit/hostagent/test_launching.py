"""What becomes of a clone that can't be given memory of its own."""

import asyncio
import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from hostagent import launching as module
from hostagent.accelerator import Verdict
from hostagent.bootstrap import Bootstrap
from hostagent.forking.forker import Fork, ForkOrder
from hostagent.forking.parts import Parts
from hostagent.forking.standing import CannotStand
from hostagent.forking.templates import Templates
from hostagent.inventory import Inventory, LiveMachine
from hostagent.launching import Host, Launching, Plan
from hostagent.launchpad import Seat
from hostagent.machine import Accelerator
from hostagent.outputs import Outputs
from hostagent.parents import Parent, Parents
from hostagent.processes import ProcessName, WatchedProcess
from hostagent.records import Record
from portlayer.errors import Internal, Reason
from tests.unit.hostagent.machines import DIALLING
from tests.unit.hostagent.test_inventory import Instance, instance  # noqa: F401 — a fixture
from tests.unit.hostagent.test_records import RECORD


class LastWords:
    """The part of an inventory that is asked."""

    def last_words(self, machine_id: str) -> str:
        """Return what a machine has said."""
        return f"qemu-system-x86_64: {machine_id} is broken"


@pytest.fixture
def launching() -> Launching:
    return Launching(
        cast(Host, None), cast(Inventory, LastWords()), cast(Parents, None), cast(Templates, None)
    )


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "1000"]) as made:
        yield made
        made.kill()


def live_machine(process: "subprocess.Popen[bytes]") -> LiveMachine:
    watched = WatchedProcess(os.pidfd_open(process.pid), lambda _status: None)
    return LiveMachine(replace(RECORD, process=ProcessName.of(process.pid)), watched)


async def test_a_clone_that_can_not_be_held_still_goes_on_and_one_warning_says_so(
    launching: Launching,
    process: "subprocess.Popen[bytes]",
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refused(_record: Record, _memory: int) -> None:
        raise CannotStand("not permitted")

    monkeypatch.setattr(module, "_own_untouched", refused)
    live = live_machine(process)
    for _ in range(2):
        await launching._own_untouched(live, 0)
    assert [one.levelno for one in caplog.records if "not permitted" in one.message] == [
        logging.WARNING
    ]
    live.process.abandon()


async def test_one_whose_qemu_has_ended_fails_with_its_words(
    launching: Launching, process: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def reset(_record: Record, _memory: int) -> None:
        process.kill()
        raise ConnectionResetError("Connection reset by peer")

    monkeypatch.setattr(module, "_own_untouched", reset)
    with pytest.raises(Internal, match="qemu-system-x86_64: m is broken") as failed:
        await launching._own_untouched(live_machine(process), 0)
    assert failed.value.reason == Reason.LAUNCH_FAILED


async def test_one_whose_qemu_refuses_fails_with_its_answer(
    launching: Launching, process: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_record: Record, _memory: int) -> None:
        raise OSError("qmp_capabilities: no")

    monkeypatch.setattr(module, "_own_untouched", refuses)
    monkeypatch.setattr(module, "END_SECONDS", 0.01)
    live = live_machine(process)
    with pytest.raises(Internal, match="qmp_capabilities: no"):
        await launching._own_untouched(live, 0)
    live.process.abandon()


async def test_a_fork_that_dies_as_it_is_launched_is_known_no_more(
    instance: Instance,  # noqa: F811
    process: "subprocess.Popen[bytes]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its end isn't seen yet when its port is closed already."""
    monkeypatch.setattr(module, "identity_frame", lambda *_: b"who it is")
    ours, theirs = socket.socketpair()
    theirs.close()
    frames = []

    def make(*given: Any) -> Parts:
        frames.append(given[3])
        return Parts({}, [], Path("/q.sock"), 6, ours)

    async def memory(_parent: Parent) -> tuple[int, bytes]:
        return os.open(os.devnull, os.O_RDONLY), b"state"

    async def forked(_order: ForkOrder) -> Fork:
        return Fork(process.pid)

    async def forker_of(_template: LiveMachine) -> Any:
        return SimpleNamespace(fork=forked)

    nothing = Mock()
    nothing.claim.return_value = Seat(RECORD.uid, RECORD.group)
    template = LiveMachine(replace(RECORD, parent_id="p"), cast(WatchedProcess, None))
    inventory = instance.inventory
    monkeypatch.setattr(inventory, "find", lambda name: template if name == "t" else None)
    launching = Launching(
        cast(
            Host,
            SimpleNamespace(
                slot=7,
                instance_id="0badcafe",
                authority=None,
                launchpad=nothing,
                groups=nothing,
                parts=SimpleNamespace(make=make),
            ),
        ),
        inventory,
        cast(Parents, SimpleNamespace(clone=memory)),
        cast(Templates, SimpleNamespace(forker_of=forker_of)),
    )
    verdict = Verdict(Accelerator.TCG, "max", "")
    parent = Parent("p", DIALLING.shape, "k", 0)
    plan = Plan(DIALLING, "f", cast(Bootstrap, None), verdict, "k", parent)
    with ExitStack() as closing:
        async with AsyncExitStack() as undo:
            live = await launching.fork("t", plan, closing, undo)
            undo.pop_all()
    assert frames == [b"who it is"]
    assert inventory.live() == [live]
    process.kill()
    async with asyncio.timeout(60):
        await live.gone.wait()
    assert inventory.live() == []


def test_last_words_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "consoles").mkdir()
    outputs = Outputs(tmp_path / "consoles", tmp_path)
    descriptor = outputs.open_console("m")
    os.write(descriptor, b"qemu:\r\n  no\0 \xff" + b"x" * 1000)
    os.close(descriptor)
    inventory = Inventory.__new__(Inventory)
    inventory._outputs = outputs
    words = inventory.last_words("m")
    assert len(words) == 500
    assert "\n" not in words
    assert inventory.last_words("n") == ""
