"""Events, which runs tell their listeners: one outcome is one event, whichever runner found it.

`check`, specs, random graphs, campaigns and conformance tell the same events. Tables, reports and progress are listeners;
they read events and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from ..core.case import Case, Expect, Source
from ..core.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Job:
    """The subject of an outcome: one test item, one step of a progress bar, one line of a report.

    build      makes the case when its turn comes, so that planning a thousand jobs draws no values; None where there is
               no case to make again: a Python function, a law of autograd
    explained  why its author finds an INCONCLUSIVE fine here
    number     of the seeded graph, in a campaign
    around     makes further cases of a user's function, which are to be right as well
    bounds     the stated domains of its inputs, in order; None for those without
    """

    id: str
    subject: str
    dtype: str
    build: Callable[[], Case] | None = None
    source: Source = Source()
    expect: Expect = "pass"
    explained: str | None = None
    number: int | None = None
    around: Callable[[], Sequence[Case]] | None = None
    bounds: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True)
class RunStarted:
    """A run, or a session of a campaign.

    total     how many outcomes are to come; None where that is not known beforehand
    versions  of the packages that are judged, and `code`, a digest of gradverify's own: in a campaign
    """

    total: int | None
    subjects: tuple[str, ...]
    dtypes: tuple[str, ...]
    seed: int
    versions: Mapping[str, str] = field(default_factory=dict)
    code: str = ""


@dataclass(frozen=True)
class JobJudged:
    """One outcome.

    ok    is it acceptable to the gate, and to what the author expected?
    text  the evidence as the process that judged wrote it, where the verdict came from a log
    """

    job: Job
    verdict: Verdict
    ok: bool
    text: str = ""


How = Literal["error", "crash", "hang"]


@dataclass(frozen=True)
class JobLost:
    """A job without a verdict, which says nothing about a gradient and is never acceptable.

    how   error: gradverify raised; crash: the process ended (a segmentation fault, an abort); hang: it had to be ended
    text  what is known of it: a traceback, the last words of the process
    spec  the case, where it existed
    """

    job: Job
    how: How
    message: str
    text: str = ""
    spec: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class RunFinished:
    """The end of a run; `seconds` since its start. `stopped` says which limit ended it, and what was not begun."""

    seconds: float
    interrupted: bool = False
    stopped: str = ""


Event = RunStarted | JobJudged | JobLost | RunFinished
Listener = Callable[[Event], None]

_ambient: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Tell `listeners` every event of this block, whichever run it belongs to.

    with listening(print):
        gradverify.check(torch.tanh, x)
    """
    token = _ambient.set((*_ambient.get(), *listeners))
    try:
        yield
    finally:
        _ambient.reset(token)


def tell(listeners: Iterable[Listener], event: Event) -> None:
    """Send an event to `listeners`, and to those of `listening`."""
    for listener in (*listeners, *_ambient.get()):
        listener(event)
