"""Is the power that a PASS states the power that it has? Errors are injected into the shipped specs, in every dtype.

    python bench/injection.py [--write] [--only TEXT] [--rows FILE]

Each case of `specs/` that PASSes on PyTorch is judged again with a backward pass that adds `error` of itself to each
gradient: once with an error just above the stated power, which must be reported (FAIL or WEAK), and once with a hundredth of
it, which must PASS. The stated power is that of the formula where that was evaluated, else that of the values. No law is
asked, and no hypothesis is looked for: neither counts for the power.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gradverify.core.outcome import Outcome
from gradverify.core.verdict import Verdict
from gradverify.frameworks.base import Framework
from gradverify.frameworks.registry import find
from gradverify.judge.complex_case import real_case
from gradverify.judge.decide import decide
from gradverify.judge.laws import Extent
from gradverify.ops.complex.lowering import is_complex
from gradverify.run.events import Job
from gradverify.run.plan import spec_jobs
from gradverify.run.runner import Settings
from gradverify.spec import load

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "injection.md"
DTYPES = ("float64", "float32", "bfloat16", "float16", "complex64")
HOW: dict[str, Any] = {"exact": True, "extent": Extent.NONE, "explained": False}
ABOVE = 1.5
"""Times the stated power: one literal of the injected term is rounded, and power is a bound in two digits."""


@dataclass(frozen=True)
class Row:
    """What came of one case in one dtype.

    of         "formula" or "values": whose power the PASS states; "nothing" where all gradients are zero, or no digit of
               them is left
    power      that power
    values     that of the values
    caught     is an error just above the stated power reported?
    passes     does a hundredth of it pass?
    seconds    of one core
    """

    family: str
    case: str
    dtype: str
    of: str
    power: float = math.nan
    values: float = math.nan
    caught: bool = False
    passes: bool = False
    seconds: float = 0.0


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
        return function(*(Wrong.apply(a, error) if a.is_floating_point() or a.is_complex() else a for a in arrays))

    return run


def rows(only: str = "", known: Collection[str] = ()) -> Iterator[Row]:
    """Yield a row for each case that PASSes and is not `known`."""
    subject = find("torch")
    for path in sorted((ROOT / "specs").glob("*.grad.yaml")):
        family = path.name.removesuffix(".grad.yaml")
        if only not in family:
            continue
        for job in spec_jobs(load(path), Settings(subjects=("torch",), dtypes=DTYPES), path.name):
            if job.dtype in DTYPES and job.expect == "pass" and job.build is not None and job.id not in known:
                start = time.process_time()
                row = measure(family, job, subject)
                if row is not None:
                    yield replace(row, seconds=time.process_time() - start)


def measure(family: str, job: Job, subject: Framework) -> Row | None:
    """The row of one case; None where it does not PASS."""
    assert job.build is not None
    case = job.build()
    verdict = decide(case, subject, **HOW)
    if verdict.outcome is not Outcome.PASS:
        return None
    of = stated(verdict)
    if of == "nothing":
        return Row(family, job.id, job.dtype, of)
    function = subject.function(case.graph, case.dtype)  # of a complex graph: over real and imaginary parts
    real = real_case(case) if is_complex(case.graph) else case
    outcome = lambda error: decide(real, subject, function=injected(function, error), **HOW).outcome
    return Row(
        family, job.id, job.dtype, of, verdict.power, verdict.power_of_values,
        outcome(ABOVE * verdict.power) in (Outcome.FAIL, Outcome.WEAK), outcome(verdict.power / 100) is Outcome.PASS,
    )  # fmt: skip


def stated(verdict: Verdict) -> str:
    """Whose power a PASS states (`Row.of`)."""
    if math.isnan(verdict.power):
        return "nothing"
    return "formula" if verdict.formula is not None and verdict.formula.right else "values"


HEAD = (
    "| family | dtype | PASS | power of the formula: cases, median | just above it caught | a hundredth passes | "
    "power of the values alone: cases, median | just above it caught | a hundredth passes |",
    "|---" * 9 + "|",
)


def table(found: list[Row]) -> list[str]:
    by: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for r in found:
        by[r.family, r.dtype].append(r)
        by["**all**", r.dtype].append(r)
    families = [*dict.fromkeys(r.family for r in found), "**all**"]
    keys = [(f, d) for f in families for d in DTYPES if (f, d) in by]
    return [*HEAD, *(_line(*key, by[key]) for key in keys)]


def _line(family: str, dtype: str, found: list[Row]) -> str:
    cells = [family, dtype, str(len(found))]
    for of in ("formula", "values"):
        mine = [r for r in found if r.of == of]
        median = f", {statistics.median(r.power for r in mine):.1e}" if mine else ""
        cells += [f"{len(mine)}{median}", *(f"{sum(what)} of {len(mine)}" if mine else "–" for what in (
            [r.caught for r in mine], [r.passes for r in mine]))]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def beside(found: list[Row]) -> list[str]:
    """Where the formula was evaluated, the power that its values alone would have: what the formula gains."""
    lines = [
        "| dtype | power of the formula, median | of the same cases' values, median | at worst |",
        "|---|---|---|---|",
    ]
    for dtype in DTYPES:
        mine = [r for r in found if r.dtype == dtype and r.of == "formula"]
        values = [r.values for r in mine if r.values == r.values]
        if values:
            power = statistics.median(r.power for r in mine)
            lines.append(f"| {dtype} | {power:.1e} | {statistics.median(values):.1e} | {max(values):.1e} |")
    return lines


def _lines(file: Path | None) -> list[str]:
    return file.read_text().splitlines() if file is not None and file.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--only", default="", help="spec files whose name has this in it")
    parser.add_argument(
        "--rows", type=Path, help="a file of rows: those in it are not measured again, others are added"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = [Row(**json.loads(line)) for line in _lines(options.rows)]
    for row in rows(options.only, {r.case for r in found}):
        found.append(row)
        if options.rows:
            with options.rows.open("a") as out:
                out.write(json.dumps(asdict(row)) + "\n")
    missed = [f"* not caught: {r.case} ({r.of}, {r.power:.1e})" for r in found if r.of != "nothing" and not r.caught]
    refused = [
        f"* a hundredth is reported: {r.case} ({r.of}, {r.power:.1e})"
        for r in found
        if r.of != "nothing" and not r.passes
    ]
    text = "\n".join([*table(found), "", *beside(found), "", *missed, *refused]).rstrip()
    print(text)
    if options.write:
        head = (
            "# Injected errors: is the stated power true?\n\nInputs: our own specs, on PyTorch (CPU); real ones have no "
            "complex64. `python bench/injection.py --write`, "
            f"{sum(r.seconds for r in found):.0f} s of one core.\n\nAn error just above the stated power ({ABOVE} times) "
            "must be reported, FAIL or WEAK; a hundredth of it must pass. The stated power is the formula's where the "
            "backward pass was evaluated exactly, and that of the values in the dtype where it was not. Cases whose "
            "gradients are all zero, or of which rounding leaves no digit, state none: they are in PASS alone. The "
            "stated power is that of the least resolved entry, and the error is in all of them: a hundredth "
            "of it is reported where other entries are resolved a hundred times better (listed below the tables).\n\n"
        )
        RESULTS.write_text(f"{head}{text}\n")


if __name__ == "__main__":
    main()
