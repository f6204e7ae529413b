"""All laws on an engine, and the machine: what holds, what is broken, by which script."""

from __future__ import annotations

import inspect
import json
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..core.case import Source
from ..core.outcome import DEFAULT, FailKind, GatePolicy, Outcome, Reason
from ..core.verdict import Verdict
from ..run.events import Job, JobJudged, Listener, RunFinished, RunStarted, tell
from ..run.gate import tell_verdict
from .deviations import DEVIATIONS, reason
from .engines import ENGINES, Engine
from .law import Law, laws
from .machine import LENGTH, LOOKS, Pair, Search, search
from .session import Lacks

MACHINE = "machine"
"""The name under which the random programs stand among the laws."""

MACHINE_NEEDS = frozenset({"flags", "hooks", "inplace", "views", "versions", "function", "create_graph", "inputs"})


class Standing(StrEnum):
    """HOLDS · BROKEN · KNOWN: broken, and listed in `deviations` · STALE: listed there, and holds · LACKS: the engine has
    no means for the law."""

    HOLDS = "holds"
    BROKEN = "broken"
    KNOWN = "known deviation"
    STALE = "stale deviation"
    LACKS = "lacks"

    @property
    def outcome(self) -> Outcome:
        """The outcome of the verdict on the law."""
        return _OUTCOMES[self]


_OUTCOMES = {
    Standing.HOLDS: Outcome.PASS,
    Standing.BROKEN: Outcome.FAIL,
    Standing.KNOWN: Outcome.KNOWN,
    Standing.STALE: Outcome.FAIL,
    Standing.LACKS: Outcome.INCONCLUSIVE,
}


@dataclass(frozen=True)
class Line:
    """The result of one law on one engine.

    why     what was expected and what was got; for a deviation, its reason; what is lacked
    script  reproduces it, where it is broken
    """

    law: str
    standing: Standing
    why: str = ""
    script: tuple[str, ...] = ()

    def verdict(self, engine: str) -> Verdict:
        """The line as a verdict on the law."""
        outcome = self.standing.outcome
        return Verdict(
            outcome, self.law, engine, "", FailKind.LAW if outcome.has_kind else None,
            Reason.SUBJECT if outcome is Outcome.INCONCLUSIVE else None, self.why, script="\n".join(self.script),
            known=self.why if outcome is Outcome.KNOWN else "",
        )  # fmt: skip

    def job(self, engine: str) -> Job:
        """The job of the line. What an engine declares to lack is explained."""
        explained = self.why if self.standing is Standing.LACKS else None
        return Job(f"conformance::{engine}::{self.law}", engine, "", source=Source("law"), explained=explained)

    def tell(self, engine: str, policy: GatePolicy, listeners: Iterable[Listener] = ()) -> JobJudged:
        """Tell the line as the one event of its outcome."""
        return tell_verdict(self.job(engine), self.verdict(engine), policy, listeners)


@dataclass(frozen=True)
class Scorecard:
    """One engine's lines, in the order of the laws. `ok`: nothing of them gates."""

    engine: str
    version: str
    lines: tuple[Line, ...]
    ok: bool

    def counts(self) -> Counter[Standing]:
        return Counter(line.standing for line in self.lines)


def judge(law: Law, engine: Engine) -> Line:
    """One law on one engine."""
    missing = law.missing(engine)
    if missing:
        return Line(law.name, Standing.LACKS, ", ".join(sorted(missing)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            broken = law.check(engine)
        except Lacks as e:  # its table has no spelling for a word that the law says: absent is not broken
            return Line(law.name, Standing.LACKS, str(e))
    if broken is None:
        return _line(engine, law.name, None, ())
    return _line(engine, law.name, str(broken), broken.script)


def judge_machine(engine: Engine, steps: int, seed: int = 0) -> Line:
    """The machine: `engine` against the reference engine; the reference engine itself against PyTorch."""
    reference = ENGINES["torch" if engine.name == "engine" else "engine"]
    if not engine.has >= MACHINE_NEEDS:
        return Line(MACHINE, Standing.LACKS, ", ".join(sorted(MACHINE_NEEDS - engine.has)))
    if reference.unavailable():
        return Line(MACHINE, Standing.LACKS, f"an engine to compare with: {reference.unavailable()}")
    done: Search = search(engine, reference, steps, seed)
    if not done.divergences:
        return _line(engine, MACHINE, None, ())
    found = done.divergences[0]
    return _line(engine, MACHINE, str(found), found.script)


def _line(engine: Engine, law: str, broken: str | None, script: Sequence[str]) -> Line:
    known = reason(engine.name, law)
    if broken is None:
        return Line(law, Standing.HOLDS) if known is None else Line(law, Standing.STALE, f"listed as: {known}")
    if known is not None:
        return Line(law, Standing.KNOWN, known, tuple(script))
    return Line(law, Standing.BROKEN, broken, tuple(script))


def scorecard(
    engine: Engine,
    names: Iterable[str] | None = None,
    steps: int = 0,
    seed: int = 0,
    *,
    policy: GatePolicy = DEFAULT,
    listeners: Sequence[Listener] = (),
) -> Scorecard:
    """The laws (those of `names`, or all) and, with `steps`, the machine; each line is told as an event."""
    wanted = list(laws()) if names is None else list(names)
    tell(listeners, RunStarted(len(wanted) + bool(steps), (engine.name,), (), seed))
    start, interrupted = time.perf_counter(), True
    lines, ok = [], True
    try:
        for name in [*wanted, *([MACHINE] if steps else [])]:
            line = judge_machine(engine, steps, seed) if name == MACHINE else judge(laws()[name], engine)
            ok &= line.tell(engine.name, policy, listeners).ok
            lines.append(line)
        interrupted = False
    finally:
        tell(listeners, RunFinished(time.perf_counter() - start, interrupted))
    return Scorecard(engine.name, engine.release(), tuple(lines), ok)


# ---- for people and machines ----------------------------------------------------------------------------------------


def text(card: Scorecard) -> Iterator[str]:
    """For the terminal."""
    counts = card.counts()
    said = ", ".join(f"{counts[o]} {o}" for o in Standing if counts[o])
    yield f"{card.engine} {card.version}: {said}"
    for line in card.lines:
        if line.standing in (Standing.HOLDS, Standing.LACKS):
            continue
        yield ""
        yield f"{line.law}: {line.standing}: {line.why}"
        if line.law in laws():
            yield f"  law: {' '.join(laws()[line.law].doc.split())} ({laws()[line.law].source})"
        yield from (f"    {code}" for code in line.script)


def as_json(cards: Sequence[Scorecard]) -> str:
    """One object per engine; the names are those of `Scorecard` and `Line`."""

    def plain(card: Scorecard) -> dict[str, Any]:
        lines = [{"law": x.law, "outcome": str(x.standing), "why": x.why, "script": list(x.script)} for x in card.lines]
        return {"engine": card.engine, "version": card.version, "ok": card.ok, "laws": lines}

    return json.dumps({"gradverify": 1, "conformance": [plain(c) for c in cards]}, indent=1, ensure_ascii=False) + "\n"


def badge(card: Scorecard) -> str:
    """A badge as https://shields.io/badges/endpoint-badge reads it: a JSON object of version 1.

    It counts the laws that hold of those that the engine has the means for; a known deviation does not hold.
    """
    counts = card.counts()
    asked = len(card.lines) - counts[Standing.LACKS]
    holds = counts[Standing.HOLDS] + counts[Standing.STALE]
    colour = "lightgrey" if not asked else "brightgreen" if holds == asked else "yellow" if card.ok else "red"
    message = f"{holds} of {asked} laws" if asked else "no law judged"
    return json.dumps({"schemaVersion": 1, "label": "gradients", "message": message, "color": colour}, indent=1) + "\n"


OWN = '''## A law of your own

```python
from gradverify.conformance.law import law

@law(needs={"tape"}, source="https://example.org/why")
def doubling_is_adding(t):
    """Twice a value has the gradient of the value added to itself."""
    x = t.tensor(3.0, requires_grad=True)
    (x * 2.0).backward()
    (x + x).backward()
    t.equal(x.grad, 4.0)
```

```toml
[project.entry-points."gradverify.laws"]
doubling = "my_package.laws:doubling_is_adding"
```

What is written is PyTorch's dialect, in which `t` is both the module and what checks; where a law does not hold, the same
lines are printed in the engine's own spelling. An engine of your own is an `Engine` under `gradverify.engines`. A law about
one case of a spec file is another thing: see the section on laws in [spec.md](spec.md).'''


def _random_programs() -> Iterator[str]:
    from .moves import MOVES

    left_out = (inspect.getdoc(Pair.ambiguous) or "").partition(":\n")[2].strip()
    yield from (
        "## Random programs",
        "",
        f"A random program is up to {LENGTH} of {len(MOVES)} moves: {', '.join(sorted(MOVES))}. It runs on two engines side "
        f"by side, and after each step {', '.join(name for name, _ in LOOKS)} of every tensor are compared, as are the "
        "types of errors and what hooks saw. Left out is what PyTorch leaves open, or fails at:",
        "",
        left_out,
    )


SIGNS = {Standing.HOLDS: "✓", Standing.BROKEN: "✗", Standing.KNOWN: "✗¹", Standing.STALE: "✓?", Standing.LACKS: "–"}


def markdown(cards: Sequence[Scorecard]) -> str:
    """The page docs/conformance.md."""
    return "\n".join(_markdown(cards)) + "\n"


def _markdown(cards: Sequence[Scorecard]) -> Iterator[str]:
    by_law = {name: [next((x for x in c.lines if x.law == name), None) for c in cards] for name in [*laws(), MACHINE]}
    command = (
        "gradverify conformance " + " ".join(c.engine for c in cards) + " --steps 20000 --markdown docs/conformance.md"
    )
    yield from (
        "# Conformance: the laws of autograd, engine by engine",
        "",
        f"Made by `{command}`; do not edit. ✓ holds, ✗ broken, ✗¹ a known deviation (below), – the engine lacks what "
        "the law is about. Values are small integers, so nothing is rounded and nothing tolerated.",
        "",
        "| | " + " | ".join(f"{c.engine} {c.version}" for c in cards) + " |",
        "|---|" + "---|" * len(cards),
    )
    for o in Standing:
        if any(c.counts()[o] for c in cards):
            yield f"| {o} | " + " | ".join(str(c.counts()[o]) for c in cards) + " |"
    family = None
    for name, lines in by_law.items():
        here = laws()[name].family if name in laws() else MACHINE
        if not any(lines):
            continue
        if here != family:
            family = here
            yield from (
                "",
                f"## {here}",
                "",
                "| law | " + " | ".join(c.engine for c in cards) + " |",
                "|---|" + "---|" * len(cards),
            )
        said = " ".join(laws()[name].doc.split()) if name in laws() else (
            "Random programs, step by step against another engine: every flag, value, gradient and error type agrees."
        )  # fmt: skip
        where = f" {_link(laws()[name].source)}" if name in laws() and "://" in laws()[name].source else ""
        signs = " | ".join(SIGNS[x.standing] if x else "" for x in lines)
        yield f"| **{name}** {said}{where} | {signs} |"
    yield ""
    yield from _random_programs()
    yield from ("", OWN, "", "## What is broken")
    for card in cards:
        for line in card.lines:
            if line.script:
                yield from ("", f"### {card.engine}: {line.law}", "", line.why, "", "```python", *line.script, "```")


def _link(source: str) -> str:
    """A source with an address as Markdown: what stands before the address, then a link of its host's name."""
    words, start, rest = source.partition("https://")
    host = rest.partition("/")[0]
    return f"{words.rstrip(' ;')} [{host}]({start}{rest})".strip()


def unknown_deviations() -> list[str]:
    """Entries of `deviations` that name no law: a law that was renamed leaves them behind."""
    return [f"{d.engine}: {d.law}" for d in DEVIATIONS if d.law not in laws() and d.law != MACHINE]
