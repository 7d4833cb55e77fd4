"""What becomes of a clone that can't be given memory of its own."""

import logging
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from hostagent import launching as module
from hostagent.forking.standing import CannotStand
from hostagent.forking.templates import Templates
from hostagent.inventory import Inventory, LiveMachine
from hostagent.launching import Host, Launching
from hostagent.outputs import Outputs
from hostagent.parents import Parents
from hostagent.processes import ProcessName, WatchedProcess
from hostagent.records import Record
from portlayer.errors import Internal, Reason
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
