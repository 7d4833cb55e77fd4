"""NICs that are plugged in and unplugged, against a QEMU that a test plays."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hostagent.agent import HostAgent
from hostagent.inventory import Inventory, LiveMachine
from hostagent.launching import Host
from hostagent.machine import MOST_NICS, NICS, Nic, Surroundings
from hostagent.plugging import Plugging
from hostagent.records import Record
from hostagent.tetherport import TetherPort
from portlayer.errors import Internal, InvalidArgument, ResourceExhausted, Unavailable
from tests.unit.hostagent.machines import GUEST, SLOT
from tests.unit.hostagent.test_records import RECORD

SPARE = MOST_NICS - NICS
AROUND = GUEST.surroundings


def nic(number: int) -> Nic:
    return Nic(f"vt{SLOT}-{number:06x}", f"02:42:00:00:01:{number:02x}")


@dataclass
class PlayedQemu:
    """What of QEMU's monitor has to do with NICs."""

    path: Path
    devices: set[str] = field(default_factory=lambda: {"nic0", "nic1"})
    backends: set[str] = field(default_factory=lambda: {"net0", "net1"})
    refusing: str = ""
    # Whether the guest lets devices go.
    obliging: bool = True
    names: set[str] = field(default_factory=set)
    # A device is added when it is let, of which it was asked then.
    asked: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.let.set()

    def carry_out(self, name: str, arguments: dict[str, Any], given: bool) -> Any:
        if name == self.refusing:
            raise ValueError(f"{name} is refused")
        match name:
            case "qom-list":
                return [{"name": device, "type": "child"} for device in sorted(self.devices)]
            case "getfd":
                assert given
                self.names.add(arguments["fdname"])
            case "closefd" | "netdev_add":
                name = arguments["fdname" if name == "closefd" else "fd"]
                if name not in self.names:
                    raise ValueError("no such descriptor")
                self.names.remove(name)
                if "id" not in arguments:
                    return {}
                self.backends.add(arguments["id"])
            case "netdev_del":
                if arguments["id"] not in self.backends:
                    raise KeyError("no such backend")
                self.backends.remove(arguments["id"])
            case "device_add":
                self.asked.set()
                assert self.let.wait(60)
                if arguments["netdev"] not in self.backends:
                    raise ValueError("no such backend")
                self.devices.add(arguments["id"])
            case "device_del" if self.obliging:
                self.devices.discard(arguments["id"])
        return {}

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve connections, one after the other, in a thread."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen()
            thread = threading.Thread(target=self._serve, args=(listener,))
            thread.start()
            yield
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(60)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            # Who was refused once reads no more answers.
            with connection, suppress(BrokenPipeError, ConnectionResetError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.sendall(b'{"QMP": {}}\n')
        text, decoder = "", json.JSONDecoder()
        while True:
            data, descriptors, _, _ = socket.recv_fds(connection, 65536, 4)
            if not data:
                return
            for descriptor in descriptors:
                os.close(descriptor)
            text += data.decode()
            while text:
                try:
                    message, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:]
                try:
                    given = message["execute"] == "getfd"
                    answer = self.carry_out(message["execute"], message["arguments"], given)
                    said = {"return": answer}
                except KeyError as error:
                    said = {"error": {"class": "DeviceNotFound", "desc": str(error)}}
                except ValueError as error:
                    said = {"error": {"class": "GenericError", "desc": str(error)}}
                connection.sendall(json.dumps(said).encode() + b"\n")


class RememberedInventory:
    """Writes records into memory."""

    def change(self, live: LiveMachine, record: Record) -> None:
        live.record = record


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[PlayedQemu]:
    """A QEMU that answers."""
    played = PlayedQemu(tmp_path / "qmp")
    with played.served():
        yield played


@pytest.fixture
def live(qemu: PlayedQemu) -> LiveMachine:
    """The machine that it runs."""
    nics = (nic(0xA0), nic(0xA1))
    return LiveMachine(replace(RECORD, qmp_path=str(qemu.path), nics=nics), cast("Any", None))


@pytest.fixture
def plugging() -> Plugging:
    """What is tested; its taps are none."""
    inventory = cast("Inventory", RememberedInventory())
    return Plugging(inventory, SLOT, lambda _: os.open("/dev/null", os.O_RDWR))


async def test_a_nic_comes_and_goes(
    plugging: Plugging, live: LiveMachine, qemu: PlayedQemu
) -> None:
    await plugging.plug(live, nic(1))
    await plugging.plug(live, nic(1))
    assert qemu.devices == {"nic0", "nic1", "plug0"}
    (plugged,) = live.record.plugged
    assert (plugged.port, plugged.tap_name) == (0, nic(1).tap_name)
    await plugging.unplug(live, nic(1).tap_name)
    await plugging.unplug(live, nic(1).tap_name)
    assert qemu.devices == {"nic0", "nic1"}
    assert qemu.backends == {"net0", "net1"}
    assert live.record.plugged == ()


async def test_what_was_taken_away_before_the_agent_came_to_its_end_is_taken_off_the_record(
    plugging: Plugging, live: LiveMachine, qemu: PlayedQemu
) -> None:
    await plugging.plug(live, nic(1))
    qemu.devices.remove("plug0")
    qemu.backends.remove("tap0")
    await plugging.unplug(live, nic(1).tap_name)
    assert live.record.plugged == ()


async def test_what_was_begun_comes_to_its_end_when_the_caller_gives_up(
    plugging: Plugging, live: LiveMachine, qemu: PlayedQemu
) -> None:
    host, inventory = SimpleNamespace(slot=SLOT), SimpleNamespace(find=lambda _: live)
    agent = HostAgent(cast("Host", host), cast("Inventory", inventory), *cast("Any", (None, None)))
    agent._plugging = plugging
    qemu.let.clear()
    plug = asyncio.create_task(agent.plug("m", "1", nic(1)))
    assert await asyncio.to_thread(qemu.asked.wait, 60)
    plug.cancel()
    qemu.let.set()
    await asyncio.wait([plug])
    await agent.plug("m", "1", nic(1))
    assert qemu.devices == {"nic0", "nic1", "plug0"}
    assert [plugged.tap_name for plugged in live.record.plugged] == [nic(1).tap_name]


async def test_the_first_networks_nic_can_go_and_the_management_nic_cannot(
    plugging: Plugging, live: LiveMachine, qemu: PlayedQemu
) -> None:
    for gone in live.record.nics:
        await plugging.unplug(live, gone.tap_name)
    assert (qemu.devices, qemu.backends) == ({"nic0"}, {"net0"})
    assert live.record.nics == (nic(0xA0),)


async def test_a_guest_that_keeps_a_device_has_no_tap_behind_it(
    plugging: Plugging, live: LiveMachine, qemu: PlayedQemu
) -> None:
    qemu.obliging = False
    await plugging.plug(live, nic(1))
    await plugging.unplug(live, nic(1).tap_name)
    assert "tap0" not in qemu.backends
    # Its place is taken as long as it keeps it.
    await plugging.plug(live, nic(2))
    assert live.record.plugged[0].port == 1


async def test_there_is_room_for_so_many(
    plugging: Plugging, live: LiveMachine, qemu: PlayedQemu
) -> None:
    for number in range(SPARE):
        await plugging.plug(live, nic(number))
    with pytest.raises(ResourceExhausted, match="as many networks"):
        await plugging.plug(live, nic(SPARE))
    await plugging.unplug(live, nic(3).tap_name)
    await plugging.plug(live, nic(SPARE))
    assert live.record.plugged[-1].port == 3


@pytest.mark.parametrize("step", ["getfd", "netdev_add", "device_add"])
async def test_what_qemu_refuses_leaves_nothing(
    plugging: Plugging, live: LiveMachine, qemu: PlayedQemu, step: str
) -> None:
    before, qemu.refusing = live.record, step
    with pytest.raises(Internal, match=step):
        await plugging.plug(live, nic(1))
    assert live.record == before
    assert (qemu.devices, qemu.backends) == ({"nic0", "nic1"}, {"net0", "net1"})
    assert qemu.names == set()
    qemu.refusing = ""
    await plugging.plug(live, nic(1))


async def test_what_a_killed_agent_had_begun_is_begun_anew(
    plugging: Plugging, live: LiveMachine, qemu: PlayedQemu
) -> None:
    await plugging.plug(live, nic(1))
    qemu.devices.remove("plug0")  # it was killed before that
    await plugging.plug(live, nic(1))
    assert "plug0" in qemu.devices
    assert len(live.record.plugged) == 1


@pytest.mark.parametrize(
    "bad", [Nic("eth0", "02:42:00:00:01:01"), Nic(f"vt{SLOT}-000001", "03:42:00:00:01:01")]
)
async def test_a_nic_of_others_is_refused(plugging: Plugging, live: LiveMachine, bad: Nic) -> None:
    with pytest.raises(InvalidArgument):
        await plugging.plug(live, bad)


async def test_a_tether_is_told_and_its_word_awaited(plugging: Plugging, live: LiveMachine) -> None:
    with pytest.raises(Unavailable, match="can't be spoken to"):
        await plugging.surround(live, AROUND, 60)
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    live.port = TetherPort(ours, lambda _: None)
    loop = asyncio.get_running_loop()
    try:
        assert not await plugging.surround(live, AROUND, 0), "who doesn't wait isn't told"
        told = asyncio.create_task(plugging.surround(live, AROUND, 60))
        await loop.sock_recv(theirs, 65536)
        theirs.sendall(b'{"event": "connected", "serial": 2}\n')
        assert await told
        told = asyncio.create_task(plugging.surround(live, Surroundings(), 60))
        await loop.sock_recv(theirs, 65536)
        theirs.sendall(b'{"event": "refused", "serial": 3, "error": "no"}\n')
        with pytest.raises(Unavailable, match="refuses: no"):
            await told
        assert live.record.surrounded == 3
    finally:
        live.port.close()
        theirs.close()
