"""The end of a run: its reports are written, and what CI reads is said. The command line and pytest both end here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import github
from .folder import keep_last
from .targets import Target


def end_run(data: dict[str, Any], targets: Sequence[Target], root: Path | None) -> Iterator[str]:
    """Write every report; yield the lines about it, and under GitHub Actions the annotations.

    What was not acceptable is kept below `root`, if there is one, for `gradverify replay ID`.

    A report that cannot be written is a line, and the others are written all the same.
    """
    if root is not None:
        keep_last(root, data)
    for target in targets:
        try:
            target.write(data)
            yield f"report: {target.path}"
        except OSError as e:
            yield f"report: {target.path} could not be written: {e.strerror or e}"
    if github.is_running():
        yield from github.annotation_lines(data)
        try:
            github.write_summary(data)
        except OSError as e:
            yield f"the step's summary could not be written: {e.strerror or e}"
