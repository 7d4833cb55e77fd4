"""The guest configuration as it is written and read."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.guestconfig import (
    ConfigError,
    Container,
    Dns,
    FrameReader,
    GuestConfig,
    Identity,
    Management,
    Nic,
    Root,
    Tls,
    format_frame,
)
from tether.guestparse import parse_body

CONFIG = GuestConfig(
    time_ns=1_700_000_000_000_000_000,
    entropy=bytes(512),
    identity=Identity(
        instance="0badcafe",
        container_id="c" * 64,
        boot_id="b1",
        machine_id="0" * 32,
        management=Management("02:00:00:00:00:05", "100.112.0.5/20", "100.112.0.1:7443", "i.vic"),
        tls=Tls("ca", "cert", "the private key"),
    ),
    container=Container(
        hostname="box",
        nics=(Nic(1, "02:42:ac:11:00:02", ("172.17.0.2/16", "fd00::2/64"), "172.17.0.1"),),
        dns=Dns(("8.8.8.8",), ("example.org",), ("ndots:0",)),
        hosts=(("172.17.0.2", "box"),),
        root=Root(readonly=True),
    ),
)


def body(config: GuestConfig = CONFIG) -> bytes:
    (only,) = FrameReader().feed(format_frame(config))
    return only


def changed(**values: Any) -> bytes:
    return json.dumps(json.loads(body()) | values).encode()


def test_what_is_written_is_read() -> None:
    assert parse_body(body()) == CONFIG


@pytest.mark.parametrize("missing", ["identity", "container"])
def test_either_part_may_come_alone(missing: str) -> None:
    nothing: dict[str, Any] = {missing: None}
    part = replace(CONFIG, **nothing)
    assert parse_body(body(part)) == part


@given(st.integers(1, 40))
def test_frames_are_found_however_the_bytes_come(size: int) -> None:
    data = format_frame(CONFIG) * 2
    reader = FrameReader()
    bodies = []
    for start in range(0, len(data), size):
        bodies += reader.feed(data[start : start + size])
    assert [parse_body(one) for one in bodies] == [CONFIG, CONFIG]


def test_frame_without_bound_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer"):
        FrameReader().feed(b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": 2}, "protocol version 2"),
        ({"time_ns": "now"}, "time_ns"),
        ({"entropy": base64.b64encode(bytes(511)).decode()}, "at least 512"),
        ({"entropy": "§"}, "entropy"),
        ({"machine_id": "X" * 32}, "machine_id"),
        ({"management": {}}, "management.address|management.mac"),
        ({"nics": [{"index": 0}]}, r"nics\[0\]"),
        ({"nics": {}}, "nics: not a list"),
        ({"hosts": [["1.2.3.4", "a\nb"]]}, "hosts"),
        ({"root": {"device": "../etc"}}, "root.device"),
        ({"root": []}, "root: not an object"),
        ({"dns": {"servers": [1]}}, "dns.servers"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_body(changed(**change))


@pytest.mark.parametrize("address", ["1.2.3.4", "1.2.3.4/33", "1.2.3/8", "x/8", "1.2.3.4/", ""])
def test_malformed_address_is_refused(address: str) -> None:
    nic = {"index": 1, "mac": "02:42:ac:11:00:02", "addresses": [address], "name": "eth0"}
    with pytest.raises(ConfigError, match="addresses"):
        parse_body(changed(nics=[nic]))


@given(st.binary(max_size=64))
def test_garbage_raises_nothing_else(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_body(data)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_other_json_raises_nothing_else(value: Any) -> None:
    for key in ("v", "management", "nics", "root", "dns", "tls", "hosts"):
        try:
            parse_body(changed(**{key: value}))
        except ConfigError:
            continue


def test_secrets_are_not_shown() -> None:
    assert "private key" not in repr(CONFIG)
    assert "private key" not in repr(CONFIG.identity)
    with pytest.raises(ConfigError) as caught:
        parse_body(changed(v=9))
    assert "private key" not in str(caught.value)
