"""Directories that the container's root has to have."""

from __future__ import annotations

import os


def make_directories(path: str) -> None:
    """Make a directory, and those above it that aren't there; only root may write any of them.

    That is for processes whose mask is 0: ``os.makedirs`` gives its mode to the last one alone.
    Nothing to do for a directory that is there. Raises OSError.
    """
    before = os.umask(0o022)
    try:
        os.makedirs(path, exist_ok=True)
    finally:
        os.umask(before)
