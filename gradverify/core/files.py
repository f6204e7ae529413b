"""Reading files that somebody names: no pipe that nobody writes to, and no endless device."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file of at most `most` bytes.

    Raises OSError where it cannot be read, ValueError where it is a pipe, a device or a folder, or too large.
    """
    # A pipe without a writer blocks the opening itself, unless this says otherwise.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        check_regular(os.fstat(descriptor))
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most:,} bytes")
    return data


def check_regular(status: os.stat_result) -> None:
    """Raise ValueError for a pipe, a device, a socket or a folder."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no regular file")
