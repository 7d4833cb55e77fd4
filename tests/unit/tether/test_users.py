"""Docker's user syntax against an image's passwd and group files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tether.supervisor.users import UnknownUserError, User, resolve


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    passwd.write_text(
        "# a comment\nroot:x:0:0:root:/root:/bin/sh\n\nbroken\n"
        "app:x:1000:1001::/home/app:/bin/sh\nnohome:x:1002:1002\n"
    )
    group.write_text("root:x:0:\napp:x:1001:\nextra:x:2000:root,app\nmore:x:2001:app\n")
    return str(passwd), str(group)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", User(0, 0, (0, 2000), "/root")),
        ("root", User(0, 0, (0, 2000), "/root")),
        ("app", User(1000, 1001, (1001, 2000, 2001), "/home/app")),
        ("1000", User(1000, 1001, (1001, 2000, 2001), "/home/app")),
        ("2000", User(2000, 0, (0,), "/")),
        ("app:extra", User(1000, 2000, (2000,), "/home/app")),
        ("app:5", User(1000, 5, (5,), "/home/app")),
        ("7:extra", User(7, 2000, (2000,), "/")),
        (":extra", User(0, 2000, (2000,), "/root")),
        ("nohome", User(1002, 1002, (1002,), "/")),
    ],
)
def test_user_is_resolved(files: tuple[str, str], user: str, expected: User) -> None:
    assert resolve(user, [], *files) == expected


def test_additional_groups_follow(files: tuple[str, str]) -> None:
    assert resolve("", ["more", "33"], *files).groups == (0, 2000, 2001, 33)


@pytest.mark.parametrize(
    ("user", "groups", "message"),
    [
        ("ghost", [], "unable to find user ghost: no matching entries in passwd file"),
        ("app:ghosts", [], "unable to find group ghosts: no matching entries in group file"),
        ("", ["ghosts"], "unable to find group ghosts: no matching entries in group file"),
        ("-1", [], "uids and gids must be in range 0-2147483647"),
        ("4294967295", [], "uids and gids must be in range 0-2147483647"),
    ],
)
def test_unknown_one_is_named(
    files: tuple[str, str], user: str, groups: list[str], message: str
) -> None:
    with pytest.raises(UnknownUserError) as caught:
        resolve(user, groups, *files)
    assert str(caught.value) == message


def test_image_without_files_knows_numbers_alone(tmp_path: Path) -> None:
    files = (str(tmp_path / "passwd"), str(tmp_path / "group"))
    assert resolve("5:6", [], *files) == User(5, 6, (6,), "/")
    assert resolve("", [], *files) == User(0, 0, (0,), "/")
    with pytest.raises(UnknownUserError):
        resolve("root", [], *files)


def test_fifo_in_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "passwd")
    assert resolve("", [], str(tmp_path / "passwd"), str(tmp_path / "group")).uid == 0


def test_groups_are_whole_words(tmp_path: Path) -> None:
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    passwd.write_text("app:x:1000:1001::/:/bin/sh\n")
    group.write_text("apps:x:1:other\nnone:x:2:appendix,xapp\nmine:x:3:other,app\n#c:x:4:app\n")
    assert resolve("app", [], str(passwd), str(group)).groups == (1001, 3)
