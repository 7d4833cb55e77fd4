"""Consoles and exit records are bounded."""

import asyncio
import os
from pathlib import Path

import pytest

from hostagent import outputs as module
from hostagent.outputs import CONSOLE_KEPT, LARGEST_CONSOLE, LARGEST_EXIT_RECORD, Outputs


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    for name in ("consoles", "exits"):
        (tmp_path / name).mkdir()
    return Outputs(tmp_path / "consoles", tmp_path / "exits")


def test_a_console_is_cut_to_its_end_and_goes_on(outputs: Outputs) -> None:
    descriptor = outputs.open_console("m")
    os.write(descriptor, b"a" * LARGEST_CONSOLE + b"tail")
    outputs.shorten_console("m")
    os.write(descriptor, b" and more")
    os.close(descriptor)
    kept = outputs.console("m", LARGEST_CONSOLE)
    assert len(kept) == CONSOLE_KEPT + len(b" and more")
    assert kept.endswith(b"atail and more")
    assert outputs.console("m", 4) == b"more"


def test_a_new_launch_begins_anew_and_the_old_one_cannot_write_into_it(outputs: Outputs) -> None:
    old = outputs.open_exit("m")
    new = outputs.open_exit("m")
    os.write(old, b"old")
    os.write(new, b"new")
    assert outputs.exit_record("m") == b"new"
    os.close(old)
    os.close(new)
    outputs.end("m", ())
    assert outputs.exit_record("m") == b""


async def test_an_exit_record_that_is_too_long_is_reported(outputs: Outputs) -> None:
    reported: asyncio.Queue[str] = asyncio.Queue()
    watches = outputs.watch(reported.put_nowait, lambda _: None)
    good, bad = outputs.open_exit("good"), outputs.open_exit("bad")
    os.write(good, b"x" * LARGEST_EXIT_RECORD)
    os.write(bad, b"x" * (LARGEST_EXIT_RECORD + 1))
    async with asyncio.timeout(60):
        assert await reported.get() == "bad"
    assert reported.empty()
    for watch in watches:
        watch.close()
    os.close(good)
    os.close(bad)


async def test_an_exit_record_that_grows_is_told_of(outputs: Outputs) -> None:
    spoken: asyncio.Queue[str] = asyncio.Queue()
    watches = outputs.watch(lambda _: None, spoken.put_nowait)
    descriptor = outputs.open_exit("m")
    os.write(descriptor, b'{"exit_code"')
    async with asyncio.timeout(60):
        assert await spoken.get() == "m"
    for watch in watches:
        watch.close()
    os.close(descriptor)


def test_an_exit_record_is_read_on_from_where_one_was(outputs: Outputs) -> None:
    descriptor = outputs.open_exit("m")
    os.write(descriptor, b"first")
    os.utime(descriptor, (100, 100))
    assert outputs.exit_record_from("m", 0) == (b"first", 100)
    assert outputs.exit_record_from("m", 3) == (b"st", 100)
    assert outputs.exit_record_from("none", 0) == (b"", 0)
    os.close(descriptor)


async def test_a_console_is_bounded_while_it_is_written(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONSOLE_PAUSE", 0.01)
    cut = asyncio.Event()
    shorten = outputs.shorten_console

    def shorten_and_tell(name: str) -> None:
        shorten(name)
        cut.set()

    monkeypatch.setattr(outputs, "shorten_console", shorten_and_tell)
    watches = outputs.watch(lambda _: None, lambda _: None)
    descriptor = outputs.open_console("m")
    os.write(descriptor, b"x" * (LARGEST_CONSOLE + 1))
    async with asyncio.timeout(60):
        await cut.wait()
    assert (tmp_path / "consoles" / "m").stat().st_size == CONSOLE_KEPT
    for watch in watches:
        watch.close()
    os.close(descriptor)


def test_a_sweep_leaves_the_newest_consoles_and_all_of_running_machines(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONSOLE_FILES", 2)
    monkeypatch.setattr(module, "MOST_CONSOLES", 2)
    for age, name in enumerate(("running", "oldest", "older", "new", "newest")):
        os.close(outputs.open_console(name))
        os.close(outputs.open_exit(name))
        os.utime(tmp_path / "consoles" / name, (age, age))
    outputs.sweep({"running"})
    assert set(os.listdir(tmp_path / "consoles")) == {"running", "new", "newest"}
    assert os.listdir(tmp_path / "exits") == ["running"]
    for name in ("newer", "last"):
        os.close(outputs.open_console(name))
        outputs.end(name, {"running"})
    assert set(os.listdir(tmp_path / "consoles")) == {"running", "newer", "last"}


def test_files_go_with_a_machine_that_gets_another_name(outputs: Outputs) -> None:
    console, record = outputs.open_console("old"), outputs.open_exit("old")
    outputs.rename("old", "new")
    os.write(console, b"printed")
    os.write(record, b"code 0")
    assert outputs.console("new", 100) == b"printed"
    assert outputs.exit_record("new") == b"code 0"
    assert outputs.exit_record("old") == b""
    os.close(console)
    os.close(record)
