"""Kill two replicas of interaction in turn, beneath a container that talks, and miss no line.

A suite runs with two replicas on one PostgreSQL, each with a gateway of its own before it; the
container's VM reaches the first one alone. `docker logs --follow` runs through both gateways. Each
is killed in turn and comes back; meanwhile `docker exec` through the other one tells when the
tether is there again. In the end both followers, and who comes later to either, must have
each line once and in order. The exit code is 1 when one has not.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.report import Series, report
from bench.subject import suite_with
from tests.databases import postgresql
from tests.e2e.programs import PATIENCE_SECONDS, Program, await_listener
from tests.e2e.suite import Suite, docker_cli
from tests.images import busybox_image

TALK = (
    'i=0; while [ ! -e /stop ]; do i=$((i+1)); echo "line $i"; usleep 5000; done; '
    "echo end; exec sleep 0"
)


class Side:
    """A replica, and the gateway before it, as a docker client sees them."""

    def __init__(self, endpoint: str, replica: Program) -> None:
        self.replica = replica
        self._command = [docker_cli(), "--host", endpoint]

    def docker(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a docker command, whatever comes of it."""
        return subprocess.run(
            [*self._command, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def follow(self, container: str) -> "subprocess.Popen[bytes]":
        """Follow a container's log from its beginning."""
        return subprocess.Popen(
            [*self._command, "logs", "--follow", container], stdout=subprocess.PIPE
        )

    def reaches(self, container: str) -> float:
        """Return the seconds until an exec in a container does what it should."""
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE_SECONDS:
            if self.docker("exec", container, "echo", "here").stdout == "here\n":
                return time.monotonic() - begun
        raise SystemExit(f"{self._command}: {container} is not reached any more")


@contextmanager
def replicas(suite: Suite) -> Iterator[tuple[Side, Side]]:
    """Have two replicas serve instead of the suite's own, which is back afterwards."""
    run = suite.data_dir / "run"
    second = f"unix:{run}/interaction-2.sock"
    gateway_socket = suite.data_dir / "gateway" / "docker-2.sock"
    interaction = suite.pid("interaction")
    with ExitStack() as stack:
        database = stack.enter_context(postgresql())
        log = suite.data_dir / "log" / "replicas.log"
        one = Program(interaction, {"VIC_DATABASE_URL": database}, log)
        other = Program(
            interaction,
            {
                "VIC_DATABASE_URL": database,
                "VIC_LISTEN": f'["{second}"]',
                "VIC_TETHER_LISTEN": '["127.0.0.1:0"]',
            },
            log,
        )
        gateway = Program(
            suite.pid("gateway"),
            {
                "VIC_GATEWAY_LISTEN_FD": "",
                "VIC_GATEWAY_LISTEN": f"unix://{gateway_socket}",
                "VIC_TARGETS": f'{{"interaction": "{second}"}}',
            },
            log,
        )
        stack.enter_context(suite.without("interaction"))
        for program in (one, other, gateway):
            stack.enter_context(program.running())
        for path in (run / "interaction.sock", run / "interaction-2.sock", gateway_socket):
            await_listener(path)
        yield Side(suite.endpoint, one), Side(f"unix://{gateway_socket}", other)


def kills(sides: tuple[Side, Side], count: int) -> list[float]:
    """Kill so many times; return the seconds until the container was reached again of each."""
    took = []
    for number in range(count):
        victim, survivor = sides[number % 2], sides[1 - number % 2]
        victim.replica.kill()
        # The watcher does this as soon as it hears of the end.
        victim.replica.start()
        took.append(survivor.reaches("talker"))
        victim.reaches("talker")
    return took


def check(name: str, output: bytes) -> int:
    """Return how many lines there are; exits when one is missing, doubled or out of place."""
    lines = output.splitlines(keepends=True) or [b""]
    expected = [b"line %d\n" % number for number in range(1, len(lines))] + [b"end\n"]
    for line, wanted in zip(lines, expected, strict=True):
        if line != wanted:
            raise SystemExit(f"{name}: {line!r} where {wanted!r} belongs")
    return len(lines)


def main() -> int:
    """Kill, compare and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="kills (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("replicas.json"), help="JSON file")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        suite, image = stack.enter_context(suite_with(busybox_image(), "busybox"))
        with replicas(suite) as sides:
            suite.ok("run", "-d", "--name", "talker", image, "sh", "-c", TALK)
            quiet = [side.reaches("talker") for side in sides for _ in range(5)]
            followers = [side.follow("talker") for side in sides]
            for follower in followers:
                stack.callback(follower.kill)
            # Each is there before the first kill.
            firsts = [follower.stdout.readline() for follower in followers if follower.stdout]
            took = kills(sides, arguments.count)
            suite.ok("exec", "talker", "touch", "/stop")
            rests = [follower.stdout.read() for follower in followers if follower.stdout]
            outputs = [first + rest for first, rest in zip(firsts, rests, strict=True)]
            outputs += [side.docker("logs", "talker").stdout.encode() for side in sides]
            names = [f"{kind}, {n}" for kind in ("followed", "read afterwards") for n in (1, 2)]
            lines = {name: check(name, told) for name, told in zip(names, outputs, strict=True)}
            if len(set(lines.values())) != 1:
                raise SystemExit(f"not the same lines: {lines}")
            suite.ok("rm", "-f", "talker")
    series = [Series("exec, quiet", tuple(quiet)), Series("exec, after a kill", tuple(took))]
    facts: dict[str, object] = {"load before": round(load, 2), "lines": lines[names[0]]}
    report("a container that talks, two replicas killed in turn", series, facts, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
