"""Which containers use which volumes, and which VM has them.

    volume-uses/<container ID>.json           from the container's creation to its removal
    volume-attachments/<container ID>.json    while its VM runs

The second is not synced: no VM outlives what an unsynced file doesn't.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from services.storage.files import (
    nobody,
    replace_file,
    staged_path,
    sweep_staged,
    sync_directory,
)
from services.storage.volumes.records import Attachment, ContainerUse

T = TypeVar("T")

log = logging.getLogger("vic.storage.volumes")


class Uses:
    """The index of both, and the files that it is made of.

    It is empty until the first `refresh`. Whoever writes, or refreshes, has the instance's volumes
    alone at that moment (VolumeIndex.changing) or shares them.
    """

    def __init__(self, directory: Path, lives: Callable[[str], bool] = nobody) -> None:
        """Lay out the directories below `directory`, and sweep them.

        `lives` tells which other replicas are at work in them.
        """
        self.directory = directory
        self._uses_directory = directory / "volume-uses"
        self._attachments_directory = directory / "volume-attachments"
        # Never changed, but replaced: threads do it while others read.
        self._uses: dict[str, ContainerUse] = {}
        self._attachments: dict[str, Attachment] = {}
        self._told: set[Path] = set()
        for part in (self._uses_directory, self._attachments_directory):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            sweep_staged(part, lives)
            for path in part.glob("*.new"):  # of before 2026-11-27
                path.unlink(missing_ok=True)

    def refresh(self) -> None:
        """Look at the files. Blocks.

        Raises OSError, also where one can't be read: that a volume isn't in use can't be told then.
        """
        uses, attachments = {}, {}
        for path in self._uses_directory.glob("*.json"):
            try:
                use = ContainerUse.read(path)
            except FileNotFoundError:  # gone since
                continue
            except (ValueError, KeyError, TypeError) as error:
                # Left in place: somebody may mend it by hand.
                if path not in self._told:
                    self._told.add(path)
                    log.error("a container's volumes can't be told: %s: %s", path, error)
                continue
            uses[use.container_id] = use
        for path in self._attachments_directory.glob("*.json"):
            try:
                attachment = Attachment.read(path)
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError) as error:
                log.warning("an attachment is forgotten: %s: %s", path, error)
                path.unlink(missing_ok=True)
                continue
            attachments[attachment.container_id] = attachment
        self._uses, self._attachments = uses, attachments

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
        """Keep a use, durably: from now on nobody removes one of its volumes. Raises OSError."""
        replace_file(self._uses_directory / f"{use.container_id}.json", use.to_json())
        self._uses = {**self._uses, use.container_id: use}

    def end(self, container_id: str) -> None:
        """Forget a use, durably. Raises OSError."""
        (self._uses_directory / f"{container_id}.json").unlink(missing_ok=True)
        sync_directory(self._uses_directory)
        self._uses = _without(self._uses, container_id)

    def attachment(self, container_id: str) -> Attachment | None:
        """What a container's VM has."""
        return self._attachments.get(container_id)

    def attachments(self, name: str) -> list[Attachment]:
        """The attachments of a volume."""
        return [one for one in self._attachments.values() if name in one.writable]

    def begin_attachment(self, attachment: Attachment) -> None:
        """Keep an attachment, so that it survives this process. Raises OSError."""
        staged = staged_path(self._attachments_directory)
        try:
            staged.write_bytes(attachment.to_json())
            os.replace(staged, self._attachments_directory / f"{attachment.container_id}.json")
        except OSError:
            with suppress(OSError):  # a sweep finds it
                staged.unlink(missing_ok=True)
            raise
        self._attachments = {**self._attachments, attachment.container_id: attachment}

    def end_attachment(self, container_id: str) -> None:
        """Forget an attachment. Raises OSError."""
        (self._attachments_directory / f"{container_id}.json").unlink(missing_ok=True)
        self._attachments = _without(self._attachments, container_id)


def _without(records: dict[str, T], key: str) -> dict[str, T]:
    return {name: record for name, record in records.items() if name != key}
