"""A process with two threads to fork."""

import os
import socket
import subprocess
import sys

from hostagent import confine
from hostagent.assembly import TEMPLATE_POWERS

# Two threads that take turns at what comes over a socket, an event between them.
SUBJECT = """
import os, select, socket, sys, threading
channel = socket.socket(fileno=int(sys.argv[1]))
event, counted = os.eventfd(0), 0
watched = select.epoll()
watched.register(channel, select.EPOLLIN)
poll = select.poll()
poll.register(watched, select.POLLIN)
lock = threading.Condition()
def count():
    global counted
    while True:
        os.eventfd_read(event)
        with lock:
            counted += 1
            lock.notify()
threading.Thread(target=count, daemon=True).start()
channel.send(b"at rest")
while True:
    poll.poll()
    data = channel.recv(100)
    if not data:
        os._exit(7)
    with lock:
        before = counted
        os.eventfd_write(event, 1)
        lock.wait_for(lambda: counted > before)
    channel.send(f"{data.decode()} {counted} {os.getuid()} {threading.active_count()}".encode())
"""
UID = 1_900_000_999
# What makes a process a template, as its launcher does; it may not be able to import anything then.
AS_TEMPLATE = f"""
import os, select, socket, sys, threading
sys.path.append({os.path.dirname(confine.__file__)!r})
import confine
confine.own_users({UID - 9}, 100)
confine.drop_powers({UID - 9}, {TEMPLATE_POWERS})
{SUBJECT}"""


class Subject:
    """A process to fork."""

    def __init__(self, program: str = SUBJECT) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.number = theirs.fileno()
        self.socket.settimeout(60)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, str(self.number)],
                pass_fds=[self.number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        assert self.socket.recv(100) == b"at rest"

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.socket.close()


def ask(channel: socket.socket, text: str) -> str:
    """Let a subject count, and return what it says."""
    channel.send(text.encode())
    return channel.recv(100).decode()
