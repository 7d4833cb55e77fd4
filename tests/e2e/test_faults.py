"""A service or the host agent is killed in the middle of a verb: nothing is lost, nothing is left.

One step of each here; `make soak` goes through all of them.
"""

import time

import pytest

from installer.instance import Instance, load_instance
from tests.e2e.faults import (
    SETTLED_SECONDS,
    Counts,
    Fault,
    await_held,
    nothing_held,
    remove,
    strike,
    verbs,
)
from tests.e2e.suite import Suite

NAME = "struck"

# Numbers of calls that lie in the middle of the verb.
STRIKES = [
    ("create", Fault("storage", 1)),
    ("start", Fault("exec", 4)),
    ("start", Fault("hostagent", 2)),
    ("stop", Fault("interaction", 2)),
    ("rm -f", Fault("network", 1)),
]


@pytest.fixture(scope="module")
def instance(suite: Suite) -> Instance:
    found = load_instance(suite.data_dir)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def nothing(suite: Suite, image: str, instance: Instance) -> Counts:
    """What the suite holds when there is no container; the parent of their class is there."""
    suite.ok("run", "--rm", image, "true")
    return nothing_held(suite, instance)


@pytest.mark.parametrize(("verb_name", "fault"), STRIKES, ids=map(str, STRIKES))
def test_a_kill_in_the_middle_of_a_verb_leaves_nothing(
    suite: Suite, image: str, instance: Instance, nothing: Counts, verb_name: str, fault: Fault
) -> None:
    verb = next(verb for verb in verbs(image, NAME) if verb.name == verb_name)
    try:
        assert strike(suite, verb, fault, NAME), "it did not die"
    finally:
        remove(suite, NAME)
    await_held(suite, instance, nothing)
    assert suite.ok("run", "--rm", image, "echo", "on it goes") == "on it goes"


def test_a_lost_database_of_exec_loses_no_container(suite: Suite, image: str) -> None:
    suite.ok("create", "--name", "lost-made", image, "true")
    suite.ok("run", "-d", "--name", "lost-running", image, "sh", "-c", "echo here; sleep 1000")
    ending = "trap 'exit 3' TERM; echo there; while :; do sleep 1 & wait; done"
    suite.ok("run", "-d", "--name", "lost-ended", image, "sh", "-c", ending)
    suite.ok("run", "-d", "--name", "lost-paused", image, "sleep", "1000")
    suite.ok("pause", "lost-paused")
    names = ("lost-made", "lost-running", "lost-ended", "lost-paused")
    suite.await_output("lost-running", "here")
    suite.await_output("lost-ended", "there")
    # Its end is beside its disk when a stop has returned; of one that ends by itself, later.
    suite.ok("stop", "-t", "300", "lost-ended")
    assert suite.inspect("lost-ended")["State"]["ExitCode"] == 3
    before = [seen(suite, name) for name in names]
    with suite.without("exec"):
        for file in (suite.data_dir / "exec").glob("exec.db*"):
            file.unlink()
    deadline = time.monotonic() + SETTLED_SECONDS
    # What is found again had its events before: there is none to wait for.
    while len(suite.ok("ps", "--all", "--quiet").split()) < len(names):
        assert time.monotonic() < deadline, suite.logs()
        time.sleep(0.2)
    assert [seen(suite, name) for name in names] == before
    assert suite.ok("exec", "lost-running", "echo", "still") == "still"
    suite.ok("unpause", "lost-paused")
    assert suite.ok("exec", "lost-paused", "echo", "again") == "again"
    suite.ok("rm", "-f", *names)


def seen(suite: Suite, name: str) -> dict[str, object]:
    """What a user sees of a container."""
    told = suite.inspect(name)
    return {
        "state": told["State"],
        "restarts": told["RestartCount"],
        "networks": told["NetworkSettings"]["Networks"],
        "created": told["Created"],
        "logs": suite.ok("logs", name),
    }
