"""Does whatever comes to hypothesis's mind to containers of a suite, by Docker's rules.

python -m bench.lives --examples 20
"""

import argparse
import sys
from collections.abc import Mapping
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from bench.subject import suite_with
from tests.e2e.parallel import create, verb
from tests.e2e.suite import Suite
from tests.images import busybox_image
from tests.lifemodel import NAMES, Lives, Subject

_VERBS = {
    "start": ("POST", "/start"),
    "stop": ("POST", "/stop?t=0"),
    "restart": ("POST", "/restart?t=0"),
    "kill": ("POST", "/kill"),
    "pause": ("POST", "/pause"),
    "unpause": ("POST", "/unpause"),
    "remove": ("DELETE", ""),
    "remove by force": ("DELETE", "?force=1"),
}


class Endpoint(Subject):
    """The endpoint of a suite, with all that is behind it."""

    def __init__(self, suite: Suite, image: str) -> None:
        self._suite = suite
        self._create = create(suite, image, ["sleep", "100000"])
        self._crashes = 0

    def create(self, name: str) -> int:
        return self._create(name)[0]

    def do(self, verb_name: str, name: str) -> int:
        method, path = _VERBS[verb_name]
        return verb(self._suite, path, method)(name)[0]

    def rename(self, name: str, new_name: str) -> int:
        return verb(self._suite, f"/rename?name={new_name}")(name)[0]

    def states(self) -> Mapping[str, str]:
        _, containers = self._suite.api("GET", "/containers/json?all=1")
        return {container["Names"][0][1:]: container["State"] for container in containers}

    def crash(self) -> None:
        roles = ("exec", "network", "storage", "interaction", "hostagent", "gateway")
        self._suite.kill(roles[self._crashes % len(roles)])
        self._crashes += 1

    def check(self) -> None:
        """Of a suite its states are all that is looked at."""

    def close(self) -> None:
        for name in NAMES:
            self.do("remove by force", name)


class LivesOfASuite(Lives):
    """The model held against a suite."""

    can_crash = True
    subject_of: ClassVar[tuple[Suite, str]]

    def open(self) -> Subject:
        return Endpoint(*self.subject_of)


def main() -> int:
    """Run it; raises what does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--steps", type=int, default=30, help="of each example")
    arguments = parser.parse_args()
    with suite_with(busybox_image(), "busybox") as (suite, image):
        LivesOfASuite.subject_of = (suite, image)
        run_state_machine_as_test(
            LivesOfASuite,
            settings=settings(
                max_examples=arguments.examples,
                stateful_step_count=arguments.steps,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    print(f"{arguments.examples} examples of {arguments.steps} steps: all as Docker has it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
