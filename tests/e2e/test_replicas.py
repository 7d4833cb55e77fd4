"""Two replicas of exec, one of which is killed in the middle of a verb: the other sees to it.

A step of two verbs here; `python -m bench.faults --replicas` goes through all of them.
"""

from collections.abc import Iterator

import pytest

from installer.instance import load_instance
from tests.e2e.faults import Counts, Fault, nothing_held, verbs
from tests.e2e.replicas import Replicas, replicas_of
from tests.e2e.suite import Suite

NAME = "struck"

# Numbers of calls that lie in the middle of the verb.
STRIKES = [
    ("start", Fault("exec", 4)),
    ("rm -f", Fault("exec", 2)),
]


@pytest.fixture(scope="module")
def replicas(suite: Suite, image: str) -> Iterator[Replicas]:
    instance = load_instance(suite.data_dir)
    assert instance is not None
    with replicas_of(suite, instance, image) as both:
        yield both


@pytest.fixture(scope="module")
def nothing(replicas: Replicas, image: str) -> Counts:
    """What the suite holds when there is no container; the parent of their class is there."""
    replicas.suite.ok("run", "--rm", image, "true")
    return nothing_held(replicas.suite, replicas.instance, replicas)


@pytest.mark.parametrize("number", range(len(STRIKES)), ids=map(str, STRIKES))
def test_the_other_replica_finishes_or_undoes_what_a_killed_one_had_in_hand(
    replicas: Replicas, nothing: Counts, number: int
) -> None:
    verb_name, fault = STRIKES[number]
    verb = next(verb for verb in verbs(replicas.image, NAME) if verb.name == verb_name)
    assert replicas.strike(replicas.sides[number % 2], verb, fault, NAME, nothing), "it lived on"
