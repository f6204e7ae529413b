# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""What gradverify.check says of 16-bit kernels: each right, and with every one of its bugs.

    python -m bench.kernels.run [--only NAME ...] [--dtypes NAME ...] [--bugs NAME ...] [--json FILE]
        [--before FILE] [--write]

One check at effort "quick" for each. Beside the verdict stands what double precision says: the gradients are held against
those that autograd finds for the forward pass in float64. `--json` saves the rows; `--before` sets those of another
revision beside them. `--write` saves bench/results/kernels.md.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import ast
import inspect
import json
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import gradverify
from bench.kernels.catalogue import DTYPES, Kernel, kernels
from gradverify.core.limits import TimeLimit, time_limit

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "kernels.md"

RIGHT = ""


@dataclass(frozen=True)
class Row:
    """One verdict.

    relative  the largest error of an entry, as a share of its gradient's largest entry
    ulps      the largest error of an entry, in ulps of that entry
    step      of a formula bug: "its line" where the wrong step is named on a line of the bug, "a line that uses it" where on
              one that uses what that line assigns (a number, say), "another line", or "" for no step; of a precision bug:
              "named" where a narrow step is
    """

    kernel: str
    bug: str
    kind: str
    dtype: str
    outcome: str
    message: str
    seconds: float
    relative: float
    ulps: float
    step: str = ""


def gradients(function, point, cotangent):
    """The gradients of the float arguments for cotangents drawn once; none at all is zeros."""
    out = function(*point)
    outs = out if isinstance(out, tuple) else (out,)
    wrt = [a for a in point if a.requires_grad]
    return torch.autograd.grad(outs, wrt, [g.to(o.dtype) for g, o in zip(cotangent, outs)])


def errors(kernel: Kernel, bug: str, dtype: torch.dtype) -> tuple[float, float]:
    """The errors (`Row.relative`, `Row.ulps`) of the kernel's gradients against float64."""
    point = kernel.point(dtype)
    wide = tuple(a.detach().double().requires_grad_() if a.requires_grad else a for a in point)
    out = kernel.definition()(*wide)
    draw = torch.Generator().manual_seed(0)
    cotangent = [torch.randn(o.shape, generator=draw).to(dtype) for o in (out if isinstance(out, tuple) else (out,))]
    true = gradients(kernel.definition(), wide, cotangent)
    got = gradients(kernel.function(bug), point, cotangent)
    relative = ulps = 0.0
    for t, g in zip(true, got):
        off, size = (g.double() - t).abs(), t.abs()
        relative = max(relative, float(off.max() / size.max()))
        exponent = torch.floor(torch.log2(size.clamp(min=torch.finfo(dtype).tiny)))
        ulps = max(ulps, float((off / (torch.finfo(dtype).eps * 2.0**exponent)).max()))
    return relative, ulps


Lines = set[tuple[str, int]]


def lines_of(kernel: Kernel, bug: str) -> tuple[Lines, Lines]:
    """The files and lines of the statements that ask for this bug, and of those that use what these assign."""
    asking, using = set(), set()
    for pass_ in (kernel.forward, kernel.backward):
        source, first = inspect.getsourcelines(pass_)
        file = inspect.getsourcefile(pass_) or ""
        statements = [n for n in ast.walk(ast.parse(textwrap.dedent("".join(source)))) if isinstance(n, ast.stmt)]
        names: set[str] = set()
        for n in statements:
            parts: list[ast.AST] = [n.test, *n.body] if isinstance(n, ast.If) else [] if hasattr(n, "body") else [n]
            inner = [c for part in parts for c in ast.walk(part)]
            if any(isinstance(c, ast.Constant) and c.value == bug for c in inner):
                asking |= {(file, first + k - 1) for c in inner for k in _span(c)}
                names |= {c.id for c in inner if isinstance(c, ast.Name) and isinstance(c.ctx, ast.Store)}
        for n in statements:
            loads = [
                c for c in ast.walk(n) if isinstance(c, ast.Name) and isinstance(c.ctx, ast.Load) and c.id in names
            ]
            if loads and not hasattr(n, "body"):
                using |= {(file, first + k - 1) for k in _span(n)}
    return asking, using


def _span(node: ast.AST) -> range:
    first = getattr(node, "lineno", None)
    return range(first, (getattr(node, "end_lineno", None) or first) + 1) if first else range(0)


def named_step(kernel: Kernel, bug: str, facts: Mapping[str, Any]) -> str:
    """`Row.step`, of what the verdict knows."""
    if bug in kernel.precision:
        return "named" if "narrow" in facts else ""
    if "departure" not in facts:
        return ""
    site = tuple(facts["departure"]["site"] or ())
    asking, using = lines_of(kernel, bug)
    return "its line" if site in asking else "a line that uses it" if site in using else "another line"


def judge(kernel: Kernel, bug: str, dtype: str, limit: float) -> Row:
    """The verdict on the kernel with this bug, and its errors."""
    kind = "right" if bug == RIGHT else "precision" if bug in kernel.precision else "formula"
    relative, ulps = errors(kernel, bug, DTYPES[dtype])
    step = ""
    start = time.perf_counter()
    try:
        with time_limit(limit):
            verdict = gradverify.check(kernel.function(bug), *kernel.point(DTYPES[dtype]), effort="quick")
        outcome = f"{verdict.outcome}" + (f" ({verdict.kind})" if verdict.kind else "")
        step = named_step(kernel, bug, verdict.facts)
        why = getattr(verdict, "formula", None)
        message = verdict.message or (f"{verdict.reason}" if verdict.reason else verdict.text())
        if why is not None and why.right is None:
            message += f" [formula: {why.why}]"
    except TimeLimit:
        outcome, message = "TIME", f"over {limit:g} s"
    except Exception as e:  # a crash is a finding
        outcome, message = "CRASH", f"{type(e).__name__}: {e}"
    return Row(kernel.name, bug, kind, dtype, outcome, message, time.perf_counter() - start, relative, ulps, step)


def short(outcome: str) -> str:
    return outcome.replace("INCONCLUSIVE", "INC").replace("precision", "prec.")


def summary(rows: Sequence[Row]) -> str:
    """How many of each kind came to which outcome, by dtype."""
    lines = ["| | dtype | FAIL | WEAK | PASS | other |", "|---|---|---|---|---|---|"]
    for kind in ("right", "precision", "formula"):
        for dtype in DTYPES:
            mine = [r.outcome.split()[0] for r in rows if r.kind == kind and r.dtype == dtype]
            counts = [mine.count(o) for o in ("FAIL", "WEAK", "PASS")]
            if mine:
                cells = " | ".join(map(str, (*counts, len(mine) - sum(counts))))
                lines.append(f"| {kind} | {dtype} | {cells} |")
    if any(r.step for r in rows):
        lines += ["", *steps(rows)]
    times = sorted(r.seconds for r in rows)
    lines.append(f"\nSeconds a verdict: {times[len(times) // 2]:.2f} in the median, {times[-1]:.1f} at most.")
    return "\n".join(lines)


KINDS = {
    "its line": "wrong step named, on the bug's line",
    "a line that uses it": "on a line that uses what that assigns",
    "another line": "on another line",
    "": "not named",
}


def steps(rows: Sequence[Row]) -> list[str]:
    """Count where a verdict names the step: the wrong one of a wrong formula, the narrow one of a pass that loses digits."""
    lines = ["| formula bugs that FAIL | " + " | ".join(KINDS.values()) + " |", "|---" * (1 + len(KINDS)) + "|"]
    for dtype in DTYPES:
        mine = [r.step for r in rows if r.kind == "formula" and r.dtype == dtype and r.outcome.startswith("FAIL")]
        if mine:
            lines.append(f"| {dtype} | " + " | ".join(str(mine.count(k)) for k in KINDS) + " |")
    lines += ["", "| precision bugs that FAIL or are WEAK | narrow step named | not named |", "|---|---|---|"]
    for dtype in DTYPES:
        mine = [
            r.step for r in rows if r.kind == "precision" and r.dtype == dtype and r.outcome[:4] in ("FAIL", "WEAK")
        ]
        if mine:
            lines.append(f"| {dtype} | {mine.count('named')} | {mine.count('')} |")
    return lines


LEGEND = """A cell has the outcome; the largest error of an entry, as a share of its gradient's largest entry; and the
largest error of an entry in ulps of that entry, for a cotangent of the runner's own. Where it has two outcomes, the first
is that of the revision before."""


def table(rows: Sequence[Row], chosen: Sequence[Kernel], before: Sequence[Row] = ()) -> str:
    """Every verdict, a line per kernel and bug, a column per dtype."""
    at, was = ({(r.kernel, r.bug, r.dtype): r for r in of} for of in (rows, before))
    dtypes = [d for d in DTYPES if any(r.dtype == d for r in rows)]
    lines = ["| kernel | bug | kind | " + " | ".join(dtypes) + " |", "|---" * (3 + len(dtypes)) + "|"]

    def cell(key: tuple[str, str, str]) -> str:
        r, old = at.get(key), was.get(key)
        if r is None:
            return "–"
        first = f"{short(old.outcome)} → " if old and old.outcome != r.outcome else ""
        return f"{first}{short(r.outcome)}, {r.relative:.1e}, {r.ulps:.2g} ulp"

    for k in chosen:
        for bug, about in {RIGHT: f"right, after {k.source}", **k.bugs}.items():
            kind = "" if bug == RIGHT else "precision" if bug in k.precision else "formula"
            lines.append(
                f"| {k.name} | {about} | {kind} | " + " | ".join(cell((k.name, bug, d)) for d in dtypes) + " |"
            )
    return "\n".join(lines)


def report(rows: Sequence[Row], before: Sequence[Row]) -> str:
    """The page: counts of both revisions, then every verdict."""
    chosen = [k for k in kernels() if any(r.kernel == k.name for r in rows)]
    old = f"\n\nThe revision before:\n\n{summary(before)}" if before else ""
    return f"{summary(rows)}{old}\n\n{LEGEND}\n\n{table(rows, chosen, before)}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these kernels only")
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument(
        "--bugs", nargs="+", default=None, metavar="NAME", help='these bugs only; "right" is the kernel itself'
    )
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a verdict (default 60)")
    parser.add_argument("--json", type=Path, help="save the rows here as well")
    parser.add_argument("--before", type=Path, help="rows of another revision, as --json saved them")
    parser.add_argument("--write", action="store_true", help=f"save {RESULTS.name} in bench/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [k for k in kernels() if not options.only or k.name in options.only]
    rows: list[Row] = []
    for k in chosen:
        for dtype in options.dtypes:
            for bug in (RIGHT, *k.bugs):
                if options.bugs is not None and (bug or "right") not in options.bugs:
                    continue
                r = judge(k, bug, dtype, options.limit)
                rows.append(r)
                head = f"{r.kernel} {r.dtype} {r.bug or 'right'} [{r.kind}]: {r.outcome} {r.seconds:.1f} s"
                off = f"off by {r.relative:.1e}, {r.ulps:.2g} ulp"
                print(f"{head}, {off} [{r.step}]. {r.message[:170]!r}", file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps([asdict(r) for r in rows]))
    before = [Row(**r) for r in json.loads(options.before.read_text())] if options.before else []
    text = report(rows, before)
    print(text)
    if options.write:
        RESULTS.write_text(f"# Kernels in 16 bits\n\n`python -m bench.kernels.run --write`\n\n{text}")


if __name__ == "__main__":
    main()
