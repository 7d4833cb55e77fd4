"""gRPC takes no notice of an option that it doesn't know; so ours must be spelt right."""

import importlib.util
from pathlib import Path

import pytest

from portlayer import client, server
from tether.agent import agent

OPTIONS = {
    *dict(server.OPTIONS),
    *dict(client._OPTIONS),
    *dict(agent._CHANNEL_OPTIONS),
}


@pytest.fixture(scope="module")
def known() -> bytes:
    """Every name that the library compares with is a string within it."""
    library = importlib.util.find_spec("grpc._cython.cygrpc")
    assert library is not None
    assert library.origin is not None
    return Path(library.origin).read_bytes()


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_grpc_knows_the_option(option: str, known: bytes) -> None:
    assert option.encode() + b"\0" in known
