"""The log of a campaign: what has been judged, so that it goes on where it ended. What an entry says:

i, subject, dtype   which case: `generate.campaign.seeded_case(seed, i, dtype, …)`, so that it can be made again
is                  the outcome of the verdict, or how none came (`events.How`)
s                   seconds, of making the case, of its truth and of its verdict
kind, reason, known of the verdict, where it has them
message             of an INCONCLUSIVE
text, spec          of a FAIL, and where no verdict came: the whole evidence, and the case
culprit             of a FAIL: the first wrong op, its wrong argument and the shapes that it was given
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

from ...core.case import Source
from ...core.errors import GradverifyError, SpecError
from ...core.files import check_regular
from ...core.graph import Input
from ...core.op import Shape
from ...core.outcome import FailKind, GatePolicy, Outcome, Reason
from ...core.verdict import Culprit, Verdict
from ...spec.document import loads
from ..events import Event, How, Job, JobJudged, JobLost, RunStarted
from ..gate import acceptable
from .model import Campaign, Combo

Entry = dict[str, Any]

FORMAT = 2
"""Counts up when the log changes in a way that breaks its readers."""

NO_VERDICT: tuple[How, ...] = get_args(How)


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
        "campaign": FORMAT, "seed": c.seed, "device": c.device, "order": c.order, "versions": versions(subjects),
        "code": code(),
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
            if self._first_line():
                self._check(1, self._parse(1, self._first_line()))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):  # a line that could not be written was told when it was appended
            self._file.close()

    def __iter__(self) -> Iterator[Entry]:
        """All lines so far, heads included."""
        with self.path.open("rb") as lines:
            for n, line in enumerate(lines, 1):
                entry = self._parse(n, line)
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

    def _first_line(self) -> bytes:
        with self.path.open("rb") as lines:
            return lines.readline()

    def _lock(self) -> None:
        """Keep other campaigns off this log, until the file is closed or the process ends.

        A network's file system without locks lets every campaign in.
        """
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GradverifyError(f"{self.path}: another campaign writes to this log") from None
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

    def _parse(self, n: int, line: bytes) -> Entry:
        try:
            entry = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict) and ("campaign" in entry if n == 1 or "campaign" in entry else _is_entry(entry)):
            return entry
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
        refuse("order", found.get("order", 1), self.head["order"])
        mine = self.head["versions"]
        versions = found.get("versions")
        if not isinstance(versions, dict) or not isinstance(found.get("code"), str):
            raise GradverifyError(f"{self.path}:{n}: not the log of a campaign")
        for name, was in versions.items():
            refuse(f"version of {name}", was, mine.get(name, was))


_KINDS = frozenset(k.value for k in FailKind)
_REASONS = frozenset(r.name.lower() for r in Reason)
_WORDS = frozenset(o.value for o in Outcome) | frozenset(NO_VERDICT)


def _is_entry(entry: Entry) -> bool:
    """Is a line what `to_event` reads? A flipped byte, or a line of something else, is not."""
    is_count = lambda x: type(x) is int and x >= 0
    is_text = lambda x: isinstance(x, str)
    return (
        is_count(entry.get("i"))
        and is_text(entry.get("subject"))
        and is_text(entry.get("dtype"))
        and is_text(entry.get("is"))
        and entry["is"] in _WORDS
        and type(entry.get("s")) in (int, float)
        and entry.get("kind", None) in (None, *_KINDS)
        and entry.get("reason", None) in (None, *_REASONS)
        and all(is_text(entry.get(key, "")) for key in ("message", "text", "spec", "known", "culprit"))
    )


def read_log(c: Campaign, log: Iterable[Entry]) -> Iterator[Entry]:
    """Yield a log's entries about this campaign: each verdict once, and the heads."""
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


def to_event(entry: Entry, seed: int, policy: GatePolicy) -> Event:
    """The event that a line of the log stands for."""
    if "campaign" in entry:
        return RunStarted(None, (), (), entry["seed"], entry["versions"], entry["code"])
    i, subject, dtype = entry["i"], entry["subject"], entry["dtype"]
    id = f"campaign::graph {i}[{subject}-{dtype}]"
    job = Job(id, subject, dtype, source=Source("generated", seed=seed), number=i)
    message, text, spec = (entry.get(key, "") for key in ("message", "text", "spec"))
    if entry["is"] in NO_VERDICT:
        return JobLost(job, entry["is"], message, text, spec, entry["s"])
    kind, reason = entry.get("kind"), entry.get("reason")
    verdict = Verdict(
        Outcome(entry["is"]), f"graph {i}", subject, dtype, FailKind(kind) if kind else None,
        Reason[reason.upper()] if reason else None, message, spec=spec, seconds=entry["s"], known=entry.get("known", ""),
        facts={"culprit": entry["culprit"]} if entry.get("culprit") else {},
    )  # fmt: skip
    return JobJudged(job, verdict, acceptable(job, verdict, policy), text)


def _describe(culprit: Culprit) -> str:
    """Op, argument, and the sort of shapes: what the findings of one fault have in common."""
    shapes = ""
    if culprit.spec:
        try:
            graph = loads(culprit.spec).cases[0].graph
        except SpecError:  # a case that is too large to be read
            graph = None
        shapes = ", ".join(_sort(n.shape) for n in graph.nodes if isinstance(n, Input)) if graph is not None else ""
    return f"{culprit.op}, argument {culprit.argument}" + (f", of {shapes}" if shapes else "")


def _sort(shape: Shape) -> str:
    """A shape with n for every length but 0 and 1."""
    return f"[{', '.join(str(n) if n < 2 else 'n' for n in shape)}]"


def to_entry(verdict: Verdict, every: bool) -> Entry:
    """The log entry of a verdict; with the evidence of a FAIL, or of `every` one."""
    entry: Entry = {"is": verdict.outcome.value}
    if verdict.kind:
        entry["kind"] = verdict.kind.value
    if verdict.reason:
        entry |= {"reason": verdict.reason.name.lower(), "message": verdict.message[:200]}
    if verdict.known:
        entry["known"] = verdict.known
    if verdict.outcome is Outcome.FAIL:
        entry |= {"message": verdict.message, "spec": verdict.spec}
        if verdict.culprit is not None:
            entry["culprit"] = _describe(verdict.culprit)
    if verdict.outcome is Outcome.FAIL or every:
        entry["text"] = verdict.text()
    return entry
