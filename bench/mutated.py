"""Kernels in files of their own, right and mutated, and what gradverify.check says of each; for triton/ and pallas/."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import gradverify
from gradverify.core.limits import TimeLimit, time_limit

KINDS = (
    "tail",
    "mask",
    "other",
    "race",
    "atomic",
    "stale",
    "stride",
    "index",
    "accumulator",
    "causal",
    "sign",
    "term",
    "constant",
)
DTYPES = ("float32", "bfloat16")
RIGHT = ""
CAUGHT = ("FAIL", "WEAK")


@dataclass(frozen=True)
class Mutant:
    """One change of a kernel's file: a text that stands there once, and its replacement."""

    kind: str
    about: str
    old: str
    new: str


class Kernel:
    """A kernel's file: `function`, `point(dtype, rand)` and `MUTANTS`: each (kind, what is wrong, text, text instead)."""

    def __init__(self, path: Path) -> None:
        self.name, self.path = path.stem, path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8").split("\nMUTANTS = [")[0]

    @cached_property
    def module(self) -> ModuleType:
        return imported(f"kernel_file_{self.path.parents[1].name}_{self.name}", self.path)

    @property
    def source(self) -> str:
        return str(self.module.__doc__)

    @property
    def mutants(self) -> list[Mutant]:
        return [Mutant(*m) for m in self.module.MUTANTS]

    def point(self, dtype: str) -> tuple[Any, ...]:
        """The arguments of `function`, in this dtype."""
        raise NotImplementedError

    def function(self, mutant: Mutant | None = None) -> Callable[..., Any]:
        if mutant is None:
            return self.module.function
        if mutant.kind not in KINDS or self.text.count(mutant.old) != 1:
            raise ValueError(f"{self.name}: {mutant.about}: the text stands {self.text.count(mutant.old)} times")
        # The interpreter of Triton reads the source of a kernel from its file.
        folder = Path(tempfile.mkdtemp(prefix="gradverify-"))
        path = folder / f"{self.name}.py"
        path.write_text(self.text.replace(mutant.old, mutant.new), encoding="utf-8")
        return imported(f"mutant_{folder.name}_{self.name}", path).function


def imported(name: str, path: Path) -> ModuleType:
    """The module in a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Row:
    """One verdict; `power` is that of the formula, NaN where it was not evaluated. Seconds are the processor's."""

    kernel: str
    mutant: str
    kind: str
    dtype: str
    outcome: str
    power: float
    seconds: float
    message: str


def judge(kernel: Kernel, mutant: Mutant | None, dtype: str, limit: float = 300.0) -> Row:
    """The verdict on the kernel, or on a mutant of it."""
    about, kind = (mutant.about, mutant.kind) if mutant else (RIGHT, RIGHT)
    power, start = math.nan, time.process_time()
    try:
        with time_limit(limit):
            verdict = gradverify.check(kernel.function(mutant), *kernel.point(dtype), effort="quick")
        outcome = f"{verdict.outcome}" + (f" ({verdict.kind})" if verdict.kind else "")
        message = verdict.message or (f"{verdict.reason}" if verdict.reason else "")
        formula = verdict.formula
        if formula is not None and formula.right:
            power = formula.power
        elif formula is not None and formula.right is None:
            message += f" [formula: {formula.why}]"
    except TimeLimit:
        outcome, message = "TIME", f"over {limit:g} s"
    except Exception as e:  # a crash is a finding
        outcome, message = "CRASH", f"{type(e).__name__}: {e}"
    return Row(kernel.name, about, kind, dtype, outcome, power, time.process_time() - start, without_folder(message))


def without_folder(message: str) -> str:
    """The message without the folder that a mutant's file was written to."""
    return re.sub(r"\S*gradverify-\w+/", "", message)


def is_caught(row: Row) -> bool:
    return row.outcome.split()[0] in CAUGHT


def healthy(rows: Sequence[Row], chosen: Sequence[Kernel]) -> str:
    """A line per kernel: outcome, power and seconds by dtype."""
    at = {(r.kernel, r.dtype): r for r in rows if r.mutant == RIGHT}
    dtypes = [d for d in DTYPES if any(r.dtype == d for r in rows)]
    lines = ["| kernel | " + " | ".join(dtypes) + " |", "|---" * (1 + len(dtypes)) + "|"]
    for k in chosen:
        cells = [
            f"{r.outcome}, {r.power:.1e}, {r.seconds:.1f} s" if (r := at.get((k.name, d))) else "–" for d in dtypes
        ]
        lines.append(f"| {k.name}: {k.source.splitlines()[0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def caught(rows: Sequence[Row]) -> str:
    """How many mutants of each kind are caught."""
    lines = ["| kind | caught | missed |", "|---|---|---|"]
    for kind in KINDS:
        mine = [r for r in rows if r.kind == kind]
        missed = [f"{r.kernel} ({r.dtype}): {r.mutant}: {r.outcome}" for r in mine if not is_caught(r)]
        if mine:
            lines.append(f"| {kind} | {len(mine) - len(missed)} of {len(mine)} | {'; '.join(missed)} |")
    mutants = [r for r in rows if r.kind]
    if mutants:
        share = sum(map(is_caught, mutants)) / len(mutants)
        lines.append(f"\n{sum(map(is_caught, mutants))} of {len(mutants)} mutants are caught ({share:.1%}).")
    return "\n".join(lines)


def every(rows: Sequence[Row]) -> str:
    """A line per mutant."""
    lines = ["| kernel | kind | mutant | dtype | outcome | message |", "|---|---|---|---|---|---|"]
    for r in rows:
        if r.kind:
            message = without_folder(" ".join(r.message.split()))[:150].replace("|", "\\|") if r.message else ""
            lines.append(f"| {r.kernel} | {r.kind} | {r.mutant} | {r.dtype} | {r.outcome} | {message} |")
    return "\n".join(lines)


def report(rows: Sequence[Row], chosen: Sequence[Kernel], title: str, command: str) -> str:
    times = sorted(r.seconds for r in rows)
    return f"""# {title}

Written by `{command} --write`. No kernel has a reference: the forward kernel is the definition.

## Right

Outcome, power of the formula, seconds of the processor: {times[len(times) // 2]:.1f} a verdict in the median,
{times[-1]:.1f} at most.

{healthy(rows, chosen)}

## Mutants, by kind

FAIL and WEAK count as caught. Accumulators of 16 bits are asked about in float32 alone: where the arguments have 16 bits,
so few terms are within what rounding excuses.

{caught(rows)}

## Every mutant

{every(rows)}
"""


def main(kernels: Sequence[Kernel], results: Path, title: str, command: str) -> None:
    """Judge the kernels and their mutants; `--write` saves `results`."""
    parser = argparse.ArgumentParser(prog=command, description=title)
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME")
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), metavar="NAME")
    parser.add_argument("--no-mutants", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--merge", nargs="+", metavar="FILE", help="the rows of earlier runs, in place of a run")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    chosen = [k for k in kernels if options.only is None or k.name in options.only]
    rows = [Row(**r) for f in options.merge or () for r in json.loads(Path(f).read_text(encoding="utf-8"))]
    for kernel in () if options.merge else chosen:
        for mutant in [None, *([] if options.no_mutants else kernel.mutants)]:
            for dtype in options.dtypes:
                if mutant is not None and mutant.kind == "accumulator" and dtype == "bfloat16":
                    continue  # 16 bits are what its arguments have: its roundings are excused
                row = judge(kernel, mutant, dtype)
                rows.append(row)
                mark = "" if (row.outcome == "PASS" if mutant is None else is_caught(row)) else "  <--"
                print(f"{row.kernel:20} {dtype:9} {row.kind:12} {row.outcome:16} {row.power:8.1e} {row.seconds:5.1f} s "
                      f"{row.mutant}: {row.message[:160]}{mark}", flush=True)  # fmt: skip
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(r) for r in rows], indent=1), encoding="utf-8")
    if options.write:
        results.write_text(report(rows, chosen, title, command), encoding="utf-8")
    else:
        print(caught(rows))
