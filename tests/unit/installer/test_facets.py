"""Calls of commands to the suite's services."""

import os
import socket
from pathlib import Path

import pytest
from vic.exec.v1 import exec_pb2, exec_pb2_grpc

from installer.facets import facet_channel
from installer.instance import Instance, default_options
from installer.pki import Authority
from portlayer.errors import Unavailable
from portlayer.identity import Role, peer_uri


async def test_a_service_that_is_away_is_told_by_its_name(tmp_path: Path) -> None:
    instance = Instance(tmp_path, "0a1b2c3d", 7, default_options(tmp_path))
    instance.run_dir.mkdir()
    uri = peer_uri(Role.INSTALLER, instance.id, "vic")
    identity = Authority.create(instance.id).issue("vic", uri=uri)
    identity.write(instance.pki_dir / Role.INSTALLER, owner=(os.getuid(), os.getgid()))
    # Of one that was killed its socket is left.
    with socket.socket(socket.AF_UNIX) as former:
        former.bind(str(instance.socket(Role.EXEC)))
    with pytest.raises(Unavailable, match=r"^exec does not answer; `vic status` says how it is$"):
        async with facet_channel(instance, Role.EXEC) as channel:
            stub = exec_pb2_grpc.ExecServiceStub(channel)
            await stub.Configure(exec_pb2.ConfigureRequest(), timeout=30.0)
