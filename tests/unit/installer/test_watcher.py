"""What `vic up` is told of the processes that the watcher starts."""

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from installer.instance import Instance, default_options
from installer.supervisor import Report, State
from installer.watcher import HOPELESS_CRASHES, Watcher
from portlayer.identity import Role


@dataclass
class FakeSupervisor:
    """A process in a state of our choosing."""

    role: Role
    state: State = State.HEALTHY
    crashes_in_a_row: int = 0

    def serves(self) -> bool:
        return self.state is State.HEALTHY

    def report(self) -> Report:
        return Report(self.role.value, self.state, None, None, 0, "exit code 1")


def watcher(tmp_path: Path, *supervisors: FakeSupervisor) -> Watcher:
    """Return a watcher of these processes."""
    instance = Instance(tmp_path, "0a1b2c3d", 0, default_options(tmp_path))
    instance.log_dir.mkdir()
    with socket.socket() as listener:
        made = Watcher(instance, listener, -1)
    made._supervisors = cast(Any, {one.role: one for one in supervisors})
    return made


async def test_what_crashes_again_and_again_after_it_has_served_is_no_success(
    tmp_path: Path,
) -> None:
    told: list[dict[str, Any]] = []
    network = FakeSupervisor(Role.NETWORK, State.STARTING)
    talk = FakeSupervisor(Role.INTERACTION)
    made = watcher(tmp_path, network, talk)
    announcing = asyncio.create_task(made._announce(told.append))

    async def change() -> None:
        made._changed.set()
        made._changed = asyncio.Event()
        await asyncio.wait({announcing}, timeout=0.01)

    await change()
    talk.state, network.state = State.WAITING, State.HEALTHY
    await change()
    # All have served, and one serves no more.
    assert told == [{"healthy": Role.INTERACTION}, {"healthy": Role.NETWORK}]
    talk.crashes_in_a_row = HOPELESS_CRASHES
    await change()
    await announcing
    assert told[2:] == [{"failed": Role.INTERACTION, "why": "exit code 1"}]


async def test_it_is_ready_when_all_serve_at_once(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    # One that had a hard beginning, and serves now.
    late = FakeSupervisor(Role.EXEC, crashes_in_a_row=HOPELESS_CRASHES)
    made = watcher(tmp_path, FakeSupervisor(Role.NETWORK), late)
    await made._announce(told.append)
    assert told == [{"healthy": Role.NETWORK}, {"healthy": Role.EXEC}, {"ready": True}]
