"""URLs in builds: what they are, what files from there are called, and which are closed."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from gateway.build.addresses import address_of, file_name, is_git, last_modified
from portlayer.web.reach import guard_of


def test_networks_of_instances_are_closed(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "vic0m\t00007064\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n"
        "vic7b0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    guard = guard_of("builds", tmp_path)
    closed = (
        *("100.112.15.9", "100.127.255.1", "172.17.255.1", "::ffff:172.17.0.2", "::", "fe80::2"),
        *("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"),
        *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::168.63.129.16"),
    )
    assert [one for one in closed if not guard(ip_address(one))] == []
    open_ = ("100.111.255.1", "100.128.0.1", "192.168.0.7", "1.1.1.1", "64:ff9b::1.1.1.1")
    assert [one for one in open_ if guard(ip_address(one))] == []
    (tmp_path / "ipv6_route").write_text(
        f"fd0000000000000a{'0' * 16} 40 {'0' * 32} 00 {'0' * 32} 100 2 0 1 vic0b1\n"
        f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 1 0 200200 lo\n"
    )
    guard = guard_of("builds", tmp_path)
    assert guard(ip_address("fd00:0:0:a::5"))
    assert not guard(ip_address("2001:db8::1"))


@pytest.mark.parametrize(
    ("url", "disposition", "name"),
    [
        ("http://h/a/b", "", "b"),
        ("http://h/a%2Fb?x=/c", "", "b"),
        ("http://h/%ff", "", "\udcff"),
        ("http://h", "attachment; filename=n", "n"),
        ("http://h/..", "attachment; filename*=UTF-8''n%20m", "n m"),
        ("http://h/%00", "", ""),
        ("http://h/" + "n" * 256, "", ""),
        ("http://h/", "attachment; filename=../", ""),
        ("http://h/", "attachment; filename=..", ""),
        ("http://h/", "form-data\r\nX: y", ""),
        ("http://h/", "attachment; filename*=undefined''x", ""),
        ("http://h/", "attachment; filename*=raw_unicode_escape''%5Cud800", ""),
        ("http://h/", "attachment; filename*0*=a; filename*0=b; filename*=c", ""),
        ("http://h/a", "attachment; filename*=undefined''x", "a"),
    ],
)
def test_names_of_files(url: str, disposition: str, name: str) -> None:
    assert file_name(url, disposition) == name


def test_what_urls_are() -> None:
    assert is_git("https://h/x.git#a:b/c")
    assert is_git("ssh://h/x")
    assert not is_git("https://h/x.git/y")
    assert not is_git("x.git")
    assert address_of("http://u@h/x#f") is not None
    assert address_of("http://h:99999/") is None
    assert last_modified("Tuesday, 15-Nov-94 12:45:26 GMT") == 784903526
    assert [last_modified(text) for text in ("", "yesterday", "Tue, 15 Nov 1904 12:45:26 GMT")] == [
        *(0, 0, 0)
    ]
