"""Processes are told from others that came to have their ID."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.processes import ProcessName, name_of, stop_process
from installer.records import load_processes, save_processes


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    script = "import signal; print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_process_has_a_lasting_name(child: "subprocess.Popen[bytes]") -> None:
    name = name_of(child.pid)
    assert name is not None
    assert name.is_alive()
    stop_process(name, seconds=60)
    assert not name.is_alive()
    assert child.wait() == -signal.SIGTERM


def test_another_process_with_the_same_id_is_left_alone(
    child: "subprocess.Popen[bytes]",
) -> None:
    name = name_of(child.pid)
    assert name is not None
    former = ProcessName(child.pid, name.start_ticks - 1)
    assert not former.is_alive()
    assert not former.kill(signal.SIGKILL)
    assert former.wait(0)
    assert child.poll() is None


def test_a_process_that_was_never_there_has_no_name() -> None:
    assert name_of(2**22 + 1) is None


def test_the_record_gives_back_who_still_runs(
    child: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    name = name_of(child.pid)
    assert name is not None
    path = tmp_path / "instance" / "processes.json"
    save_processes(path, {"hostagent": name, "exec": ProcessName(child.pid, 1)})
    assert load_processes(path) == {"hostagent": name}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"exec": 1}', '{"exec": ["a", "b"]}'])
def test_an_unreadable_record_names_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "processes.json").write_text(content)
    assert load_processes(tmp_path / "processes.json") == {}
    assert load_processes(tmp_path / "missing.json") == {}
