"""The life of a container VM, from power-on to power-off, as its PID 1 sees it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from typing import Any, NoReturn

from tether import heap
from tether.guestconfig import (
    CONFIG_PORT,
    EXIT_PORT,
    LONGEST_FAREWELL,
    PROTOCOL_VERSION,
    Assignment,
    ConfigError,
    Container,
    FrameReader,
    GuestConfig,
    Identity,
    WarmUp,
)
from tether.guestparse import parse_body
from tether.link import LinkClosedError, Message
from tether.supervisor import boot, identity, syscalls
from tether.supervisor.agentprocess import start_agent
from tether.supervisor.devices import DeviceFilter
from tether.supervisor.disk import ContainerDisk, overlay_files
from tether.supervisor.failures import sentence
from tether.supervisor.limits import LimitError, WorkloadLimits
from tether.supervisor.loop import Loop
from tether.supervisor.network import Networks
from tether.supervisor.ports import PortFinder
from tether.supervisor.processes import Process, ProcessTable, Sandbox, State
from tether.supervisor.rehearsal import Rehearsals
from tether.supervisor.request import SandboxRequest, process_of
from tether.supervisor.resting import bring_to_rest
from tether.supervisor.sandbox import EnterRoot
from tether.supervisor.scheduling import lengthen_turns
from tether.supervisor.surroundings import SurroundingsKeeper
from tether.supervisor.volumes import Volumes

_PORT_TIMEOUT = 10.0
# How long the disk waits for the agent to have told the end: both want the one vCPU, and somebody
# waits for the one alone. With the order to power off it is brought to rest at once.
_REST_SECONDS = 0.5
# Of the record's error, in characters: two records, however escaped, are one write (32 KiB).
_LONGEST_ERROR = 1000


class Supervisor:
    """Boots, waits for an identity, runs what the agent asks for, and powers off at the end."""

    def __init__(self) -> None:
        """Do all that needs no identity: after this a parent VM can be frozen."""
        boot.mount_kernel_file_systems()
        lengthen_turns()
        boot.prepare_cgroups()
        finder = PortFinder()
        boot.ModuleLoader().load_all()
        boot.open_devices()
        self._loop = Loop()
        self._networks = Networks()
        self._agent, self._agent_pid = start_agent()
        self._disk = ContainerDisk()
        self._volumes = Volumes()
        self._device_filter = DeviceFilter(boot.WORKLOAD_CGROUP)
        self._limits = WorkloadLimits(boot.WORKLOAD_CGROUP)
        self._config_port = finder.open(CONFIG_PORT, _PORT_TIMEOUT)
        self._exit_port = finder.open(EXIT_PORT, _PORT_TIMEOUT)
        os.set_blocking(self._exit_port, True)
        finder.close()
        self._sandbox = Sandbox(self._networks.container_descriptor)
        self._sandbox.wait_until_prepared()
        self._surroundings = SurroundingsKeeper(self._networks, self._loop, self._say)
        self._processes = ProcessTable(self._loop, self._sandbox, self._on_change)
        self._processes.on_stranger = self._on_stranger  # type: ignore[method-assign]
        self._frames = FrameReader()
        self._identity: Identity | None = None
        self._assigned = False
        self._configured = False
        self._waiting_launches: list[Message] = []
        self._ending = False
        self._ended: Process | None = None
        self._at_rest = False
        self._error = ""
        self._rehearsals: Rehearsals | None = None

    def run(self) -> NoReturn:
        """Serve until the VM is powered off."""
        self._agent.receive()  # the agent says when everything it needs is imported
        heap.settle()
        self._loop.watch(self._agent.fileno(), self._read_agent)
        self._loop.watch(self._config_port, self._read_config)
        self._say({"event": "ready", "protocol": PROTOCOL_VERSION})
        self._loop.run()
        raise AssertionError("the loop never ends")

    def _say(self, message: Message) -> None:
        os.write(self._config_port, json.dumps(message).encode() + b"\n")

    # What the host says

    def _read_config(self) -> None:
        try:
            while data := os.read(self._config_port, 65536):
                for body in self._frames.feed(data):
                    self._apply(parse_body(body))
        except BlockingIOError:
            return
        except (ConfigError, OSError) as error:
            self._fail(str(error))

    def _fail(self, error: str) -> None:
        boot.log(f"configuration: {error}")
        self._say({"event": "failed", "error": error})
        self._power_off(error=error)

    def _apply(self, config: GuestConfig) -> None:
        """Carry out one frame; the order makes sure that the agent can dial as soon as may be."""
        identity.reseed(config.entropy)
        identity.set_clock(config.time_ns)
        if config.warm_up is not None:
            self._warm_up(config.warm_up)
        if config.identity is not None:
            self._take_identity(config.identity)
        if config.assignment is not None:
            self._take_assignment(config.assignment)
        if config.container is not None:
            self._take_container(config.container)
        if config.networks is not None:
            self._surroundings.change(config.networks)

    def _warm_up(self, certificates: WarmUp) -> None:
        order = {"op": "rehearse", **asdict(certificates)}
        self._rehearsals = Rehearsals(
            self._networks,
            self._loop,
            lambda: self._agent.send(order),
            lambda: self._say({"event": "warm"}),
        )
        self._rehearsals.begin()

    def _take_identity(self, own: Identity) -> None:
        self._identity = own
        link = self._networks.management_link
        if link is None:
            raise ConfigError("management: the machine has no network interface")
        identity.configure_management(self._networks.management, link, own.management)
        self._agent.send(
            {
                "op": "identity",
                "boot_id": own.boot_id,
                "endpoint": own.management.endpoint,
                "server_name": own.management.server_name,
                "ca": own.tls.ca,
                "cert": own.tls.cert,
                "key": own.tls.key,
            }
        )

    def _take_assignment(self, assignment: Assignment) -> None:
        """Be a container's from now on; the agent, which is connected already, needn't know."""
        if self._identity is None or self._assigned or self._configured:
            raise ConfigError("assignment: for a machine that waits under its own name, once")
        self._assigned = True
        self._identity = replace(
            self._identity,
            container_id=assignment.container_id,
            boot_id=assignment.boot_id,
            machine_id=assignment.machine_id,
        )

    def _take_container(self, container: Container) -> None:
        if self._identity is None:
            raise ConfigError("container: the identity has to come before it")
        disk = self._disk.mount(container.root)
        trees, fault = self._take_volumes(container)
        files = overlay_files(container, self._identity.machine_id)
        order = EnterRoot(
            hostname=container.hostname,
            domainname=container.domainname,
            readonly=container.root.readonly,
            shm_bytes=container.root.shm_bytes,
            files=list(files),
            mounts=[asdict(mount) for mount in container.mounts],
            fault=fault,
        )
        descriptors = [disk, *files.values(), *trees]
        self._sandbox.link.send(order.to_message(), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self._networks.configure(container.nics)
        self._surroundings.begin(container, self._become_configured)

    def _become_configured(self, error: str) -> None:
        """The interfaces are all there, or they don't come."""
        if error:
            self._fail(error)
            return
        assert self._identity is not None
        self._configured = True
        self._say({"event": "configured", "container_id": self._identity.container_id})
        waiting, self._waiting_launches = self._waiting_launches, []
        for message in waiting:
            self._launch(message)

    def _take_volumes(self, container: Container) -> tuple[list[int], str]:
        """Return detached mounts of the container's volumes, or why there are none.

        That is the failure of its start then, and told as such.
        """
        try:
            self._volumes.attach(container.disks)
            mounts = [mount for mount in container.mounts if mount.disk is not None]
            return [self._volumes.tree(mount) for mount in mounts], ""
        except OSError as error:
            boot.log(f"volumes: {error}")
            return [], sentence(error)

    # What the agent says

    def _read_agent(self) -> None:
        while True:
            try:
                message, _ = self._agent.receive(wait=False)
            except BlockingIOError:
                return
            except LinkClosedError:
                self._loop.forget(self._agent.fileno())
                return  # its exit status follows
            self._obey(message)

    def _obey(self, message: Message) -> None:
        match message["op"]:
            case "launch" if self._configured:
                self._launch(message)
            case "launch":
                self._waiting_launches.append(message)
            case "signal":
                error = self._processes.signal(message["process_id"], message["signal"])
                self._agent.send({"op": "result", "id": message["id"], "error": error})
            case "update_limits":
                self._update_limits(message)
            case "rehearsed" if self._rehearsals is not None:
                self._rehearsals.agent_is_done()
            case "forget":
                self._processes.forget(message["process_id"])
            case "power_off":
                self._power_off()
            case other:
                boot.log(f"the agent asks for {other!r}, which nobody knows")

    def _launch(self, message: Message) -> None:
        process = self._processes.get(message["process_id"])
        if process is not None:
            self._tell(process)
            return
        request = process_of(message["process"])
        sandbox = SandboxRequest(**message["sandbox"]) if message["init"] else None
        if sandbox is not None:
            try:
                self._limits.apply(message["limits"])
                self._device_filter.admit(sandbox, privileged=request.privileged)
            except (LimitError, ValueError, OSError) as error:
                self._processes.refuse(message["process_id"], str(error))
                return
        self._processes.launch(message["process_id"], request, sandbox)

    def _update_limits(self, message: Message) -> None:
        error = ""
        try:
            self._limits.apply(message["limits"])
        except (LimitError, OSError) as refusal:
            error = str(refusal)
        self._agent.send({"op": "result", "id": message["id"], "error": error})

    def _tell(self, process: Process) -> None:
        answer: dict[str, Any] = {"process_id": process.process_id, "pid": process.pid}
        match process.state:
            case State.LAUNCHING:
                return
            case State.RUNNING:
                names = list(process.streams)
                answer |= {"op": "started", "at": process.started_ns, "streams": names}
                self._agent.send(answer, list(process.streams.values()))
                process.close_streams()
            case State.FAILED:
                assert process.failure is not None
                answer |= {
                    "op": "failed",
                    "failure": process.failure.value,
                    "message": process.message,
                    "exit_code": process.exit_code,
                }
                self._agent.send(answer)
            case State.EXITED:
                answer |= {
                    "op": "exited",
                    "exit_code": process.exit_code,
                    "oom_killed": process.oom_killed,
                    "at": process.finished_ns,
                }
                self._agent.send(answer)

    # What becomes of processes

    def _on_change(self, process: Process) -> None:
        if not self._ending:
            self._tell(process)
        if process.init and process.state in (State.EXITED, State.FAILED):
            self._on_init_end(process)

    def _on_init_end(self, process: Process) -> None:
        """The container has ended: its disk comes to rest once the agent has told so."""
        self._ended = process
        if self._ending:
            self._leave()
        self._loop.after(_REST_SECONDS, self._rest)
        self._loop.after(LONGEST_FAREWELL, self._leave)

    def _on_stranger(self, pid: int, status: int) -> None:
        if pid == self._agent_pid:
            boot.log(f"the agent ended with status {os.waitstatus_to_exitcode(status)}")
            self._power_off(error="the agent in the VM has failed")
        elif pid == self._sandbox.pid:
            # It was never asked to run anything, so this is the end of a VM without a container.
            self._leave()

    # The end

    def _power_off(self, error: str = "") -> None:
        """End what runs, and with it the VM."""
        self._ending = True
        self._error = error
        self._sandbox.kill()
        if self._ended is not None:
            self._leave()

    def _rest(self) -> None:
        """Bring the disk to rest, and then leave word of how the container ended. Idempotent."""
        if not self._at_rest:
            self._at_rest = True
            bring_to_rest(self._volumes, self._disk)
            self._write_exit_record(self._ended)

    def _leave(self) -> NoReturn:
        """Power off; the record once more tells the host that only the kernel can hang now."""
        times = 1 if self._at_rest else 2
        if not self._at_rest:
            bring_to_rest(self._volumes, self._disk)
        self._write_exit_record(self._ended, times)
        halt()

    def _write_exit_record(self, process: Process | None, times: int = 1) -> None:
        record: dict[str, Any] = {"error": self._error}
        if self._identity is not None:
            record |= {
                "container_id": self._identity.container_id,
                "boot_id": self._identity.boot_id,
            }
        if process is not None:
            record |= {
                "exit_code": process.exit_code,
                "oom_killed": process.oom_killed,
                "finished_at_ns": process.finished_ns,
            }
            if process.state is State.FAILED:
                record["error"] = process.message
        record["error"] = record["error"][:_LONGEST_ERROR]
        os.write(self._exit_port, (json.dumps(record).encode() + b"\n") * times)


def halt() -> NoReturn:
    """Power the machine off as it is."""
    syscalls.reboot(syscalls.RB_POWER_OFF)
    raise AssertionError("the machine is off")
