"""What can go wrong while the bootstrap image is built."""


class BootstrapError(Exception):
    """The bootstrap image can't be built; the message says why and what to do about it."""


class PackageUnavailableError(BootstrapError):
    """apt or pip doesn't know a package, or can't fetch it."""


class MissingLibraryError(BootstrapError):
    """A program of the image needs a shared library that no chosen package brings."""
