"""Many at once: none fails, and none gets a conflict that one alone wouldn't get."""

import pytest

from tests.e2e.parallel import at_once, create, statuses, verb
from tests.e2e.suite import Suite

COUNT = 8
NAMES = [f"many{number}" for number in range(COUNT)]

pytestmark = pytest.mark.usefixtures("containers")


def test_many_creates_starts_and_stops_at_once(suite: Suite, image: str) -> None:
    make = create(suite, image, ["sleep", "1000"])
    answers = at_once(make, ["one"] * 4)
    assert statuses(answers) == {201: 1, 409: 3}
    assert all("is already in use" in body["message"] for status, body in answers if status == 409)
    assert statuses(at_once(make, NAMES)) == {201: COUNT}
    # Each twice: one of the two finds it done.
    assert statuses(at_once(verb(suite, "/start"), NAMES * 2)) == {204: COUNT, 304: COUNT}
    running = suite.ok("ps", "--format", "{{.Names}}").split()
    assert sorted(running) == sorted(NAMES)
    assert statuses(at_once(verb(suite, "/stop?t=0"), NAMES * 2)) == {204: COUNT, 304: COUNT}
    assert statuses(at_once(verb(suite, "", "DELETE"), NAMES)) == {204: COUNT}
