"""Paths that a caller gives can't lead anywhere else."""

import os
from pathlib import Path

import pytest

from hostagent.files import open_beneath, open_bootstrap, open_disk
from portlayer.errors import InvalidArgument, NotFound, Reason
from tests.descriptors import open_descriptors

VMDK = b"KDMV" + bytes(508)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "storage"
    (directory / "containers").mkdir(parents=True)
    own = directory / "containers" / "own.vmdk"
    own.write_bytes(VMDK)
    layer = directory / "layer.vmdk"
    layer.write_bytes(VMDK)
    layer.chmod(0o444)
    secret = tmp_path / "secret.vmdk"
    secret.write_bytes(VMDK)
    return directory


def refused(path: str, store: Path, *, writable: bool) -> str:
    before = open_descriptors()
    with pytest.raises(InvalidArgument) as caught:
        open_disk(path, [store], writable=writable)
    assert caught.value.reason is Reason.INVALID_MACHINE
    assert not open_descriptors() - before
    return caught.value.message


def test_a_machines_own_disk_and_a_layer_can_be_opened(store: Path) -> None:
    own = open_disk(f"{store}/containers/own.vmdk", [store], writable=True)
    layer = open_disk(f"{store}/layer.vmdk", [store], writable=False)
    assert os.write(own, b"KDMV") == 4
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(layer, b"x")
    assert not os.get_inheritable(own)
    for descriptor in (own, layer):
        os.close(descriptor)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "relative.vmdk",
        "{store}",
        "{store}/",
        "{store}-other/own.vmdk",
        "{store}/../secret.vmdk",
        "{store}/containers/../../secret.vmdk",
        "{store}/containers/../../storage/../secret.vmdk",
    ],
)
def test_a_path_out_of_the_store_is_refused(store: Path, path: str) -> None:
    refused(path.format(store=store), store, writable=True)


def test_no_link_is_followed_wherever_it_stands(store: Path) -> None:
    secret = store.parent / "secret.vmdk"
    (store / "link.vmdk").symlink_to(secret)
    (store / "up").symlink_to(store.parent)
    (store / "here.vmdk").symlink_to(store / "containers" / "own.vmdk")
    (store / "magic").symlink_to("/proc/self/fd")
    for path in ("link.vmdk", "up/secret.vmdk", "here.vmdk", "magic/0"):
        refused(f"{store}/{path}", store, writable=True)


def test_only_sparse_vmdks_are_opened(store: Path) -> None:
    descriptor_file = store / "text.vmdk"
    descriptor_file.write_text('# Disk DescriptorFile\nRW 1 FLAT "/etc/shadow" 0\n')
    assert "sparse" in refused(str(descriptor_file), store, writable=True)
    (store / "directory.vmdk").mkdir()
    refused(f"{store}/directory.vmdk", store, writable=False)
    # Opening it would wait for a writer, were it not for O_NONBLOCK.
    os.mkfifo(store / "pipe.vmdk", 0o444)
    assert "regular" in refused(f"{store}/pipe.vmdk", store, writable=False)


def test_a_layer_is_never_opened_for_writing_nor_an_unsealed_file_as_layer(store: Path) -> None:
    assert "sealed" in refused(f"{store}/layer.vmdk", store, writable=True)
    assert "not sealed" in refused(f"{store}/containers/own.vmdk", store, writable=False)


def test_a_missing_disk_has_a_reason_of_its_own(store: Path) -> None:
    with pytest.raises(NotFound) as caught:
        open_disk(f"{store}/none.vmdk", [store], writable=True)
    assert caught.value.reason is Reason.DISK_NOT_FOUND


def test_what_is_below_a_directory_can_be_reached_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("inside")
    os.close(open_beneath(tmp_path, "file", os.O_RDONLY))
    for path in ("..", "../x", "/etc/passwd"):
        with pytest.raises(OSError, match=r"cross-device|Invalid"):
            open_beneath(tmp_path / "", path, os.O_RDONLY)


@pytest.mark.skipif(os.geteuid() != 0, reason="files of root")
def test_a_bootstrap_image_that_others_can_change_is_not_used(tmp_path: Path) -> None:
    image = tmp_path / "0123456789ab"
    image.mkdir()
    kernel = image / "vmlinuz"
    kernel.write_bytes(b"kernel")
    kernel.chmod(0o644)
    os.close(open_bootstrap(image, "vmlinuz"))
    for wrong in (0o664, 0o646):
        kernel.chmod(wrong)
        with pytest.raises(NotFound):
            open_bootstrap(image, "vmlinuz")
    kernel.chmod(0o644)
    os.chown(kernel, 12345, 0)
    with pytest.raises(NotFound):
        open_bootstrap(image, "vmlinuz")
