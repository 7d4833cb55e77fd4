"""Asking QEMU itself what it has, over its own monitor."""

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Monitor:
    """A connection to a QMP socket. QEMU serves one at a time: exec's must be closed first."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(120)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        greeting = json.loads(self._lines.readline())
        assert "QMP" in greeting
        self.ask("qmp_capabilities")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str) -> Any:
        """Run a command and return what it returns; events in between are passed over."""
        self._socket.sendall(json.dumps({"execute": command}).encode() + b"\n")
        for line in self._lines:
            answer = json.loads(line)
            assert "error" not in answer, answer
            if "return" in answer:
                return answer["return"]
        raise AssertionError("QEMU closed the monitor")
