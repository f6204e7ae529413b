"""A sweep as work for a scheduler: an item is the place of a point in its framework's table."""

from __future__ import annotations

import hashlib
import importlib
import os
import time
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradverify
from bench.sweep.points import ORDINARY, Point, called
from gradverify.core.limits import TimeLimit, time_limit
from gradverify.run.campaign.log import code, versions
from gradverify.run.crew import Lost

GRACE = 60.0
"""Seconds beyond the limit after which a process that hangs outside Python is ended."""

ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}
"""What a process needs before it imports a framework, unless the user says otherwise."""


@dataclass(frozen=True)
class Row:
    """The result of one point: `what` is the FAIL's kind or the INCONCLUSIVE's reason, `said` the point's text."""

    function: str
    edge: str
    outcome: str
    what: str = ""
    message: str = ""
    seconds: float = 0.0
    said: str = ""

    @property
    def label(self) -> str:
        return f"{self.outcome}{f' ({self.what})' if self.what else ''}"


@dataclass(frozen=True)
class Sweep:
    """The points of a framework's table, each for at most `each` seconds."""

    framework: str
    each: float
    effort: str

    @property
    def limit(self) -> float:
        return self.each + GRACE

    def prepare(self) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        table_of(self.framework)

    def do(self, place: int) -> dict[str, Any]:
        table = table_of(self.framework)
        return asdict(judged(table.POINTS[place], table, self.each, self.effort))

    def lost(self, place: int, how: Lost, seconds: float) -> dict[str, Any]:
        point = table_of(self.framework).POINTS[place]
        return asdict(Row(point.function, point.edge, "CRASH", "process", how.message, seconds, point.said))

    def state(self) -> dict[str, str]:
        tables = hashlib.blake2b(digest_size=6)
        for path in sorted(Path(__file__).parent.glob("*.py")):
            tables.update(path.read_bytes())
        return {
            "state of gradverify's code": code(), "state of the sweep": tables.hexdigest(),
            **{f"version of {name}": v for name, v in versions([self.framework]).items()},
        }  # fmt: skip


def table_of(framework: str) -> Any:
    return importlib.import_module(f"bench.sweep.{framework}_functions")


def judged(point: Point, table: Any, limit: float, effort: str) -> Row:
    """One point through `check`."""
    start = time.perf_counter()
    spent = lambda: round(time.perf_counter() - start, 3)
    row = lambda *found: Row(point.function, point.edge, *found, seconds=spent(), said=point.said)
    try:
        with time_limit(limit), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fn, args = called(point, table)
            asked = effort if effort != "mixed" else "normal" if point.edge == ORDINARY else "quick"
            verdict = gradverify.check(fn, *args, **{"effort": asked, **point.options})
    except TimeLimit:
        return row("INCONCLUSIVE", "time limit", f"over {limit:g} s")
    except gradverify.BadInput as e:
        if spent() >= limit:  # `check` takes our alarm for a function that hangs
            return row("INCONCLUSIVE", "time limit", f"over {limit:g} s")
        return row("REFUSED", "", str(e))
    except Exception as e:
        last = traceback.extract_tb(e.__traceback__)[-1]
        return row("CRASH", type(e).__name__, f"{str(e)[:300]} ({Path(last.filename).name}:{last.lineno})")
    what = verdict.kind.value if verdict.kind else verdict.reason.name.lower() if verdict.reason else ""
    return row(verdict.outcome.value, what, verdict.message.splitlines()[0] if verdict.message else "")
