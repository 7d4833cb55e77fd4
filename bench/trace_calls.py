"""Where the time of calls other than a run goes: `docker exec`, and single calls of the API."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.engine_api import Api
from bench.spans import Period
from tests.e2e.suite import Suite, docker_cli

OF = ("exec", "create", "inspect", "list")
LISTED = 100

Call = Callable[[], None]


def periods(call: Call, count: int, pause: float) -> list[Period]:
    """Do something so often, with pauses; return from when to when each was."""
    found = []
    for _ in range(count):
        time.sleep(pause)
        begun = time.time_ns()
        call()
        found.append(Period(begun, time.time_ns()))
    return found


@contextmanager
def traced(of: str, suite: Suite, image: str) -> Iterator[Call]:
    """Give what is traced, with all that it needs; once it was done, so that caches are warm.

    An exec goes by the docker CLI. The others go over one connection to the API that is kept: of
    those the CLI's own start is most of what it takes.
    """
    if of == "exec":
        yield _exec(suite, image)
        return
    api = Api("vic", suite.endpoint)
    try:
        yield _api_call(of, api, {"Image": image, "Cmd": ["true"]})
    finally:
        api.close()


def _exec(suite: Suite, image: str) -> Call:
    container = suite.ok("run", "-d", image, "sleep", "100000").strip()
    command = [docker_cli(), "-H", suite.endpoint, "exec", container, "true"]

    def call() -> None:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    call()
    return call


def _api_call(of: str, api: Api, spec: dict[str, object]) -> Call:
    def create() -> str:
        return str(api.call("create", "POST", "/containers/create", spec)["Id"])

    made = [create() for _ in range(LISTED if of == "list" else 1)]
    wanted: dict[str, tuple[str, str, object]] = {
        "create": ("POST", "/containers/create", spec),
        "inspect": ("GET", f"/containers/{made[0]}/json", None),
        "list": ("GET", "/containers/json?all=1", None),
    }
    method, path, body = wanted[of]

    def call() -> None:
        api.call(of, method, path, body)

    call()
    return call
