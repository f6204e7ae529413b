"""`check_framework` tells whether an adapter is sound and shows a wrong gradient.

An adapter is judged as its framework is: by cases, single ops, random graphs. What is more is asked of the adapter alone:
it runs the function that it is given, leaves the given arrays alone, shares no memory, and reports what is raised. At
last its answers are spoilt in ways that the judge must notice. Every failure is reported, not the first alone.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import JUDGED, Unsupported
from ..core.graph import Graph
from ..core.verdict import FailKind, Outcome, Verdict
from ..frameworks.base import Framework, Observation
from ..frameworks.wrapped import Wrapped
from ..generate.campaign import seeded_cases
from ..judge.decide import decide
from ..namespaces.dtypes import FORMATS
from ..ops import OPS
from ..ops.build import GraphBuilder
from ..spec.from_expression import expression_case

X = np.array([0.5, -1.25, 2.0])
Y = np.array([1.5, 0.75, -0.5])
M = np.array([[0.5, -1.0], [1.25, 2.0], [-0.75, 0.25]])

EXPRESSIONS: tuple[tuple[str, dict[str, np.ndarray]], ...] = (
    ("x + y", {"x": X, "y": Y}),
    ("x * y", {"x": X, "y": Y}),
    ("x * x + x", {"x": X}),
    ("(x * y + x) * (x * y - y)", {"x": X, "y": Y}),
    ("x - 0.1 * y", {"x": X, "y": Y}),
    ("x / (y * y + 1)", {"x": X, "y": Y}),
    ("-x", {"x": X}),
    ("x", {"x": X}),
    ("x * 3", {"x": np.array(0.7)}),
    ("x * y", {"x": X[:1], "y": Y}),
    ("M * x", {"M": M, "x": X[:2]}),
    ("M + x", {"M": M, "x": np.array(0.7)}),
    ("relu(x) * y", {"x": X, "y": Y}),
    ("sin(x) * exp(y)", {"x": X, "y": Y}),
    ("sum(x * y)", {"x": X, "y": Y}),
    ("matmul(M, x)", {"M": M, "x": X[:2]}),
    ("x * y", {"x": X[:0], "y": Y[:0]}),
)
"""Reuse, literals, broadcasting, arrays of no axes and of no entries. What an adapter does not support, it says."""

SLIGHT = {"float64": 1e-10, "float32": 1e-4}
"""A relative error that must show: far above the 2e-16 (6e-8) of the roundoff, far below what differences would see."""


ADAPTER = "adapter"
"""Where a failure is that no op or case has, in `Failure.where`."""


@dataclass(frozen=True)
class Failure:
    """One failed check of an adapter: what was checked ("sin", "x * y", "adapter"), in which dtype, what is wrong."""

    where: str
    dtype: str
    message: str

    def __str__(self) -> str:
        return f"{self.where} ({self.dtype}): {self.message}" if self.dtype else f"{self.where}: {self.message}"


@dataclass(frozen=True)
class FrameworkReport:
    """The result of `check_framework`.

    ops       ops of the table that the framework ran, and was right about
    broken    ops that it ran, and was wrong about
    lacks     op -> why it does not run
    weak      op -> why it is wrong: as the framework declares it (`forms`), or the caller (`wrong`)
    table     op -> outcome -> verdicts on it alone: {"sin": {"PASS": 3}, …}; *lacks* is one of the outcomes
    judged    outcome -> verdicts, those of fixed cases and random graphs included
    faults    injected faults that were noticed
    failures  all that was found
    """

    name: str
    dtypes: tuple[str, ...]
    ops: tuple[str, ...]
    broken: tuple[str, ...]
    lacks: Mapping[str, str]
    weak: Mapping[str, str]
    table: Mapping[str, Mapping[str, int]]
    judged: Mapping[str, int]
    faults: tuple[str, ...]
    failures: tuple[Failure, ...]

    @property
    def score(self) -> float:
        """The share of ops that it is right about, of those that it runs; 0 where it runs none."""
        return len(self.ops) / max(len(self.ops) + len(self.broken), 1)

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {outcome}" for outcome, n in self.judged.items())
        return (
            f"{self.name} ({', '.join(self.dtypes)}): right about {len(self.ops)} of {len(self.ops) + len(self.broken)} ops "
            f"that it runs, lacks {len(self.lacks)}; {counts}; noticed: {', '.join(self.faults) or 'nothing'}"
        )

    def text(self) -> str:
        """The report: its score, the ops that do not only pass, by outcome, and the first failure of each op or case."""
        outcomes = [o for o in self.judged if any(o in row for row in self.table.values())]
        odd = {op: row for op, row in self.table.items() if set(row) - {str(Outcome.PASS), LACKS}}
        width = max(map(len, [*odd, "op"]), default=2)
        lines = [str(self)]
        if odd:
            lines += ["", "  ".join(["op".ljust(width), *outcomes])]
            for op, row in odd.items():
                cells = (str(row.get(o, "-")).rjust(len(o)) for o in outcomes)
                lines.append("  ".join([op.ljust(width), *cells]))
            lines.append(f"{len(self.table) - len(odd)} more ops only pass, or are lacked")
        alike: dict[str, list[Failure]] = {}
        for f in self.failures:
            alike.setdefault(f"{f.where}: {f.message}" if f.where == ADAPTER else f.where, []).append(f)
        for first, *others in alike.values():
            lines += ["", str(first), *([f"and {len(others)} more of {first.where}"] if others else [])]
        return "\n".join(lines)


class UnsoundFramework(AssertionError):
    """Raised by `check_framework`; `report` is what was found."""

    def __init__(self, report: FrameworkReport) -> None:
        super().__init__(report.text())
        self.report = report


def check_framework(
    framework: Framework, *, seed: int = 0, graphs: int = 40, wrong: Mapping[str, str] = MappingProxyType({})
) -> FrameworkReport:
    """Judge an adapter, and raise UnsoundFramework with every failure where it is unsound.

    Checked, in every dtype that it declares: fixed cases (reuse, literals, broadcasting, 0-d and empty arrays, several
    outputs, inputs that are not differentiated), each op of the table that it supports, and `graphs` random graphs of
    the ops that it is right about, against the oracle and the laws; and the adapter's own part (see the module). An op may
    be refused, by raising Unsupported with the reason: the adapter lacks it. An INCONCLUSIVE verdict counts as such.

    wrong   ops that the framework is wrong about, with the reason: each must be found out in a few draws (so that the
            list does not outlive a repair), and none is in the random graphs

    Raises AssertionError for what is no Framework, and Unsupported where the framework says that it is unavailable.
    """
    _declaration(framework)
    why_not = framework.unavailable()
    if why_not:
        raise Unsupported(why_not)
    check = _Check(framework, seed)
    for dtype in framework.dtypes:
        passed = [case for case in _fixed(dtype) if check.judge(case)]
        if not passed:
            first = next(iter(check.reasons.values()), "none given")
            check.fail(
                "fixed cases", dtype, f"it runs none of the fixed cases in {dtype} rightly; the first reason: {first}"
            )
            continue
        for message in (*_own_part(framework, passed[0]), *_runs_another(framework, passed)):
            check.fail(ADAPTER, dtype, message)
        _inject_faults(framework, passed, dtype, check)
    for op in OPS:
        if op in wrong:
            check.found_out(op, wrong[op])
        else:
            check.single(op)
    for dtype in framework.dtypes if check.ops else ():
        for case in seeded_cases(seed, graphs, dtype, ops=tuple(check.ops)):
            check.judge(case)
    report = check.report()
    if report.failures:
        raise UnsoundFramework(report)
    return report


# ---- cases ----------------------------------------------------------------------------------------------------------


LACKS = "lacks"
"""What an adapter refuses, in the table."""


@dataclass
class _Check:
    """The judging of one framework, and its tally."""

    framework: Framework
    seed: int
    ops: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    lacks: dict[str, str] = field(default_factory=dict)
    weak: dict[str, str] = field(default_factory=dict)
    table: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    noticed: dict[str, None] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def fail(self, where: str, dtype: str, message: str) -> None:
        self.failures.append(Failure(where, dtype, message))

    def judge(self, case: Case) -> bool:
        """Is the verdict a PASS? A FAIL is noted."""
        verdict = self.verdict(case, case.name)
        if verdict.outcome is not Outcome.PASS:
            self.reasons.setdefault(case.name, verdict.message or str(verdict.reason))
        return verdict.outcome is Outcome.PASS

    def verdict(self, case: Case, where: str) -> Verdict:
        """The verdict; a FAIL of the adapter's own making where it raises out of its methods."""
        try:
            verdict = decide(case, self.framework, seed=self.seed)
        except JUDGED as e:
            at = traceback.extract_tb(e.__traceback__)[-1]
            message = (
                f"{self.framework.name} raised {type(e).__name__} out of the adapter, at {at.filename}:{at.lineno}: {e}"
            )
            verdict = Verdict(
                Outcome.FAIL, case.name, self.framework.name, case.dtype, FailKind.RAISED, None, message
            )  # fmt: skip
        self.counts[_label(verdict)] += 1
        if verdict.outcome is Outcome.FAIL:
            self.fail(where, case.dtype, verdict.text())
        return verdict

    def drawn(self, op: str, count: int, dtype: str) -> Iterator[Case]:
        """Cases of one op."""
        return seeded_cases(self.seed, count, dtype, ops=(op,), max_ops=1, max_elements=12)

    def found_out(self, op: str, why: str) -> None:
        widest = min(self.framework.dtypes, key=lambda d: FORMATS[d].roundoff)
        verdicts = (decide(case, self.framework, seed=self.seed) for case in self.drawn(op, 40, widest))
        if any(v.outcome.has_kind for v in verdicts):
            self.weak[op] = why
        else:
            self.fail(
                op, "", f"{self.framework.name}: {op} is said to be wrong ({why}), and is found right in 40 draws"
            )

    def single(self, op: str) -> None:
        """An op by itself, in each dtype; several draws, since some of its parameters may be refused and others not."""
        if OPS[op].result != "float" or not OPS[op].generate:
            return
        row = self.table[op] = Counter()
        for case in (c for dtype in self.framework.dtypes for c in self.drawn(op, 3, dtype)):
            verdict = self.verdict(case, op)
            row[_label(verdict)] += 1
            if verdict.known:
                self.weak[op] = verdict.known
            if _label(verdict) == LACKS:
                self.lacks[op] = verdict.message
        if row[str(Outcome.FAIL)]:
            self.broken.append(op)
        elif row[str(Outcome.PASS)]:
            self.ops.append(op)
        if set(row) - {LACKS}:
            self.lacks.pop(op, None)

    def report(self) -> FrameworkReport:
        return FrameworkReport(
            self.framework.name,
            tuple(self.framework.dtypes),
            tuple(self.ops),
            tuple(self.broken),
            self.lacks,
            self.weak,
            self.table,
            self.counts,
            tuple(self.noticed),
            tuple(self.failures),
        )


def _label(verdict: Verdict) -> str:
    is_lacked = verdict.reason is not None and verdict.reason.is_unsupported
    return LACKS if is_lacked else verdict.outcome.value


def _fixed(dtype: str) -> Iterator[Case]:
    for text, inputs in EXPRESSIONS:
        yield replace(expression_case(text, inputs, dtype), name=text)
    yield replace(expression_case("x * y", {"x": X, "y": Y}, dtype), name="x * y, with respect to y alone", wrt=("y",))
    yield replace(expression_case("x + x", {"x": X, "y": Y}, dtype), name="an input that is not used")
    b = GraphBuilder()
    x, y = b.input("x", (3,)), b.input("y", (3,))
    graph = b.graph(b.apply("multiply", x, y), b.apply("add", x, y))
    two = tuple(np.array(g, dtype=dtype) for g in ([1.25, -1.5, 1.75], [-1.75, 1.25, 1.5]))
    yield Case("two outputs", graph, {"x": X.astype(dtype), "y": Y.astype(dtype)}, two, dtype, ("x", "y"))


# ---- the adapter's own part -----------------------------------------------------------------------------------------


def _declaration(framework: Framework) -> None:
    assert isinstance(framework, Framework), (
        f"{type(framework).__name__} is no Framework: derive it from gradverify.frameworks.Framework"
    )
    assert framework.name, "a framework needs a name"
    unknown = set(framework.dtypes) - set(FORMATS)
    assert framework.dtypes, f"{framework.name} declares no dtypes"
    assert not unknown, f"{framework.name} declares unknown dtypes: {', '.join(sorted(unknown))}"


def _own_part(framework: Framework, case: Case) -> Iterator[str]:
    """Faults of the adapter itself: it changes given arrays, its results share memory, or it hides an exception."""
    function = framework.function(case.graph, case.dtype)
    values = {n: np.array(v) for n, v in case.values.items()}
    cotangent = tuple(np.array(g) for g in case.cotangent)
    first = framework.run_vjp(function, values, case.wrt, cotangent)
    kept = _copied(first)
    for label, array in _labelled(first):
        array = np.asarray(array)
        if array.flags.writeable:
            array[...] = 7
        for name, given in (*values.items(), *((f"cotangent {i}", g) for i, g in enumerate(cotangent))):
            if np.shares_memory(array, given):
                yield f"{framework.name}: {label} shares memory with the given {name}"
    for name, given in values.items():
        if not np.array_equal(given, case.values[name]):
            yield f"{framework.name} wrote into the given {name}"
    for i, given in enumerate(cotangent):
        if not np.array_equal(given, case.cotangent[i]):
            yield f"{framework.name} wrote into the given cotangent {i}"
    values = {n: np.array(v) for n, v in case.values.items()}
    cotangent = tuple(np.array(g) for g in case.cotangent)
    again = framework.run_vjp(function, values, case.wrt, cotangent)
    for (label, a), (_, b) in zip(_labelled(kept), _labelled(again)):
        if not np.array_equal(a, b):
            yield f"{framework.name}: {label} of a second call is not that of the first (shared memory?)"
    if set(first.gradients) != set(case.wrt):
        yield f"{framework.name} gives gradients of {sorted(first.gradients)} where {sorted(case.wrt)} were asked for"

    def raising(*arrays: Any) -> Any:
        raise ZeroDivisionError("raised on purpose")

    seen = framework.run_vjp(raising, values, case.wrt, cotangent)
    if not isinstance(seen.raised, ZeroDivisionError):
        yield f"{framework.name}: what a function raises must be put into Observation.raised, got {seen.raised!r}"
    elif seen.stage != "forward":
        yield f"{framework.name}: the stage of a function that raises is 'forward', not {seen.stage!r}"

    def refusing(*arrays: Any) -> Any:
        raise Unsupported("refused on purpose")

    try:
        seen = framework.run_vjp(refusing, values, case.wrt, cotangent)
    except Unsupported:
        return
    if not isinstance(seen.raised, Unsupported):
        yield f"{framework.name}: Unsupported is lost on its way through run_vjp"


def _runs_another(framework: Framework, passed: list[Case]) -> Iterator[str]:
    """The function of another graph over the same inputs must be found out: nothing is kept from the last call."""
    pairs = [(a, b) for a in passed for b in passed if _signature(a.graph) == _signature(b.graph) and a is not b]
    told = False
    for a, b in pairs[:8]:
        other = replace(b, values=a.values, cotangent=a.cotangent, wrt=a.wrt)
        verdict = decide(a, framework, function=framework.function(other.graph, a.dtype))
        told |= verdict.outcome.has_kind
    if pairs and not told:
        yield f"{framework.name} does not run the function that it is given: another one went unnoticed"


def _signature(graph: Graph) -> Any:
    return [(n, graph.nodes[k].shape) for n, k in graph.inputs.items()], [graph.nodes[o].shape for o in graph.outputs]


def _labelled(seen: Observation) -> list[tuple[str, Any]]:
    named = [(f"out{i}", o) for i, o in enumerate(seen.outputs)]
    return named + [(f"d{n}", g) for n, g in seen.gradients.items() if g is not None]


def _copied(seen: Observation) -> Observation:
    gradients = {n: None if g is None else np.array(g) for n, g in seen.gradients.items()}
    return replace(seen, outputs=tuple(np.array(o) for o in seen.outputs), gradients=gradients)


# ---- faults ---------------------------------------------------------------------------------------------------------


class _Spoilt(Wrapped):
    """A framework with changed answers (`spoil`) and cotangents (`send`)."""

    def __init__(
        self,
        inner: Framework,
        spoil: Callable[[Observation], Observation] = lambda seen: seen,
        send: Callable[[np.ndarray], np.ndarray] = lambda g: g,
    ) -> None:
        super().__init__(inner)
        self.spoil, self.send = spoil, send

    def unavailable(self) -> str | None:
        return None

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        return self.spoil(self.inner.run_vjp(function, values, wrt, tuple(self.send(g) for g in cotangent)))


def _each(change: Callable[[np.ndarray], Any]) -> Callable[[Observation], Observation]:
    def spoil(seen: Observation) -> Observation:
        return replace(seen, gradients={n: None if g is None else change(g) for n, g in seen.gradients.items()})

    return spoil


def _slight(g: np.ndarray, by: float) -> np.ndarray:
    """One entry of many, off by a little."""
    out = np.array(g)
    if out.size:
        out.flat[out.size - 1] *= g.dtype.type(1 + by)
    return out


def _inject_faults(framework: Framework, passed: list[Case], dtype: str, check: _Check) -> None:
    other = "float32" if dtype == "float64" else "float64"
    slight = SLIGHT.get(dtype, 16 * FORMATS[dtype].roundoff)
    faults: dict[str, _Spoilt] = {
        "flipped sign": _Spoilt(framework, _each(np.negative)),
        f"one entry off by {slight:g}": _Spoilt(framework, _each(lambda g: _slight(g, slight))),
        "wrong shape": _Spoilt(framework, _each(lambda g: g[None])),
        "wrong dtype": _Spoilt(framework, _each(lambda g: g.astype(other))),
        "missing gradient": _Spoilt(framework, _each(lambda g: None)),
        "NaN": _Spoilt(framework, _each(lambda g: np.full_like(g, np.nan))),
        "spoilt output": _Spoilt(
            framework, lambda s: replace(s, outputs=tuple(o + o.dtype.type(1) for o in s.outputs))
        ),
        "ignored cotangent": _Spoilt(framework, send=np.ones_like),
        "clipped cotangent": _Spoilt(framework, send=lambda g: np.clip(g, -1, 1)),
        "written-to input": _Spoilt(framework, lambda s: replace(s, mutated=("x",))),
        "wrong device": _Spoilt(framework, lambda s: replace(s, devices={"dx": "elsewhere"})),
    }
    for fault, spoilt in faults.items():
        if any(decide(case, spoilt).outcome.has_kind for case in passed):
            check.noticed[fault] = None
        else:
            check.fail(ADAPTER, dtype, f"{framework.name}, {dtype}: an injected fault goes unnoticed: {fault}")
