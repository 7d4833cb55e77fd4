"""A supervisor without a machine: it runs what the real agent asks for as plain processes."""

import asyncio
import os
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

from portlayer.identity import Credentials, Role, server_name
from tests.unit.portlayer.conftest import INSTANCE
from tether.link import Link, LinkClosedError, Message, pair

_START = "import sys; from tether.agent.__main__ import main; main(int(sys.argv[1]))"


class PlainSupervisor:
    """Starts an agent, and processes for it."""

    def __init__(self, credentials: Credentials, endpoint: str, boot_id: str) -> None:
        self._identity = {
            "op": "identity",
            "boot_id": boot_id,
            "endpoint": endpoint,
            "server_name": server_name(Role.INTERACTION, INSTANCE),
            "ca": credentials.ca.decode(),
            "cert": credentials.certificate.decode(),
            "key": credentials.key.decode(),
        }
        self._tasks = asyncio.TaskGroup()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._link: Link
        self._agent: subprocess.Popen[bytes]
        self.powered_off = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._start_agent()
        await self._tasks.__aenter__()
        asyncio.get_running_loop().add_reader(self._link.fileno(), self._read)
        return self

    def _start_agent(self) -> None:
        self._link, theirs = pair()
        descriptor = os.dup(theirs.fileno())
        theirs.close()
        self._agent = subprocess.Popen(
            [sys.executable, "-c", _START, str(descriptor)], pass_fds=[descriptor]
        )
        os.close(descriptor)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._link.fileno())
        for process in self._processes.values():
            process.kill()
        self._agent.kill()
        self._agent.wait()
        self._link.close()
        await self._tasks.__aexit__(kind, error, traceback)

    def _read(self) -> None:
        while True:
            try:
                message, _ = self._link.receive(wait=False)
            except (BlockingIOError, LinkClosedError):
                return
            self._obey(message)

    def _obey(self, message: Message) -> None:
        match message["op"]:
            case "ready":
                self._link.send(self._identity)
            case "launch":
                self._launch(message["process_id"], message["process"])
            case "signal":
                self._processes[message["process_id"]].send_signal(message["signal"])
                self._link.send({"op": "result", "id": message["id"], "error": ""})
            case "power_off":
                self.powered_off.set()

    def _launch(self, process_id: str, spec: dict[str, Any]) -> None:
        pipes = {name: os.pipe() for name in ("stdin", "stdout", "stderr")}
        ours = {name: write if name == "stdin" else read for name, (read, write) in pipes.items()}
        theirs = {name: read if name == "stdin" else write for name, (read, write) in pipes.items()}
        process = subprocess.Popen(
            spec["args"], stdin=theirs["stdin"], stdout=theirs["stdout"], stderr=theirs["stderr"]
        )
        for descriptor in theirs.values():
            os.close(descriptor)
        self._processes[process_id] = process
        started = {
            "op": "started",
            "process_id": process_id,
            "pid": process.pid,
            "at": time.time_ns(),
            "streams": list(ours),
        }
        self._link.send(started, list(ours.values()))
        for descriptor in ours.values():
            os.close(descriptor)
        self._tasks.create_task(self._reap(process_id, process))

    async def _reap(self, process_id: str, process: subprocess.Popen[bytes]) -> None:
        code = await asyncio.to_thread(process.wait)
        if self._agent.poll() is not None:
            return
        self._link.send(
            {
                "op": "exited",
                "process_id": process_id,
                "exit_code": code if code >= 0 else 128 - code,
                "oom_killed": False,
                "at": time.time_ns(),
            }
        )
