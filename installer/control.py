"""How the `vic` command talks to the watcher: one JSON object a line each way, over a Unix socket.

A request is ``{"verb": VERB, …}``, its answer ``{"ok": true, "result": …}`` or ``{"ok": false,
"error": SENTENCE}``. The socket is root's alone.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from installer.errors import InstallerError, NotRunningError

LAST_ANSWERS_SECONDS = 2.0

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
"""Answers one request. What it raises as InstallerError becomes the answer's error."""


@asynccontextmanager
async def serve_control(path: Path, handler: Handler) -> AsyncIterator[None]:
    """Answer requests at a socket that only root may use.

    At the end a request in hand (the one that ended us, say) still gets its answer.
    """
    conversations: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(_converse(reader, writer, handler))
        conversations.add(conversation)
        conversation.add_done_callback(conversations.discard)

    server = await asyncio.start_unix_server(begin, sock=_bind(path))
    try:
        yield
    finally:
        server.close()
        _unbind(path)
        if conversations:
            await asyncio.wait(conversations, timeout=LAST_ANSWERS_SECONDS)


def _bind(path: Path) -> socket.socket:
    _unbind(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    return listener


def _unbind(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
) -> None:
    try:
        while line := await reader.readline():
            writer.write(json.dumps(await _answer(line, handler)).encode() + b"\n")
            await writer.drain()
    except (ConnectionError, ValueError):
        return  # whoever asked is gone, or sends what is no line
    finally:
        writer.close()


async def _answer(line: bytes, handler: Handler) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError:
        return {"ok": False, "error": "not a JSON object"}
    if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
        return {"ok": False, "error": "a request is an object with a verb"}
    try:
        return {"ok": True, "result": await handler(request)}
    except InstallerError as error:
        return {"ok": False, "error": str(error)}


def ask(path: Path, verb: str, seconds: float = 10.0, **fields: Any) -> Any:
    """Ask the watcher and return its result.

    Raises NotRunningError when there is no watcher, InstallerError with what it objects.
    """
    request = json.dumps({"verb": verb, **fields}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(seconds)
            client.connect(str(path))
            client.sendall(request)
            with client.makefile("rb") as answers:
                line = answers.readline()
    except PermissionError as error:
        raise InstallerError(f"cannot use {path}: permission denied; run as root") from error
    except (FileNotFoundError, ConnectionError) as error:
        raise NotRunningError("the suite is not running; start it with `vic up`") from error
    except TimeoutError as error:
        raise InstallerError(f"the watcher did not answer `{verb}` in {seconds:.0f} s") from error
    if not line:
        raise NotRunningError("the watcher ended before it answered")
    answer = json.loads(line)
    if not answer["ok"]:
        raise InstallerError(answer["error"])
    return answer["result"]
