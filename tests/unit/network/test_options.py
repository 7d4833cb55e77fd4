"""Options of bridge networks: what values mean, and dockerd's words for what means nothing.

The words are those of dockerd 20.10 for the same `docker network create`.
"""

import pytest

from portlayer.errors import InvalidArgument, Reason
from services.network.options import HOST_BINDING, ICC, MASQUERADE, MTU, parse_options

NO_NUMBER = '(strconv.Atoi: parsing "abc": invalid syntax)'
NEITHER = '(strconv.ParseBool: parsing "maybe": invalid syntax)'


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (MTU, "abc", f"failed to parse com.docker.network.driver.mtu value: abc {NO_NUMBER}"),
        (MTU, "-5", "invalid MTU number: -5"),
        (MTU, "70000", "invalid MTU number: 70000"),
        (ICC, "maybe", f"failed to parse {ICC} value: maybe {NEITHER}"),
        (MASQUERADE, "maybe", f"failed to parse {MASQUERADE} value: maybe {NEITHER}"),
        (HOST_BINDING, "zz", f"failed to parse {HOST_BINDING} value: zz (nil ip)"),
    ],
)
def test_what_means_nothing_is_refused_in_dockerds_words(name: str, value: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse_options({name: value}, 1500)
    assert (refusal.value.message, refusal.value.reason) == (words, Reason.INVALID_NETWORK)


@pytest.mark.parametrize("value", ["0", "f", "F", "FALSE", "false", "False"])
def test_no_is_said_as_in_go(value: str) -> None:
    assert not parse_options({ICC: value}, 1500).icc


def test_a_number_may_have_a_sign() -> None:
    assert parse_options({MTU: "+1400"}, 1500).mtu == 1400
