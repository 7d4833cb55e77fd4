"""A store that fails, is full, or isn't there is named to whoever asks something of it."""

import errno
import os
from pathlib import Path

import pytest

from portlayer.errors import Reason
from services.storage.faults import StoreFaults
from services.storage.imagec.errors import StoreFailed, StoreFull


@pytest.fixture
def stores(tmp_path: Path) -> StoreFaults:
    for name in ("images", "state"):
        (tmp_path / name).mkdir()
    return StoreFaults({tmp_path / "images": "the image store", tmp_path / "state": "the rest"})


def fault(number: int, *path: Path) -> OSError:
    return OSError(number, os.strerror(number), *map(str, path))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ESTALE])
def test_the_store_that_fails_is_named(stores: StoreFaults, tmp_path: Path, number: int) -> None:
    told = stores(fault(number, tmp_path / "images" / "lock"))
    assert isinstance(told, StoreFailed)
    assert told.reason is Reason.STORE_FAILED
    why = os.strerror(number).lower()
    assert told.message == f"the image store ({tmp_path}/images) can't be used: {why}"


def test_a_write_does_not_say_where(stores: StoreFaults) -> None:
    told = stores(fault(errno.EIO))
    assert told is not None
    assert told.message == "the storage service's disk can't be used: input/output error"


def test_one_that_is_full_is(stores: StoreFaults, tmp_path: Path) -> None:
    told = stores(fault(errno.ENOSPC, tmp_path / "state" / "x"))
    assert isinstance(told, StoreFull)
    assert told.message == f"the rest ({tmp_path}/state): no space left on device"


def test_one_that_is_gone_is_what_a_missing_file_means(stores: StoreFaults, tmp_path: Path) -> None:
    error = fault(errno.ENOENT, tmp_path / "images" / "leases" / "one")
    assert stores(error) is None, "a file that is missing in a store that is there"
    (tmp_path / "images").rmdir()
    told = stores(error)
    assert isinstance(told, StoreFailed)
    assert "the image store" in told.message
    assert told.message.endswith("can't be used: no such file or directory")


def test_what_has_to_do_with_no_store_stays_a_fault_of_ours(stores: StoreFaults) -> None:
    assert stores(fault(errno.EMFILE)) is None


def test_a_deadline_that_passes_is_no_store_that_is_gone(
    stores: StoreFaults, tmp_path: Path
) -> None:
    (tmp_path / "images").rmdir()
    assert stores(TimeoutError()) is None, "which is an OSError as well"
