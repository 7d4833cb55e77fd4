"""Processes in containers are told to be an instance's by what they see."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from installer import facet_processes
from installer.facet_processes import in_containers_of, kinds
from installer.processes import ProcessName, name_of
from installer.roles import DATABASE_UID_OFFSET, first_uid, kind_of, uid_of
from portlayer.identity import Role

WAIT = "import os, sys; os.chroot(sys.argv[1]); print(flush=True); sys.stdin.read()"

Contained = Callable[[str, Path], ProcessName]


@pytest.fixture
def contained() -> Iterator[Contained]:
    """Start a process with mounts of its own, after a command in them, and a root."""
    if os.geteuid() != 0:
        pytest.skip("mounts")
    with ExitStack() as stack:

        def start(command: str, root: Path) -> ProcessName:
            script = f'{command} && exec "$0" "$@"'
            arguments = [sys.executable, "-c", WAIT, str(root)]
            process = stack.enter_context(
                subprocess.Popen(
                    ["unshare", "--mount", "sh", "-c", script, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            name = name_of(process.pid)
            assert name is not None
            return name

        yield start


def test_a_facet_sees_the_data_directory_and_postgresql_its_part(
    contained: Contained, tmp_path: Path
) -> None:
    data, other, root = (tmp_path / name for name in ("one", "other", "root"))
    same = root / data.relative_to("/")
    for path in (data / "database" / "data", other / "database" / "data", root / "data", same):
        path.mkdir(parents=True)
    facet = contained(f"mount --bind {data} {same}", root)
    hidden = contained("true", root)
    database = contained(f"mount --bind {data}/database/data {root}/data", root)
    others = contained(f"mount --bind {other}/database/data {root}/data", root)
    here = name_of(os.getpid())
    assert here is not None
    gone = ProcessName(2**22 + 1, 1)
    all_ = [facet, hidden, database, others, here, gone]
    assert in_containers_of(data, all_) == [facet, database]


def test_a_service_that_sees_the_host_through_windows_is_in_no_container(
    contained: Contained, tmp_path: Path
) -> None:
    # Of another instance, say: what isn't covered it sees as everybody does, our data too.
    data, closed = tmp_path / "one", tmp_path / "closed"
    for path in (data, closed):
        path.mkdir()
    service = contained(f"mount -t tmpfs none {closed}", Path("/"))
    assert in_containers_of(data, [service]) == []


def test_what_runs_is_told_by_its_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facet_processes, "PROC", tmp_path)
    uids = {
        5: uid_of(kind_of(Role.EXEC), 3),
        6: uid_of(kind_of(Role.EXEC), 3),
        7: first_uid(3) + DATABASE_UID_OFFSET,
        8: first_uid(3) + 99,
    }
    for pid, uid in uids.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    found = [ProcessName(pid, 1) for pid in (*uids, 9)]
    assert kinds(found, 3) == ["database", "exec", "process 8"]
