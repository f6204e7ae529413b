"""The log of a campaign: what has been judged, so that it goes on where it ended. What an entry says:

i, subject, dtype   which case: `generate.campaign.seeded_case(seed, i, dtype, …)`, so that it can be made again
seed                of the graph, where it is not the campaign's: of a graph out of a corpus
is                  the outcome of the verdict, or how none came (`events.How`)
s                   seconds, of making the case, of its truth and of its verdict
kind, reason, known of the verdict, where it has them
message             of an INCONCLUSIVE
text, spec          of a FAIL, and where no verdict came: the whole evidence, and the case
culprit             of a FAIL: the first wrong op, its wrong argument and the shapes that it was given
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

from ...core.case import Source
from ...core.errors import GradverifyError, SpecError
from ...core.graph import Input
from ...core.outcome import FailKind, GatePolicy, Outcome, Reason
from ...core.verdict import Culprit, Verdict
from ...spec.document import loads
from ..events import Event, How, Job, JobJudged, JobLost, RunStarted
from ..gate import acceptable
from ..identity import code
from ..lines import Lines
from ..scheduling import Entry
from .coverage import sort_of
from .model import Campaign, Combo, Verdicting

FORMAT = 2
"""Counts up when the log changes in a way that breaks its readers."""

NO_VERDICT: tuple[How, ...] = get_args(How)


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


class Log(Lines):
    """JSON lines: a head for each session, then an entry per verdict, each written as it comes.

    Opening it raises GradverifyError where it cannot be read or written, is no such log, or is one of another seed,
    device or version of a framework: its verdicts would not be of one campaign. A last line that was cut off by a kill
    is dropped.
    """

    what = "campaign"

    def __init__(self, path: Path, c: Campaign) -> None:
        self.head = head(c)
        self._begun = False
        super().__init__(path)
        try:
            if self._first_line():
                self._check(1, self.parse(1, self._first_line()))
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Entry]:
        """All lines so far, heads included."""
        for n, entry in enumerate(super().__iter__(), 1):
            if "campaign" in entry:
                self._check(n, entry)
            yield entry

    def append(self, entry: Entry) -> None:
        if not self._begun:
            super().append(self.head)
            self._begun = True
        super().append(entry)

    def parse(self, n: int, line: bytes) -> Entry:
        entry = super().parse(n, line)
        if "campaign" in entry if n == 1 or "campaign" in entry else _is_entry(entry):
            return entry
        raise GradverifyError(f"{self.path}:{n}: not the log of a campaign")

    def _first_line(self) -> bytes:
        with self.path.open("rb") as lines:
            return lines.readline()

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
        and is_count(entry.get("seed", 0))
        and is_text(entry.get("subject"))
        and is_text(entry.get("dtype"))
        and is_text(entry.get("is"))
        and entry["is"] in _WORDS
        and type(entry.get("s")) in (int, float)
        and 0 <= entry["s"] < 1e9
        and entry.get("kind", None) in (None, *_KINDS)
        and entry.get("reason", None) in (None, *_REASONS)
        and all(is_text(entry.get(key, "")) for key in ("message", "text", "spec", "known", "culprit"))
    )


def read_log(c: Campaign, log: Iterable[Entry]) -> Iterator[Entry]:
    """Yield a log's entries about this campaign: each verdict once, and the heads."""
    indices = c.graphs if isinstance(c.graphs, range) else frozenset(c.graphs)
    seen: set[Verdicting] = set()
    for entry in log:
        if "campaign" in entry:
            yield entry
            continue
        v = verdicting(entry, c.seed)
        mine = v.graph in indices if v.seed == c.seed else c.corpus is not None
        if v.combo in c.combos and v not in seen and (mine or v in c.of_corpus):
            seen.add(v)
            yield entry


def verdicting(entry: Entry, seed: int) -> Verdicting:
    """Which verdict of a campaign of this seed an entry is of."""
    return Verdicting(entry.get("seed", seed), entry["i"], Combo(entry["subject"], entry["dtype"]))


def to_event(entry: Entry, seed: int, policy: GatePolicy) -> Event:
    """The event that a line of the log stands for."""
    if "campaign" in entry:
        return RunStarted(None, (), (), entry["seed"], entry["versions"], entry["code"])
    i, subject, dtype, seed = entry["i"], entry["subject"], entry["dtype"], entry.get("seed", seed)
    id = f"campaign::graph {i}{f' of seed {seed}' if 'seed' in entry else ''}[{subject}-{dtype}]"
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
        shapes = ", ".join(sort_of(n.shape) for n in graph.nodes if isinstance(n, Input)) if graph is not None else ""
    return f"{culprit.op}, argument {culprit.argument}" + (f", of {shapes}" if shapes else "")


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
