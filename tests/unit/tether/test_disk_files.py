"""The files that are laid over the container's disk."""

from __future__ import annotations

from tether.guestconfig import Dns
from tether.supervisor.disk import hosts_text, resolv_text


def test_hosts_begin_as_dockers_and_end_with_the_hosts_own() -> None:
    text = hosts_text((("172.17.0.2", "box"), ("10.0.0.1", "db")))
    assert text.startswith("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    assert text.endswith("172.17.0.2\tbox\n10.0.0.1\tdb\n")


def test_resolv_conf_has_what_was_given() -> None:
    dns = Dns(("127.0.0.11", "8.8.8.8"), ("a.org", "b.org"), ("ndots:0",))
    assert resolv_text(dns) == (
        "nameserver 127.0.0.11\nnameserver 8.8.8.8\nsearch a.org b.org\noptions ndots:0\n"
    )


def test_resolv_conf_without_servers_is_empty() -> None:
    assert resolv_text(Dns()) == ""
