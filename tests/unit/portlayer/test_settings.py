"""Flags win over the environment, which wins over the instance's file."""

import json
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from portlayer.identity import Role
from portlayer.settings import FacetSettings


class ExampleSettings(FacetSettings):
    role: ClassVar[Role] = Role.EXEC


@pytest.fixture(autouse=True)
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = json.dumps({"instance_id": "0123abcd", "slot": 3, "log_level": "error"})
    (tmp_path / "instance.json").write_text(text)
    monkeypatch.setenv("VIC_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["exec"])
    return tmp_path


def test_file_environment_and_flags_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ExampleSettings.from_command_line().log_level == "error"
    monkeypatch.setenv("VIC_LOG_LEVEL", "info")
    assert ExampleSettings.from_command_line().log_level == "info"
    monkeypatch.setattr(sys, "argv", ["exec", "--log_level", "debug"])
    assert ExampleSettings.from_command_line().log_level == "debug"


def test_the_file_is_read_where_the_flag_says(
    instance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "instance.json").write_text(json.dumps({"instance_id": "beef0123", "slot": 7}))
    monkeypatch.setattr(sys, "argv", ["exec", "--data_dir", str(other)])
    settings = ExampleSettings.from_command_line()
    assert (settings.instance_id, settings.slot, settings.data_dir) == ("beef0123", 7, other)
    monkeypatch.delenv("VIC_DATA_DIR")
    monkeypatch.setattr(sys, "argv", ["exec", f"--data_dir={other}"])
    assert ExampleSettings.from_command_line().instance_id == "beef0123"


def test_addresses_follow_the_data_directory(instance: Path) -> None:
    settings = ExampleSettings.from_command_line()
    assert settings.addresses == [f"unix:{instance}/run/exec.sock"]
    assert settings.target(Role.STORAGE) == f"unix:{instance}/run/storage.sock"
    assert settings.slot == 3


def test_an_invalid_instance_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIC_INSTANCE_ID", "not hex")
    with pytest.raises(ValidationError):
        ExampleSettings.from_command_line()
