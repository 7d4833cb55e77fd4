"""Go's file modes, and the header that describes a path."""

import base64
import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vic.interaction.v1.interaction_pb2 import PathStat

from gateway.routes.files import go_mode, stat_header


@pytest.mark.parametrize(
    ("mode", "go"),
    [
        (0o100644, 0o644),
        (0o040755, 1 << 31 | 0o755),
        (0o120777, 1 << 27 | 0o777),
        (0o010600, 1 << 25 | 0o600),
        (0o140755, 1 << 24 | 0o755),
        (0o060660, 1 << 26 | 0o660),
        (0o020666, 1 << 26 | 1 << 21 | 0o666),
        (0o104755, 1 << 23 | 0o755),
        (0o102755, 1 << 22 | 0o755),
        (0o041777, 1 << 31 | 1 << 20 | 0o777),
    ],
)
def test_a_mode_is_gos(mode: int, go: int) -> None:
    assert go_mode(mode) == go


def test_a_path_is_described_in_a_header() -> None:
    stat = PathStat(
        name="l", size=3, mode=0o120777, modified_at=Timestamp(seconds=1), link_target="/etc"
    )
    assert json.loads(base64.b64decode(stat_header(stat))) == {
        "name": "l",
        "size": 3,
        "mode": 1 << 27 | 0o777,
        "mtime": "1970-01-01T00:00:01Z",
        "linkTarget": "/etc",
    }
