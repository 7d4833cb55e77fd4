"""dockerd for the time of a bench, to be measured beside: Debian's, unpacked and not installed.

It has its own data, sockets and mounts, touches neither firewall nor bridges, and runs as a process
namespace of its own, so that nothing which it starts outlives it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.cpu import Account
from tests.e2e.suite import docker_cli

TOOLS = Path("/var/cache/vic/tools/dockerd")
PACKAGES = ("docker.io", "containerd", "runc", "tini")
CGROUPS = Path("/sys/fs/cgroup")
START_SECONDS = 120
STOP_SECONDS = 60
LOG_BYTES = 3000


@contextmanager
def dockerd() -> Iterator[tuple[str, Account]]:
    """Run dockerd, and yield the address of its socket and the account that is charged for it.

    Raises SystemExit with the end of its log where it does not start.
    """
    provide()
    with ExitStack() as undo:
        directory = Path(tempfile.mkdtemp(prefix="vic-peer-"))
        undo.callback(shutil.rmtree, directory)
        cgroup = f"vic-bench-{os.getpid()}"
        undo.callback(remove_cgroups, cgroup)
        log = undo.enter_context((directory / "log").open("wb"))
        (directory / "daemon.json").write_text("{}")
        account = undo.enter_context(Account("dockerd", cgroup))
        with account.charged():
            process = subprocess.Popen(
                command(directory, cgroup),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": f"{TOOLS}/usr/bin:{TOOLS}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        undo.callback(stop, process)
        endpoint = f"unix://{directory}/docker.sock"
        await_answer(endpoint, process, directory / "log")
        yield endpoint, account


def provide() -> None:
    """Unpack Debian's packages where that was not done before."""
    if (TOOLS / "usr/sbin/dockerd").exists() and (TOOLS / "usr/bin/tini-static").exists():
        return
    debs = TOOLS / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    fetch = ["apt-get", "-qq", "download", *PACKAGES]
    if subprocess.run(fetch, cwd=debs, capture_output=True, check=False).returncode != 0:
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        subprocess.run(fetch, cwd=debs, check=True)
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", deb, TOOLS], check=True)


def command(directory: Path, cgroup: str) -> list[str]:
    """Return dockerd's command line, in namespaces that end with it and it with us."""
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"),
        *("tini-static", "--", "dockerd"),
        f"--config-file={directory}/daemon.json",
        f"--host=unix://{directory}/docker.sock",
        f"--data-root={directory}/data",
        f"--exec-root={directory}/exec",
        f"--pidfile={directory}/pid",
        f"--cgroup-parent=/{cgroup}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        *("--bridge=none", "--iptables=false", "--ip6tables=false"),
        *("--ip-forward=false", "--ip-masq=false", "--userland-proxy=false"),
    ]


def await_answer(endpoint: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when dockerd answers. Raises SystemExit where it ends, or takes too long."""
    version = [docker_cli(), "-H", endpoint, "version"]
    for _ in range(START_SECONDS * 2):
        if subprocess.run(version, capture_output=True, check=False).returncode == 0:
            return
        try:
            # dockerd gives no other sign than its answer.
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
        break
    end = log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
    raise SystemExit(f"dockerd does not start here; the end of its log:\n{end}")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End dockerd in order, or with all that it has started."""
    if process.poll() is not None:
        return
    # unshare itself takes no notice of the signal.
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def remove_cgroups(name: str) -> None:
    """Remove what dockerd leaves of its groups in each hierarchy."""
    for root in (*CGROUPS.glob(f"*/{name}"), *CGROUPS.glob(name)):
        for path, _, _ in os.walk(root, topdown=False):
            os.rmdir(path)
