"""docs/opinfo.md from the rows of a run."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .triage import finding

if TYPE_CHECKING:
    from .run import Row

OUTCOMES = ("PASS", "KNOWN", "WEAK", "SURROGATE", "FAIL", "INCONCLUSIVE", "REFUSED", "ERROR", "CRASH", "HANG")
"""In the order of the table's columns."""

UNDECIDED = ("INCONCLUSIVE", "ERROR", "CRASH", "HANG")


def page(rows: Sequence[Row], seconds: float) -> str:
    """The page as Markdown: figures, a table by family, and every sample that did not pass, with its message."""
    rows = sorted(rows, key=lambda r: r.place)
    judged = [r for r in rows if r.outcome != "REFUSED"]
    decided = sum(r.outcome not in UNDECIDED for r in judged)
    counts = Counter(r.outcome for r in rows)
    both = [r for r in rows if r.gradcheck == "passed"]
    agree = sum(r.outcome in ("PASS", "KNOWN", "WEAK") for r in both)
    lines = [
        "# PyTorch's OpInfo samples",
        "",
        f"Inputs: not ours. `torch.testing._internal.common_methods_invocations.op_db` of PyTorch {torch.__version__}, its",
        "differentiable operators in float64 and complex128 on the CPU, up to four samples of each, drawn by its own",
        "`sample_inputs` from a stated seed; at effort `quick`, beside `torch.autograd.gradcheck` (slow mode) in one run.",
        f"`python bench/opinfo/run.py LOG --seconds {seconds:g} --write`.",
        "",
        f"{len(rows)} samples of {len({r.place.operator for r in rows})} operators: "
        + ", ".join(f"{counts[o]} {o}" for o in OUTCOMES if counts[o])
        + f". Decided: {decided} of {len(judged)} ({decided / max(len(judged), 1):.1%}; REFUSED is left",
        "out: a call that cannot be judged, such as one whose result requires no grad).",
        f"Of {len(both)} samples that gradcheck passes, {agree} pass here ({agree / max(len(both), 1):.1%}).",
        f"Seconds in all: {sum(r.seconds for r in rows):.0f} for check, {sum(r.gradcheck_seconds for r in rows):.0f} for "
        f"gradcheck; median ratio of a sample {_median_ratio(rows)}.",
        "",
        "| family | samples | " + " | ".join(OUTCOMES) + " | gradcheck passes |",
        "|---|" + "---|" * (len(OUTCOMES) + 2),
    ]
    for family in sorted({r.family for r in rows}):
        mine = [r for r in rows if r.family == family]
        found = Counter(r.outcome for r in mine)
        cells = " | ".join(str(found[o] or "") for o in OUTCOMES)
        lines.append(f"| {family} | {len(mine)} | {cells} | {sum(r.gradcheck == 'passed' for r in mine)} |")
    lines += _failures([r for r in rows if r.outcome == "FAIL"])
    for outcome in ("ERROR", "CRASH", "HANG", "WEAK", "INCONCLUSIVE", "KNOWN", "REFUSED"):
        mine = [r for r in rows if r.outcome == outcome]
        if mine:
            lines += ["", f"## {outcome}", "", "| sample | what | message | gradcheck |", "|---|---|---|---|"]
            lines += [f"| {r.place} | {r.what} | {_cell(r.message)} | {r.gradcheck} |" for r in mine]
    return "\n".join(lines) + "\n"


def _failures(rows: Sequence[Row]) -> list[str]:
    """The FAILs, each with the finding that it is an instance of."""
    if not rows:
        return []
    open_ = sum(not finding(r.place.operator) for r in rows)
    return [
        "", "## FAIL", "",
        f"Each is an instance of a finding in [findings.md](findings.md), with its closed form; {open_ or 'none'} "
        f"{'is' if open_ == 1 else 'are'} left to be looked at.",
        "", "| sample | finding | what | message | gradcheck |", "|---|---|---|---|---|",
        *(f"| {r.place} | {_found(r)} | {r.what} | {_cell(r.message)} | {r.gradcheck} |" for r in rows),
    ]  # fmt: skip


def _found(row: Row) -> str:
    return finding(row.place.operator) or "**?**"


def _median_ratio(rows: Sequence[Row]) -> str:
    ratios = [r.seconds / r.gradcheck_seconds for r in rows if r.gradcheck == "passed" and r.gradcheck_seconds]
    return f"{statistics.median(ratios):.1f}" if ratios else "–"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")[:220]
