"""Where the gateway listens, and where it refuses to."""

import socket
from pathlib import Path

import pytest

from gateway.listeners import ListenError, bound, inherited
from gateway.settings import GatewaySettings
from tests.ports import free_port


def test_unix_socket_is_made_and_a_stale_one_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bound([f"unix://{path}"])[0].close()
    [listener] = bound([f"unix://{path}"])
    assert path.stat().st_mode & 0o777 == 0o660
    with pytest.raises(ListenError, match="another process serves it"):
        bound([f"unix://{path}"])
    listener.close()


def test_loopback_tcp_is_served() -> None:
    for address in ("tcp://127.0.0.1", "tcp://localhost"):
        port = free_port()
        [listener] = bound([f"{address}:{port}"])
        assert listener.getsockname() == ("127.0.0.1", port)
        listener.close()


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:2375", "tcp://10.1.2.3:2375", "tcp://[::]:1"])
def test_plain_tcp_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(ListenError, match="over plain TCP: whoever reaches it"):
        bound([address])


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1", "tcp://:1", "unix://x", "http://a", "", "tcp://127.0.0.1:99999"]
)
def test_addresses_that_cannot_be(address: str) -> None:
    with pytest.raises(ListenError, match="invalid address"):
        bound([address])


def test_inherited_sockets_are_checked(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(ListenError, match="is no listening socket"):
            inherited([listener.dup().detach()])
        listener.listen()
        [taken] = inherited([listener.dup().detach()])
        assert not taken.get_inheritable()
        taken.close()
    wide = socket.create_server(("0.0.0.0", 0))
    with wide, pytest.raises(ListenError, match="over plain TCP"):
        inherited([wide.dup().detach()])
    with (tmp_path / "file").open("w") as file, pytest.raises(ListenError, match="no socket"):
        inherited([file.fileno()])


def test_gateways_that_share_ports_listen_on_one() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    [one] = bound([address], share_ports=True)
    [other] = bound([address], share_ports=True)
    with pytest.raises(ListenError, match="Address already in use"):
        bound([address])
    one.close()
    other.close()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIC_GATEWAY_LISTEN_FD", "3,4")
    monkeypatch.setenv("VIC_GATEWAY_LISTEN", "unix:///run/a.sock")
    settings = GatewaySettings.model_validate({"instance_id": "0123abcd", "slot": 0})
    assert settings.gateway_listen_fd == [3, 4]
    assert settings.gateway_listen == ["unix:///run/a.sock"]
    assert settings.gateway_names == []
