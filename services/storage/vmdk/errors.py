"""What can be wrong with a VMDK."""

from __future__ import annotations


class VmdkError(Exception):
    """Base of everything this package raises; the text names the file and the fault."""


class VmdkCorrupt(VmdkError):
    """The file isn't a VMDK that this package reads, or its structures contradict each other."""


class ChainBroken(VmdkError):
    """A parent is missing, has another content ID than its child expects, or the chain loops."""
