"""Which Docker endpoints are accepted, and how one is taken."""

import socket
from pathlib import Path

import pytest

from installer.endpoint import (
    TETHER_PORT,
    TcpEndpoint,
    UnixEndpoint,
    note_bound,
    parse_endpoint,
    remove_bound,
)
from installer.errors import PreconditionError, UsageError
from installer.instance import Options
from installer.wishes import Wishes
from services.network.settings import NetworkSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:///run/vic/docker.sock", UnixEndpoint(Path("/run/vic/docker.sock"))),
        ("tcp://127.0.0.1:2375", TcpEndpoint("127.0.0.1", 2375)),
        ("tcp://localhost:2375", TcpEndpoint("127.0.0.1", 2375)),
        ("tcp://127.8.9.10:80", TcpEndpoint("127.8.9.10", 80)),
        ("tcp://[::1]:2375", TcpEndpoint("::1", 2375)),
    ],
)
def test_loopback_and_unix_endpoints_are_accepted(
    text: str, expected: UnixEndpoint | TcpEndpoint
) -> None:
    assert parse_endpoint(text) == expected


@pytest.mark.parametrize(
    "text", ["tcp://0.0.0.0:2375", "tcp://192.0.2.1:2375", "tcp://[::]:2375", "tcp://[fe80::1]:1"]
)
def test_an_endpoint_off_loopback_is_known_as_one(text: str) -> None:
    endpoint = parse_endpoint(text)
    assert isinstance(endpoint, TcpEndpoint)
    assert not endpoint.is_loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        "docker.sock",
        "unix://",
        "unix://relative",
        "unix:///directory/",
        "unix:///" + "x" * 107,
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:²",
        "tcp://example.org:2375",
        "http://127.0.0.1:80",
        "ssh://root@localhost",
    ],
)
def test_other_addresses_are_refused_naming_the_option(text: str) -> None:
    with pytest.raises(UsageError, match="--host"):
        parse_endpoint(text)


def test_the_port_at_which_vms_reach_their_services_is_refused(tmp_path: Path) -> None:
    assert NetworkSettings.model_fields["tether_port"].default == TETHER_PORT
    wishes = Wishes(tmp_path, host="tcp://192.0.2.1:7443", tls_verify=True)
    with pytest.raises(UsageError, match=r"invalid --host 'tcp://192\.0\.2\.1:7443': at port 7443"):
        wishes.options(Options(host="unix:///x.sock"))
    # Nor is it one that was remembered.
    with pytest.raises(UsageError, match="--host"):
        Wishes(tmp_path).options(Options(host="tcp://127.0.0.1:7443"))
    assert Wishes(tmp_path, host="tcp://127.0.0.1:7444").options(Options(host="unix:///x.sock"))


def test_an_endpoint_prints_as_docker_host_wants_it() -> None:
    for text in ("unix:///run/docker.sock", "tcp://127.0.0.1:2375", "tcp://[::1]:2375"):
        assert str(parse_endpoint(text)) == text


def test_a_socket_that_somebody_serves_is_left_alone(tmp_path: Path) -> None:
    endpoint = UnixEndpoint(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(endpoint.path))
        other.listen()
        with pytest.raises(PreconditionError, match="in use by another program"):
            endpoint.listen()
        assert endpoint.path.is_socket()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    endpoint = UnixEndpoint(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as former:
        former.bind(str(endpoint.path))
    with endpoint.listen():
        endpoint.connect(1).close()
        assert endpoint.path.stat().st_mode & 0o777 == 0o660


def test_a_file_in_the_place_of_the_socket_is_not_removed(tmp_path: Path) -> None:
    endpoint = UnixEndpoint(tmp_path / "precious")
    endpoint.path.write_text("data")
    with pytest.raises(PreconditionError, match="is not a socket"):
        endpoint.listen()
    assert endpoint.path.read_text() == "data"


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = TcpEndpoint("127.0.0.1", other.getsockname()[1])
        with pytest.raises(PreconditionError, match=f"{endpoint} is in use by another program"):
            endpoint.listen()


def test_the_socket_that_was_bound_is_removed_and_no_other(tmp_path: Path) -> None:
    endpoint, note = UnixEndpoint(tmp_path / "docker.sock"), tmp_path / "run" / "endpoint.json"
    for replaced in (False, True):
        with endpoint.listen():
            note_bound(endpoint, note)
            if replaced:
                endpoint.path.rename(tmp_path / "moved")
                endpoint.path.touch()
            remove_bound(note)
            assert endpoint.path.exists() is replaced
            assert not note.exists()


def test_where_nothing_was_noted_nothing_is_removed(tmp_path: Path) -> None:
    note = tmp_path / "endpoint.json"
    remove_bound(note)
    endpoint = UnixEndpoint(tmp_path / "docker.sock")
    with endpoint.listen():
        note_bound(endpoint, note)
        # A later run, at a port.
        note_bound(TcpEndpoint("127.0.0.1", 2375), note)
        for content in ("", "[]", "{}", "null"):
            remove_bound(note)
            note.write_text(content)
        assert endpoint.path.exists()
