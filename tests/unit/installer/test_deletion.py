"""`vic delete` where a store is away, or where an earlier one stopped half-way."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from installer import deletion
from installer.deletion import delete
from installer.errors import LeftoverError, PreconditionError
from installer.images import SHARED, lay_out_images
from installer.instance import Instance, Options, amend_record, load_instance, save_instance
from installer.stores import lay_out_stores, store_directories

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """An instance that is down, with two volume stores of its own."""
    monkeypatch.setattr(deletion, "take_down", lambda data_dir, say: None)
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    stores = {}
    for name in ("fast", "slow"):
        (tmp_path / name).mkdir()
        stores[name] = str(tmp_path / name)
    made = Instance(data_dir, "0a1b2c3d", 3, Options(host="unix:///x.sock", volume_stores=stores))
    directories = store_directories(made)[0]
    lay_out_stores(made, directories)
    save_instance(made, directories)
    return made


def test_one_that_stopped_at_the_second_store_can_be_repeated(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = deletion._remove
    gone: list[Path] = []

    def fail_at_second(path: Path) -> None:
        if gone:
            raise LeftoverError("busy")
        gone.append(path)
        remove(path)

    monkeypatch.setattr(deletion, "_remove", fail_at_second)
    with pytest.raises(LeftoverError):
        delete(instance.data_dir, print, force=False)
    monkeypatch.setattr(deletion, "_remove", remove)
    left = load_instance(instance.data_dir)
    assert left is not None
    assert list(left.options.volume_stores) == ["slow"]
    assert delete(instance.data_dir, print, force=False) == []
    assert not any(list(Path(url).iterdir()) for url in instance.options.volume_stores.values())


def test_one_that_was_killed_after_a_store_can_be_repeated(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = deletion._remove

    def die_after(path: Path) -> None:
        remove(path)
        raise KeyboardInterrupt  # SIGKILL leaves the same behind: nothing handles either

    monkeypatch.setattr(deletion, "_remove", die_after)
    for _ in instance.options.volume_stores:
        with pytest.raises(KeyboardInterrupt):
            delete(instance.data_dir, print, force=False)
    monkeypatch.setattr(deletion, "_remove", remove)
    assert delete(instance.data_dir, print, force=False) == []
    assert not any(list(Path(url).iterdir()) for url in instance.options.volume_stores.values())


def test_a_store_that_was_not_begun_with_is_still_missed(instance: Instance) -> None:
    amend_record(instance, removed_store="fast")
    (Path(instance.options.volume_stores["slow"]) / "vic-0a1b2c3d").rmdir()
    with pytest.raises(PreconditionError, match=r"slow/vic-0a1b2c3d, which was there before"):
        delete(instance.data_dir, print, force=False)


def test_images_in_a_store_that_is_not_mounted_are_told_of(
    instance: Instance, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    options = replace(instance.options, image_store=str(tmp_path / "images"))
    sharing = replace(instance, options=options)
    lay_out_images(sharing, None)
    save_instance(sharing, store_directories(sharing)[0])
    (tmp_path / "images" / SHARED).rename(tmp_path / "away")
    with pytest.raises(PreconditionError) as refused:
        delete(instance.data_dir, print, force=False)
    assert f"image store {tmp_path}/images: {tmp_path}/images/{SHARED}" in str(refused.value)
    assert "images" in str(refused.value).partition(": ")[0]
    said: list[str] = []
    assert delete(instance.data_dir, said.append, force=True) == []
    assert [line for line in said if "image store" in line]
