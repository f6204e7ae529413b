# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""What gradverify.check says of PyTorch's OpInfo samples, beside torch.autograd.gradcheck (slow mode).

    python bench/opinfo/run.py LOG [--only TEXT] [--limit N] [--per-operator N] [--jobs N] [--seconds S] [--again] [--write]

LOG is a file of JSON lines, one a sample: a run goes on where the last one stopped. `--limit` takes N of the samples,
evenly; `--again` asks those once more that were not decided, or failed. `--write` saves docs/opinfo.md from all that is
in LOG. Samples run in processes of a pebble pool: one that crashes or hangs costs its sample.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import math
import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as Late
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "opinfo.md"
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

import torch
from pebble import ProcessExpired, ProcessPool
from torch.autograd.gradcheck import GradcheckError

from bench.opinfo.page import page
from bench.opinfo.samples import PER_OPERATOR, SEED, Place, Sample, evenly, family, places, sample
from gradverify.api import check
from gradverify.core.errors import BadInput
from gradverify.core.limits import TimeLimit, time_limit

GRACE = 90.0
"""Seconds beyond both limits after which a process that hangs outside Python is ended; its start is in it."""

LIFE = 200
"""Samples after which a process makes room for a new one."""

DONE = ("PASS", "KNOWN", "WEAK", "SURROGATE", "REFUSED")


@dataclass(frozen=True)
class Row:
    """What was said of one sample.

    outcome   the verdict's; REFUSED for a call that cannot be judged, ERROR where check itself broke, CRASH and HANG
              of the process
    what      the FAIL's kind or the INCONCLUSIVE's reason
    power     the smallest relative error that a PASS would have caught
    gradcheck  "passed", "failed", "over time", or the type of what it raised
    """

    place: Place
    family: str
    outcome: str
    what: str = ""
    message: str = ""
    seconds: float = 0.0
    power: float | None = None
    gradcheck: str = ""
    gradcheck_seconds: float = 0.0
    gradcheck_message: str = ""


def judged(place: Place, limit: float) -> Row:
    """One sample through check and through gradcheck, each with a time limit."""
    warnings.simplefilter("ignore")
    asked = sample(place)
    torch.manual_seed(SEED + place.index)
    (outcome, what, message, power), seconds = _timed(lambda: _checked(asked, limit))
    torch.manual_seed(SEED + place.index)
    (said, why), spent = _timed(lambda: _gradchecked(asked, limit))
    return Row(place, family(place.operator), outcome, what, message, seconds, power, said, spent, why)


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return run(), round(time.perf_counter() - start, 3)


def _checked(asked: Sample, limit: float) -> tuple[str, str, str, float | None]:
    try:
        with time_limit(limit):
            verdict = check(asked.fn, *asked.args, kwargs=asked.kwargs, effort="quick")
    except TimeLimit:
        return "INCONCLUSIVE", "time limit", f"over {limit:g} s", None
    except BadInput as e:
        return "REFUSED", "", _first(e), None
    except Exception as e:
        return "ERROR", type(e).__name__, _first(e), None
    reason = verdict.reason.name.lower() if verdict.reason else ""
    message = verdict.message or next((n for n in verdict.notes), "")
    worst = next((str(c.worst) for c in verdict.comparisons if c.failing and c.worst), "")
    said = f"{verdict.known}: {message}" if verdict.known else message
    power = None if math.isnan(verdict.power) else verdict.power
    return verdict.outcome.name, str(verdict.kind or reason), " | ".join(t for t in (_first(said), worst) if t), power


def _gradchecked(asked: Sample, limit: float) -> tuple[str, str]:
    try:
        with time_limit(limit):
            torch.autograd.gradcheck(asked.of_leaves, asked.leaves, nondet_tol=0.0)
    except TimeLimit:
        return "over time", f"over {limit:g} s"
    except GradcheckError as e:
        return "failed", _first(e)
    except Exception as e:
        return type(e).__name__, _first(e)
    return "passed", ""


def _first(text: object) -> str:
    return (str(text).strip().splitlines() or [""])[0][:400]


def rows(todo: Iterable[Place], limit: float, jobs: int) -> Iterator[Row]:
    """The rows of these places, as they come."""
    context = multiprocessing.get_context("spawn")  # threads of a framework do not survive a fork
    with ProcessPool(max_workers=jobs, max_tasks=LIFE, context=context) as pool:
        started = [(p, pool.schedule(judged, args=(p, limit), timeout=2 * limit + GRACE)) for p in todo]
        try:
            for place, future in started:
                of = family(place.operator)
                try:
                    yield future.result()
                except Late:
                    yield Row(place, of, "HANG", message=f"no answer within {2 * limit + GRACE:g} s")
                except ProcessExpired as e:
                    yield Row(place, of, "CRASH", message=f"exit code {e.exitcode}")
                except Exception as e:
                    yield Row(place, of, "ERROR", type(e).__name__, _first(e))
        except BaseException:
            pool.stop()
            raise


def read(log: Path) -> dict[Place, Row]:
    """The last row of each place in a log; a line that an interrupt cut short does not count."""
    found: dict[Place, Row] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            entry: Mapping[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        row = Row(**{**entry, "place": Place(**entry["place"])})
        found[row.place] = row
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--only", default="", help="operators whose name contains this text")
    parser.add_argument("--limit", type=int, help="this many samples, evenly")
    parser.add_argument("--per-operator", type=int, default=PER_OPERATOR)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each of the two checkers")
    parser.add_argument("--again", action="store_true", help="ask once more what was not decided, or failed")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(argv)
    known = read(options.log)
    all_places = list(places(options.per_operator, options.only))
    if options.limit is not None:
        all_places = [all_places[k] for k in evenly(len(all_places), options.limit)]
    if options.again:
        known = {p: r for p, r in known.items() if r.outcome in DONE}
    todo = [p for p in all_places if p not in known]
    print(f"{len(todo)} of {len(all_places)} samples to judge", file=sys.stderr, flush=True)
    with options.log.open("a", encoding="utf-8") as log:
        for row in rows(todo, options.seconds, options.jobs):
            print(json.dumps(asdict(row)), file=log, flush=True)
            if row.outcome not in DONE:
                print(f"{row.place}: {row.outcome} {row.what} {row.message[:150]}", file=sys.stderr, flush=True)
    if options.write:
        PAGE.write_text(page(list(read(options.log).values()), options.seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
