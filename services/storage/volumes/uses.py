"""Which containers use which volumes, and which VM has them.

    volume-uses/<container ID>.json           from the container's creation to its removal
    volume-attachments/<container ID>.json    while its VM runs

The second is not synced: no VM outlives what an unsynced file doesn't.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from services.storage.files import nobody, replace_file, sweep_staged, sync_directory
from services.storage.volumes.records import Attachment, ContainerUse

log = logging.getLogger("vic.storage.volumes")


class Uses:
    """The index of both, and the files that it is made of."""

    def __init__(self, directory: Path, lives: Callable[[str], bool] = nobody) -> None:
        """Open the directories below `directory`, made if need be.

        `lives` tells which other replicas are at work in them.
        """
        self._uses_directory = directory / "volume-uses"
        self._attachments_directory = directory / "volume-attachments"
        self._uses: dict[str, ContainerUse] = {}
        self._attachments: dict[str, Attachment] = {}
        for path in _records(self._uses_directory, lives):
            try:
                use = ContainerUse.read(path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                # Left in place: somebody may mend it by hand.
                log.error("a container's volumes can't be told: %s: %s", path, error)
                continue
            self._uses[use.container_id] = use
        for path in _records(self._attachments_directory, lives):
            try:
                attachment = Attachment.read(path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("an attachment is forgotten: %s: %s", path, error)
                path.unlink(missing_ok=True)
                continue
            self._attachments[attachment.container_id] = attachment

    def get(self, container_id: str) -> ContainerUse | None:
        """What a container has reserved."""
        return self._uses.get(container_id)

    def all(self) -> list[ContainerUse]:
        """Every container that uses volumes."""
        return list(self._uses.values())

    def of(self, name: str) -> list[str]:
        """The containers that use a volume."""
        return [use.container_id for use in self._uses.values() if name in use.names()]

    def begin(self, use: ContainerUse) -> None:
        """Know a use from now on; `save` follows."""
        self._uses[use.container_id] = use

    def save(self, use: ContainerUse) -> None:
        """Have a use on the disk. Raises OSError."""
        replace_file(self._uses_directory / f"{use.container_id}.json", use.to_json())

    def end(self, container_id: str) -> None:
        """Forget a use, durably. Raises OSError."""
        (self._uses_directory / f"{container_id}.json").unlink(missing_ok=True)
        sync_directory(self._uses_directory)
        self._uses.pop(container_id, None)

    def attachment(self, container_id: str) -> Attachment | None:
        """What a container's VM has."""
        return self._attachments.get(container_id)

    def attachments(self, name: str) -> list[Attachment]:
        """The attachments of a volume."""
        return [one for one in self._attachments.values() if name in one.writable]

    def begin_attachment(self, attachment: Attachment) -> None:
        """Know an attachment from now on; `save_attachment` follows."""
        self._attachments[attachment.container_id] = attachment

    def save_attachment(self, attachment: Attachment) -> None:
        """Let an attachment survive this process. Raises OSError."""
        path = self._attachments_directory / f"{attachment.container_id}.json"
        staged = path.with_suffix(".new")
        staged.write_bytes(attachment.to_json())
        os.replace(staged, path)

    def end_attachment(self, container_id: str) -> None:
        """Forget an attachment. Raises OSError."""
        (self._attachments_directory / f"{container_id}.json").unlink(missing_ok=True)
        self._attachments.pop(container_id, None)


def _records(directory: Path, lives: Callable[[str], bool]) -> Iterable[Path]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep_staged(directory, lives)
    for path in directory.glob("*.new"):
        path.unlink(missing_ok=True)
    return directory.glob("*.json")
