# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""What `check` costs in this revision and in an older one: CPU seconds of the same functions, measured in turns.

    git worktree add /tmp/before REVISION
    python bench/revisions.py /tmp/before [--repeat N] [--write]

Each tree runs in a process of its own, in the same environment, with one thread. A function is checked once in each to warm
up, then N times in turns, this revision first in every other turn; the smallest time of each counts. The default revision of
the page is the parent of the first one that evaluates the backward pass exactly, so that the ratio says what the formula
costs beside the values.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "revisions.md"
EFFORTS = ("quick", "normal")
LIMIT = 1.6
"""What formula and values together may cost, in units of the values alone."""


def functions() -> dict[str, Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]]:
    """Name -> a maker of a function and its arguments."""
    import torch

    torch.set_num_threads(1)

    def drawn(*shape: int, dtype: Any = torch.float64) -> Any:
        return (0.5 + torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).to(dtype)

    def given(*arrays: Any) -> tuple[Any, ...]:
        return tuple(a.requires_grad_() for a in arrays)

    def product(m: int) -> Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]:
        return lambda: (lambda w, x: torch.exp(torch.tanh(w @ x)) * x, given(drawn(m, m) / m, drawn(m)))

    class Norm(torch.autograd.Function):
        """RMSNorm, in float32 for 16-bit arguments."""

        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(x, w)
            wide = x.double() if x.dtype is torch.float64 else x.float()
            return (wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + 1e-6) * w.to(wide.dtype)).to(x.dtype)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, w = ctx.saved_tensors
            wide = torch.float64 if x.dtype is torch.float64 else torch.float32
            xs, ws, gs = x.to(wide), w.to(wide), g.to(wide)
            r = torch.rsqrt((xs * xs).mean(-1, keepdim=True) + 1e-6)
            h = xs * r
            gw = gs * ws
            dx = r * (gw - h * (gw * h).mean(-1, keepdim=True))
            return dx.to(x.dtype), (gs * h).sum(0).to(w.dtype)

    def norm(dtype: Any) -> Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]:
        return lambda: (Norm.apply, given(drawn(8, 16, dtype=dtype), drawn(16, dtype=dtype)))

    def loss() -> tuple[Callable[..., Any], tuple[Any, ...]]:
        target = torch.arange(6) % 5
        f = lambda x, w, v: torch.nn.functional.cross_entropy(torch.relu(x @ w) @ v, target)
        return f, given(drawn(6, 4), drawn(4, 8), drawn(8, 5))

    return {
        "exp(tanh(W x)) x, 2 inputs": product(1),
        "exp(tanh(W x)) x, 12 inputs": product(3),
        "exp(tanh(W x)) x, 110 inputs": product(10),
        "exp(tanh(W x)) x, 992 inputs": product(31),
        "two layers and cross entropy, 96 inputs": loss,
        "RMSNorm by hand, float64": norm(torch.float64),
        "RMSNorm by hand, float32": norm(torch.float32),
        "RMSNorm by hand, bfloat16": norm(torch.bfloat16),
    }


def work() -> None:
    """Check what is asked for, a line each: `name, tab, effort`; answer with CPU seconds and the outcome."""
    import gradverify

    spent = time_formula()
    made = {name: make() for name, make in functions().items()}
    for line in sys.stdin:
        name, effort = line.rstrip("\n").split("\t")
        f, args = made[name]
        spent[0], start = 0.0, time.process_time()
        verdict = gradverify.check(f, *args, effort=effort)
        print(json.dumps([time.process_time() - start, spent[0], str(verdict.outcome)]), flush=True)


def time_formula() -> list[float]:
    """Count the CPU seconds of the exact backward passes from here on; a revision without them has none."""
    from gradverify.judge import decide

    spent = [0.0]
    evaluate = getattr(decide, "evaluate_backward", None)
    if evaluate is not None:

        def timed(*args: Any) -> Any:
            start = time.process_time()
            try:
                return evaluate(*args)
            finally:
                spent[0] += time.process_time() - start

        decide.evaluate_backward = timed
    return spent


class Tree:
    """A process that runs the functions in one tree."""

    def __init__(self, root: Path) -> None:
        env = {**os.environ, "PYTHONPATH": str(root)}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--work"], cwd=root, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def check(self, name: str, effort: str) -> tuple[float, float, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(name, effort, sep="\t", file=self.process.stdin, flush=True)
        seconds, formula, outcome = json.loads(self.process.stdout.readline())
        return seconds, formula, outcome


def measure(before: Path, repeat: int) -> list[str]:
    """The table's lines."""
    old, new = Tree(before), Tree(ROOT)
    head = "| function | effort | before, ms | now, ms | of which the formula, ms | ratio | outcome before, now |"
    lines = [head, "|---" * 7 + "|"]
    ratios: dict[str, list[float]] = {e: [] for e in EFFORTS}
    for name in functions():
        for effort in EFFORTS:
            outcomes = [tree.check(name, effort)[2] for tree in (old, new)]
            times: dict[Tree, list[tuple[float, float]]] = {old: [], new: []}
            for k in range(repeat):
                for tree in (old, new) if k % 2 else (new, old):
                    times[tree].append(tree.check(name, effort)[:2])
            (was, _), (now, formula) = min(times[old]), min(times[new])
            ratios[effort].append(now / was)
            lines.append(
                f"| {name} | {effort} | {1000 * was:.0f} | {1000 * now:.0f} | {1000 * formula:.0f} | {now / was:.2f} | "
                f"{', '.join(outcomes)} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    for effort, found in ratios.items():
        met = sum(r <= LIMIT for r in found)
        lines.append(
            f"| **all** | {effort} | | | | {statistics.median(found):.2f} in the median, {max(found):.2f} at most; "
            f"{met} of {len(found)} are at most {LIMIT} | |"
        )
    for tree in (old, new):
        tree.process.kill()
    return lines


def revision(root: Path) -> str:
    found = subprocess.run(
        ["git", "log", "-1", "--format=%h (%as)"], cwd=root, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, nargs="?", help="a checkout of the revision before")
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work()
    if options.before is None:
        parser.error("a checkout of the revision before is needed")
    lines = measure(options.before.resolve(), options.repeat)
    text = "\n".join(lines)
    print(text)
    if options.write:
        trees = f"{revision(ROOT)} beside {revision(options.before)}"
        RESULTS.write_text(
            "# What the formula costs beside the values\n\n`python bench/revisions.py BEFORE --write`: "
            f"{trees}, the parent of the first revision that evaluates the backward pass exactly. CPU time of one core, the "
            f"best of {options.repeat} in turns; the functions are ours. All that has been added since is in the ratio "
            "(laws, probes, branches of the backward pass, second orders); what of it is the formula is in a column "
            "of its own.\n\n"
            f"{text}\n"
        )
    return None


if __name__ == "__main__":
    main()
