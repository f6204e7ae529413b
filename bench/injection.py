"""Is the power that a PASS states the power that it has? Errors are injected into the shipped specs, in every dtype.

    python bench/injection.py [--write] [--only TEXT]

Each case of `specs/` that PASSes on PyTorch with its formula evaluated is judged again with a backward pass that adds
`error` of itself to each gradient: once with an error just above the stated power, which must be reported (FAIL or WEAK),
and once with a hundredth of it, which must PASS. Beside it stands the power of the values alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gradverify.core.outcome import Outcome
from gradverify.frameworks.registry import find
from gradverify.judge.decide import decide
from gradverify.run.plan import spec_jobs
from gradverify.run.runner import Settings
from gradverify.spec import load

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "injection.md"
DTYPES = ("float64", "float32", "bfloat16", "float16")
ABOVE = 1.5
"""Times the stated power: one literal of the injected term is rounded, and power is a bound in two digits."""


@dataclass
class Row:
    """What came of the cases of one spec file in one dtype."""

    passed: int = 0
    evaluated: int = 0
    powers: list[float] = field(default_factory=list)
    of_values: list[float] = field(default_factory=list)
    caught: int = 0
    let_through: int = 0
    missed: list[str] = field(default_factory=list)


class Wrong(torch.autograd.Function):
    """The identity, whose gradient is off by `error` of itself."""

    @staticmethod
    def forward(ctx: Any, x: Any, error: float) -> Any:
        ctx.error = error
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] + ctx.error * grads[0], None


def injected(function: Callable[..., Any], error: float) -> Callable[..., Any]:
    def run(*arrays: Any) -> Any:
        return function(*(Wrong.apply(a, error) if a.is_floating_point() else a for a in arrays))

    return run


def measure(only: str) -> dict[tuple[str, str], Row]:
    rows: dict[tuple[str, str], Row] = defaultdict(Row)
    subject = find("torch")
    for path in sorted((ROOT / "specs").glob("*.grad.yaml")):
        if only not in path.name:
            continue
        jobs = spec_jobs(load(path), Settings(subjects=("torch",), dtypes=DTYPES), str(path))
        for job in jobs:
            if job.dtype not in DTYPES or job.expect != "pass" or job.build is None:
                continue
            case = job.build()
            verdict = decide(case, subject, exact=True)
            if verdict.outcome is not Outcome.PASS or verdict.formula is None:
                continue
            row = rows[path.name.removesuffix(".grad.yaml"), job.dtype]
            row.passed += 1
            if not verdict.formula.right or verdict.power != verdict.power:  # nan: all zeros
                continue
            row.evaluated += 1
            row.powers.append(verdict.power)
            row.of_values.append(verdict.power_of_values)
            function = subject.function(case.graph, case.dtype)
            judged = lambda error, case=case, function=function: (
                decide(case, subject, function=injected(function, error), exact=True).outcome
            )
            if judged(ABOVE * verdict.power) in (Outcome.FAIL, Outcome.WEAK):
                row.caught += 1
            else:
                row.missed.append(job.id)
            row.let_through += judged(verdict.power / 100) is Outcome.PASS
    return rows


def table(rows: dict[tuple[str, str], Row]) -> list[str]:
    lines = [
        "| spec | dtype | PASS | formula evaluated | power, median | of values alone, median | error just above caught | "
        "a hundredth passes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    every: dict[str, list[Row]] = defaultdict(list)
    for (name, dtype), r in rows.items():
        every[dtype].append(r)
        lines.append(_line(name, dtype, [r]))
    lines += [_line("**all**", dtype, found) for dtype, found in every.items()]
    return lines


def _line(name: str, dtype: str, rows: list[Row]) -> str:
    powers = [p for r in rows for p in r.powers]
    values = [p for r in rows for p in r.of_values if p == p]
    median = lambda found: f"{statistics.median(found):.1e}" if found else "–"
    evaluated = sum(r.evaluated for r in rows)
    return (
        f"| {name} | {dtype} | {sum(r.passed for r in rows)} | {evaluated} | {median(powers)} | {median(values)} | "
        f"{sum(r.caught for r in rows)} of {evaluated} | {sum(r.let_through for r in rows)} of {evaluated} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--only", default="", help="spec files whose name has this in it")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    rows = measure(options.only)
    lines = table(rows)
    missed = [m for r in rows.values() for m in r.missed]
    print("\n".join(lines))
    print("\n".join(f"missed: {m}" for m in missed))
    if options.write:
        head = [
            "# Injected errors: is the stated power true?",
            "",
            "Inputs: our own specs, on PyTorch (CPU). `python bench/injection.py --write`, "
            f"{time.perf_counter() - start:.0f} s.",
            "",
        ]
        RESULTS.write_text("\n".join([*head, *lines, "", *(f"* missed: {m}" for m in missed)]).rstrip() + "\n")


if __name__ == "__main__":
    main()
