"""The compiler as a command."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.storage.compiler.__main__ import main
from tests.unit.storage.compiler.disks import directory, file, tar


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """Runs the command: exit status, output, errors."""

    def run_(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compiler", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        status = main()
        out, errors = capsys.readouterr()
        return status, out, errors

    return run_


def test_a_base_a_layer_and_a_list(run: object, tmp_path: Path) -> None:
    assert callable(run)
    base, layer = tmp_path / "base.vmdk", tmp_path / "layer.vmdk"
    status, out, _ = run("--base", base, "--size", 64 << 20)
    assert (status, json.loads(out)["size"]) == (0, 64 << 20)
    (tmp_path / "layer.tar").write_bytes(tar(directory("d"), file("d/f", b"12345")))
    status, out, _ = run("--parent", base, "--tar", tmp_path / "layer.tar", "--out", layer)
    assert (status, json.loads(out)["entries"]) == (0, 2)
    status, out, _ = run("--list", layer)
    assert status == 0
    assert "-rw-r--r-- 1 0 0 5 /d/f" in out.splitlines()
    again = tmp_path / "again.vmdk"
    status, _, _ = run("--parent", layer, "--out", again, stdin=tar(file("x", b"")))
    assert status == 0


def test_a_refusal_is_one_line_with_the_reason(run: object, tmp_path: Path) -> None:
    assert callable(run)
    base = tmp_path / "base.vmdk"
    run("--base", base, "--size", 64 << 20)
    bad = tar(file("../x", b""))
    status, out, errors = run("--parent", base, "--out", tmp_path / "l.vmdk", stdin=bad)
    assert (status, out) == (1, "")
    assert errors == "LayerInvalid: the path '../x' reaches out of the image\n"
    status, _, errors = run("--list", tmp_path / "none.vmdk")
    assert status == 1
    assert "none.vmdk" in errors
    two = tar(file("a", b""), file("b", b""))
    arguments = ("--parent", base, "--out", tmp_path / "l.vmdk", "--max-entries", 1)
    assert run(*arguments, stdin=two)[0] == 1


@pytest.mark.parametrize("arguments", [[], ["--parent", "x"], ["--base", "x", "--list", "y"]])
def test_wrong_usage_is_told_apart(run: object, arguments: list[str]) -> None:
    assert callable(run)
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
