"""What `vic` and the watcher say to one another."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from installer.control import ask, serve_control
from installer.errors import InstallerError, NotRunningError


async def handle(request: dict[str, Any]) -> Any:
    if request["verb"] == "refuse":
        raise InstallerError("not now")
    return request


async def asked(path: Path, verb: str, **fields: Any) -> Any:
    return await asyncio.to_thread(ask, path, verb, **fields)


async def test_a_request_gets_its_result(tmp_path: Path) -> None:
    path = tmp_path / "watcher.sock"
    async with serve_control(path, handle):
        assert await asked(path, "restart", role="exec") == {"verb": "restart", "role": "exec"}
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


async def test_a_refusal_arrives_as_the_same_sentence(tmp_path: Path) -> None:
    async with serve_control(tmp_path / "s", handle):
        with pytest.raises(InstallerError, match="not now"):
            await asked(tmp_path / "s", "refuse")


@pytest.mark.parametrize("line", [b"\xff\n", b"[]\n", b"{}\n", b'{"verb": 1}\n', b"{" * 70_000])
async def test_what_is_no_request_harms_nobody(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "s"
    async with serve_control(path, handle):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(line)
        writer.write_eof()
        answer = await reader.read()
        assert not answer or b'"ok": false' in answer
        writer.close()
        assert await asked(path, "status") == {"verb": "status"}


async def test_no_watcher_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="vic up"):
        ask(tmp_path / "missing", "status")


async def test_a_silent_watcher_is_not_waited_for_without_end(tmp_path: Path) -> None:
    async def hang(request: dict[str, Any]) -> Any:
        await asyncio.Event().wait()

    async with serve_control(tmp_path / "s", hang):
        with pytest.raises(InstallerError, match="did not answer"):
            await asked(tmp_path / "s", "status", seconds=0.05)
