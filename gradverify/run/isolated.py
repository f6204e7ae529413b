"""Cases judged in another process. A subject that crashes or hangs costs one case, and the run names it."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..core.case import Case
from ..core.errors import BadInput, GradverifyError
from ..core.verdict import Verdict
from .crew import Lost, Process, import_frameworks
from .events import Job


class Ended(Exception):
    """The process of a case has ended: by itself, or since it took too long. `case` is set for a drawn graph."""

    def __init__(self, lost: Lost) -> None:
        self.lost = lost
        self.case: Case | None = None
        super().__init__(f"{lost.how}: {lost.message}" + (f"\n{lost.text}" if lost.text else ""))


_open: dict[tuple[str, str, float], Process] = {}
"""The process of each subject, device and time limit."""


def isolated(work: Callable[..., Verdict], *args: object, subject: str, device: str, limit: float) -> Verdict:
    """`work(*args)` in the subject's process; both are sent there.

    Raises Ended where it has no result, and what of ours it raised.
    """
    process = _process(subject, device, limit)
    task = process.submit(work, *args)
    try:
        found: Verdict = task.result()
        return found
    except GradverifyError:
        raise
    except Exception as e:
        lost = process.lost(task, e)
        if lost.how == "error":
            raise
        raise Ended(lost) from None


def sendable(job: Job) -> Job:
    """The job without what cannot be sent: the cases around it are made here."""
    around: Sequence[Case] = job.around() if job.around is not None else ()
    return replace(job, build=None, around=partial(list, around) if job.around is not None else None)


def _process(*of: Any) -> Process:
    subject, device, limit = of
    if of not in _open:
        if limit <= 0:
            raise BadInput(f"a time limit is more than 0 seconds, not {limit:g}")
        _open[of] = Process(import_frameworks, ((subject,), device), limit)
    return _open[of]


@atexit.register
def end_processes() -> None:
    """End the processes of this module."""
    while _open:
        _open.popitem()[1].end()
