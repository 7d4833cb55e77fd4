"""A suite under test: its own data directory and endpoint, driven by `vic` and the docker CLI."""

import base64
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

VIC = Path(sys.executable).parent / "vic"
# Where the Makefile unpacks Debian's docker CLI on a machine that has none.
UNPACKED = "/var/cache/vic/tools/usr/bin"
# Logs of suites that are gone, to look into a failure.
KEPT_LOGS = Path(__file__).resolve().parents[2] / ".cache" / "e2e-logs"
UP_SECONDS = 600
COMMAND_SECONDS = 300
# A hundred starts at once take their turns on two cores, which may be busy with others besides.
REQUEST_SECONDS = 600
END_SECONDS = 60

Finished = subprocess.CompletedProcess[str]


def docker_cli() -> str:
    """Return the docker CLI to test with. Raises RuntimeError when there is none."""
    found = shutil.which("docker", path=f"{os.environ['PATH']}:{UNPACKED}")
    if found is None:
        raise RuntimeError("no docker CLI: `make tools` unpacks Debian's")
    return found


class Suite:
    """An instance of vic in a temporary directory."""

    def __init__(self) -> None:
        # Short, for the sockets in it; open to be entered, for its services and its users.
        self.data_dir = Path(tempfile.mkdtemp(prefix="vic-e2e-"))
        self.data_dir.chmod(0o711)
        self.endpoint = f"unix://{self.data_dir}/docker.sock"
        self._docker = docker_cli()
        self._docker_config = self.data_dir / "docker-cli"
        self._docker_config.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """What a user of the docker CLI has in the environment."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._docker_config),
            "DOCKER_HOST": self.endpoint,
            "DOCKER_CONFIG": str(self._docker_config),
        }

    def vic_command(self, *arguments: str) -> list[str]:
        """Return the command line of `vic` on this instance."""
        return [str(VIC), *arguments, f"--data-dir={self.data_dir}"]

    def vic(self, *arguments: str, seconds: float = UP_SECONDS) -> Finished:
        """Run `vic` on this instance."""
        return subprocess.run(
            self.vic_command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def up(self, *options: str) -> Self:
        """Start it. Fails the test with what `vic` said where it doesn't."""
        started = self.vic("up", f"--host={self.endpoint}", *options)
        assert started.returncode == 0, started.stderr + self.logs()
        return self

    def down(self) -> None:
        """Stop it, leaving its data."""
        stopped = self.vic("down")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr

    def remove(self) -> None:
        """Stop it and delete its data."""
        try:
            if (self.data_dir / "instance.json").exists():
                self.down()
        finally:
            KEPT_LOGS.mkdir(parents=True, exist_ok=True)
            if (self.data_dir / "log").is_dir():
                shutil.copytree(self.data_dir / "log", KEPT_LOGS / self.data_dir.name)
            shutil.rmtree(self.data_dir)

    def status(self) -> dict[str, Any]:
        """Return `vic status --json`."""
        told: dict[str, Any] = json.loads(self.vic("status", "--json").stdout)
        return told

    def listed(self) -> dict[str, list[str]]:
        """Return the lines of `vic ls`, in cells, by data directory."""
        done = subprocess.run([VIC, "ls"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        rows = [line.split() for line in done.stdout.splitlines()[1:]]
        return {row[-1]: row for row in rows}

    def pid(self, role: str) -> int:
        """Return the process ID of a process of the suite."""
        return next(
            int(process["pid"]) for process in self.status()["processes"] if process["role"] == role
        )

    def settle(self) -> None:
        """Wait until every process of the suite serves."""
        settled = self.vic("status", "--wait", "300")
        assert settled.returncode == 0, settled.stdout + settled.stderr + self.logs()

    def kill(self, role: str) -> None:
        """Kill a process of the suite, and wait until its successor serves."""
        kill(self.pid(role))
        self.settle()

    @contextmanager
    def without(self, role: str) -> Iterator[None]:
        """Have a process killed, and the watcher hindered from starting it, for a while."""
        watcher, pid = self.status()["watcher"], self.pid(role)
        os.kill(watcher, signal.SIGSTOP)
        try:
            kill(pid)
            yield
        finally:
            os.kill(watcher, signal.SIGCONT)
        self.settle()

    def docker(
        self, *arguments: str, stdin: str | None = None, seconds: float = COMMAND_SECONDS
    ) -> Finished:
        """Run a docker command, whatever comes of it."""
        return subprocess.run(
            [self._docker, *arguments],
            input=stdin if stdin is not None else "",
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def build(self, directory: Path, *options: str) -> Finished:
        """Run `docker build` without BuildKit, whatever comes of it."""
        return subprocess.run(
            [self._docker, "build", *options, str(directory)],
            env=self.environment | {"DOCKER_BUILDKIT": "0"},
            capture_output=True,
            text=True,
            timeout=REQUEST_SECONDS,
            check=False,
        )

    def ok(
        self, *arguments: str, stdin: str | None = None, seconds: float = COMMAND_SECONDS
    ) -> str:
        """Run a docker command that must succeed; returns its output without the last newline."""
        done = self.docker(*arguments, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout.removesuffix("\n")

    def refused(self, *arguments: str, code: int, message: str) -> None:
        """Run a docker command that must fail with a code and a message, and no traceback."""
        done = self.docker(*arguments)
        assert done.returncode == code, done.stdout + done.stderr
        assert message in done.stderr, done.stderr
        assert "Traceback" not in done.stderr

    def popen(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a docker command."""
        return subprocess.Popen([self._docker, *arguments], env=self.environment, **options)

    @contextmanager
    def logged_in(self, registry: str, name: str, password: str) -> Iterator[None]:
        """Have the docker CLI send credentials for a registry, as after `docker login`."""
        credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
        file = self._docker_config / "config.json"
        file.write_text(json.dumps({"auths": {registry: {"auth": credentials}}}))
        try:
            yield
        finally:
            file.unlink()

    def inspect(self, reference: str) -> dict[str, Any]:
        """Return `docker inspect` of one thing."""
        found: dict[str, Any] = json.loads(self.ok("inspect", reference))[0]
        return found

    def await_output(self, name: str, line: str) -> None:
        """Follow a container's log until a line is there; the test's own timeout bounds it."""
        process = self.popen("logs", "--follow", name, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            for read in process.stdout:
                if read.decode().strip() == line:
                    return
            raise AssertionError(f"{name} ended without saying {line!r}")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def api(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Send a request to the endpoint itself; returns status and decoded body."""
        status, content = self._request(method, path, body)
        return status, json.loads(content) if content else None

    def api_lines(self, method: str, path: str) -> tuple[int, list[bytes]]:
        """Send a request that is answered by JSON lines; returns status and lines."""
        status, content = self._request(method, path, None)
        return status, content.splitlines()

    def break_off(self, path: str, body: bytes) -> None:
        """Send all of a body but its end, and go away; returns when the endpoint has noticed."""
        with closing(_UnixConnection(self.endpoint.removeprefix("unix://"))) as client:
            client.putrequest("POST", path)
            client.putheader("Transfer-Encoding", "chunked")
            client.endheaders(b"%x\r\n%b\r\n" % (len(body), body))
            client.sock.shutdown(socket.SHUT_WR)
            while client.sock.recv(1 << 16):
                pass

    def stored_files(self) -> set[Path]:
        """Return all that the storage service keeps, but for its database."""
        root = self.data_dir / "storage"
        return {path for path in root.rglob("*") if ".db" not in path.name}

    def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = _UnixConnection(self.endpoint.removeprefix("unix://"))
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def logs(self) -> str:
        """Return the ends of all logs, for a failure's message."""
        ends = []
        for path in sorted((self.data_dir / "log").glob("*.log")):
            ends.append(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(ends)


def kill(pid: int) -> None:
    """Kill a process, and wait for its end: its sockets take connections until it is gone."""
    ended = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        readable, _, _ = select.select([ended], [], [], END_SECONDS)
        assert readable, f"process {pid} does not end"
    finally:
        os.close(ended)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=REQUEST_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(REQUEST_SECONDS)
        self.sock.connect(self._path)
