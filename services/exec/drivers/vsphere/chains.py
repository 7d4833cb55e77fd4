"""The layers below a container's disk: whether their files are there."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from portlayer.errors import FailedPrecondition, Reason
from portlayer.vsphere.datastore import list_files, split
from portlayer.vsphere.session import VCenter

# Directories that are looked into at once.
AT_A_TIME = 8
# Layers that are known to be there; a host of images has fewer.
MOST_KNOWN = 10_000


class Chains:
    """Looks before a VM is made: vCenter does so when it is powered on, if the disk is attached.

    Layers don't change, so one that was there once is not looked for again.
    """

    def __init__(self, vcenter: VCenter, folder: str) -> None:
        self._vcenter = vcenter
        self._folder = folder
        self._known: set[str] = set()

    async def check(self, chain: Sequence[str]) -> None:
        """Raise FailedPrecondition where a layer below the disk, the first of the chain, is gone.

        The disk itself vCenter looks for when it is attached. Nor can any of them be anywhere but
        on a datastore.
        """
        if any(not path.startswith("[") for path in chain):
            raise FailedPrecondition(
                "the container's disk is on the VCH's own machine, where no ESXi host reads it: "
                "containers start once storage keeps images on a datastore, which it does not yet",
                Reason.PLATFORM_OBJECT_NOT_FOUND,
            )
        by_directory: dict[str, list[str]] = defaultdict(list)
        for path in chain[1:]:
            if path not in self._known:
                datastore, name = split(path)
                by_directory[f"[{datastore}] {name.rpartition('/')[0]}"].append(path)
        room = asyncio.Semaphore(AT_A_TIME)

        async def lacking(directory: str, paths: Sequence[str]) -> list[str]:
            async with room:
                there = await list_files(self._vcenter, self._folder, directory)
            return [path for path in paths if split(path)[1].rpartition("/")[2] not in there]

        looks = (lacking(directory, paths) for directory, paths in by_directory.items())
        gone = [path for paths in await asyncio.gather(*looks) for path in paths]
        if gone:
            raise FailedPrecondition(
                f"the container's disk lacks {', '.join(gone)}, which it is a child of: pull its "
                "image again, and make it anew",
                Reason.PLATFORM_OBJECT_NOT_FOUND,
            )
        if len(self._known) + len(chain) <= MOST_KNOWN:
            self._known.update(chain[1:])
