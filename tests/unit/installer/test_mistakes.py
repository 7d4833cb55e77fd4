"""What the `vic` command says to who has mistaken something."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer import up
from installer.__main__ import main
from installer.endpoint import UnixEndpoint
from installer.errors import PreconditionError
from installer.instance import Instance, default_options, save_instance
from installer.up import check_usable


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path leaves room for sockets below it, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    """What a command says that fails."""
    assert main(arguments) == code
    return capsys.readouterr().err


@pytest.mark.parametrize("verb", ["up", "status", "down", "restart", "usage", "delete", "inspect"])
@pytest.mark.parametrize("below", ["", "sub"])
def test_a_data_directory_that_is_a_file_is_named(
    short_dir: Path, capsys: pytest.CaptureFixture[str], verb: str, below: str
) -> None:
    path = short_dir / "file"
    path.touch()
    told = said(capsys, verb, "--data-dir", str(path / below))
    assert told == f"vic: {path / below} can't be a data directory: Not a directory\n"


@pytest.mark.parametrize("verb", ["up", "status"])
def test_an_empty_data_directory_is_not_the_present_one(
    capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--data-dir", ""])
    assert ended.value.code == 2
    assert "--data-dir: it is empty" in capsys.readouterr().err


def test_a_data_directory_that_cannot_be_made_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "up", "--data-dir", "/proc/vic")
    assert told == "vic: /proc/vic can't be a data directory: No such file or directory\n"


def test_a_path_that_is_too_long_says_what_to_do(
    short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, "up", "--data-dir", str(short_dir / ("x" * 100)), code=2)
    assert "choose a shorter one with --data-dir" in told


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777, 0o1777, 0o711 | 0o002])
def test_a_directory_that_others_use_is_not_taken(
    short_dir: Path, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    (short_dir / "theirs").touch()
    short_dir.chmod(mode)
    told = said(capsys, "up", "--data-dir", str(short_dir))
    assert f"{short_dir} has other things in it (theirs)" in told
    assert "name one of its own with --data-dir" in told
    assert f"`chmod 711 {short_dir}`" in told
    assert short_dir.stat().st_mode & 0o7777 == mode


@pytest.mark.skipif(os.getuid() != 0, reason="gives a directory away")
def test_somebodys_home_is_not_taken(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (short_dir / "theirs").touch()
    os.chown(short_dir, 1000, 1000)
    assert "has other things in it" in said(capsys, "up", "--data-dir", str(short_dir))


def test_what_may_be_a_data_directory(short_dir: Path) -> None:
    check_usable(short_dir / "none")
    short_dir.chmod(0o755)
    check_usable(short_dir)
    (short_dir / "lost+found").mkdir()
    check_usable(short_dir)
    (short_dir / "docker-cli").mkdir()
    short_dir.chmod(0o711)  # as one that was begun is
    check_usable(short_dir)
    short_dir.chmod(0o755)
    save_instance(Instance(short_dir, "0a1b2c3d", 0, default_options(short_dir)))
    check_usable(short_dir)


def test_a_socket_that_cannot_be_there_is_named(short_dir: Path) -> None:
    (short_dir / "file").touch()
    with pytest.raises(PreconditionError, match=r"cannot listen on unix://.*Not a directory"):
        UnixEndpoint(short_dir / "file/below/docker.sock").listen()


def test_another_bootstrap_is_not_for_a_suite_that_runs(
    short_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_instance(Instance(short_dir, "0a1b2c3d", 0, default_options(short_dir)))
    monkeypatch.setattr(up, "is_running", lambda instance: True)
    told = said(capsys, "up", "--data-dir", str(short_dir), "--bootstrap", "/elsewhere")
    assert "run `vic down` before" in told


def test_who_may_not_read_an_instance_is_told_to_be_root(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied", "/var/lib/vic/pki/installer/ca.crt")

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("installer.usage.read_usage", refuse)
    told = said(capsys, "usage")
    assert told == (
        "vic: /var/lib/vic/pki/installer/ca.crt: Permission denied; run it as root, with sudo\n"
    )
