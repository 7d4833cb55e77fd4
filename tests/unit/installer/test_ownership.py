"""What root gives away in directories whose owners change the names in them meanwhile."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from installer.endpoint_tls import SERVER, lay_out_tls
from installer.errors import PreconditionError
from installer.images import lay_out_images
from installer.instance import Instance, Options
from installer.layout import hand_over
from installer.ownership import own_tree
from installer.roles import IMAGE_STORES, first_uid
from installer.stores import lay_out_stores

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")

STORAGE = first_uid(3) + 5
STRANGER = 4711


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of root's in a directory of root's."""
    (tmp_path / "etc").mkdir(mode=0o755)
    path = tmp_path / "etc" / "shadow"
    path.write_text("root's")
    path.chmod(0o600)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A volume store that has the instance's own directory, with a volume in it."""
    own = tmp_path / "srv" / "vic-0a1b2c3d"
    (own / "vol").mkdir(parents=True)
    (own / "vol" / "shadow").touch()
    return own


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    options = Options(host="unix:///x.sock", image_store=str(tmp_path / "srv"))
    return Instance(tmp_path, "0a1b2c3d", 3, options)


def owners(*paths: Path) -> list[tuple[int, int]]:
    return [(status.st_uid, status.st_gid) for status in map(Path.lstat, paths)]


def swap_at_first_chown(monkeypatch: pytest.MonkeyPatch, directory: Path, target: Path) -> None:
    """Let a link take a directory's place when all have been listed."""
    real = {name: getattr(os, name) for name in ("chown", "fchown")}

    def racing(name: str) -> Any:
        def act(*arguments: Any, **named: Any) -> None:
            if not directory.is_symlink():
                directory.rename(directory.with_name("moved"))
                directory.symlink_to(target)
            real[name](*arguments, **named)

        return act

    for name in real:
        monkeypatch.setattr(os, name, racing(name))


def test_all_of_a_store_is_given_to_storage(instance: Instance, store: Path) -> None:
    (store / "vol" / "link").symlink_to("shadow")
    (store / "vol" / "other").touch()
    os.chown(store / "vol" / "other", first_uid(7) + 5, first_uid(7) + 5)
    lay_out_stores(instance, {"fast": store})
    assert owners(store, store / "vol", *(store / "vol").iterdir()) == [(STORAGE, STORAGE)] * 5


def test_a_directory_that_becomes_a_link_gives_nothing_else_away(
    instance: Instance, store: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap_at_first_chown(monkeypatch, store / "vol", victim.parent)
    lay_out_stores(instance, {"fast": store})
    assert owners(victim.parent, victim) == [(0, 0), (0, 0)]


def test_a_link_in_the_place_of_a_stores_directory_is_refused(
    instance: Instance, tmp_path: Path, victim: Path
) -> None:
    (tmp_path / "srv").mkdir()
    for name in ("vic-0a1b2c3d", "vic-images"):
        (tmp_path / "srv" / name).symlink_to(victim.parent)
    with pytest.raises(PreconditionError, match=r"\(a link or a file is in its place\)"):
        lay_out_stores(instance, {"fast": tmp_path / "srv" / "vic-0a1b2c3d"})
    with pytest.raises(PreconditionError, match=r"\(a link or a file is in its place\)"):
        lay_out_images(instance, None)
    assert owners(victim.parent, victim) == [(0, 0), (0, 0)]
    assert stat.S_IMODE(victim.parent.stat().st_mode) == 0o755


def test_another_name_of_somebody_elses_file_is_not_given(store: Path, victim: Path) -> None:
    os.link(victim, store / "vol" / "linked")
    own_tree(store, STORAGE, STORAGE)
    assert owners(victim, store / "vol" / "shadow") == [(0, 0), (STORAGE, STORAGE)]


def test_what_is_rightly_owned_is_not_touched(
    instance: Instance, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out_stores(instance, {"fast": store})
    images = lay_out_images(instance, None)
    assert images is not None

    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError(arguments)

    for name in ("chown", "fchown", "chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    lay_out_stores(instance, {"fast": store})
    assert lay_out_images(instance, None) == images
    status = images.stat()
    assert (status.st_uid, status.st_gid) == (0, IMAGE_STORES)
    assert stat.S_IMODE(status.st_mode) == 0o2770


def test_another_slots_users_get_the_files_of_the_former_ones(
    instance: Instance, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = instance.data_dir / "storage" / "volumes"
    inside.mkdir(parents=True)
    kept, program = inside / "kept", inside / "program"
    for path in (inside, kept, program):
        path.touch()
        os.chown(path, first_uid(9) + 5, STRANGER)
    program.chmod(0o4755)
    hand_over(instance, first_uid(9), first_uid(3))
    assert owners(inside, kept, program) == [(STORAGE, STRANGER)] * 3
    assert stat.S_IMODE(program.stat().st_mode) == 0o4755
    swap_at_first_chown(monkeypatch, inside, victim.parent)
    hand_over(instance, first_uid(3), first_uid(9))
    assert owners(victim.parent, victim) == [(0, 0), (0, 0)]


def test_a_link_in_the_gateways_directory_shows_it_no_file(tmp_path: Path, victim: Path) -> None:
    options = Options("tcp://127.0.0.1:2376", tls_verify=True)
    instance = Instance(tmp_path, "0a1b2c3d", 3, options)
    instance.pki_dir.mkdir()
    lay_out_tls(instance)
    key = instance.pki_dir / SERVER / "tls.key"
    key.unlink()
    key.symlink_to(victim)
    lay_out_tls(instance)
    assert key.is_symlink() or key.read_text() != victim.read_text()
    assert owners(victim) == [(0, 0)]
