"""Name servers for containers."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from services.network.resolvers import PUBLIC_SERVERS, Resolvers, for_containers, parse


def test_a_resolv_conf_is_read_as_the_resolver_reads_it() -> None:
    text = """
# a comment
nameserver 10.0.0.1 ; another
nameserver 10.0.0.2
domain old.example
search a.example b.example .
options ndots:2 rotate
options timeout:1
sortlist 10.0.0.0
nameserver
"""
    assert parse(text) == Resolvers(
        ("10.0.0.1", "10.0.0.2"),
        ("a.example", "b.example"),
        ("ndots:2", "rotate", "timeout:1"),
    )


@given(st.text())
def test_nothing_in_a_resolv_conf_is_fatal(text: str) -> None:
    parse(text)


def files(directory: Path, host: str | None, systemd: str | None = None) -> Resolvers:
    paths = []
    for name, text in (("host", host), ("systemd", systemd)):
        path = directory / name
        if text is not None:
            path.write_text(text)
        paths.append(path)
    return for_containers(*paths)


def test_containers_get_the_host_s_servers(tmp_path: Path) -> None:
    found = files(tmp_path, "nameserver 10.0.0.1\nsearch x.example\noptions edns0\n")
    assert found == Resolvers(("10.0.0.1",), ("x.example",), ("edns0",))


def test_servers_that_containers_cannot_reach_are_left_out(tmp_path: Path) -> None:
    text = "nameserver 127.0.0.1\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver 10.0.0.9\n"
    assert files(tmp_path, text).servers == ("10.0.0.9",)


def test_behind_systemd_s_stub_are_its_own_servers(tmp_path: Path) -> None:
    found = files(tmp_path, "nameserver 127.0.0.53\nsearch lan\n", "nameserver 192.0.2.53\n")
    assert found == Resolvers(("192.0.2.53",), ("lan",))


def test_without_any_server_containers_get_docker_s_public_ones(tmp_path: Path) -> None:
    assert files(tmp_path, "nameserver 127.0.0.1\n").servers == PUBLIC_SERVERS
    assert files(tmp_path / "nowhere", None).servers == PUBLIC_SERVERS
