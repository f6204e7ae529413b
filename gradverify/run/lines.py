"""A file of JSON lines that survives kill -9: one writer, each line whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..core.errors import GradverifyError
from ..core.files import check_regular


class Lines:
    """JSON lines, each written as it comes.

    Opening it raises GradverifyError where it cannot be read or written, or where another process writes to it. A last
    line that was cut off by a kill is dropped.
    """

    what = "run"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                check_regular(path.stat())  # opening a pipe that nobody reads would wait for ever
            self._file: TextIOWrapper = path.open("a+", encoding="utf-8", errors="backslashreplace")
        except OSError as e:
            raise GradverifyError(f"{path}: cannot be written: {e.strerror}") from None
        except ValueError as e:
            raise GradverifyError(f"{path}: cannot be written: {e}") from None
        try:
            self._lock()
            self._drop_torn_line()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with suppress(OSError):  # a line that could not be written was told when it was appended
            self._file.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All lines so far."""
        with self.path.open("rb") as lines:
            for n, line in enumerate(lines, 1):
                yield self.parse(n, line)

    def append(self, entry: dict[str, Any]) -> None:
        """Write one line, at once."""
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as e:
            raise GradverifyError(f"{self.path}: cannot be written: {e.strerror}") from None

    def parse(self, n: int, line: bytes) -> dict[str, Any]:
        """The n-th line. Raises GradverifyError where it is none of ours."""
        try:
            entry = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise GradverifyError(f"{self.path}:{n}: not the log of a {self.what}")
        return entry

    def _lock(self) -> None:
        """Keep other processes off this file, until it is closed or the process ends.

        A network's file system without locks lets every process in.
        """
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GradverifyError(f"{self.path}: another {self.what} writes to this log") from None
        except OSError:
            return

    def _drop_torn_line(self) -> None:
        with self.path.open("rb+") as data:
            size = end = data.seek(0, 2)
            newline = -1
            while end and newline < 0:
                start = max(end - 65536, 0)
                data.seek(start)
                newline = data.read(end - start).rfind(b"\n")
                end = start + newline + 1 if newline >= 0 else start
            if 0 < end < size:  # without any newline it is no log, which is said when it is read
                data.truncate(end)
