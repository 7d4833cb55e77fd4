"""Words of a command line that mean nothing: all are named, and nothing twice."""

import pytest

from installer.configure import parse_count, parse_size
from installer.errors import UsageError
from installer.words import Words


def test_all_that_is_wrong_is_said_at_once() -> None:
    words = Words()
    assert words.read("--memory", lambda: parse_size("much"), 0) == 0
    assert words.read("--cpu", lambda: parse_count("2"), 0) == 2
    words.refuse("--image-store", "--image-store: needed with --target")
    # What else was found, but for what only follows from a word that meant nothing.
    words.add(["--image-store: there is no datastore ", "--switch: there is no switch none"])
    with pytest.raises(UsageError) as refused:
        words.check()
    assert str(refused.value).splitlines() == [
        "--memory: not a size: 'much'; write it as 512m or 4g, or none",
        "--image-store: needed with --target",
        "--switch: there is no switch none",
    ]


def test_words_that_mean_something_are_no_problem() -> None:
    words = Words()
    assert words.read("--memory", lambda: parse_size("1g"), 0) == 1 << 30
    words.check()


@pytest.mark.parametrize("text", ["8388608t", "999999999999t", "1x", ""])
def test_a_size_that_nothing_can_hold_is_none(text: str) -> None:
    assert parse_size("8388607t") < 1 << 63
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)
