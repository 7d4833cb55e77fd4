"""What machines inherit."""

import fcntl
import os
import stat

import pytest

from hostagent.assembly import pipe_with


@pytest.mark.parametrize("size", [1, 4096, 300_000, 1 << 20])
def test_a_device_state_waits_whole_in_a_pipe_that_ends_behind_it(size: int) -> None:
    state = os.urandom(size)
    with open(pipe_with(state), "rb") as file:
        assert stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        assert file.read() == state


def test_a_state_that_no_pipe_may_hold_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(PermissionError):
        pipe_with(b"state")
    assert os.listdir("/proc/self/fd") == before
