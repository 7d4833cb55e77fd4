"""Names of kernels, as the installer records them."""

import json
import os
from pathlib import Path

import pytest

from hostagent.bootstrap import BootstrapImages, Names

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root's files are believed")


def test_names_of_kernels(tmp_path: Path) -> None:
    images = BootstrapImages(tmp_path)
    assert images.names() == Names()
    record = {
        "default": "d" * 64,
        "kernels": {
            "rt": {"digest": "a" * 64, "release": "6.1-rt", "package": "linux-image-rt-amd64"},
            "also": {"digest": "a" * 64, "release": "6.1-rt", "package": ""},
        },
    }
    (tmp_path / "kernels.json").write_text(json.dumps(record))
    names = images.names()
    assert names.default == "d" * 64
    assert names.of("a" * 64) == ["also", "rt"]
    assert names.of("d" * 64) == []
    assert images.list() == []


@pytest.mark.parametrize("content", ["{", "[]", '{"default": "d", "kernels": {"x": {}}}'])
def test_a_record_that_cannot_be_read_names_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "kernels.json").write_text(content)
    assert BootstrapImages(tmp_path).names() == Names()
