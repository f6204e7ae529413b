# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""What a verdict costs as the number of inputs grows, beside gradcheck on the same function in the same process.

    python bench/cost.py [--write] [--repeat N]

f(W, x) = exp(tanh(W x)) x with W of m x m and x of m entries, float64, one thread: n = m² + m inputs, m outputs. The time
of `gradverify.check` is all of it: trace, oracle, budget, laws, verdict; `effort="quick"` asks at the given point alone,
as gradcheck does, `normal` (the default) around it as well. The best of N runs each (default 3); gradcheck where it is
expected to take at most a minute. Every size is a process of its own, of which the peak memory is the system's account
(`ru_maxrss`) less what it was before the call.

The power is the smallest relative error that the verdict says it would have caught: in the least resolved entry, and in
the median one. It is put to the test: an entry of the gradient, drawn at random, is made wrong by just more than the
verdict's figure for the least resolved one, and must be named.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gradverify import check

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "cost.md"
SIZES = (1, 3, 10, 31, 100, 300, 1000)
SLOW_UP_TO, FAST_UP_TO, NORMAL_UP_TO = 100, 300, 300  # of m


class Nudged(torch.autograd.Function):
    """The identity, whose gradient is off by a factor in one entry."""

    @staticmethod
    def forward(ctx: Any, w: torch.Tensor, at: tuple[int, int], factor: float) -> torch.Tensor:
        ctx.at, ctx.factor = at, factor
        return w.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        g = g.clone()
        g[ctx.at] *= ctx.factor
        return g, None, None


def f(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.exp(torch.tanh(w @ x)) * x


def inputs(m: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Entries of order one and one sign: no sum cancels, so that the graph is well-conditioned."""
    draw = torch.Generator().manual_seed(m)
    w = (0.5 + torch.rand(m, m, dtype=torch.float64, generator=draw)) / m
    x = 0.5 + torch.rand(m, dtype=torch.float64, generator=draw)
    return w.requires_grad_(), x.requires_grad_()


def best(call: Callable[[int], Any], times: int) -> float:
    """`call` is given a new seed each time: gradverify remembers the last answers of its oracle."""
    found = []
    for k in range(times):
        start = time.perf_counter()
        call(k + 1)
        found.append(time.perf_counter() - start)
    return min(found)


def measure(m: int, times: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    w, x = inputs(m)
    check(f, *inputs(2))  # imports
    torch.autograd.gradcheck(f, inputs(2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verdict = check(f, w, x, effort="quick")
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert verdict, verdict.text()
    row: dict[str, Any] = {"n": m * m + m, "power": verdict.power, "memory": memory}
    row["typical"] = max(c.power_typical for c in verdict.comparisons if c.of.startswith("d"))
    # One ulp of room: the entry that is made wrong is itself rounded.
    at = tuple(int(i) for i in torch.randint(m, (2,), generator=torch.Generator().manual_seed(7 * m)))
    spoilt = check(lambda w, x: f(Nudged.apply(w, at, 1 + verdict.power + 2.0**-52), x), w, x, effort="quick")
    row["caught"] = not spoilt and f"dw[{at[0]}, {at[1]}]" in spoilt.message
    row["quick"] = best(lambda seed: check(f, w, x, effort="quick", seed=seed), times)
    if m <= NORMAL_UP_TO:
        row["normal"] = best(lambda seed: check(f, w, x, seed=seed), times)
    if m <= SLOW_UP_TO:
        row["slow"] = best(lambda _: torch.autograd.gradcheck(f, (w, x)), times)
    if m <= FAST_UP_TO:
        row["fast"] = best(lambda _: torch.autograd.gradcheck(f, (w, x), fast_mode=True), times)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    def seconds(row: dict[str, Any], key: str) -> str:
        return f"{row[key]:.3g}" if key in row else "–"

    lines = [
        "| inputs | check, quick | check | gradcheck slow | gradcheck fast | quick / slow | check / slow "
        "| peak memory, bytes per input | power, least | power, median | an error of that size |",
        "|---" * 11 + "|",
    ]
    for r in rows:
        ratio = f"{r['quick'] / r['slow']:.2f}" if "slow" in r else "–"
        whole = f"{r['normal'] / r['slow']:.2f}" if "slow" in r and "normal" in r else "–"
        memory = f"{r['memory'] / r['n']:.0f}" if r["n"] > 1000 else "–"
        lines.append(
            f"| {r['n']:,} | {seconds(r, 'quick')} s | {seconds(r, 'normal')} s | {seconds(r, 'slow')} s | "
            f"{seconds(r, 'fast')} s | {ratio} | {whole} | {memory} | {r['power']:.1e} | {r['typical']:.1e} | "
            f"{'caught' if r['caught'] else 'MISSED'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"save the table as {RESULTS.name} in bench/results")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.size:
        print(json.dumps(measure(options.size, options.repeat)))
        return
    rows = []
    for m in SIZES:
        command = [sys.executable, __file__, "--size", str(m), "--repeat", str(options.repeat)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(rows[-1], file=sys.stderr, flush=True)
    head = f"`python bench/cost.py{' --write' if options.write else ''}`: Python {platform.python_version()}, "
    head += ", ".join(f"{p} {version(p)}" for p in ("torch", "numpy", "python-flint")) + "; CPU, one thread."
    text = f"{head}\n\n{table(rows)}\n"
    print(text)
    if options.write:
        RESULTS.write_text(f"# What a verdict costs\n\n{(__doc__ or '').split('float64')[0].strip()}\n\n{text}")


if __name__ == "__main__":
    main()
