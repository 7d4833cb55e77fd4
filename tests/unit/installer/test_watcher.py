"""What `vic up` is told of the processes that the watcher starts, and how it keeps house."""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from installer import endpoint_tls
from installer.endpoint import UnixEndpoint, note_bound
from installer.errors import InstallerError
from installer.instance import Instance, Options, default_options, save_instance
from installer.pki import RENEW_BEFORE
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


@pytest.fixture
def restarts(monkeypatch: pytest.MonkeyPatch) -> list[Role]:
    """Who was restarted; exec's new process does not come up at first."""
    asked: list[Role] = []

    async def restart(self: Watcher, role: Role) -> None:
        asked.append(role)
        if asked.count(role) == 1 and role is Role.EXEC:
            raise InstallerError("exec was not healthy 150 s after its restart")
        self._outdated.discard(role)

    monkeypatch.setattr(Watcher, "_restart", restart)
    return asked


async def keep_house(made: Watcher, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let minutes pass, in each of which it is the day's turn of the certificates."""

    async def sleep(seconds: float) -> None:
        nonlocal rounds
        rounds -= 1
        if rounds < 0:
            raise asyncio.CancelledError

    monkeypatch.setattr("installer.watcher.asyncio.sleep", sleep)
    with contextlib.suppress(asyncio.CancelledError):
        await made._keep_house()


async def test_who_could_not_be_restarted_for_its_certificate_is_restarted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: list[Role]
) -> None:
    days: list[set[Role]] = [{Role.EXEC, Role.GATEWAY, Role.INSTALLER}, set(), set()]

    def lay_out(instance: Instance, renewed: set[Role]) -> None:
        renewed |= days.pop(0)
        if len(days) == 2:
            raise OSError("another one's can't be written")

    monkeypatch.setattr("installer.watcher.lay_out_identities", lay_out)
    monkeypatch.setattr("installer.watcher.RENEWAL_CHECK_ROUNDS", 1)
    made = watcher(tmp_path, FakeSupervisor(Role.EXEC), FakeSupervisor(Role.GATEWAY))
    await keep_house(made, 3, monkeypatch)
    assert restarts == [Role.EXEC, Role.GATEWAY, Role.EXEC]


async def test_the_endpoints_certificates_are_renewed_in_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    restarts: list[Role],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_arguments: object) -> None:
        raise InstallerError("the certificate of exec can't be written")

    monkeypatch.setattr("installer.watcher.lay_out_identities", fail)
    monkeypatch.setattr("installer.watcher.RENEWAL_CHECK_ROUNDS", 1)
    monkeypatch.setattr(endpoint_tls, "uid_of", lambda *_: os.getuid())
    options = Options(host="tcp://127.0.0.1:2376", tls_verify=True)
    instance = Instance(tmp_path, "0a1b2c3d", 0, options)
    save_instance(instance)
    with monkeypatch.context() as early:
        early.setattr(endpoint_tls, "_LIFETIME", RENEW_BEFORE - timedelta(days=1))
        endpoint_tls.lay_out_tls(instance)
    paths = (
        instance.pki_dir / endpoint_tls.SERVER / "tls.crt",
        instance.endpoint_pki / endpoint_tls.PROBE / "tls.crt",
        endpoint_tls.client_directory(instance) / "cert.pem",
    )
    before = [path.read_bytes() for path in paths]
    made = watcher(tmp_path, FakeSupervisor(Role.GATEWAY))
    await keep_house(made, 2, monkeypatch)
    after = [path.read_bytes() for path in paths]
    assert not {*before} & {*after}
    assert restarts == [Role.GATEWAY]
    assert "housekeeping failed: the certificate of exec can't be written" in caplog.text
    assert f"take it from {endpoint_tls.client_directory(instance)}" in caplog.text
    # Another `vic up` brings certificates, which the watcher finds in the record alone.
    brought = replace(options, tls_ca="/ca", tls_cert="/certificate", tls_key="/key")
    save_instance(replace(instance, options=brought))
    (paths[0].parent / "ca.crt").unlink()
    await keep_house(made, 1, monkeypatch)
    assert paths[0].read_bytes() == after[0]
    assert restarts == [Role.GATEWAY]


def test_an_endpoint_is_closed_once_and_anothers_at_its_path_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("installer.instance.VOLATILE_DIR", tmp_path / "volatile")
    path = tmp_path / "docker.sock"
    endpoint = UnixEndpoint(path)
    made = watcher(tmp_path)
    made._listener = endpoint.listen()
    note_bound(endpoint, made._instance.endpoint_note)
    made._close_endpoint()
    assert not path.exists()
    with endpoint.listen():  # another program's, while the containers are stopped
        made._close_endpoint()
        endpoint.connect(1).close()
