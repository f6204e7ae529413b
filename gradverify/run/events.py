"""What the runner tells its listeners. Reports are listeners; they read events and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..core.case import Case, Expect, Source
from ..core.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Job:
    """One case on one subject: what a test item, a progress bar and a report line stand for.

    `build` makes the case when its turn comes, so that planning a thousand jobs draws no values. `explained` is why its
    author finds an INCONCLUSIVE fine here.
    """

    id: str
    subject: str
    dtype: str
    build: Callable[[], Case]
    source: Source = Source()
    expect: Expect = "pass"
    explained: str | None = None


@dataclass(frozen=True)
class RunStarted:
    """`total` is None where the number of jobs is not known beforehand."""

    total: int | None
    subjects: tuple[str, ...]
    dtypes: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class JobJudged:
    """`ok` is what gates: the verdict against what the author expected, and against `strict`."""

    job: Job
    verdict: Verdict
    ok: bool


@dataclass(frozen=True)
class RunFinished:
    seconds: float
    interrupted: bool = False


Event = RunStarted | JobJudged | RunFinished
Listener = Callable[[Event], None]


def tell(listeners: Iterable[Listener], event: Event) -> None:
    for listener in listeners:
        listener(event)
