"""The watcher: keeps the five services and the host agent running.

Run as ``python -m installer.watcher`` by `vic up`, as root, in a session of its own. It holds the
Docker endpoint's listening socket, so that a restart of the gateway refuses no connection, and a
claim to the instance's slot. When it is killed, the services end with it (their work is
restartable) and the host agent and the VMs go on; `vic up` then makes a new one that takes the
host agent over.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from installer.control import serve_control
from installer.endpoint import remove_bound
from installer.endpoint_tls import CLIENT, PROBE, SERVER, client_directory, renew_tls
from installer.errors import InstallerError
from installer.instance import Instance, load_instance
from installer.launch import Launched, launch_hostagent, launch_service
from installer.layout import lay_out_identities
from installer.logfile import RotatingLog, cut_back
from installer.probe import docker_probe, grpc_probe
from installer.processes import ProcessName, name_of
from installer.records import WATCHER, load_processes, save_processes
from installer.roles import HOSTAGENT, PROCESSES, SERVICES, ProcessKind
from installer.slots import lock_again
from installer.supervisor import State, Supervisor
from portlayer.identity import Role
from portlayer.logs import configure_logs

log = logging.getLogger("vic.watcher")

RESTART_SECONDS = 150.0
# A process that ends so often at once won't mend itself while `vic up` waits.
HOPELESS_CRASHES = 3
HOUSEKEEPING_SECONDS = 60.0
RENEWAL_CHECK_ROUNDS = 24 * 60


class Watcher:
    """The processes of one instance, and what `vic` may ask about them."""

    def __init__(
        self, instance: Instance, listener: socket.socket | None, slot_descriptor: int
    ) -> None:
        """`listener` is the Docker endpoint; none where the facets run in containers."""
        self._instance = instance
        self._listener = listener
        self._slot_descriptor = slot_descriptor
        self._ending = asyncio.Event()
        self._changed = asyncio.Event()
        self._adoptable = load_processes(instance.processes_file).get(Role.HOSTAGENT)
        kinds = (HOSTAGENT,) if instance.in_containers else PROCESSES
        self._supervisors = {kind.role: self._supervisor(kind) for kind in kinds}
        self._runs: dict[Role, asyncio.Task[None]] = {}
        # Whose process has not been restarted since its certificate was renewed.
        self._outdated: set[Role] = set()

    async def run(self, announce: Callable[[dict[str, Any]], None]) -> None:
        """Run until told to end: by a signal without the host agent, by `shutdown` with it.

        `announce` is told of each process that serves for the first time, and how that ends.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        async with asyncio.TaskGroup() as tasks:
            for role, supervisor in self._supervisors.items():
                self._runs[role] = tasks.create_task(supervisor.run())
            chores = [
                tasks.create_task(self._announce(announce)),
                tasks.create_task(self._keep_house()),
            ]
            async with serve_control(self._instance.control_socket, self._handle):
                await self._ending.wait()
            await self._stop_services()
            self._runs[Role.HOSTAGENT].cancel()
            for chore in chores:
                chore.cancel()

    def _supervisor(self, kind: ProcessKind) -> Supervisor:
        if kind.role is Role.GATEWAY:
            open_probe = docker_probe(self._instance)
        else:
            open_probe = grpc_probe(self._instance, kind.role)
        return Supervisor(
            kind,
            lambda: self._launch(kind),
            open_probe,
            RotatingLog(self._instance.log_file(kind.role)),
            self._on_change,
        )

    def _launch(self, kind: ProcessKind) -> Launched:
        if kind is not HOSTAGENT:
            listener = self._listener if kind.role is Role.GATEWAY else None
            return launch_service(self._instance, kind, listener)
        adopted, self._adoptable = self._adoptable, None
        if adopted is not None and adopted.is_alive():
            return Launched(adopted, child=None, output=None)
        lock_again(self._slot_descriptor)
        return launch_hostagent(self._instance, kind, self._slot_descriptor)

    def _on_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        running: dict[str, ProcessName] = {
            role: supervisor.process
            for role, supervisor in self._supervisors.items()
            if supervisor.process is not None
        }
        own = name_of(os.getpid())
        assert own is not None
        try:
            save_processes(self._instance.processes_file, {**running, WATCHER: own})
        except OSError as error:
            log.error("cannot record the processes: %s", error)

    async def _announce(self, announce: Callable[[dict[str, Any]], None]) -> None:
        """Tell who starts the suite how that goes, once."""
        announced: set[Role] = set()
        while True:
            changed = self._changed
            for role, supervisor in self._supervisors.items():
                healthy = supervisor.state is State.HEALTHY
                if healthy and role not in announced:
                    announced.add(role)
                    announce({"healthy": role})
                elif not healthy and supervisor.crashes_in_a_row >= HOPELESS_CRASHES:
                    # Be it that it has served between: it is no use to anybody.
                    announce({"failed": role, "why": supervisor.report().last_exit})
                    return
            if all(supervisor.serves() for supervisor in self._supervisors.values()):
                break
            await changed.wait()
        announce({"ready": True})

    async def _keep_house(self) -> None:
        """Bound the logs that are written past us, and renew certificates in time."""
        for number in itertools.count(1):
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            try:
                for name in (Role.HOSTAGENT, WATCHER):
                    cut_back(self._instance.log_file(name))
                if number % RENEWAL_CHECK_ROUNDS == 0:
                    self._renew()
            except (OSError, InstallerError) as error:
                log.error("housekeeping failed: %s", error)
            await self._restart_outdated()

    def _renew(self) -> None:
        """Renew certificates in time, and note whose process is to be restarted for that."""
        # `vic up` may have been told of brought ones since we began.
        instance = load_instance(self._instance.data_dir) or self._instance
        renewed: set[Role] = set()
        try:
            lay_out_identities(instance, renewed)
        finally:
            try:
                if instance.options.tls_verify:
                    renewed |= self._renew_endpoint(instance)
            finally:
                self._outdated |= renewed & self._supervisors.keys()
                if instance.in_containers and renewed:
                    log.warning("certificates were renewed: restart the facets' containers")

    @staticmethod
    def _renew_endpoint(instance: Instance) -> set[Role]:
        renewed = renew_tls(instance)
        if CLIENT in renewed:
            log.warning(
                "the first client's certificate was renewed: take it from %s",
                client_directory(instance),
            )
        return {Role.GATEWAY} if renewed & {SERVER, PROBE} else set()

    async def _restart_outdated(self) -> None:
        """Restart who shows a former certificate; whom that fails with has another turn later."""
        for role in sorted(self._outdated):
            try:
                await self._restart(role)
            except InstallerError as error:
                log.error("the certificate of %s was renewed and isn't in use: %s", role, error)

    async def _handle(self, request: dict[str, Any]) -> Any:
        match request:
            case {"verb": "status"}:
                return self._status()
            case {"verb": "settle"}:
                while not all(supervisor.serves() for supervisor in self._supervisors.values()):
                    await self._changed.wait()
                return self._status()
            case {"verb": "restart", "role": None}:
                for role in list(self._supervisors):
                    await self._restart(role)
                return self._status()
            case {"verb": "restart", "role": str(name)} if name in self._supervisors:
                await self._restart(Role(name))
                return self._status()
            case {"verb": "quiesce"}:
                await self._stop(Role.GATEWAY)
                self._close_endpoint()
                return None
            case {"verb": "stop_services"}:
                self._close_endpoint()
                await self._stop_services()
                return None
            case {"verb": "shutdown"}:
                self._close_endpoint()
                await self._stop_services()
                await self._stop(Role.HOSTAGENT)
                self._ending.set()
                return None
        raise InstallerError(f"unknown request: {request}")

    def _status(self) -> dict[str, Any]:
        return {
            "watcher": os.getpid(),
            "endpoint": self._instance.options.host,
            "processes": [asdict(one.report()) for one in self._supervisors.values()],
        }

    async def _stop_services(self) -> None:
        """Stop those who call others first, the others at once."""
        for role in (Role.GATEWAY, Role.EXEC):
            await self._stop(role)
        await asyncio.gather(*(self._stop(kind.role) for kind in SERVICES))

    async def _stop(self, role: Role) -> None:
        if role not in self._supervisors:
            return
        self._supervisors[role].stop()
        await asyncio.wait({self._runs[role]})

    async def _restart(self, role: Role) -> None:
        supervisor = self._supervisors[role]
        before = supervisor.process
        supervisor.restart()
        try:
            async with asyncio.timeout(RESTART_SECONDS):
                while supervisor.process in (before, None) or supervisor.state is not State.HEALTHY:
                    await self._changed.wait()
        except TimeoutError:
            last = supervisor.report().last_exit
            raise InstallerError(
                f"{role} was not healthy {RESTART_SECONDS:.0f} s after its restart"
                f"{f' ({last})' if last else ''}; see {self._instance.log_file(role)}"
            ) from None
        self._outdated.discard(role)

    def _close_endpoint(self) -> None:
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        remove_bound(self._instance.endpoint_note)


def announcer(descriptor: int) -> Callable[[dict[str, Any]], None]:
    """Return a function that writes JSON lines to whoever started the watcher."""

    def announce(event: dict[str, Any]) -> None:
        # Whoever ran `vic up` may have gone; the suite starts all the same.
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, json.dumps(event).encode() + b"\n")

    return announce


def main() -> None:
    """Run the watcher of the data directory, with what `vic up` opened for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--listen-fd", type=int, help="the Docker endpoint")
    parser.add_argument("--slot-fd", type=int, required=True, help="the claim to the slot")
    parser.add_argument("--ready-fd", type=int, required=True, help="where progress is told")
    arguments = parser.parse_args()
    instance = load_instance(arguments.data_dir)
    if instance is None:
        sys.exit(f"{arguments.data_dir} holds no instance")
    configure_logs(Role.INSTALLER, instance.options.log_level)
    for descriptor in (arguments.slot_fd, arguments.ready_fd):
        os.set_inheritable(descriptor, False)
    listener = None
    if arguments.listen_fd is not None:
        os.set_inheritable(arguments.listen_fd, False)
        listener = socket.socket(fileno=arguments.listen_fd)
    watcher = Watcher(instance, listener, arguments.slot_fd)
    asyncio.run(watcher.run(announcer(arguments.ready_fd)))


if __name__ == "__main__":
    main()
