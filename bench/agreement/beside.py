"""One call of a peer's gradient checker, and the same call of ours right after it.

The peer's answer is the one that its suite sees: what it returns is returned, what it raises is raised.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradverify.core.errors import Unsupported
from gradverify.core.limits import TimeLimit, time_limit

PASSES, REJECTS, UNDECIDED, UNSUPPORTED, TIMED_OUT, BROKEN = (
    "passes", "rejects", "undecided", "unsupported", "timed out", "broken",
)  # fmt: skip
"""What a checker may say of a call. A checker that raises what the checked function does not is broken."""


TIMES = 3.0
"""A call that takes its original longer than a third of the limit may take ours so many times that: half of what eig costs
either of them is JAX's compiler."""


@dataclass(frozen=True)
class Answer:
    """What one checker said: the outcome, its message and the seconds of CPU time that it took."""

    outcome: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """One call of a suite. `test` is the test's name, `number` counts its calls, `call` says what was called."""

    suite: str
    test: str
    number: int
    call: str
    original: Answer
    ours: Answer


class Log:
    """The rows of one run of a suite, appended to a file as they come."""

    def __init__(self, suite: str, checkout: Path, path: Path, limit: float) -> None:
        self.suite, self.checkout, self.path, self.limit = suite, checkout, path, limit
        self.revision = revision()
        self.test = ""
        self.number = 0
        self._depth = 0

    def start(self, test: str) -> None:
        """The calls that follow are those of this test."""
        self.test, self.number = test, 0

    def end(self) -> None:
        """All calls of the test are in the log: a run that continues leaves it out."""
        self._write({"ended": self.test, "revision": self.revision})

    def collected(self, all_of_them: int, asked: int) -> None:
        """pytest collected so many tests, of which so many come to a checker."""
        self._write({"collected": all_of_them, "asked": asked})

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as out:
            out.write(json.dumps(line) + "\n")

    def beside(
        self,
        call: str,
        original: Callable[[], Any],
        ours: Callable[[], Any],
        rejections: tuple[type[BaseException], ...],
    ) -> Any:
        """Run both, write the row, and answer as the original does. A call inside of another one is the original's own."""
        if self._depth:
            return original()
        self._depth += 1
        try:
            before = _draws()
            result, raised, first = _run(original, rejections, None)
            after = _draws()
            _draw_from(before)
            second = self._ours(ours, rejections, max(self.limit, TIMES * first.seconds))
            _draw_from(after)
            row = Row(self.suite, self.test, self.number, call, first, second)
            self._write(asdict(row))
            self.number += 1
        finally:
            self._depth -= 1
        if raised is not None:
            raise raised
        return result

    def _ours(self, ours: Callable[[], Any], rejections: tuple[type[BaseException], ...], seconds: float) -> Answer:
        start = time.process_time()
        try:
            with warnings.catch_warnings(), time_limit(seconds, cpu=True):
                warnings.simplefilter("ignore")
                return _run(ours, rejections, Unsupported)[2]
        except TimeLimit as e:
            return Answer(TIMED_OUT, str(e), time.process_time() - start)


def _run(
    check: Callable[[], Any], rejections: tuple[type[BaseException], ...], unsupported: type[BaseException] | None
) -> tuple[Any, BaseException | None, Answer]:
    """What the check returned, or raised, and the answer that this is."""
    start = time.process_time()
    try:
        result = check()
    except TimeLimit:
        raise
    except Exception as e:
        if unsupported is not None and isinstance(e, unsupported):
            outcome = UNSUPPORTED
        elif type(e).__name__ == "Undecided":
            outcome = UNDECIDED
        else:
            outcome = REJECTS if isinstance(e, rejections) else BROKEN
        where = "" if outcome != BROKEN else " at " + _place(e)
        text = f"{_contract(e, rejections)}: {e}{where}"
        return None, e, Answer(outcome, text, time.process_time() - start)
    return result, None, Answer(REJECTS if result is False else PASSES, "", time.process_time() - start)


def _contract(e: BaseException, rejections: tuple[type[BaseException], ...]) -> str:
    """The type that a suite catches `e` by: the first of `rejections` that it is an instance of, else its own."""
    return next((r for r in rejections if isinstance(e, r)), type(e)).__name__


def _place(e: BaseException) -> str:
    """The last frame of the traceback."""
    frames = traceback.extract_tb(e.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def _draws() -> tuple[Any, ...]:
    """The states of the global generators."""
    torch = sys.modules.get("torch")
    return random.getstate(), np.random.get_state(), torch.get_rng_state() if torch is not None else None


def _draw_from(states: tuple[Any, ...]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    if states[2] is not None:
        sys.modules["torch"].set_rng_state(states[2])


@contextmanager
def patched(*places: tuple[Any, str, Any]) -> Iterator[None]:
    """Within the block, these attributes of modules have other values."""
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def rows_of(path: Path) -> list[Row]:
    """The rows of a log: of each test those of its last run that came to an end; of its last one if none did."""
    runs, open_runs, _ = _runs(path)
    return [row for test in {**open_runs, **runs} for row in runs.get(test, open_runs.get(test, []))]


def ended(path: Path) -> frozenset[str]:
    """The tests of a log that came to their end."""
    return frozenset(_runs(path)[0]) if path.exists() else frozenset()


def revisions(path: Path) -> dict[str, int]:
    """How many tests of a log ended at which revision of ours."""
    found: dict[str, int] = {}
    for name in _runs(path)[2].values():
        found[name] = found.get(name, 0) + 1
    return found


def collected(path: Path) -> tuple[int, int]:
    """The most tests that pytest collected for a log, and the most of them that come to a checker."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith('{"collected"')]
    return max(line["collected"] for line in lines), max(line["asked"] for line in lines)


def _runs(path: Path) -> tuple[dict[str, list[Row]], dict[str, list[Row]], dict[str, str]]:
    """By the test's name: the rows of its last run that ended, those since, and the revision of the run that ended."""
    done: dict[str, list[Row]] = {}
    since: dict[str, list[Row]] = {}
    at: dict[str, str] = {}
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        if "collected" in fields:
            continue
        if "ended" in fields:
            test = fields["ended"]
            done[test], at[test] = since.pop(test, []), fields["revision"]
            continue
        fields["original"], fields["ours"] = Answer(**fields["original"]), Answer(**fields["ours"])
        row = Row(**fields)
        if row.number == 0:
            since[row.test] = []  # an earlier run of it was cut off
        since.setdefault(row.test, []).append(row)
    return done, since, at


def revision() -> str:
    """The commit that is checked out, "+" if files differ from it."""
    here = Path(__file__).parent
    command = ("git", "describe", "--always", "--dirty=+", "--exclude=*")
    found = subprocess.run(command, cwd=here, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


COMPILED = {
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).parents[2] / "build" / "agreement" / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
"""JAX keeps compiled programs here: half of the time of either checker is the compiler's, for programs that recur."""


def environment(**given: str) -> dict[str, str]:
    """The environment of a suite's process: one thread, the CPU, JAX's compiled programs kept, and the given names."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **one, "JAX_PLATFORMS": "cpu", **COMPILED, **given}
