"""How long the Docker API takes to answer: ping, version, info, create, inspect, a list of 100.

Each call goes over one connection that is kept, without the docker CLI's own time. ``--peer``
measures Debian's dockerd beside it, call by call in turn.
"""

import argparse
import os
from contextlib import ExitStack
from pathlib import Path

from bench.engine_api import Api
from bench.peer import dockerd
from bench.report import Series, report
from bench.subject import accounted_suite, come_up
from tests.images import Registry, busybox_image

LISTED = 100


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="calls (default: %(default)s)")
    parser.add_argument("--peer", action="store_true", help="beside Debian's dockerd")
    parser.add_argument("--out", type=Path, default=Path("api.json"), help="JSON file to write")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        suite, _ = stack.enter_context(accounted_suite())
        come_up(suite)
        image = registry.push(busybox_image(), "busybox")
        apis = [Api("vic", suite.endpoint)]
        if arguments.peer:
            apis.append(Api("dockerd", stack.enter_context(dockerd())[0]))
        repository, _, tag = image.rpartition(":")
        for api in apis:
            stack.callback(api.close)
            api.call("pull", "POST", f"/images/create?fromImage={repository}&tag={tag}")
        made: dict[str, list[str]] = {api.name: [] for api in apis}
        for _ in range(arguments.count):
            for api in apis:
                api.call("ping", "GET", "/_ping")
                api.call("version", "GET", "/version")
                api.call("info", "GET", "/info")
        spec = {"Image": image, "Cmd": ["true"]}
        for _ in range(LISTED):
            for api in apis:
                created = api.call("create", "POST", "/containers/create", spec)
                made[api.name].append(created["Id"])
        for number in range(arguments.count):
            for api in apis:
                container = made[api.name][number % LISTED]
                api.call("inspect", "GET", f"/containers/{container}/json")
                api.call(f"list of {LISTED}", "GET", "/containers/json?all=1")
        for number in range(LISTED):
            for api in apis:
                api.call("remove", "DELETE", f"/containers/{made[api.name][number]}")
    series = [
        Series(f"{what}, {api.name}", tuple(api.seconds[what]))
        for what in apis[0].seconds
        for api in apis
        if what != "pull"
    ]
    facts = {"load before": round(load, 2)}
    report("answers of the Docker API", series, facts, arguments.out, digits=2)


if __name__ == "__main__":
    main()
