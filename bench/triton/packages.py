# ruff: noqa: E402 - the interpreter is chosen before Triton is imported
"""What gradverify.check says of a package's operations, under Triton's interpreter: without a reference, then with one."""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import contextlib
import io
import json
import math
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import gradverify
from bench.triton.catalogue import DTYPES
from gradverify.core.limits import TimeLimit, time_limit
from gradverify.frameworks import triton
from gradverify.frameworks.torch.tracer import trace

Rand = Callable[..., Any]
Function = Callable[..., Any]
Call = tuple[Function, tuple[Any, ...]] | tuple[Function, tuple[Any, ...], Function]
"""A function, the point, and a reference where there is one: the same by PyTorch."""

LIMIT = 600.0
"""Seconds of one row, by the clock."""

NONE = "none"

rounding: list[torch.dtype] = []
"""The dtype that the constants of a call are rounded to, while a reference is computed in another."""


def like(constant: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A reference's constant as the operation gets it, in the dtype of x."""
    return constant.to(rounding[-1]).to(x.dtype) if rounding else constant.to(x.dtype)


def by_differences(reference: Function, point: Sequence[torch.Tensor], cotangent: Sequence[torch.Tensor]) -> list[Any]:
    """Gradients of a reference in doubles: central differences at two steps, extrapolated (Richardson): to some 1e-10."""

    def along(k: int, at: int, step: float) -> float:
        moved = [t.clone() for t in point]
        moved[k].view(-1)[at] += step
        out = reference(*moved)
        return sum(float((c * o).sum()) for c, o in zip(cotangent, out if isinstance(out, tuple) else (out,)))

    def slope(k: int, at: int) -> float:
        wide, near = ((along(k, at, h) - along(k, at, -h)) / (2 * h) for h in (2e-3, 1e-3))
        return (4 * near - wide) / 3

    return [torch.tensor([slope(k, at) for at in range(t.numel())]).view(t.shape) for k, t in enumerate(point)]


def off_by(function: Function, args: Sequence[torch.Tensor], reference: Function, dtype: str, turned: bool) -> float:
    """How far gradients are off from the differences of a reference, at most, over five cotangents; no part of gradverify.

    In units of the last place of each gradient's largest entry. `turned`: the arguments lie in memory column by column.
    """
    eps, worst = torch.finfo(DTYPES[dtype]).eps, 0.0
    for seed in range(100, 105):  # not those that drew the arguments
        given = [t.detach().clone() for t in args]
        given = [t.mT.contiguous().mT if turned and t.dim() > 1 else t for t in given]
        out = function(*(t.requires_grad_() for t in given))
        outputs = out if isinstance(out, tuple) else (out,)
        draw = torch.Generator().manual_seed(seed)
        g = [3 * torch.randn(o.shape, generator=draw).to(o.dtype) for o in outputs]
        found = torch.autograd.grad(outputs, given, g, allow_unused=True)
        rounding.append(DTYPES[dtype])
        try:
            want = by_differences(reference, [t.detach().double() for t in args], [c.double() for c in g])
        finally:
            rounding.pop()
        for f, w in zip(found, want):
            f = torch.zeros_like(w) if f is None else f.double()
            worst = max(worst, float(((f - w).abs().max() / w.abs().max().clamp(min=1e-300)) / eps))
    return worst


@dataclass(frozen=True)
class Row:
    """One verdict; `traced` says whether forward and backward are graphs, `referenced` is the outcome with a reference.

    `off` and `turned` are `off_by` of a reference, with rows and with columns that are contiguous.
    """

    op: str
    dtype: str
    traced: str
    outcome: str
    power: float
    seconds: float
    message: str
    referenced: str = NONE
    off: float = math.nan
    turned: float = math.nan


def outcome_of(verdict: Any) -> str:
    return f"{verdict.outcome}" + (f" ({verdict.kind})" if verdict.kind else "")


def judge(ops: Mapping[str, Callable[[Rand], Call]], name: str, dtype: str) -> Row:
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(1)
    power, start, graph, referenced, off = math.nan, time.process_time(), "–", NONE, [math.nan, math.nan]
    try:
        with time_limit(LIMIT), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            function, point, *reference = ops[name](lambda *shape: torch.randn(*shape, generator=draw))
            args = tuple(t.to(DTYPES[dtype]).requires_grad_() for t in point)
            graph = "yes" if trace(function, args, strict=False, confirm=False).graph is not None else "no"
            verdict = gradverify.check(function, *args, effort="quick")
            seconds = time.process_time() - start
            if reference:
                referenced = outcome_of(gradverify.check(function, *args, reference=reference[0], effort="quick"))
                with (
                    contextlib.suppress(UnboundLocalError),
                    triton.mended(),
                ):  # Liger's dyt has no backward pass on a CPU
                    off = [off_by(function, args, reference[0], dtype, turned) for turned in (False, True)]
        outcome = outcome_of(verdict)
        message = verdict.message or (f"{verdict.reason}" if verdict.reason else "")
        formula = verdict.formula
        if formula is not None:
            graph = "forward" if formula.right is None and graph == "yes" else graph
            power = formula.power if formula.right else math.nan
            message += f" [formula: {formula.why}]" if formula.right is None else ""
        if not message and verdict.notes and graph == "no":
            message = verdict.notes[0]
    except TimeLimit:
        outcome, message, seconds = "TIME", f"over {LIMIT:g} s", time.process_time() - start
    except Exception as e:
        outcome, message, seconds = "not run", f"{type(e).__name__}: {e}", time.process_time() - start
    return Row(name, dtype, graph, outcome, power, seconds, without_folder(message), referenced, *off)


def without_folder(message: str) -> str:
    """The message without the folder that the package is installed in."""
    return re.sub(r"[^\s(]*?((?:liger_kernel|fla)/\S+\.py)", r"\1", message)


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| op | dtype | traced | outcome | power | seconds | with a reference | off | turned | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        message = " ".join(r.message.split())[:260].replace("|", "\\|")
        off = " | ".join("" if math.isnan(v) else f"{v:.3g}" for v in (r.off, r.turned))
        row = (r.op, r.dtype, r.traced, r.outcome, f"{r.power:.1e}", f"{r.seconds:.1f}", r.referenced, off, message)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def counted(outcomes: Sequence[str]) -> str:
    kinds = ("PASS", "KNOWN", "WEAK", "FAIL", "SURROGATE", "INCONCLUSIVE", "TIME", "not")
    counts = {kind: sum(o.split()[0] == kind for o in outcomes) for kind in kinds}
    return ", ".join(f"{n} {kind}{' run' * (kind == 'not')}" for kind, n in counts.items() if n)


def report(rows: Sequence[Row], title: str, package: str, command: str, by_hand: str) -> str:
    with_one = [r.referenced for r in rows if r.referenced != NONE]
    return f"""# {title} {version(package)} under Triton's interpreter

Written by `{command} --write`. First no op has a reference: its own forward kernel is the definition; then the same by
PyTorch is one. Seconds are the processor's, without a reference. {counted([r.outcome for r in rows])};
with a reference {counted(with_one)}.

*off* and *turned* owe nothing to gradverify: how far the gradient is off from central differences of the reference in
doubles, at most, in units of the last place of its largest entry (0.5 is a correct rounding), over five cotangents; *turned*
with arguments whose columns are contiguous.

{table(rows)}

{by_hand}"""


def main(
    ops: Mapping[str, Callable[[Rand], Call]], results: Path, title: str, package: str, command: str, by_hand: str
) -> None:
    """Run the command: judge the operations that it names, and print, save or report them."""
    parser = argparse.ArgumentParser(description=f"What gradverify.check says of {title}'s operations.")
    parser.add_argument("--only", nargs="+", default=list(ops), metavar="NAME")
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), metavar="NAME")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--merge", nargs="+", metavar="FILE")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = [Row(**r) for f in options.merge or () for r in json.loads(Path(f).read_text(encoding="utf-8"))]
    for name in () if options.merge else options.only:
        for dtype in options.dtypes:
            rows.append(judge(ops, name, dtype))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(r) for r in rows], indent=1), encoding="utf-8")
    if options.write:
        results.write_text(report(rows, title, package, command, by_hand), encoding="utf-8")
