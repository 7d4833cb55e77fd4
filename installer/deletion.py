"""`vic delete`: an instance with all its data, and nothing else.

Interrupted at any point it can be repeated: the record that says whose the data is goes last, and
says which stores are left.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from installer.checks import require_root
from installer.containers import SETTINGS
from installer.down import take_down
from installer.errors import LeftoverError, NotRunningError, PreconditionError
from installer.images import shared_directory
from installer.instance import Instance, amend_record, check_data_dir, load_instance
from installer.layout import count_kept, directories
from installer.stores import check_there, store_directories
from installer.up import lock_data_dir
from installer.vsphere.verbs import check_unused, remove_vch
from portlayer.identity import Role

Say = Callable[[str], None]


def delete(data_dir: Path, say: Say, *, force: bool) -> list[Path]:
    """Stop an instance and remove its data; return what else was in its directory, and stays.

    Without `force` an instance that has containers or volumes is refused, and stays as it is.
    Raises NotRunningError where no instance is, PreconditionError or LeftoverError.
    """
    require_root("delete")
    data_dir = check_data_dir(data_dir)
    instance = load_instance(data_dir)
    if instance is None:
        raise NotRunningError(f"{data_dir} holds no instance: nothing to delete")
    stores, faults = store_directories(instance, _missed(instance))
    images = _shared_images(instance, faults)
    if not force:
        _refuse_used(instance, list(stores.values()), faults)
        if instance.options.driver == "vsphere":
            check_unused(instance)
    take_down(data_dir, say)
    with lock_data_dir(data_dir):
        if instance.options.driver == "vsphere":
            left = remove_vch(instance, say)
            if left:
                raise LeftoverError(
                    "; ".join(left) + ": not ours to remove; `vic delete` goes on when it is gone"
                )
            _remove(data_dir / "vcenter")
        _remove_stores(instance, stores)
        if images is not None:
            _leave(instance, images)
        for fault in faults:
            say(f"what it has in a store that can't be reached stays there: {fault}")
        own = [d.path for d in directories(instance) if d.path != data_dir]
        own += [instance.database_dir]
        (data_dir / SETTINGS).unlink(missing_ok=True)
        for path in sorted(own, reverse=True):
            _remove(path)
        (data_dir / "instance.json").unlink(missing_ok=True)
        rest = sorted(data_dir.iterdir())
        if not rest:
            data_dir.rmdir()
        return rest


def _missed(instance: Instance) -> dict[str, str]:
    """Return the stores in which something of the instance has to be, by name and URL."""
    record = json.loads((instance.data_dir / "instance.json").read_text())
    begun = record.get("removed_store")
    return {name: url for name, url in instance.options.volume_stores.items() if name != begun}


def _remove_stores(instance: Instance, stores: Mapping[str, Path]) -> None:
    """Remove what is the instance's own in its stores, and each store from its record then.

    Which one is begun with is noted before: a repeat can't know whether all of it was removed.
    """
    left = dict(instance.options.volume_stores)
    for name, path in stores.items():
        amend_record(instance, volume_stores=left, removed_store=name)
        _remove(path)
        del left[name]
    amend_record(instance, volume_stores=left)


def _shared_images(instance: Instance, faults: list[str]) -> Path | None:
    """Return the image store that an instance shares; why it can't be reached goes to `faults`."""
    try:
        directory = shared_directory(instance)
        if directory is not None:
            # A mount point without its file system is no store without images.
            check_there(directory, f"image store {instance.options.image_store}")
    except PreconditionError as error:
        faults.append(str(error))
        return None
    return directory


def _leave(instance: Instance, images: Path) -> None:
    """Take an instance's images out of the store that it shares. Raises LeftoverError."""
    from services.storage.leaving import leave

    before = os.umask(0o007)  # what root makes there its group may change
    try:
        leave(images, owner=instance.id, base_size=instance.options.base_size_bytes)
    except OSError as error:
        raise LeftoverError(
            f"the images in {images} could not be given up: {error.strerror}; `vic delete` goes "
            "on when they can be"
        ) from error
    finally:
        os.umask(before)


def _refuse_used(instance: Instance, stores: list[Path], faults: list[str]) -> None:
    """Raise PreconditionError where data would be lost that somebody may want."""
    storage = instance.data_dir / Role.STORAGE
    containers = count_kept(storage / "containers")
    volumes = sum(count_kept(path) for path in (storage / "volumes", *stores))
    held = [
        f"{number} {noun}{'s' if number > 1 else ''}"
        for number, noun in ((containers, "container"), (volumes, "volume"))
        if number
    ]
    if held:
        raise PreconditionError(
            f"{instance.data_dir} holds {' and '.join(held)}; --force deletes them too"
        )
    if faults:
        raise PreconditionError(
            f"which volumes or images it has in a store can't be told: {'; '.join(faults)}; "
            "--force leaves them there"
        )


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LeftoverError(
            f"{path} could not be removed: {error.strerror}; `vic delete` goes on when it can be"
        ) from error
