"""Kill every service and the host agent at every step of create, start, stop and rm.

For each of them a process dies at its first, second, third … call of another service, or write to
its database, until the verb is through without having come that far. After each, the container must
be in a state that it can stay in and be removable, and the suite must hold no more than before.
Last, or by ``--verbs rebirth`` alone, a container that is always to be started again has its VM
killed ten times.

With ``--again N`` the one that takes its place dies as well, at its N-th call of that kind, in the
middle of its recovery.

The whole of it takes hours; by parts: ``--verbs create --roles exec --step 2 --first 2``.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from bench.subject import suite_with
from installer.instance import Instance, load_instance
from tests.e2e.faults import (
    SETTLED_SECONDS,
    Counts,
    Fault,
    Verb,
    await_held,
    nothing_held,
    remove,
    strike,
    verbs,
)
from tests.e2e.suite import Suite
from tests.images import busybox_image

ROLES = ("exec", "hostagent", "storage", "network", "interaction", "gateway")
CALLS = ("sendmsg", "pwrite64")
# A verb that never gets through without that many calls makes them for another reason.
MOST_STEPS = 60
NAME = "struck"
REBIRTH = "rebirth"
VERBS = (*(verb.name for verb in verbs("", NAME)), REBIRTH)
REBIRTHS = 10


def main() -> int:
    """Go through the matrix. Returns 1 where something was not sound, or left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--roles", nargs="*", default=ROLES, choices=ROLES)
    parser.add_argument("--verbs", nargs="*", choices=VERBS, help="all by default")
    parser.add_argument("--step", type=int, default=1, help="only each so many-th step")
    parser.add_argument("--first", type=int, default=1, help="the step to begin with")
    parser.add_argument("--calls", nargs="*", default=CALLS, choices=(*CALLS, "sendto"))
    parser.add_argument("--last", type=int, default=MOST_STEPS, help="the step to end with")
    parser.add_argument("--again", type=int, help="the step at which the successor dies")
    arguments = parser.parse_args()
    failures: list[str] = []
    strikes = 0
    with suite_with(busybox_image(), "busybox") as (suite, image):
        suite.ok("run", "--rm", image, "true")
        instance = load_instance(suite.data_dir)
        assert instance is not None
        nothing = nothing_held(suite, instance)
        for failure in struck(suite, instance, image, nothing, arguments):
            strikes += 1
            if failure:
                failures.append(failure)
        if not arguments.verbs or REBIRTH in arguments.verbs:
            failures += phoenix(suite, image)
    for failure in failures:
        print("failed:", failure)
    print(f"{strikes} runs with kills; {len(failures)} left something or broke something")
    return 1 if failures else 0


def phoenix(suite: Suite, image: str) -> Iterator[str]:
    """Kill the VM of a container ten times whose policy is to be always started again."""
    suite.ok("run", "-d", "--restart", "always", "--name", NAME, image, "sleep", "100000")
    for count in range(1, REBIRTHS + 1):
        os.kill(suite.inspect(NAME)["State"]["Pid"], signal.SIGKILL)
        deadline = time.monotonic() + SETTLED_SECONDS
        while True:
            told = suite.inspect(NAME)
            if told["RestartCount"] == count and told["State"]["Status"] == "running":
                break
            if time.monotonic() > deadline:
                yield f"not started again after kill {count}: {told['State']}"
                return
            time.sleep(0.2)
        print(f"started again {count} times", flush=True)
    suite.ok("rm", "-f", NAME)


def struck(
    suite: Suite, instance: Instance, image: str, nothing: Counts, arguments: argparse.Namespace
) -> Iterator[str]:
    """Go through the matrix, one role after the other; yields what was wrong, or nothing.

    In turns, since a service that dies every few seconds is started again ever more slowly.
    """
    steps = deque(
        tried(suite, instance, verb, Fault(role, arguments.first, call), nothing, arguments)
        for verb in verbs(image, NAME)
        if not arguments.verbs or verb.name in arguments.verbs
        for call in arguments.calls
        for role in arguments.roles
    )
    while steps:
        row = steps.popleft()
        for problem in row:
            yield problem
            steps.append(row)
            break


def tried(
    suite: Suite,
    instance: Instance,
    verb: Verb,
    first: Fault,
    nothing: Counts,
    arguments: argparse.Namespace,
) -> Iterator[str]:
    """Let a process die at a step of a verb, and later ones; yields what was wrong, or nothing."""
    for number in range(first.number, arguments.last + 1, arguments.step):
        fault = replace(first, number=number)
        again = replace(first, number=arguments.again) if arguments.again else None
        begun = time.monotonic()
        problem, deaths = "", 1
        try:
            deaths = len(strike(suite, verb, fault, NAME, again))
            remove(suite, NAME)
            await_held(suite, instance, nothing)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            problem = f"{verb.name}, {fault}: {error}\n{suite.logs()}"
            suite.docker("rm", "-f", NAME)
        took = time.monotonic() - begun
        word = "FAILED" if problem else "ok" if deaths else "through"
        print(f"{verb.name}, {fault}: {deaths} died, {word} ({took:.1f} s)", flush=True)
        if deaths or problem:
            yield problem
        if not deaths:
            break


if __name__ == "__main__":
    sys.exit(main())
