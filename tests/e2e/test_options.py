"""Options of a container as its workload finds them: what Docker does on its host, in the VM."""

import errno
import json
import re
from pathlib import Path

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

MANY = [
    *("--init", "--read-only", "-h", "box", "--domainname", "example.org"),
    *("--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN", "--security-opt", "no-new-privileges"),
    *("--ulimit", "nofile=100:200", "--ulimit", "core=0", "--oom-score-adj", "300"),
    *("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=9000"),
    *("--shm-size", "32m", "--group-add", "12", "--group-add", "nogroup"),
    *("--device", "/dev/fuse", "--device", "/dev/net/tun:/dev/mytun:r"),
    *("--device-cgroup-rule", "c 10:237 r", "--device-write-bps", "/dev/vda:1mb"),
    *("-m", "200m", "--memory-swap", "300m", "--memory-reservation", "100m"),
    *("--memory-swappiness", "7", "--pids-limit", "50", "--cpu-shares", "512"),
    *("--cpuset-cpus", "0", "--cpu-period", "50000", "--cpu-quota", "25000"),
]
LOOK = """
line() { echo "$1=$(eval "$2" 2>&1)"; }
line init 'readlink /proc/1/exe'
line pid 'echo $$'
line root 'touch /x'
line names 'hostname; cat /proc/sys/kernel/domainname'
line groups 'id -G'
line files 'ulimit -Sn; ulimit -Hn; ulimit -c'
line settings 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/vm/swappiness'
line shm 'df -k /dev/shm | tail -1'
line score 'cat /proc/self/oom_score_adj'
line status 'grep -E "CapEff|NoNewPrivs" /proc/self/status'
line fuse 'head -c1 /dev/fuse'
line tun 'head -c1 /dev/mytun; echo > /dev/mytun'
line rule 'mknod /dev/loop-control c 10 237; : < /dev/loop-control && echo opened'
line cpus 'nproc'
cd /sys/fs/cgroup
line limits 'cat memory.max memory.swap.max memory.low pids.max cpu.max cpuset.cpus'
line blocks 'cat io.max'
"""


def seen(text: str) -> dict[str, str]:
    """Answer by name; a line's breaks are blanks."""
    found = re.findall(r"^(\w+)=(.*?)(?=\n\w+=|\Z)", text.strip(), re.MULTILINE | re.DOTALL)
    return {name: " ".join(answer.split()) for name, answer in found}


def test_many_options_at_once(suite: Suite, image: str) -> None:
    """One container for all of them, and a process that is run in it later."""
    name = suite.ok("run", "-d", *MANY, image, "sh", "-c", f"{LOOK}\necho done=; sleep 1000")
    suite.await_output(name, "done=")
    told = seen(suite.ok("logs", name))
    assert told["init"] == "/sbin/docker-init"
    assert int(told["pid"]) > 1
    assert "Read-only file system" in told["root"]
    assert told["names"] == "box example.org"
    assert told["groups"] == "0 12 65534"
    assert told["files"] == "100 200 0"
    assert told["settings"] == "1 9000 7"
    assert told["shm"].split()[1] == "32768"
    assert told["score"] == "300"
    # Docker's defaults, with NET_ADMIN and without CHOWN.
    assert told["status"] == "CapEff: 00000000a80435fa NoNewPrivs: 1"
    # Neither is set up, but both may be opened; the second one for reading alone.
    assert "not permitted" not in told["fuse"]
    assert told["tun"].startswith("head: /dev/mytun: Input/output error")
    assert told["tun"].endswith("can't create /dev/mytun: Operation not permitted")
    assert told["rule"] == "opened"
    assert told["cpus"] == "1"
    mib = 1024 * 1024
    assert told["limits"] == f"{200 * mib} {100 * mib} {100 * mib} 50 25000 50000 0"
    assert "wbps=1048576" in told["blocks"]
    later = "ulimit -n; id -G; cat /proc/self/oom_score_adj; grep CapEff /proc/self/status"
    assert suite.ok("exec", name, "sh", "-c", later).split() == [
        *("100", "0", "12", "65534", "300", "CapEff:", "00000000a80435fa"),
    ]
    shown = suite.inspect(name)["HostConfig"]
    assert (shown["Init"], shown["ShmSize"], shown["CpusetCpus"]) == (True, 32 * mib, "0")
    # tini passes the signal on to the shell, which ends by it: nobody has to wait for the kill.
    suite.ok("stop", "-t", "60", name)
    assert suite.inspect(name)["State"]["ExitCode"] == 143


def test_a_privileged_container_has_its_machine(suite: Suite, image: str) -> None:
    script = (
        "grep CapEff /proc/self/status; head -c 16 /dev/vda | wc -c; "
        "test -e /dev/vport1p1; echo $?;"
        "echo 256 > /sys/block/vda/queue/read_ahead_kb; cat /sys/block/vda/queue/read_ahead_kb;"
        "echo 70000 > /proc/sys/vm/max_map_count; cat /proc/sys/vm/max_map_count;"
        "mkdir /mnt; mount -t tmpfs none /mnt && echo mounted; wc -c < /proc/interrupts"
    )
    told = suite.ok("run", "--rm", "--privileged", "--ipc", "none", image, "sh", "-c", script)
    *first, interrupts = told.split()
    assert first == ["CapEff:", "000001ffffffffff", "16", "1", "256", "70000", "mounted"]
    assert int(interrupts) > 0


def test_any_setting_of_its_kernel_can_be_set(suite: Suite, image: str) -> None:
    """The CLI itself lets only those pass that one kernel can have apart; the API doesn't."""
    body = {
        "Image": image,
        "Cmd": ["cat", "/proc/sys/vm/max_map_count"],
        "HostConfig": {"Sysctls": {"vm.max_map_count": "70000"}, "MaskedPaths": []},
    }
    status, made = suite.api("POST", "/v1.51/containers/create?name=set", json.dumps(body).encode())
    assert status == 201, made
    assert suite.ok("start", "-a", "set") == "70000"


def test_a_seccomp_profile_is_the_kernels(suite: Suite, image: str, tmp_path: Path) -> None:
    denied = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EDOM}
    file = tmp_path / "profile.json"
    file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]}))
    option = ["--security-opt", f"seccomp={file}"]
    name = suite.ok("run", "-d", *option, image, "sleep", "1000")
    # Also of what is run in it later, under another user and with no way to more privileges.
    for more in ([], ["-u", "nobody"], ["--privileged"]):
        done = suite.docker("exec", *more, name, "mkdir", "/tmp/x")
        assert "Math" in done.stderr or "argument out of domain" in done.stderr
        assert done.returncode == 1
    assert "Seccomp:\t2" in suite.ok("exec", name, "cat", "/proc/1/status")
    option += ["--security-opt", "no-new-privileges", "-u", "nobody"]
    done = suite.docker("run", "--rm", *option, image, "mkdir", "/tmp/x")
    assert (done.returncode, "an't create directory" in done.stderr) == (1, True)
    file.write_text(json.dumps({"defaultAction": "SCMP_ACT_MAYBE"}))
    words = "Decoding seccomp profile failed: unknown action 'SCMP_ACT_MAYBE'"
    suite.refused("run", "--rm", *option[:2], image, "true", code=125, message=words)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--sysctl", "net.nosuch=1"], "open /proc/sys/net/nosuch: no such file or directory"),
        (["--device", "/dev/nosuch"], 'custom device "/dev/nosuch": no such file or directory'),
        (["--device-read-bps", "/dev/nosuch:1mb"], "/dev/nosuch: no such file or directory"),
    ],
)
def test_what_its_machine_does_not_have(
    suite: Suite, image: str, option: list[str], message: str
) -> None:
    suite.refused("run", "--rm", *option, image, "true", code=127, message=message)
    assert suite.ok("ps", "-aq") == ""


def test_limits_are_updated_while_it_runs_and_while_it_does_not(suite: Suite, image: str) -> None:
    mib = 1024 * 1024
    name = suite.ok("run", "-d", "-m", "300m", "--pids-limit", "20", image, "sleep", "1000")
    limits = ["sh", "-c", "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max"]
    changes = ["--memory", "330m", "--cpus", "0.5", "--cpu-shares", "512"]
    suite.ok("update", *changes, name)
    assert suite.ok("exec", name, *limits).split() == [str(330 * mib), "20", "50000", "100000"]
    too_much = "its VM has 512 MiB, and a memory limit of 600 MiB takes one of 1024 MiB"
    suite.refused("update", "-m", "600m", name, code=1, message=too_much)
    suite.refused("update", "-m", "1m", name, code=1, message="Minimum memory limit allowed is 6MB")
    eat = "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null"
    suite.ok("exec", name, "sh", "-c", eat)
    kept = "unable to set memory limit to 10485760 (current usage that can't be reclaimed"
    suite.refused("update", "-m", "10m", name, code=1, message=kept)
    suite.ok("update", "--pids-limit", "-1", name)
    assert suite.ok("exec", name, *limits).split() == [str(330 * mib), "max", "50000", "100000"]
    suite.ok("stop", "-t", "0", name)
    suite.ok("update", "-m", "200m", name)
    suite.ok("start", name)
    assert suite.ok("exec", name, *limits).split()[0] == str(200 * mib)
