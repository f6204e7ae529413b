"""The end of a run: its reports are written, and what CI reads is said. The command line and pytest both end here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from . import github
from .targets import Target


def end_run(data: dict[str, Any], targets: Sequence[Target]) -> Iterator[str]:
    """Write every report; yield the lines about it, and under GitHub Actions the annotations.

    A report that cannot be written is a line, and the others are written all the same.
    """
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
