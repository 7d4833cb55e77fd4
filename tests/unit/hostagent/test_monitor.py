"""The agent's own client of QEMU's monitor, against one that a test plays."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostagent.monitor import MOST_SAID, Command, MonitorError, run

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'


@contextmanager
def monitor(path: Path, play: Callable[[socket.socket], None]) -> Iterator[None]:
    """Serve one connection in a thread."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    play(connection)
                except OSError:
                    return  # the client has left

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(60)
        assert not thread.is_alive()


def answering(*answers: bytes) -> Callable[[socket.socket], None]:
    def play(connection: socket.socket) -> None:
        connection.sendall(GREETING + b"".join(answers))
        while connection.recv(65536):
            continue

    return play


def test_commands_go_with_their_descriptors_and_events_are_passed_over(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    seen: list[tuple[object, int]] = []

    def play(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        text = b""
        while text.count(b"execute") < 3 or text.count(b"{") != text.count(b"}"):
            data, descriptors, _, _ = socket.recv_fds(connection, 65536, 4)
            text += data
            for descriptor in descriptors:
                os.write(descriptor, b"it is the one")
                os.close(descriptor)
        decoder = json.JSONDecoder()
        while text:
            message, end = decoder.raw_decode(text.decode())
            seen.append((message["execute"], len(message["arguments"])))
            text = text[end:]
            connection.sendall(b'{"event": "STOP"}\r\n{"return": {}}\r\n')

    with monitor(tmp_path / "qmp", play):
        commands = [Command("add-fd", {"fdset-id": 10}, writing), Command("stop")]
        run(tmp_path / "qmp", commands, 60)
    os.close(writing)
    assert os.read(reading, 100) == b"it is the one"
    os.close(reading)
    assert seen == [("qmp_capabilities", 0), ("add-fd", 1), ("stop", 0)]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error": {"class": "GenericError", "desc": "no"}}\n',
        b"nonsense\n",
        b"[1]\n",
        b"[" * 100_000 + b"\n",
        b'{"event": "x"}\n' * (MOST_SAID // 10),
    ],
)
def test_what_is_no_answer_is_an_error(tmp_path: Path, answer: bytes) -> None:
    with (
        monitor(tmp_path / "qmp", answering(b'{"return": {}}\n', answer)),
        pytest.raises((MonitorError, ConnectionError)),
    ):
        run(tmp_path / "qmp", [Command("stop")], 60)


def test_a_qemu_that_goes_away_or_says_nothing_is_an_error(tmp_path: Path) -> None:
    with (
        monitor(tmp_path / "gone", lambda connection: connection.sendall(GREETING)),
        pytest.raises((MonitorError, ConnectionError)),
    ):
        run(tmp_path / "gone", [Command("stop")], 60)
    with monitor(tmp_path / "mute", answering()), pytest.raises(TimeoutError):
        run(tmp_path / "mute", [Command("stop")], 0.2)
