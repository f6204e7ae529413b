"""What a project knows to be off: accepted deviations, with reason, owner and expiry, and the report of an earlier run.

    [accept."specs/loss.grad.yaml::hinge[torch-float32]"]
    outcome = "FAIL"
    kind = "precision"
    share = 380.0                # the error over its budget that is accepted
    reason = "the kernel sums in float16; faster, and precise enough for training"
    owner = "ada"
    until = 2027-03-01

The name is the id of a report: of a case of a spec, of a call of `check` in a test (`tests/test_ops.py::test_norm::Norm`),
of a watched definition (`gradverify::mypkg.ops.Clamp[…]`), or of an op that is off in random graphs
(`gradverify::random graphs[torch-float32]#erf`).
"""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..core.errors import BadInput, GradverifyError, UnknownName
from ..core.outcome import FailKind, GatePolicy, Outcome
from ..core.verdict import Verdict
from . import project
from .events import Job

KEYS = ("outcome", "kind", "share", "reason", "owner", "until")

EXPONENT = 1e6
"""Shares from here on are written with an exponent: nobody counts the zeros of 809000000000.0."""

NEEDED = ("outcome", "reason", "owner", "until")

ROUNDINGS = 2.0
"""Budgets that the error of an unchanged function may grow by elsewhere: another machine, thread count or library rounds
otherwise. Each of the two runs is within a budget of what the function comes to without rounding, so that their errors
differ by two at most."""


@dataclass(frozen=True, eq=False)
class Deviation:
    """One entry of [accept].

    share    the error over its budget, up to which it is accepted; None where there is none
    until    the last day
    file     where it stands
    """

    id: str
    outcome: Outcome
    kind: FailKind | None
    share: float | None
    reason: str
    owner: str
    until: datetime.date
    file: Path

    def __str__(self) -> str:
        return f"{self.reason} ({self.owner}, until {self.until})"

    @property
    def what(self) -> str:
        return f"{self.outcome} ({self.kind})" if self.kind else str(self.outcome)


@dataclass(frozen=True)
class Earlier:
    """A result of the baseline."""

    outcome: Outcome
    kind: FailKind | None
    share: float


@dataclass(frozen=True, eq=False)
class Ledger:
    """The accepted deviations of a project by id, and the results of a baseline by id; None without one.

    today  on which expiry is judged
    """

    deviations: Mapping[str, Deviation] = field(default_factory=dict)
    baseline: Mapping[str, Earlier] | None = None
    today: datetime.date = field(default_factory=datetime.date.today)

    def weigh(self, job: Job, verdict: Verdict, policy: GatePolicy) -> Verdict:
        """The verdict as it stands beside what is known: accepted, or a FAIL since something has changed, or as it was."""
        deviation = self.deviations.get(job.id)
        if deviation is None and verdict.culprit is not None:
            deviation = self.deviations.get(id_of_op(job.id, verdict.culprit.op))
        if deviation is not None:
            return self._beside(deviation, verdict, policy)
        earlier = self.baseline.get(job.id) if self.baseline is not None else None
        return verdict if earlier is None else _since(earlier, verdict, policy)

    def accepts_ops_of(self, id: str) -> bool:
        """Is an op accepted of these random graphs?"""
        return any(known.startswith(f"{id}#") for known in self.deviations)

    def _beside(self, known: Deviation, v: Verdict, policy: GatePolicy) -> Verdict:
        where = known.file.name
        if v.outcome is Outcome.INCONCLUSIVE and known.outcome is not Outcome.INCONCLUSIVE:
            return v  # a framework that is not there says nothing about what was accepted
        if (v.outcome, v.kind) != (known.outcome, known.kind):
            if policy.gate(v.outcome, v.kind):
                return _with(v, f"accepted in {where} as {known.what}, and it is another fault now")
            return _failed(v, f"accepted in {where} as {known.what}, and it is {v.outcome} now: take the entry out")
        if self.today > known.until:
            return _with(v, f"accepted in {where} until {known.until}, which is over")
        if known.share is not None and v.share > known.share + ROUNDINGS:
            return _with(v, f"accepted in {where}, and {_grown(known.share, v.share)}")
        return replace(v, accepted=str(known))


def _since(earlier: Earlier, v: Verdict, policy: GatePolicy) -> Verdict:
    """The verdict beside that of the baseline."""
    is_same = (v.outcome, v.kind) == (earlier.outcome, earlier.kind)
    if v.outcome is Outcome.PASS:
        return v
    if v.outcome is not Outcome.INCONCLUSIVE and v.share > earlier.share + ROUNDINGS:
        text = f"it was {earlier.outcome} in the baseline, and {_grown(earlier.share, v.share)}"
        return _with(v, text) if policy.gate(v.outcome, v.kind) else _failed(v, text, FailKind.PRECISION)
    return replace(v, accepted=_KNOWN_BEFORE) if is_same else v


COUNTED = 1000.0
"""Budgets, and times, from which on nobody reads a number as a size."""


def _grown(then: float, now: float) -> str:
    """How an error has grown, of which both sizes are known in budgets."""
    if now < COUNTED or not then:
        return f"its error was {then:.3g} budgets, and is {_few(now)} now"
    return f"its error is {_few(now / then)} times what it was"


def _few(x: float) -> str:
    return f"{x:.3g}" if x < COUNTED else f"more than {COUNTED:,.0f}"


_KNOWN_BEFORE = "as in the baseline"


def _with(v: Verdict, text: str) -> Verdict:
    """The verdict with what has changed in the first line of its message."""
    return replace(v, message=f"{text}\n{v.message}" if v.message else text)


def _failed(v: Verdict, text: str, kind: FailKind = FailKind.CLAIM) -> Verdict:
    return replace(
        v, outcome=Outcome.FAIL, kind=kind, reason=None, message=f"{text}\n{v.message}" if v.message else text
    )


def id_of_op(id: str, op: str) -> str:
    """The id of an op among random graphs, from that of a drawn one: `gradverify::random graphs[torch-float32]#erf`."""
    return f"{id.rpartition('#')[0]}#{op}"


# ---- reading and writing -------------------------------------------------------------------------------------------


def read_deviations(folder: Path) -> dict[str, Deviation]:
    """The accepted deviations of a project. Raises GradverifyError, with file and entry, for what makes no sense."""
    found = {}
    for id, (file, entry) in project.named(folder, "accept").items():
        try:
            found[id] = _deviation(id, file, entry)
        except (GradverifyError, ValueError, TypeError) as e:
            raise GradverifyError(f'{file}: [accept."{id}"]: {e}') from None
    return found


def _deviation(id: str, file: Path, entry: Mapping[str, Any]) -> Deviation:
    for key in entry:
        if key not in KEYS:
            raise UnknownName("key", key, KEYS)
    missing = [key for key in NEEDED if not entry.get(key)]
    if missing:
        raise BadInput(f"{', '.join(missing)} is missing")
    until = entry["until"]
    if isinstance(until, str):
        until = datetime.date.fromisoformat(until)
    if not isinstance(until, datetime.date) or isinstance(until, datetime.datetime):
        raise BadInput(f"until is a day, such as 2027-03-01, got {until!r}")
    outcomes = {str(o): o for o in Outcome if o is not Outcome.PASS}
    if entry["outcome"] not in outcomes:
        raise UnknownName("outcome", str(entry["outcome"]), outcomes)
    kind = FailKind(entry["kind"]) if "kind" in entry else None
    share = float(entry["share"]) if "share" in entry else None
    return Deviation(
        id, outcomes[entry["outcome"]], kind, share, str(entry["reason"]), str(entry["owner"]), until, file,
    )  # fmt: skip


def deviation_of(result: Mapping[str, Any], reason: str, owner: str, until: datetime.date, folder: Path) -> Deviation:
    """The entry that accepts a result of a report. Raises GradverifyError where nothing can be accepted."""
    v = result["verdict"]
    outcome, id, is_drawn = Outcome(v["outcome"]), result["id"], result["source"]["kind"] == "generated"
    if outcome is Outcome.PASS:
        raise GradverifyError(f"{id}: it is PASS, there is nothing to accept")
    if is_drawn:
        if v["culprit"] is None:
            raise GradverifyError(f"{id}: no op of this random graph is wrong alone: accept it as a case of a spec")
        id = id_of_op(id, v["culprit"]["op"])
    share = float(v["share"]) if v["comparisons"] and v["share"] is not None and not is_drawn else None
    kind = FailKind(v["kind"]) if v["kind"] else None
    return Deviation(id, outcome, kind, share, reason, owner, until, folder / project.FILE)


def write_deviations(folder: Path, found: Iterable[Deviation]) -> Path:
    """Add entries to the project's file. Raises GradverifyError for ids that it has already."""
    entries = {d.id: d for d in found}
    twice = sorted(set(read_deviations(folder)) & set(entries))
    if twice:
        raise GradverifyError(f"take the old entries out of {project.FILE} first; accepted already: {', '.join(twice)}")
    return project.add(folder, map(_text, entries.values()), "What this project accepts.")


def _text(d: Deviation) -> str:
    lines = [f"[accept.{json.dumps(d.id)}]", f'outcome = "{d.outcome}"']
    lines += [f'kind = "{d.kind}"'] if d.kind else []
    if d.share is not None:
        lines.append(f"share = {_rounded_up(d.share)}")
    lines += [f"reason = {json.dumps(d.reason)}", f"owner = {json.dumps(d.owner)}", f"until = {d.until.isoformat()}"]
    return "\n".join(lines)


def _rounded_up(x: float) -> str:
    """Three digits, no less than x, as a float of TOML: `380.0`, `8.09e11`, `inf`."""
    if not math.isfinite(x) or x <= 0:
        return repr(x)
    unit = 10.0 ** (math.floor(math.log10(x)) - 2)
    up = float(f"{math.ceil(x / unit) * unit:.6g}")
    return repr(up) if up < EXPONENT else f"{up:.2e}".replace("e+", "e")


def baseline_of(results: Iterable[Mapping[str, Any]]) -> dict[str, Earlier]:
    """The results of a report by id; of several with one id, the one with the largest error."""
    found: dict[str, Earlier] = {}
    for r in results:
        v = r["verdict"]
        share = math.inf if v["share"] is None else float(v["share"])
        if r["id"] not in found or share > found[r["id"]].share:
            found[r["id"]] = Earlier(Outcome(v["outcome"]), FailKind(v["kind"]) if v["kind"] else None, share)
    return found


# ---- the ledger that holds -----------------------------------------------------------------------------------------

_ledger: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


def current_ledger() -> Ledger:
    """The ledger of the run; outside of one that of the working directory's project."""
    return _ledger.get() or _of_folder(Path.cwd())


@cache
def _of_folder(folder: Path) -> Ledger:
    return Ledger(read_deviations(folder))


@contextmanager
def with_ledger(ledger: Ledger) -> Iterator[None]:
    """Every verdict of this block is weighed by `ledger`."""
    token = _ledger.set(ledger)
    try:
        yield
    finally:
        _ledger.reset(token)


def name_of_call(name: str) -> str:
    """The id of a call of `check`: below the test that runs, as pytest tells it, or `check::NAME`."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    return f"{test or 'check'}::{name}"
