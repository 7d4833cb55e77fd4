"""Kill every service and the host agent at every step of create, start, stop and rm.

For each of them a process dies at its first, second, third … call of another service, or write to
its database, until the verb is through without having come that far. After each, the container must
be in a state that it can stay in and be removable, and the suite must hold no more than before.
Last, or by ``--verbs rebirth`` alone, a container that is always to be started again has its VM
killed ten times.

With ``--again N`` the one that takes its place dies as well, at its N-th call of that kind, in the
middle of its recovery.

With ``--replicas`` exec has two replicas on one PostgreSQL, which die in turns at their messages to
other facets and to the database: the other one must finish or undo what that one had in hand,
within a bounded time and without it, while calls through it and through a gateway that calls both
go on without a failure.

The whole of it takes hours; by parts: ``--verbs create --roles exec --step 2 --first 2``.
"""

import argparse
import os
import signal
import statistics
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
from tests.e2e.replicas import Replicas, replicas_of
from tests.e2e.suite import Suite
from tests.images import busybox_image

ROLES = ("exec", "hostagent", "storage", "network", "interaction", "gateway")
CALLS = ("sendmsg", "pwrite64")
# Of a replica: to other facets, and to PostgreSQL.
REPLICAS_CALLS = ("sendmsg", "sendto")
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
    parser.add_argument("--calls", nargs="*", choices=(*CALLS, "sendto"))
    parser.add_argument("--last", type=int, default=MOST_STEPS, help="the step to end with")
    parser.add_argument("--again", type=int, help="the step at which the successor dies")
    parser.add_argument("--replicas", action="store_true", help="kill one of two execs")
    arguments = parser.parse_args()
    arguments.calls = arguments.calls or (REPLICAS_CALLS if arguments.replicas else CALLS)
    failures: list[str] = []
    with suite_with(busybox_image(), "busybox") as (suite, image):
        suite.ok("run", "--rm", image, "true")
        instance = load_instance(suite.data_dir)
        assert instance is not None
        if arguments.replicas:
            with replicas_of(suite, instance, image) as replicas:
                found = list(taken_over(replicas, suite, instance, image, arguments))
        else:
            nothing = nothing_held(suite, instance)
            found = list(struck(suite, instance, image, nothing, arguments))
        strikes = len(found)
        failures += [failure for failure in found if failure]
        if not arguments.replicas and (not arguments.verbs or REBIRTH in arguments.verbs):
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


def taken_over(
    replicas: Replicas,
    suite: Suite,
    instance: Instance,
    image: str,
    arguments: argparse.Namespace,
) -> Iterator[str]:
    """Kill replicas of exec in turns at steps of each verb; yields what was wrong, or nothing."""
    # As each replica makes its own, once: what the parents of clones are made of.
    for side in replicas.sides:
        side.suite.ok("run", "--rm", image, "true")
    nothing = nothing_held(replicas.suite, instance, replicas)
    took: list[float] = []
    for verb in verbs(image, NAME):
        if arguments.verbs and verb.name not in arguments.verbs:
            continue
        for call in arguments.calls:
            for number in range(arguments.first, arguments.last + 1, arguments.step):
                fault = Fault("exec", number, call)
                victim = replicas.sides[len(took) % 2]
                try:
                    done = replicas.strike(victim, verb, fault, NAME, nothing)
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    print(f"{verb.name}, {fault}: FAILED: {str(error)[:200]}", flush=True)
                    if victim.program.ends_within(0):
                        victim.program.start()
                        victim.await_serving()
                    replicas.suite.docker("rm", "-f", NAME)
                    yield f"{verb.name}, {fault}: {error}\n{suite.logs()}"
                    continue
                if done is None:
                    print(f"{verb.name}, {fault}: through", flush=True)
                    break
                took.append(done.settled_seconds)
                print(
                    f"{verb.name}, {fault}: in order after {done.settled_seconds:.2f} s, "
                    f"{done.calls} calls of others",
                    flush=True,
                )
                yield ""
    if took:
        print(f"in order after {statistics.median(took):.2f} s, {max(took):.2f} at most")


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
