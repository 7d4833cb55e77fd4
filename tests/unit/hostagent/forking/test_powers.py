"""The filter of forks, tried by processes that have it."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hostagent.forking import powers

ROOT = Path(__file__).parents[4]

# Takes the filter on and makes one system call: its number and arguments are those of the program.
TRY = """
import ctypes, sys
from hostagent.forking import powers
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
program = powers.sandbox()
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("rules", ctypes.c_char_p)]
rules = Filter(len(program) // 8, program)
assert libc.syscall(317, 1, 0, ctypes.byref(rules)) == 0
print("filtered", flush=True)
result = libc.syscall(*[ctypes.c_long(int(word)) for word in sys.argv[1:]])
print(result, ctypes.get_errno() if result < 0 else 0, flush=True)
libc._exit(0)
"""


def attempt(number: int, *arguments: int) -> tuple[int, list[str]]:
    """Return how the process ended, and what it printed."""
    words = [str(word) for word in (number, *arguments)]
    done = subprocess.run(
        [sys.executable, "-c", TRY, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("filtered"), done.stderr
    return done.returncode, done.stdout.splitlines()[1:]


@pytest.mark.parametrize("name", sorted(powers.DENIED))
def test_what_is_denied_ends_the_process(name: str) -> None:
    code, printed = attempt(powers.DENIED[name], 0, 0, 0)
    assert (code, printed) == (-signal.SIGSYS, [])


def test_a_process_can_be_made_by_no_flags_of_clone() -> None:
    assert attempt(56, signal.SIGCHLD)[0] == -signal.SIGSYS
    # What vfork(3) of the C library asks for.
    assert attempt(56, 0x100 | 0x4000 | signal.SIGCHLD)[0] == -signal.SIGSYS


def test_threads_go_on_being_made_by_the_other_clone() -> None:
    assert attempt(435, 0, 0) == (0, [f"-1 {errno.ENOSYS}"])
    # A thread must have memory in common with its process: the kernel says that, not the filter.
    assert attempt(56, 0x10000) == (0, [f"-1 {errno.EINVAL}"])


def test_numbers_of_another_abi_end_the_process() -> None:
    assert attempt(0x40000000 | 39)[0] == -signal.SIGSYS


def test_all_else_is_allowed() -> None:
    code, printed = attempt(39)  # getpid
    assert code == 0
    assert int(printed[0].split()[0]) > 0
