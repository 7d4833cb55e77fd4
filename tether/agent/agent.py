"""The agent: what the supervisor says goes to interaction, what interaction asks goes back."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine

import grpc.aio
from vic.tether.v1.health_pb2 import Health, HealthProbe
from vic.tether.v1.process_pb2 import ProcessSpec
from vic.tether.v1.tether_pb2 import (
    CommandResult,
    ConnectRequest,
    ConnectResponse,
    LaunchCommand,
    ProcessList,
    ResizeCommand,
    SignalCommand,
    StatsSample,
    TopCommand,
    UpdateLimitsCommand,
)
from vic.tether.v1.tether_pb2_grpc import TetherServiceStub

from tether import heap
from tether.agent.clock import Clock
from tether.agent.commands import launch_failed, launch_message, limits
from tether.agent.control import ControlStream
from tether.agent.health import PREFIX, HealthMonitor
from tether.agent.listing import process_list
from tether.agent.patience import start_threads
from tether.agent.process import Exit, WorkloadProcess
from tether.agent.randomness import begin_anew, fork_pages
from tether.agent.rehearsal import Certificates, rehearse, secure_channel
from tether.agent.sampling import Sampling
from tether.agent.tasks import Tasks
from tether.agent.usage import Usage
from tether.link import Link, LinkClosedError, Message

# After the init process has ended: how long to wait for interaction to be reachable, so that it
# can take the rest of the output. A service's restart takes a few seconds.
_FAREWELL_SECONDS = 60.0
_INIT = "init"
_MOST_COMMANDS = 1024
# Of a command that nobody waits for.
_NOBODY = 0
_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt may take, TLS included: a loaded host under emulation needs seconds.
    ("grpc.min_reconnect_backoff_ms", 20_000),
    # gRPC takes up to a fifth more: with the handshake, back within two seconds of the service.
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Statistics for a dashboard that isn't there.
    ("grpc.enable_channelz", 0),
)


class Agent:
    """Everything between the two."""

    def __init__(self, link: Link) -> None:
        """``link`` is the supervisor's."""
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._identity: asyncio.Future[Message] = self._loop.create_future()
        self._fork_pages: list[int] = []
        self._processes: dict[str, WorkloadProcess] = {}
        self._failed: dict[str, Message] = {}
        self._commands: dict[int, int] = {}
        self._next_command = 1
        self._control: ControlStream | None = None
        self._sampling: Sampling | None = None
        self._clock: Clock | None = None
        self._health_plan: HealthProbe | None = None
        self._health: HealthMonitor | None = None
        self._health_checks: asyncio.Task[None] | None = None
        self._usage = Usage()
        self._workload = Tasks()
        self._threads: grpc.aio.Channel | None = None
        self._channel: grpc.aio.Channel | None = None
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Serve until the supervisor goes, which is until the VM is powered off."""
        self._threads = start_threads()
        await rehearse(None, _CHANNEL_OPTIONS)
        heap.settle()
        self._loop.add_reader(self._link.fileno(), self._read_link)
        self._link.send({"op": "ready"})
        async with asyncio.TaskGroup() as self._tasks:
            identity = await self._identity
            self._channel = secure_channel(
                identity["endpoint"], _certificates(identity), _CHANNEL_OPTIONS
            )
            self._control = ControlStream(
                identity["boot_id"],
                lambda: [process.state_message() for process in self._processes.values()],
                self._obey,
                lambda: self._sample_every(0),
                lambda: self._health.state if self._health is not None else None,
            )
            self._clock = Clock(self._control)
            self._sampling = Sampling(self._control, self._sample)
            self._spawn(self._sampling.run())
            await self._control.serve(TetherServiceStub(self._channel))

    # From the supervisor

    def _read_link(self) -> None:
        while True:
            try:
                message, descriptors = self._link.receive(wait=False)
            except BlockingIOError:
                return
            except LinkClosedError:
                raise SystemExit("the supervisor is gone") from None
            self._take(message, descriptors)

    def _take(self, message: Message, descriptors: list[int]) -> None:
        if message.get("process_id", "").startswith(PREFIX):
            self._take_of_probe(message, descriptors)
            return
        match message["op"]:
            case "identity":
                # A fork of a machine that has warmed up must share no random number with it.
                begin_anew(self._fork_pages)
                self._identity.set_result(message)
            case "rehearse":
                self._spawn(self._rehearse(message))
            case "started":
                self._on_started(message, descriptors)
            case "failed":
                self._failed[message["process_id"]] = message
                self._tell(ConnectRequest(launch_failed=launch_failed(message)))
            case "exited":
                process = self._processes.get(message["process_id"])
                if process is not None:
                    process.exited(Exit(message["exit_code"], message["oom_killed"], message["at"]))
                    if process.process_id == _INIT:
                        self._end_health_checks()
                        self._spawn(self._farewell())
            case "result":
                self._answer(message["id"], message["error"])

    def _on_started(self, message: Message, descriptors: list[int]) -> None:
        process = WorkloadProcess(
            message["process_id"],
            message["pid"],
            message["at"],
            dict(zip(message["streams"], descriptors, strict=True)),
            self._on_ended,
        )
        self._processes[process.process_id] = process
        self._tell(ConnectRequest(started=process.started_message()))
        assert self._channel is not None
        assert self._control is not None
        assert self._tasks is not None
        serving = process.serve(
            self._channel, self._identity.result()["boot_id"], self._control.connected
        )
        self._tasks.create_task(serving)
        if process.process_id == _INIT and self._clock is not None:
            self._spawn(self._clock.run())
        if process.process_id == _INIT and self._health_plan is not None:
            self._health = HealthMonitor(
                self._health_plan,
                process.started_ns,
                self._launch_probe,
                self._kill,
                self._tell_health,
            )
            self._health_checks = self._tasks.create_task(self._health.run())

    # Health checks

    def _launch_probe(self, process_id: str, spec: ProcessSpec) -> None:
        self._link.send(launch_message(LaunchCommand(process_id=process_id, process=spec)))

    def _kill(self, process_id: str) -> None:
        # A plain number: marshal, which the link speaks, knows no enums.
        number = int(signal.SIGKILL)
        self._link.send({"op": "signal", "id": _NOBODY, "process_id": process_id, "signal": number})

    def _tell_health(self, state: Health) -> None:
        self._tell(ConnectRequest(health=state))

    def _take_of_probe(self, message: Message, descriptors: list[int]) -> None:
        if message["op"] in ("failed", "exited"):
            self._link.send({"op": "forget", "process_id": message["process_id"]})
        if self._health is not None:
            self._health.take(message, descriptors)

    def _end_health_checks(self) -> None:
        if self._health_checks is not None:
            self._health_checks.cancel()

    def _on_ended(self, process: WorkloadProcess) -> None:
        self._tell(ConnectRequest(exited=process.exited_message()))

    def _tell(self, event: ConnectRequest) -> None:
        if self._control is not None:
            self._control.tell(event)

    # From interaction

    def _obey(self, command: ConnectResponse) -> None:
        """Carry out a command; what goes wrong with one ends neither this process nor the VM."""
        try:
            self._carry_out(command)
        except Exception as error:  # noqa: BLE001 — whatever it is, who asked is told
            self._refuse(command, f"{type(error).__name__}: {error}")

    def _refuse(self, command: ConnectResponse, error: str) -> None:
        name = command.WhichOneof("message")
        match name:
            case "signal" | "resize" | "update_limits":
                self._result(getattr(command, name).command_id, error)
            case "top":
                number = command.top.command_id
                refusal = ProcessList(command_id=number, complete=True, error=error)
                self._tell(ConnectRequest(process_list=refusal))
            case _:
                sys.stderr.write(f"agent: {name}: {error}\n")

    def _carry_out(self, command: ConnectResponse) -> None:
        match command.WhichOneof("message"):
            case "launch":
                if command.launch.init and command.launch.HasField("health"):
                    self._health_plan = command.launch.health
                self._launch(launch_message(command.launch))
            case "signal":
                self._signal(command.signal)
            case "resize":
                self._resize(command.resize)
            case "exit_acknowledged":
                self._forget(command.exit_acknowledged.process_id)
            case "power_off":
                self._link.send({"op": "power_off"})
            case "stats":
                self._sample_every(command.stats.period_ms)
            case "top":
                self._list(command.top)
            case "update_limits":
                self._update_limits(command.update_limits)
            case "clock" if self._clock is not None:
                self._clock.take(command.clock)
            case _:
                pass  # of a later version of the contract

    def _launch(self, message: Message) -> None:
        """Start a process, or repeat what became of it."""
        process_id = message["process_id"]
        process = self._processes.get(process_id)
        if process is not None:
            self._tell(ConnectRequest(started=process.started_message()))
            if process.ended:
                self._on_ended(process)
        elif process_id in self._failed:
            self._tell(ConnectRequest(launch_failed=launch_failed(self._failed[process_id])))
        else:
            self._link.send(message)

    def _signal(self, command: SignalCommand) -> None:
        message = {"op": "signal", "process_id": command.process_id, "signal": command.signal}
        self._ask(command.command_id, message)

    def _update_limits(self, command: UpdateLimitsCommand) -> None:
        message = {"op": "update_limits", "limits": limits(command.limits)}
        self._ask(command.command_id, message)

    def _ask(self, command_id: int, message: Message) -> None:
        """Have the supervisor do something, whose result it tells."""
        if len(self._commands) >= _MOST_COMMANDS:
            self._result(command_id, "too many commands are waiting")
            return
        number, self._next_command = self._next_command, self._next_command + 1
        self._commands[number] = command_id
        self._link.send({**message, "id": number})

    def _answer(self, number: int, error: str) -> None:
        command_id = self._commands.pop(number, None)
        if command_id is not None:
            self._result(command_id, error)

    def _resize(self, command: ResizeCommand) -> None:
        process = self._processes.get(command.process_id)
        if process is None:
            error = f"process {command.process_id} is not running"
        else:
            error = process.resize(command.window.rows, command.window.columns)
        self._result(command.command_id, error)

    def _sample_every(self, milliseconds: int) -> None:
        if self._sampling is not None:
            self._sampling.set_period(milliseconds)

    def _sample(self) -> StatsSample | None:
        init = self._processes.get(_INIT)
        return None if init is None or init.ended else self._usage.sample(init.pid)

    def _list(self, command: TopCommand) -> None:
        init = self._processes.get(_INIT)
        pid, started = (init.pid, init.started_ns / 1e9) if init else (0, 0.0)
        for part in process_list(command, pid, self._workload, started):
            self._tell(ConnectRequest(process_list=part))

    def _result(self, command_id: int, error: str) -> None:
        self._tell(ConnectRequest(result=CommandResult(command_id=command_id, error=error)))

    def _forget(self, process_id: str) -> None:
        """An exit is on record, or a failed launch; that of the init process ends the VM."""
        process = self._processes.get(process_id)
        if self._failed.pop(process_id, None) is not None:
            self._link.send({"op": "forget", "process_id": process_id})
        elif process is not None and process.ended:
            del self._processes[process_id]
            self._link.send({"op": "forget", "process_id": process_id})
            if process_id == _INIT:
                self._link.send({"op": "power_off"})

    async def _rehearse(self, message: Message) -> None:
        await rehearse(_certificates(message), _CHANNEL_OPTIONS, mirrored=message["mirrored"])
        self._fork_pages = fork_pages()
        # A foreign function's first call is a dear one; forks are to find it done.
        begin_anew(self._fork_pages)
        heap.settle()
        self._link.send({"op": "rehearsed"})

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        assert self._tasks is not None
        self._tasks.create_task(work)

    async def _farewell(self) -> None:
        """Power off if interaction can't be reached for long after the container has ended."""
        assert self._control is not None
        while True:
            await self._control.disconnected.wait()
            try:
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await self._control.connected.wait()
            except TimeoutError:
                self._link.send({"op": "power_off"})
                return


def _certificates(message: Message) -> Certificates:
    return Certificates(
        message["ca"].encode(),
        message["cert"].encode(),
        message["key"].encode(),
        message["server_name"],
    )
