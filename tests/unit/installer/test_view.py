"""Which closed directories a service needs a window into, and what becomes of its powers."""

from pathlib import Path

import pytest

from installer.spawn import SpawnPlan
from installer.view import Window, windows_for


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory that all may enter, as tmp_path itself may not."""
    for path in (tmp_path, *tmp_path.parents):
        if path == Path("/tmp"):
            break
        path.chmod(0o755)
    return tmp_path


def test_reachable_code_needs_no_window(tree: Path) -> None:
    (tree / "vic").mkdir()
    assert windows_for([tree / "vic"]) == []


def test_what_lies_below_a_closed_directory_is_shown(tree: Path) -> None:
    (tree / "root/vic/.venv").mkdir(parents=True)
    (tree / "root/python").mkdir()
    (tree / "root").chmod(0o700)
    needed = [tree / "root/vic", tree / "root/vic/.venv", tree / "root/python", Path("/usr")]
    assert windows_for(needed) == [Window(tree / "root", (tree / "root/python", tree / "root/vic"))]


def test_only_the_outermost_closed_directory_is_covered(tree: Path) -> None:
    (tree / "home/me/code").mkdir(parents=True)
    (tree / "home/me").chmod(0o700)
    (tree / "home").chmod(0o711)
    assert windows_for([tree / "home/me/code"]) == [
        Window(tree / "home/me", (tree / "home/me/code",))
    ]


def test_a_plan_survives_being_an_argument() -> None:
    windows = (Window(Path("/root"), (Path("/root/vic"),)),)
    plan = SpawnPlan(uid=5, group=1, capabilities=("net_admin",), windows=windows)
    assert SpawnPlan.from_json(plan.to_json()) == plan


def test_a_service_keeps_the_named_capabilities_and_no_way_to_others() -> None:
    command = SpawnPlan(5, 1, ("net_admin",), ()).setpriv()
    for option in ("inh-caps", "ambient-caps", "bounding-set"):
        assert f"--{option}=-all,+net_admin" in command
    assert "--no-new-privs" in command
    assert "--pdeathsig=TERM" in command


def test_a_service_without_capabilities_has_none() -> None:
    assert "--bounding-set=-all" in SpawnPlan(5, 1, (), ()).setpriv()
