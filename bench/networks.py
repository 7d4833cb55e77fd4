"""Make and remove hundreds of networks, and look for what is left: `python -m bench.networks`.

Some of them have IPv6, and a container runs in the last one. Times go to a JSON file; the exit code
is 1 where the host has an interface, an address, a route or an element more than before.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path

from bench.report import Series, report
from bench.subject import suite_with
from installer.instance import Instance, load_instance
from tests.e2e.suite import Suite
from tests.images import busybox_image

WITH_IPV6 = 4
"""Each so many-th network."""


def descriptors(suite: Suite) -> int:
    """Return how many files the service has open."""
    return len(os.listdir(f"/proc/{suite.pid('network')}/fd"))


def held(instance: Instance) -> set[str]:
    """Return what there is on the host of the instance's networks, line by line.

    The management network is left out: waiting clones come to it and go whenever they like.
    """
    links, management, taps = (f"{name}{instance.slot}" for name in ("vic", "vic", "vt"))
    management += "m"
    found = set()
    for command in (
        "ip -oneline link",
        "ip -oneline address",
        "ip route show table all",
        "ip -6 route show table all",
    ):
        found |= {line for line in output(command) if links in line and management not in line}
    for table in (f"inet vic_{instance.id}", f"bridge vic_{instance.id}_l2"):
        lines = output(f"nft --stateless list table {table}")
        found |= {f"{table}: {line}" for line in lines if f'"{taps}-' not in line}
    return found


def output(command: str) -> list[str]:
    """Run a program, and return the lines that it prints."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def timed(suite: Suite, method: str, path: str, body: dict[str, object] | None = None) -> float:
    """Send a request, which must succeed; returns its seconds."""
    begun = time.perf_counter()
    status, answer = suite.api(method, path, None if body is None else json.dumps(body).encode())
    if status >= HTTPStatus.BAD_REQUEST:
        raise SystemExit(f"{method} {path}: {status} {answer}")
    return time.perf_counter() - begun


def main() -> int:
    """Run it; returns 1 where something was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("networks.json"), help="JSON file to write"
    )
    arguments = parser.parse_args()
    facts: dict[str, object] = {"load before": round(os.getloadavg()[0], 2)}
    created: list[float] = []
    removed: list[float] = []
    with suite_with(busybox_image(), "busybox") as (suite, image):
        # What stays from the first network on is no network's own.
        suite.ok("network", "create", "--ipv6", "first")
        suite.ok("run", "--rm", "--network", "first", image, "true")
        suite.ok("network", "rm", "first")
        instance = load_instance(suite.data_dir)
        assert instance is not None
        before, open_before = held(instance), descriptors(suite)
        names = [f"net{number}" for number in range(arguments.count)]
        for number, name in enumerate(names):
            subnet = f"10.{160 + number // 250}.{number % 250}.0/24"
            wanted = {
                "Name": name,
                "EnableIPv6": number % WITH_IPV6 == 0,
                "IPAM": {"Config": [{"Subnet": subnet}]},
            }
            created.append(timed(suite, "POST", "/networks/create", wanted))
        facts["networks listed"] = len(suite.ok("network", "ls", "--quiet").split())
        suite.ok("run", "--rm", "--network", names[-1], image, "true")
        removed += [timed(suite, "DELETE", f"/networks/{name}") for name in names]
        left = sorted(held(instance) - before)
        facts["descriptors before and after"] = [open_before, descriptors(suite)]
    facts["left"] = left or "nothing"
    facts["all created, s"] = round(sum(created), 1)
    facts["all removed, s"] = round(sum(removed), 1)
    series = [
        Series("create a network", tuple(created)),
        Series("remove it", tuple(removed)),
    ]
    report(f"{arguments.count} networks", series, facts, arguments.out)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
