"""A person at a terminal: what `docker run -it`, `attach` and `exec -it` show and take."""

import pytest

from tests.e2e.suite import Suite
from tests.e2e.terminal import terminal

pytestmark = pytest.mark.usefixtures("containers")

DETACH = "\x10\x11"
CTRL_C = "\x03"
CTRL_Z = "\x1a"
ESCAPE = "\x1b"
# A command that is told of keys once it says so.
IN_FRONT = "sh -c 'echo in fro\"\"nt; exec sleep 77'\n"


def test_a_shell_with_its_programs_from_run_to_exit(suite: Suite, image: str) -> None:
    with terminal(suite, "run", "-it", "--name", "shell", image, "sh", rows=33, columns=99) as term:
        term.type("stty size\n")
        term.see("33 99\r\n")

        # Job control.
        term.type(IN_FRONT)
        term.see("in front\r\n")
        term.type(CTRL_Z)
        term.see("Stopped")
        term.type("fg\n")
        # The shell tells which job it is, as it did of its stop; a key before that is the shell's.
        term.see("fg\r\n")
        term.see("exec sleep 77")
        term.type(CTRL_C)
        term.see("/ # ")
        term.type("echo co''de $?\n")
        term.see("code 130\r\n")

        # The window changes, now that the docker CLI surely listens for that.
        term.resize(20, 70)
        term.type("until [ \"$(stty size)\" = '20 70' ]; do :; done; echo resi''zed\n")
        term.see("resized\r\n")

        # Programs that take the whole screen.
        term.type("vi /tmp/text\n")
        term.see("/tmp/text 1/1")
        term.type("iwritten in vi")
        term.see("written in vi")
        term.type(ESCAPE)
        term.see("- /tmp/text [Modified]")
        term.type(":wq\n")
        term.see("/ # ")
        term.type("wc -c < /tmp/text\n")
        term.see("14\r\n")
        term.type("top -d 1\n")
        term.see("Load average")
        term.see("Load average")
        term.type("q")
        term.see("/ # ")

        # Away and back.
        term.type(DETACH)
        assert term.end() == 0
    assert suite.inspect("shell")["State"]["Running"]
    with (
        terminal(suite, "attach", "shell") as term,
        terminal(suite, "attach", "--detach-keys", "ctrl-x,x", "shell") as other,
    ):
        # The resize at the client's start has a shell write its prompt anew only when asked.
        term.type("\n")
        term.see("/ # ")
        other.type("echo see''n by both\n")
        term.see("seen by both\r\n")
        other.see("seen by both\r\n")
        other.type("\x18x")
        # To this command of the docker CLI's, unlike `run`, it is an error.
        other.see("read escape sequence")
        assert other.end() == 1
        term.type("exit 9\n")
        assert term.end() == 9


def test_a_terminal_of_an_exec_leaves_the_containers_alone(suite: Suite, image: str) -> None:
    suite.ok("run", "-dt", "--name", "quiet", image, "sleep", "100000")
    with terminal(suite, "exec", "-it", "quiet", "sh", rows=30, columns=90) as term:
        term.type("stty size; tty\n")
        term.see("30 90\r\n")
        term.see("/dev/pts/")
        term.resize(31, 91)
        term.type("until [ \"$(stty size)\" = '31 91' ]; do :; done; echo resi''zed\n")
        term.see("resized\r\n")
        term.type(IN_FRONT)
        term.see("in front\r\n")
        term.type(CTRL_C)
        term.see("/ # ")
        for size, status in (("h=0&w=0", 200), ("h=a&w=9", 400), ("h=9", 400)):
            assert suite.api("POST", f"/containers/quiet/resize?{size}")[0] == status, size
        term.type("exit 7\n")
        assert term.end() == 7
    assert suite.ok("logs", "quiet") == ""
