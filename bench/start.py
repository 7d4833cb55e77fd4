"""How long `docker run --rm` of a tiny image takes, from start to exit, many times in a row.

With ``--created`` also what a container takes that was created before, by the API: its start, and
the wait for its end. What else its life costs, its creation and removal, isn't measured then.

By default with a suite and a registry of its own. Beside it, in the same run and turn by turn,
``--peer`` measures Debian's dockerd, run for that time alone, and ``--peer unix:///PATH`` any other
Docker endpoint.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.cpu import Account, clients_seconds
from bench.engine_api import Api
from bench.peer import dockerd
from bench.report import Series, report
from bench.subject import accounted_suite, come_up, starts
from tests.e2e.suite import docker_cli
from tests.images import Registry, busybox_image

DOCKERD = "dockerd"


@dataclass
class Engine:
    """A Docker endpoint that is measured."""

    name: str
    endpoint: str
    account: Account | None = None
    seconds: list[float] = field(default_factory=list)
    clients: float = 0.0
    """CPU seconds of the docker CLI."""
    created: list[float] = field(default_factory=list)
    """Of containers that were created before, in seconds."""

    def docker(self, *arguments: str) -> str:
        """Run a docker command that must succeed."""
        done = subprocess.run(
            [docker_cli(), "-H", self.endpoint, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{self.name}: docker {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def measure(self, image: str) -> None:
        """Run a container once, and add how long it took."""
        cpu, begun = clients_seconds(), time.perf_counter()
        self.docker("run", "--rm", image, "true")
        self.seconds.append(time.perf_counter() - begun)
        self.clients += clients_seconds() - cpu

    def measure_created(self, api: Api, image: str, pause: float) -> None:
        """Create a container, and add how long it takes from its start to its exit."""
        spec = {"Image": image, "Cmd": ["true"]}
        container = api.call("create", "POST", "/containers/create", spec)["Id"]
        time.sleep(pause)
        begun = time.perf_counter()
        api.call("start", "POST", f"/containers/{container}/start")
        ended = api.call("wait", "POST", f"/containers/{container}/wait")
        self.created.append(time.perf_counter() - begun)
        if ended["StatusCode"]:
            raise SystemExit(f"{self.name}: {ended}")
        api.call("remove", "DELETE", f"/containers/{container}?force=1")

    def spent(self) -> float:
        """Return the CPU seconds that its services, what they run and its clients have spent."""
        return self.clients + (self.account.seconds() if self.account else 0.0)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="runs (default: %(default)s)")
    parser.add_argument(
        "--peer",
        nargs="?",
        const=DOCKERD,
        metavar="DOCKER_HOST",
        help="another engine to run beside; without an address, a dockerd of Debian's",
    )
    parser.add_argument(
        "--pause", type=float, default=0, help="seconds between runs (default: %(default)s)"
    )
    parser.add_argument("--ready-clones", metavar="N", help="as of `vic up`")
    parser.add_argument(
        "--created", type=int, default=0, metavar="N", help="and N that were created before"
    )
    parser.add_argument("--out", type=Path, default=Path("start.json"), help="JSON file to write")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        suite, account = stack.enter_context(accounted_suite())
        kept = arguments.ready_clones
        with account.charged():
            come_up(suite, *([] if kept is None else [f"--ready-clones={kept}"]))
        image = registry.push(busybox_image(), "busybox")
        engines = [Engine("vic", suite.endpoint, account)]
        if arguments.peer == DOCKERD:
            engines.append(Engine("dockerd", *stack.enter_context(dockerd())))
        elif arguments.peer:
            engines.append(Engine("peer", arguments.peer))
        for engine in engines:
            engine.docker("pull", image)
            engine.docker("run", "--rm", image, "true")  # the parent is built, caches are warm
        before = starts(suite)
        spent = {engine.name: engine.spent() for engine in engines}
        runs = arguments.count
        for number in range(runs):
            for engine in engines:
                time.sleep(arguments.pause)
                engine.measure(image)
            if number % 20 == 19:
                print(f"{number + 1} of {arguments.count}", file=sys.stderr)
        spent = {engine.name: (engine.spent() - spent[engine.name]) / runs for engine in engines}
        created(engines, image, arguments.created, arguments.pause)
        after = starts(suite)
        facts: dict[str, object] = {
            "cold boots": after.cold_boots - before.cold_boots,
            "instant clones": after.instant_clones - before.instant_clones,
            "ready clones": after.ready_clones - before.ready_clones,
            "pause, s": arguments.pause,
            "accelerator": f"{after.accelerator}: {after.accelerator_reason}",
            "hypervisor": after.hypervisor,
            "docker CLI": engines[0].docker("version", "--format", "{{.Client.Version}}"),
        }
        for engine in engines:
            if engine.account is not None:
                facts[f"{engine.name}, CPU s a run"] = round(spent[engine.name], 3)
        facts["load before"] = round(load, 2)
        for engine in engines[1:]:
            version = engine.docker("version", "--format", "{{.Server.Version}}")
            driver = engine.docker("info", "--format", "{{.Driver}}")
            facts[engine.name] = f"{version}, {driver}"
            if arguments.peer == DOCKERD:
                facts[engine.name] = f"{version}, {driver}, containers without a network"
        series = [Series(engine.name, tuple(engine.seconds)) for engine in engines]
        series += [
            Series(f"{engine.name}, created before", tuple(engine.created))
            for engine in engines
            if engine.created
        ]
    report("docker run --rm IMAGE true, start to exit", series, facts, arguments.out)


def created(engines: list[Engine], image: str, count: int, pause: float) -> None:
    """Measure containers that were created before, turn by turn."""
    with ExitStack() as stack:
        apis = [Api(engine.name, engine.endpoint) for engine in engines]
        for api in apis:
            stack.callback(api.close)
        for _ in range(count):
            for engine, api in zip(engines, apis, strict=True):
                engine.measure_created(api, image, pause)


if __name__ == "__main__":
    main()
