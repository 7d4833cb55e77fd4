"""Interfaces and name service of the container, from its beginning and as its networks change."""

from __future__ import annotations

from collections.abc import Callable

from tether.guestconfig import Container, Dns, Nic, Surroundings
from tether.link import Message
from tether.supervisor.disk import host_lines, rewrite_hosts, rewrite_resolv
from tether.supervisor.loop import Deadline, Loop
from tether.supervisor.netlink import LinkNews
from tether.supervisor.network import Networks

# A plugged interface appears in a fraction of a second; under emulation, on a host that is busy,
# in some seconds.
_PLUG_SECONDS = 60.0


class SurroundingsKeeper:
    """Makes the container's surroundings what the host says, and waits for what is on its way."""

    def __init__(self, networks: Networks, loop: Loop, say: Callable[[Message], None]) -> None:
        """``say`` reports to the host."""
        self._networks = networks
        self._loop = loop
        self._say = say
        self._nics: tuple[Nic, ...] = ()
        self._dns = Dns()
        self._hosts: list[str] = []
        self._serial = 0
        self._news: LinkNews | None = None
        self._deadline: Deadline | None = None
        self._done: Callable[[str], None] = _nobody

    def begin(self, container: Container, done: Callable[[str], None]) -> None:
        """Wait for what ``Networks.configure`` didn't find; ``done`` gets an error, or nothing."""
        self._dns, self._hosts = container.dns, host_lines(container.hosts)
        self._await(container.nics, done)

    def change(self, wanted: Surroundings) -> None:
        """Carry out a change. What was waited for before is waited for no more."""
        if wanted.serial <= self._serial:
            # It was overtaken, or came twice.
            self._say({"event": "connected", "serial": wanted.serial})
            return
        self._serial = wanted.serial
        try:
            self._networks.change(wanted.nics)
            rewrite_hosts(self._hosts, host_lines(wanted.hosts))
            rewrite_resolv(self._dns, wanted.dns)
        except OSError as error:
            self._answer(wanted.serial, str(error))
            return
        self._dns, self._hosts = wanted.dns, host_lines(wanted.hosts)
        # Who waited for what there was to be before goes on with what there is to be now.
        overtaken = self._done

        def done(error: str) -> None:
            overtaken(error)
            self._answer(wanted.serial, error)

        self._await(wanted.nics, done)

    def _answer(self, serial: int, error: str) -> None:
        if error:
            self._say({"event": "refused", "serial": serial, "error": error})
        else:
            self._say({"event": "connected", "serial": serial})

    def _await(self, nics: tuple[Nic, ...], done: Callable[[str], None]) -> None:
        self._stop()
        self._nics, self._done = nics, done
        if self._take_new():
            return  # as a rule all are there, and nothing has to be listened for
        # First listen, then look.
        self._news = LinkNews()
        self._loop.watch(self._news.fileno(), self._look)
        self._deadline = self._loop.after(_PLUG_SECONDS, self._give_up)
        self._look()

    def _look(self) -> None:
        assert self._news is not None
        self._news.take()
        self._take_new()

    def _take_new(self) -> bool:
        """Bring up what has appeared; tell whether that was the end of it, good or bad."""
        try:
            complete, error = self._networks.take_new(self._nics), ""
        except OSError as failure:
            complete, error = True, str(failure)
        if complete:
            self._finish(error)
        return complete

    def _give_up(self) -> None:
        self._finish("a network interface did not appear")

    def _finish(self, error: str) -> None:
        done = self._done
        self._stop()
        done(error)

    def _stop(self) -> None:
        if self._news is not None:
            self._loop.forget(self._news.fileno())
            self._news.close()
            self._news = None
        if self._deadline is not None:
            self._loop.cancel(self._deadline)
            self._deadline = None
        self._done = _nobody


def _nobody(_error: str) -> None:
    """Nothing is waited for."""
