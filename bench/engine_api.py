"""One connection to a Docker endpoint; its answers are timed, without the docker CLI's own time."""

import http.client
import json
import socket
import time
from collections import defaultdict
from typing import Any


class Api(http.client.HTTPConnection):
    """One connection to a Docker endpoint."""

    def __init__(self, name: str, endpoint: str) -> None:
        super().__init__("localhost", timeout=300)
        self.name = name
        self._path = endpoint.removeprefix("unix://")
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def connect(self) -> None:
        """Connect to the endpoint's socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(self._path)

    def call(self, what: str, method: str, path: str, body: object = None) -> Any:
        """Send a request, add how long its answer took, and return that."""
        content = None if body is None else json.dumps(body)
        begun = time.perf_counter()
        self.request(method, path, content, {"Content-Type": "application/json"})
        response = self.getresponse()
        answer = response.read()
        self.seconds[what].append(time.perf_counter() - begun)
        if response.status >= 400:
            raise SystemExit(f"{self.name}: {method} {path}: {response.status} {answer!r}")
        # A pull's progress is a message a line.
        one = answer[:1] in (b"{", b"[") and b"\n" not in answer.strip()
        return json.loads(answer) if one else answer
