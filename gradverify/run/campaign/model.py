"""Campaigns: seeded random graphs by the hundred thousand on many subjects and dtypes, into a log that resumes.

What is judged, and the log, are here; the processes that judge are in `crew`. What an entry of the log says:

    i, subject, dtype   which case: `generate.campaign.seeded_case(seed, i, dtype, …)`, so that it can be made again
    is                  the outcome of the verdict, or what came instead of one (`NO_VERDICT`)
    s                   seconds, of making the case, of its truth and of its verdict
    kind, reason, known of the verdict, where it has them
    message             of an INCONCLUSIVE
    text, spec          of a FAIL, and of what came instead of a verdict: the whole evidence, and the case
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, entry_points, version
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

from ...core.errors import GradverifyError, UnknownName
from ...frameworks.registry import BUILT_IN, GROUP, find
from ...namespaces.dtypes import FORMATS, PRECISION
from .. import plan
from ..runner import Settings

Entry = dict[str, Any]

FORMAT = 2
"""Counts up when the log changes in a way that breaks its readers."""

DTYPES = (*FORMATS, *PRECISION)

NO_VERDICT = ("error", "crash", "hang")
"""error: gradverify raised; crash: the process ended (a segmentation fault, an abort); hang: it had to be ended. None
of them says anything about a gradient, and none is acceptable."""


Spread = Literal["none", "dtypes", "both"]


class Combo(NamedTuple):
    subject: str
    dtype: str


@dataclass(frozen=True)
class Campaign:
    """graphs   the indices of the seeded graphs
    combos   subject × dtype, without those that the subject does not compute in
    spread   "none": each graph in each combo; "dtypes": in one dtype, in turn, on every subject; "both": on one subject
    limit    seconds after which a verdict counts as hanging
    every    are all entries to carry their text?
    """

    graphs: Sequence[int]
    combos: tuple[Combo, ...]
    seed: int = 0
    device: str = "cpu"
    spread: Spread = "none"
    limit: float = 300.0
    every: bool = False

    @cached_property
    def verdicts(self) -> int:
        return sum(len(self.todo(i)) for i in self.graphs)

    def todo(self, i: int) -> tuple[Combo, ...]:
        """Of graph i: dtype by dtype, since subjects share a case's truth. Who comes first pays for it, so they take
        turns."""
        dtypes = list(dict.fromkeys(c.dtype for c in self.combos))
        if self.spread != "none":
            i, dtypes = i // len(dtypes), [dtypes[i % len(dtypes)]]
        made: list[Combo] = []
        for dtype in dtypes:
            here = [c for c in self.combos if c.dtype == dtype]
            first = i % len(here)
            made += [here[first]] if self.spread == "both" else [*here[first:], *here[:first]]
        return tuple(made)


def campaign(settings: Settings, graphs: Sequence[int], **how: Any) -> Campaign:
    """What `settings` (subjects, dtypes, device, seed) ask for; without subjects, all that are available and judge graphs.
    `how` are further fields of a Campaign.

    Raises UnknownName for a subject or a dtype that does not exist, and GradverifyError for a subject that was asked for
    and is not available, and where nothing is left to judge.
    """
    plan.check_names(settings)
    for dtype in settings.dtypes or ():
        if dtype not in DTYPES:
            raise UnknownName("dtype", dtype, DTYPES)
    subjects = []
    for name in settings.subjects or (*BUILT_IN, *(e.name for e in entry_points(group=GROUP))):
        why_not = find(name, settings.device).unavailable()
        if why_not and settings.subjects:
            raise GradverifyError(f"{name} cannot be judged here: {why_not}")
        if not why_not:
            subjects.append(name)
    combos = tuple(
        Combo(s, d)
        for s in subjects
        for d in settings.dtypes or DTYPES
        if PRECISION.get(d, d) in find(s, settings.device).dtypes
    )
    if not graphs:
        raise GradverifyError("nothing to judge: no graphs")
    if not combos:
        raise GradverifyError("nothing to judge: none of the subjects computes in any of the dtypes")
    return Campaign(graphs, combos, settings.seed, settings.device, **how)


# The log.


@cache
def code() -> str:
    """A digest of gradverify's own source: a log that was written by several states of it says so."""
    package = Path(__file__).parent.parent.parent
    h = hashlib.blake2b(digest_size=6)
    for path in sorted(package.rglob("*.py")):
        h.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return h.hexdigest()


def versions(subjects: Iterable[str]) -> dict[str, str]:
    """Of gradverify and of the packages that the subjects are named after."""
    found = {}
    for name in ("gradverify", "numpy", *subjects):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def head(c: Campaign) -> Entry:
    """The line that a session of a campaign begins with."""
    subjects = dict.fromkeys(combo.subject for combo in c.combos)
    return {
        "campaign": FORMAT, "seed": c.seed, "device": c.device, "versions": versions(subjects), "code": code(),
    }  # fmt: skip


class Log:
    """JSON lines: a head for each session, then an entry per verdict, each written as it comes.

    Opening it raises GradverifyError where it cannot be read or written, is no such log, or is one of another seed,
    device or version of a framework: its verdicts would not be of one campaign. A last line that was cut off by a kill
    is dropped.
    """

    def __init__(self, path: Path, c: Campaign) -> None:
        self.path, self.head = path, head(c)
        self._begun = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIOWrapper = path.open("a+", encoding="utf-8")
        except OSError as e:
            raise GradverifyError(f"{path}: cannot be written: {e.strerror}") from None
        try:
            self._drop_torn_line()
            if self._first_line():
                self._check(1, self._parsed(1, self._first_line()))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Entry]:
        """All lines so far, heads included."""
        with self.path.open(encoding="utf-8") as lines:
            for n, line in enumerate(lines, 1):
                entry = self._parsed(n, line)
                if "campaign" in entry:
                    self._check(n, entry)
                yield entry

    def append(self, entry: Entry) -> None:
        if not self._begun:
            self._write(self.head)
            self._begun = True
        self._write(entry)

    def _write(self, entry: Entry) -> None:
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as e:
            raise GradverifyError(f"{self.path}: cannot be written: {e.strerror}") from None

    def _first_line(self) -> str:
        self._file.seek(0)
        return self._file.readline()

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

    def _parsed(self, n: int, line: str) -> Entry:
        try:
            entry = json.loads(line)
            if ("campaign" if n == 1 else "i") in entry or "campaign" in entry:
                return entry
        except (ValueError, TypeError):
            pass
        raise GradverifyError(f"{self.path}:{n}: not the log of a campaign")

    def _check(self, n: int, found: Entry) -> None:
        def refuse(what: str, was: object, now: object) -> None:
            if was != now:
                raise GradverifyError(
                    f"{self.path}:{n}: a log of another {what} ({was}, not {now}): give another --log"
                )

        refuse("format", found["campaign"], FORMAT)
        refuse("seed", found.get("seed"), self.head["seed"])
        refuse("device", found.get("device"), self.head["device"])
        mine = self.head["versions"]
        for name, was in found.get("versions", {}).items():
            refuse(f"version of {name}", was, mine.get(name, was))


def logged(c: Campaign, log: Iterable[Entry]) -> Iterator[Entry]:
    """What a log has of this campaign, each verdict once, and its heads."""
    indices = c.graphs if isinstance(c.graphs, range) else frozenset(c.graphs)
    seen: dict[Combo, set[int]] = {combo: set() for combo in c.combos}
    for entry in log:
        if "campaign" in entry:
            yield entry
            continue
        combo, i = Combo(entry["subject"], entry["dtype"]), entry["i"]
        if combo in seen and i in indices and i not in seen[combo]:
            seen[combo].add(i)
            yield entry


def run(c: Campaign, done: Mapping[Combo, Collection[int]], log: Log | None, jobs: int) -> Iterator[Entry]:
    """Judge the graphs that are not `done` on a subject in a dtype, in `jobs` processes; a head, and entries as they come,
    each written to the log before it is told."""
    from .workers import judged

    yield head(c)
    tasks = ((i, [combo for combo in c.todo(i) if i not in done[combo]]) for i in c.graphs)
    for entry in judged(c, ((i, todo) for i, todo in tasks if todo), jobs):
        if log is not None:
            log.append(entry)
        yield entry
