"""How a program is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tether.supervisor.failures import LaunchError, LaunchFailure
from tether.supervisor.lookup import find_executable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, mode in (("a/tool", 0o644), ("b/tool", 0o755), ("a/plain", 0o644)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        path.chmod(mode)
    (tmp_path / "a/directory").mkdir()
    return tmp_path


def test_first_executable_in_path_wins(root: Path) -> None:
    path = f"{root}/none:{root}/a:{root}/b"
    assert find_executable("tool", path) == f"{root}/b/tool"


def test_name_with_a_slash_is_taken_as_it_is(root: Path) -> None:
    assert find_executable(f"{root}/b/tool", "") == f"{root}/b/tool"


@pytest.mark.parametrize(
    ("name", "failure", "words"),
    [
        ("nothing", LaunchFailure.NOT_FOUND, 'exec: "nothing": executable file not found in $PATH'),
        ("plain", LaunchFailure.NOT_FOUND, 'exec: "plain": executable file not found in $PATH'),
        ("{}/a/plain", LaunchFailure.NOT_EXECUTABLE, 'exec: "{}/a/plain": permission denied'),
        ("{}/a/directory", LaunchFailure.NOT_EXECUTABLE, 'exec: "{}/a/directory": is a directory'),
        (
            "{}/none",
            LaunchFailure.NOT_FOUND,
            'exec: "{0}/none": stat {0}/none: no such file or directory',
        ),
        (
            "{}/b/tool/x",
            LaunchFailure.NOT_FOUND,
            'exec: "{0}/b/tool/x": stat {0}/b/tool/x: not a directory',
        ),
    ],
)
def test_failure_is_worded_as_runc_does(
    root: Path, name: str, failure: LaunchFailure, words: str
) -> None:
    with pytest.raises(LaunchError) as caught:
        find_executable(name.format(root), f"{root}/a")
    assert caught.value.failure is failure
    assert str(caught.value) == words.format(root)
