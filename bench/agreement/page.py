"""docs/agreement.md: the counts of each suite, and every disagreement with its explanation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.detection.run import versions

from .beside import BROKEN, PASSES, REJECTS, TIMED_OUT, UNDECIDED, UNSUPPORTED, Row
from .explained import explanation
from .suites import SUITES

ANSWERS = (PASSES, UNDECIDED, UNSUPPORTED, TIMED_OUT, REJECTS, BROKEN)


@dataclass(frozen=True)
class Ran:
    """The tests of a suite: those that pytest collected, those that come to a checker, and those run, by revision."""

    collected: int
    asked: int
    at: Mapping[str, int]


def agree(row: Row) -> bool:
    """Do both pass, or neither, by an exception of one type?"""
    if PASSES in (row.original.outcome, row.ours.outcome):
        return row.original.outcome == row.ours.outcome
    return raised(row.original.message) == raised(row.ours.message)


def raised(message: str) -> str:
    """The type of the exception that an answer's message begins with; "" for False."""
    return message.partition(":")[0]


def page(suites: Mapping[str, Sequence[Row]], ran: Mapping[str, Ran], note: str = "") -> str:
    """The page, of all suites that were run. `note` says which tests were left out, and why."""
    lines = [
        "# Agreement with the peers' own suites\n",
        f"`python -m bench.agreement.run SUITE --checkout DIR`, then `--write`; {versions()}; CPU, one thread.\n",
        "The tests of HIPS autograd, JAX and PyTorch are read from a checkout of each and run as they are. Each call of",
        "the project's gradient checker (`autograd.test_util.check_grads`, `jax.test_util.check_grads`,",
        "`torch.autograd.gradcheck` and `gradgradcheck`) is answered by the original, then by ours with the same arguments",
        'and `effort="quick"`, and no tolerance. Tests that call none are not run. A call of ours may take a minute of CPU',
        "time, or three times what the original took.\n",
        *([note + "\n"] if note else []),
        *counts(suites),
        "",
        *(
            f"{SUITES[name].title}: of {r.collected} tests {r.asked} mention a checker; run are "
            f"{', '.join(f'{n} at {revision}' for revision, n in r.at.items())}."
            for name, r in ran.items()
        ),
    ]
    for name, rows in suites.items():
        lines += ["", f"## {SUITES[name].title}\n", *disagreements(rows)]
    return "\n".join([*lines, ""])


def counts(suites: Mapping[str, Sequence[Row]]) -> list[str]:
    """One row per suite: the calls that the original passes, by our answer, and those that it does not."""
    lines = [
        f"| suite | calls | the original passes | of these, ours {' | '.join(ANSWERS)} | it rejects | so do ours |",
        "|---" * (5 + len(ANSWERS)) + "|",
    ]
    for name, rows in suites.items():
        passing = [r for r in rows if r.original.outcome == PASSES]
        others = [r for r in rows if r.original.outcome != PASSES]
        numbers = [sum(r.ours.outcome == a for r in passing) for a in ANSWERS]
        cells = [SUITES[name].title, len(rows), len(passing), *numbers, len(others), sum(map(agree, others))]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def disagreements(rows: Sequence[Row]) -> list[str]:
    """A row for each explanation, with the calls that it covers; those without one are bold."""
    groups: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if not agree(row):
            found = explanation(row)
            text = found.text if found else f"**not explained**: {first_line(row.ours.message or row.original.message)}"
            groups[row.original.outcome, row.ours.outcome, text, found.right if found else "?"].append(row)
    if not groups:
        return ["No disagreement."]
    lines = ["| calls | original | ours | right | explanation | tests |", "|---|---|---|---|---|---|"]
    for (original, ours, text, right), members in sorted(groups.items(), key=lambda g: -len(g[1])):
        tests = list(dict.fromkeys(r.test.rpartition("::")[2] for r in members))
        named = ", ".join(tests[:6]) + (f" and {len(tests) - 6} more" if len(tests) > 6 else "")
        cells = (str(len(members)), original, ours, right, text, named)
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return lines


def first_line(message: str) -> str:
    return " ".join(message.split())[:160]
