"""Volume stores as `vic up` takes them."""

import os
from pathlib import Path

import pytest

from installer.errors import PreconditionError, UsageError
from installer.images import lay_out_images
from installer.instance import Instance, Options, load_instance, save_instance, store_paths
from installer.stores import lay_out_stores, locate, parse_stores, store_directories
from services.storage.settings import StorageSettings

MOUNTS = """\
22 1 0:1 / / rw shared:1 - overlay overlay rw
40 22 0:9 / /mnt/nas rw,relatime shared:4 - nfs4 nas.example:/export rw,vers=4.2
41 22 0:9 /deep /mnt/with\\040space rw,relatime - nfs4 nas.example:/export rw,vers=4.2
42 22 0:9 / /mnt/root rw - nfs other.example:/ rw
"""


def test_stores_are_named_urls() -> None:
    entries = ("fast=/srv/v", "disk=file:///srv/w", "nas=nfs://nas.example/export/vic")
    assert parse_stores(entries) == {
        "fast": "/srv/v",
        "disk": "file:///srv/w",
        "nas": "nfs://nas.example/export/vic",
    }
    assert parse_stores(("",)) == {}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (("/srv/v",), "expected NAME=URL"),
        (("a/b=/srv",), "expected NAME=URL"),
        (("default=/srv",), "default is the store inside the data directory"),
        (("a=/srv", "a=/mnt"), "'a' is given twice"),
        (("a=srv",), "invalid volume store URL 'srv'"),
        (("a=nfs:///export",), "invalid volume store URL"),
        (("a=ds://datastore/x",), r"expected /PATH, file:///PATH or nfs://SERVER/PATH"),
        (("a=nfs://nas/x?uid=3",), "invalid volume store URL"),
    ],
)
def test_what_names_no_store_is_refused(entries: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_stores(entries)


def test_an_nfs_url_means_where_the_host_has_mounted_it(tmp_path: Path) -> None:
    mounts = MOUNTS.replace("/mnt", str(tmp_path))
    for name in ("nas/vic", "with space", "root/a"):
        (tmp_path / name).mkdir(parents=True)
    assert locate("nfs://nas.example/export/vic", mounts) == tmp_path / "nas/vic"
    assert locate("nfs://nas.example/export/deep", mounts) == tmp_path / "with space"
    assert locate("nfs://other.example/a", mounts) == tmp_path / "root/a"
    for url in ("nfs://nas.example/exports", "nfs://third.example/export"):
        with pytest.raises(PreconditionError, match="not mounted on this host; do that first"):
            locate(url, mounts)
    with pytest.raises(PreconditionError, match="there is no directory"):
        locate("nfs://nas.example/export/missing", mounts)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_each_instance_has_a_directory_of_its_own_in_a_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    urls = {"fast": str(tmp_path / "store"), "gone": str(tmp_path / "gone")}
    options = Options(host="unix:///x.sock", volume_stores=urls)
    instance = Instance(tmp_path, "0a1b2c3d", 3, options)
    directories, faults = store_directories(instance)
    assert faults == [f"volume store {tmp_path}/gone: there is no directory {tmp_path}/gone"]
    lay_out_stores(instance, directories)
    save_instance(instance, directories)
    own = tmp_path / "store" / "vic-0a1b2c3d"
    assert directories == {"fast": own}
    assert (own.stat().st_uid, own.stat().st_mode & 0o777) == (1_900_000_000 + 3 * 65536 + 5, 0o700)
    assert load_instance(tmp_path) == instance
    assert store_paths(tmp_path) == [own]
    os.environ["VIC_DATA_DIR"] = str(tmp_path)
    try:
        settings = StorageSettings.model_validate({})
    finally:
        del os.environ["VIC_DATA_DIR"]
    assert (settings.volume_stores, settings.volume_directories) == (urls, directories)


def test_a_store_without_what_was_made_in_it_is_away(tmp_path: Path) -> None:
    point = tmp_path / "point"
    point.mkdir()
    url = str(point)
    options = Options(host="unix:///x.sock", volume_stores={"fast": url}, image_store=url)
    instance = Instance(tmp_path, "0a1b2c3d", 3, options)
    own = point / "vic-0a1b2c3d"
    assert store_directories(instance, {"fast": "/another"}) == ({"fast": own}, [])
    # As after a boot at which nothing was mounted there.
    assert store_directories(instance, options.volume_stores) == (
        {},
        [
            f"volume store {url}: {own}, which was there before, is gone; mount its file system, "
            "or make the directory to begin with an empty one"
        ],
    )
    with pytest.raises(PreconditionError, match=f"image store {url}: {point}/vic-images, which"):
        lay_out_images(instance, url)
    assert list(point.iterdir()) == []
