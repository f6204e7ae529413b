"""Files that a run writes: tried before the run, replaced as a whole at its end."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import GradverifyError


def encoded(text: str) -> bytes:
    """The text in UTF-8; a lone surrogate, which has no place there, as its escape, which JSON reads again."""
    return text.encode("utf-8", errors="backslashreplace")


def replace_file(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` so that nobody ever reads half of it, and make its folder. Raises OSError.

    The file is written beside its place, and moved there. What is no regular file (`/dev/stdout`, a pipe) is written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = encoded(content) if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()  # a link stays one
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        made.write_bytes(data)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def try_path(path: Path) -> None:
    """Raise GradverifyError, in one line, where `replace_file` could not write to `path`."""
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            return
        probe = path.resolve().with_name(f".{path.name}.{os.getpid()}")
        probe.touch()
        probe.unlink()
    except OSError as e:
        raise GradverifyError(f"{path} cannot be written: {e.strerror or e}") from None
