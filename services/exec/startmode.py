"""How containers come to life: from clones kept ready, as clones, or by a boot each."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from vic.exec.v1 import exec_pb2

from portlayer.errors import InvalidArgument, NotImplementedYet, Reason
from services.exec.drivers import CanKeepReady, Hypervisor
from services.exec.facts import Facts

# Name of the fact that holds it.
START_MODE = "start_mode"
# A container's label by which it alone is booted. That it be cloned where the VCH's mode is cold
# can't be asked for: who set that wants no memory shared.
LABEL, COLD = "vic.start", "cold"
# In a request: as many ready clones as suit the host's memory.
AUTOMATIC = -1
MOST_READY_CLONES = 64


@dataclass(frozen=True)
class StartMode:
    """What the VCH was told."""

    # None is as many as suit the host's memory.
    ready_clones: int | None = None
    # Every VM boots by itself: it shares no memory with another.
    cold: bool = False

    def changed(self, request: exec_pb2.ConfigureRequest) -> "StartMode":
        """Return it with what a request asks for. Raises InvalidArgument."""
        mode = self
        if request.HasField("cold"):
            mode = replace(mode, cold=request.cold)
        if request.HasField("ready_clones"):
            count = request.ready_clones
            if not AUTOMATIC <= count <= MOST_READY_CLONES:
                raise InvalidArgument(
                    f"{count} ready clones: there can be {MOST_READY_CLONES} at most",
                    Reason.INVALID_REQUEST,
                )
            mode = replace(mode, ready_clones=None if count == AUTOMATIC else count)
        return mode


class StartModes:
    """Keeps the mode of the VCH, and has the hypervisor follow it."""

    def __init__(self, facts: Facts, hypervisor: Hypervisor, default: StartMode) -> None:
        """``default`` is the mode until the VCH is told otherwise."""
        self._facts = facts
        self._hypervisor = hypervisor
        self._mode = default

    @property
    def mode(self) -> StartMode:
        """The mode as it is now."""
        return self._mode

    async def open(self) -> None:
        """Follow the mode that the VCH was told before."""
        await self._read()
        self._follow()

    async def cold(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a container boots rather than being cloned.

        The mode is looked up each time: another replica may have been told a new one.
        """
        if await self._read():
            self._follow()
        return self._mode.cold or labels.get(LABEL) == COLD

    async def _read(self) -> bool:
        """Take in the mode on record; return whether it is another than was known."""
        value = await self._facts.fact(START_MODE)
        known = self._mode
        if value is not None:
            self._mode = StartMode(**json.loads(value))
        return self._mode != known

    def check(self, mode: StartMode) -> None:
        """Return when the host can do what a mode asks for. Raises VicError."""
        if not mode.ready_clones:
            return
        if not isinstance(self._hypervisor, CanKeepReady):
            raise NotImplementedYet("this hypervisor keeps no ready clones", option="ready clones")
        self._hypervisor.check_ready(mode.ready_clones)

    async def change(self, mode: StartMode) -> None:
        """Remember a mode, and follow it from now on."""
        if mode == self._mode:
            return
        await self._facts.set_fact(START_MODE, json.dumps(asdict(mode)))
        self._mode = mode
        self._follow()

    def _follow(self) -> None:
        if isinstance(self._hypervisor, CanKeepReady):
            # They share memory as well.
            self._hypervisor.keep_ready(0 if self._mode.cold else self._mode.ready_clones)


def validate_label(labels: Mapping[str, str]) -> None:
    """Return when a container's label says what it can. Raises InvalidArgument (INVALID_SPEC)."""
    if labels.get(LABEL, COLD) != COLD:
        raise InvalidArgument(
            f"invalid label {LABEL}={labels[LABEL][:100]}: the only start to ask for is {COLD}",
            Reason.INVALID_SPEC,
        )
