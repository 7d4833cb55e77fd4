"""Messages and descriptors between the tether's processes."""

from __future__ import annotations

import os

import pytest

from tether.link import LinkClosedError, pair


def test_message_arrives_with_its_descriptors() -> None:
    left, right = pair()
    reading, writing = os.pipe()
    left.send({"op": "started", "streams": ["stdout"]}, [writing])
    message, (copy,) = right.receive()
    assert message == {"op": "started", "streams": ["stdout"]}
    assert not os.get_inheritable(copy)
    os.write(copy, b"x")
    assert os.read(reading, 10) == b"x"
    for descriptor in (reading, writing, copy):
        os.close(descriptor)


def test_messages_keep_their_borders() -> None:
    left, right = pair()
    for number in range(3):
        left.send({"n": number})
    assert [right.receive()[0]["n"] for _ in range(3)] == [0, 1, 2]


def test_message_longer_than_a_packet_arrives() -> None:
    left, right = pair()
    environment = [f"NAME{number}={'x' * 100}" for number in range(20_000)]
    reading, writing = os.pipe()
    left.send({"env": environment}, [reading])
    message, descriptors = right.receive()
    assert message["env"] == environment
    assert len(descriptors) == 1
    for descriptor in (reading, writing, *descriptors):
        os.close(descriptor)


def test_bytes_that_are_no_utf8_survive() -> None:
    left, right = pair()
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    left.send({"args": [name]})
    assert right.receive()[0] == {"args": [name]}


def test_nothing_to_read_does_not_wait() -> None:
    _left, right = pair()
    with pytest.raises(BlockingIOError):
        right.receive(wait=False)


def test_end_of_the_other_process_is_told() -> None:
    left, right = pair()
    left.close()
    with pytest.raises(LinkClosedError):
        right.receive()
    with pytest.raises(LinkClosedError):
        right.send({})
