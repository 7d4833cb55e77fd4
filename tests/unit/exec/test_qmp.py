"""A QEMU that was taken over can say what it likes; its own container alone suffers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.exec.drivers.qemu.qmp import QmpError, connect


@asynccontextmanager
async def qemu(path: Path, *said: bytes) -> AsyncIterator[None]:
    """A QMP server that greets, accepts the capabilities, and says something to what follows."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"QMP": {"version": {}, "capabilities": []}}\n')
        await reader.readline()
        writer.write(b'{"return": {}, "id": 1}\n')
        await reader.readline()
        writer.writelines(said)
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        yield


async def test_a_command_is_answered_and_events_are_kept(tmp_path: Path) -> None:
    said = b'{"event": "RESUME"}\n', b'{"return": {"a": 1}, "id": 2}\n'
    async with qemu(tmp_path / "qmp", *said), connect(str(tmp_path / "qmp")) as qmp:
        assert await qmp.execute("cont") == {"a": 1}
        assert await qmp.wait_for("RESUME") == {}


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b'"event"',
        b"[" * 100_000,
        b'{"id": 2, "error": "a word"}',
        b'{"id": 2}',
        b'{"id": [2], "return": {}}',
        b'{"event": ["MIGRATION"]}',
        b"\xff\xfe",
    ],
)
async def test_nonsense_ends_the_connection(tmp_path: Path, line: bytes) -> None:
    async with qemu(tmp_path / "qmp", line + b"\n"), connect(str(tmp_path / "qmp")) as qmp:
        async with asyncio.timeout(60):
            with pytest.raises(QmpError):
                await qmp.execute("cont")
