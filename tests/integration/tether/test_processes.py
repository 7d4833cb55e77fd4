"""Processes in a container VM: streams, exit codes, users, terminals, and what they see."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from vic.tether.v1 import tether_pb2 as pb

from tests.integration.tether.conftest import RunningContainer
from tests.integration.tether.interaction import Result
from tests.integration.tether.machine import MAC, MACHINE_ID

pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = itertools.count()


async def run(running: RunningContainer, *args: str, **options: object) -> Result:
    return await running.interaction.run(*args, process_id=f"p{next(_numbers)}", **options)


async def test_stdout_and_stderr_stay_apart(running: RunningContainer) -> None:
    result = await run(running, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.stdout, result.stderr, result.code) == (b"out\n", b"err\n", 7)


@pytest.mark.parametrize("code", [0, 1, 9, 255])
async def test_exit_code_is_passed_through(running: RunningContainer, code: int) -> None:
    assert (await run(running, "sh", "-c", f"exit {code}")).code == code


async def test_death_by_signal_is_128_and_its_number(running: RunningContainer) -> None:
    assert (await run(running, "sh", "-c", "kill -TERM $$")).code == 143


@pytest.mark.parametrize(
    ("args", "options", "failure", "code", "message"),
    [
        (["foo"], {}, "NOT_FOUND", 127, 'exec: "foo": executable file not found in $PATH'),
        (["/x"], {}, "NOT_FOUND", 127, 'exec: "/x": stat /x: no such file or directory'),
        (["noexec"], {}, "NOT_FOUND", 127, 'exec: "noexec": executable file not found in $PATH'),
        (["/bin/noexec"], {}, "NOT_EXECUTABLE", 126, 'exec: "/bin/noexec": permission denied'),
        (["/etc"], {}, "NOT_EXECUTABLE", 126, 'exec: "/etc": is a directory'),
        (["garbage"], {}, "NOT_EXECUTABLE", 126, "exec /bin/garbage: exec format error"),
        (
            ["true"],
            {"user": "foo"},
            "UNKNOWN_USER",
            126,
            "unable to find user foo: no matching entries in passwd file",
        ),
        (
            ["true"],
            {"user": "root:bar"},
            "UNKNOWN_USER",
            126,
            "unable to find group bar: no matching entries in group file",
        ),
        (
            ["true"],
            {"cwd": "/etc/passwd"},
            "WORKING_DIRECTORY",
            126,
            'chdir to cwd ("/etc/passwd") set in config.json failed: not a directory',
        ),
        (
            ["true"],
            {"cwd": "/new"},
            "WORKING_DIRECTORY",
            126,
            'chdir to cwd ("/new") set in config.json failed: no such file or directory',
        ),
    ],
)
async def test_launch_failure_has_docker_words_and_code(
    running: RunningContainer,
    args: list[str],
    options: dict[str, Any],
    failure: str,
    code: int,
    message: str,
) -> None:
    process_id = f"p{next(_numbers)}"
    await running.interaction.launch(*args, process_id=process_id, **options)
    answer = await running.interaction.wait("launch_failed", process_id)
    assert isinstance(answer, pb.LaunchFailed)
    assert pb.LaunchFailure.Name(answer.reason) == f"LAUNCH_FAILURE_{failure}"
    assert (answer.exit_code, answer.message) == (code, message)


async def test_repeated_launch_repeats_the_answer(running: RunningContainer) -> None:
    process_id = f"p{next(_numbers)}"
    interaction = running.interaction
    await interaction.launch("sleep", "1000", process_id=process_id)
    first = await interaction.wait("started", process_id)
    interaction.forget("started", process_id)
    await interaction.launch("sleep", "1000", process_id=process_id)
    assert await interaction.wait("started", process_id) == first
    interaction.send(signal=pb.SignalCommand(command_id=1, process_id=process_id, signal=9))
    await interaction.wait("exited", process_id)


@pytest.mark.parametrize(
    ("user", "groups", "line"),
    [
        ("", [], "uid=0(root) gid=0(root) groups=0(root)"),
        ("app", [], "uid=1000(app) gid=1001(app) groups=1001(app),2000(extra)"),
        ("2000", [], "uid=2000 gid=0(root) groups=0(root)"),
        ("1000:3000", [], "uid=1000(app) gid=3000 groups=3000"),
        ("0", ["extra", "7"], "uid=0(root) gid=0(root) groups=0(root),7,2000(extra)"),
    ],
)
async def test_user_is_resolved_in_the_image(
    running: RunningContainer, user: str, groups: list[str], line: str
) -> None:
    result = await run(running, "id", user=user, additional_groups=groups)
    assert result.stdout.decode().strip() == line


async def test_home_is_the_users(running: RunningContainer) -> None:
    result = await run(running, "sh", "-c", "pwd; echo $HOME", user="app", cwd="/tmp")
    assert result.stdout == b"/tmp\n/home/app\n"


async def test_stdin_ends(running: RunningContainer) -> None:
    assert (await run(running, "wc", "-l", stdin=b"a\nb\n")).stdout == b"2\n"


async def test_large_input_comes_back_unchanged(running: RunningContainer) -> None:
    data = bytes(range(256)) * 8192
    result = await run(running, "cat", stdin=data)
    assert result.stdout == data


async def test_without_stdin_there_is_nothing_to_read(running: RunningContainer) -> None:
    assert (await run(running, "wc", "-c")).stdout == b"0\n"


async def test_process_that_reads_no_input_ends_anyway(running: RunningContainer) -> None:
    assert (await run(running, "true", stdin=b"x" * 200_000)).code == 0


async def test_terminal_has_its_size_and_controls(running: RunningContainer) -> None:
    result = await run(
        running, "sh", "-c", "tty; stty size", tty=True, window={"rows": 33, "columns": 77}
    )
    assert result.stdout == b"/dev/pts/0\r\n33 77\r\n"
    assert result.stderr == b""


async def test_terminal_can_be_resized(running: RunningContainer) -> None:
    process_id = f"p{next(_numbers)}"
    interaction = running.interaction
    script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.1; done"
    await interaction.launch("sh", "-c", script, process_id=process_id, tty=True)
    await interaction.until_output(process_id, b"ready")
    window = {"rows": 11, "columns": 22}
    interaction.send(resize={"command_id": 2, "process_id": process_id, "window": window})
    await interaction.wait("exited", process_id)
    assert b"11 22" in interaction.outputs[process_id].stdout


async def test_signal_to_an_ended_process_is_an_error(running: RunningContainer) -> None:
    process_id = f"p{next(_numbers)}"
    await running.interaction.run("true", process_id=process_id)
    running.interaction.send(signal={"command_id": 3, "process_id": process_id, "signal": 15})
    result = await running.interaction.wait("result", "3")
    assert isinstance(result, pb.CommandResult)
    assert "not running" in result.error


async def test_workload_sees_only_itself(running: RunningContainer) -> None:
    lines = (await run(running, "ps", "-o", "pid,args")).stdout.decode().splitlines()
    assert re.fullmatch(r"\s*1 sh -c while :; do sleep 1000; done", lines[1])
    assert not [line for line in lines if "python" in line]


async def test_workload_sees_its_interface_alone(running: RunningContainer) -> None:
    text = (await run(running, "ip", "addr")).stdout.decode()
    assert MAC in text
    assert "172.17.0.2/16 brd 172.17.255.255" in text
    assert "100.112" not in text


async def test_files_of_the_vm_are_laid_over_the_images(running: RunningContainer) -> None:
    script = "cat /etc/hosts /etc/hostname /etc/resolv.conf /etc/machine-id; hostname"
    lines = (await run(running, "sh", "-c", script)).stdout.decode().splitlines()
    assert "127.0.0.1\tlocalhost" in lines
    assert "172.17.0.2\ttethered" in lines
    tail = ["tethered", "nameserver 172.17.0.3", "search example.org", MACHINE_ID, "tethered"]
    assert lines[-5:] == tail


async def test_capabilities_are_dockers(running: RunningContainer) -> None:
    script = ["sh", "-c", "grep -E 'Cap(Eff|Bnd)' /proc/self/status"]
    text = (await run(running, *script)).stdout.decode()
    assert re.findall(r"\w{16}", text) == ["00000000a80425fb"] * 2
    text = (await run(running, *script, user="app")).stdout.decode()
    assert re.findall(r"\w{16}", text) == ["0000000000000000", "00000000a80425fb"]
    changed = {"add": ["NET_ADMIN"], "drop": ["ALL"]}
    text = (await run(running, *script, capabilities=changed)).stdout.decode()
    assert re.findall(r"\w{16}", text) == ["0000000000001000"] * 2


async def test_no_new_privileges_is_set_when_asked(running: RunningContainer) -> None:
    script = ["grep", "NoNewPrivs", "/proc/self/status"]
    assert (await run(running, *script)).stdout == b"NoNewPrivs:\t0\n"
    assert (await run(running, *script, no_new_privileges=True)).stdout == b"NoNewPrivs:\t1\n"


async def test_limits_are_set(running: RunningContainer) -> None:
    limits = [{"name": "nofile", "soft": 100, "hard": 200}]
    script = ["sh", "-c", "ulimit -Sn; ulimit -Hn; umask"]
    assert (await run(running, *script, rlimits=limits)).stdout == b"100\n200\n0022\n"


@pytest.mark.parametrize("node", ["c 1 1", "c 10 231", "b 254 0"])
async def test_devices_of_the_machine_are_out_of_reach(
    running: RunningContainer, node: str
) -> None:
    script = f"rm -f /tmp/n; mknod /tmp/n {node} && head -c1 /tmp/n"
    result = await run(running, "sh", "-c", script)
    assert result.code != 0
    assert b"Operation not permitted" in result.stderr


async def test_configuration_port_is_out_of_reach(running: RunningContainer) -> None:
    script = "cat /sys/class/virtio-ports/*/dev | tr : ' '"
    numbers = (await run(running, "sh", "-c", script)).stdout.decode().splitlines()
    assert numbers
    script = f"rm -f /tmp/p; mknod /tmp/p c {numbers[0]} && head -c1 /tmp/p"
    assert b"not permitted" in (await run(running, "sh", "-c", script)).stderr


async def test_kernel_files_are_masked_or_read_only(running: RunningContainer) -> None:
    script = "wc -c < /proc/kcore; ls /sys/firmware; echo x > /proc/sys/kernel/hostname"
    result = await run(running, "sh", "-c", script)
    assert result.stdout == b"0\n"
    assert b"Read-only file system" in result.stderr


async def test_root_cannot_be_left_by_chroot(running: RunningContainer) -> None:
    # The classic way out: chroot into a directory while a descriptor of another is open.
    script = "mkdir -p /tmp/jail/bin && cp /bin/busybox /tmp/jail/bin/ && cd / && " + (
        "chroot /tmp/jail /bin/busybox true && cd ../../../.. && ls -a"
    )
    listed = (await run(running, "sh", "-c", script)).stdout.decode().split()
    assert "container" not in listed
    assert "init" not in listed


async def test_cgroup_shows_the_workloads_own_limits(running: RunningContainer) -> None:
    script = "cat /proc/self/cgroup; ls /sys/fs/cgroup/memory.max"
    assert (await run(running, "sh", "-c", script)).stdout == (b"0::/\n/sys/fs/cgroup/memory.max\n")


async def test_fifty_processes_at_once(running: RunningContainer) -> None:
    interaction = running.interaction
    names = [f"p{next(_numbers)}" for _ in range(50)]
    for name in names:
        await interaction.launch("sh", "-c", f"echo {name}", process_id=name)
    for name in names:
        await interaction.wait("exited", name)
    assert [bytes(interaction.outputs[name].stdout) for name in names] == [
        f"{name}\n".encode() for name in names
    ]


async def test_processes_with_pipes_of_the_tether_leave_room_for_the_workloads_own(
    running: RunningContainer,
) -> None:
    """Past the kernel's own bound a pipe of root's holds 8 KiB."""
    result = await run(running, "cat", "/proc/sys/fs/pipe-user-pages-soft")
    assert int(result.stdout) * 4096 >= 100 * 3 * 512 * 1024
