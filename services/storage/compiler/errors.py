"""Why a layer isn't compiled, or a disk isn't read."""

from __future__ import annotations


class CompilerError(Exception):
    """Base of everything this package raises on purpose."""

    def __init__(self, reason: str) -> None:
        """`reason` is one sentence for the person whose image it is, without a full stop."""
        super().__init__(reason)
        self.reason = reason

    def __reduce__(self) -> tuple[type[CompilerError], tuple[str]]:
        """Errors cross from worker processes by pickle."""
        return type(self), (self.reason,)


class LayerInvalid(CompilerError):
    """The layer's tar is broken, asks for the impossible, or reaches out of its root."""


class LayerTooLarge(CompilerError):
    """The layer exceeds a limit that the caller set."""


class DiskFull(CompilerError):
    """The layer doesn't fit into the image store's base size."""


class DiskCorrupt(CompilerError):
    """The disk that was to be read or built on isn't a sound file system of the kind we make."""


class NotFound(CompilerError):
    """No such file in the disk that is read."""
