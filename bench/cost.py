# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""What a verdict costs as the number of inputs grows, and where its time goes.

    python bench/cost.py [--write] [--repeat N] [--framework NAME ...] [--up-to M]

f(W, x) = exp(tanh(W x)) x with W of m x m and x of m entries, float64, one thread: n = m² + m inputs, m outputs; in
PyTorch, JAX, the engine, and NumPy with a backward pass by hand. The time of `gradverify.check` is all of it: trace,
oracle, budget, laws, verdict; `effort="quick"` asks at the given point alone, as gradcheck does, `normal` (the default)
around it as well. Beside it torch.autograd.gradcheck, slow and fast, and jax's check_grads (order 1, reverse) on the same
function in the same process. CPU seconds, the best of N runs each (default 3), all warm; the peers where they are expected
to take at most a minute. Every size is a process of its own, of which the peak memory is the system's account
(`ru_maxrss`) less what it was before the call.

The power is the smallest relative error that the verdict says it would have caught: in the least resolved entry, and in
the median one. It is put to the test with PyTorch: an entry of the gradient, drawn at random, is made wrong by just more
than the figure for the least resolved one, of the verdict on that wrong gradient, and must be named (some ulps are WEAK).

The second table is the time of one such verdict by stage (`bench/stages.py` says which is what).

`--write` replaces the rows that were measured, and leaves the others, with their own heading.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.stages import STAGES, measuring
from gradverify import check
from gradverify.core.outcome import Outcome

RESULTS = ROOT / "bench" / "results" / "cost.md"
SIZES = (1, 3, 10, 31, 100, 300, 1000)
SLOW_UP_TO, FAST_UP_TO, NORMAL_UP_TO = 100, 300, 300  # of m
FRAMEWORKS = ("torch", "jax", "engine", "numpy")


def inputs(m: int) -> tuple[np.ndarray, np.ndarray]:
    """Entries of order one and one sign: no sum cancels, so that the graph is well-conditioned."""
    rng = np.random.default_rng(m)
    return (0.5 + rng.random((m, m))) / m, 0.5 + rng.random(m)


class InTorch:
    """The function in PyTorch, beside gradcheck."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch = torch

    def f(self, w: Any, x: Any) -> Any:
        return self.torch.exp(self.torch.tanh(w @ x)) * x

    def put(self, arrays: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
        return tuple(self.torch.tensor(a, requires_grad=True) for a in arrays)

    options: dict[str, Any] = {}

    def peers(self, args: tuple[Any, ...], m: int) -> dict[str, Callable[[], Any]]:
        gradcheck = partial(self.torch.autograd.gradcheck, self.f, args)
        slow = {"gradcheck slow": gradcheck} if m <= SLOW_UP_TO else {}
        return slow | ({"gradcheck fast": partial(gradcheck, fast_mode=True)} if m <= FAST_UP_TO else {})

    def spoilt(self, at: tuple[int, int], factor: float) -> Callable[..., Any]:
        """The function with a gradient that is off by `factor` in one entry of dw."""
        torch = self.torch

        class Nudged(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, w: Any) -> Any:
                return w.clone()

            @staticmethod
            @torch.autograd.function.once_differentiable
            def backward(ctx: Any, g: Any) -> Any:
                g = g.clone()
                g[at] *= factor
                return g

        return lambda w, x: self.f(Nudged.apply(w), x)


class InEngine(InTorch):
    """The function in the engine, which reads as PyTorch."""

    def __init__(self) -> None:
        import gradverify.engine as torch

        self.torch = torch

    def peers(self, args: tuple[Any, ...], m: int) -> dict[str, Callable[[], Any]]:
        return {}


class InJax:
    """The function in JAX, beside check_grads."""

    def __init__(self) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax = jax

    options: dict[str, Any] = {}

    def f(self, w: Any, x: Any) -> Any:
        jnp = self.jax.numpy
        return jnp.exp(jnp.tanh(w @ x)) * x

    def put(self, arrays: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
        return tuple(map(self.jax.numpy.asarray, arrays))

    def peers(self, args: tuple[Any, ...], m: int) -> dict[str, Callable[[], Any]]:
        from jax.test_util import check_grads

        return {"check_grads": partial(check_grads, self.f, args, order=1, modes=["rev"])}


class InNumPy:
    """The function in NumPy, with a backward pass by hand."""

    def f(self, w: Any, x: Any) -> Any:
        return np.exp(np.tanh(w @ x)) * x

    @staticmethod
    def vjp(g: Any, w: Any, x: Any) -> Any:
        t = np.tanh(w @ x)
        e = np.exp(t)
        inner = g * e * x * (1 - t) * (1 + t)
        return np.outer(inner, x), inner @ w + g * e

    @property
    def options(self) -> dict[str, Any]:
        return {"vjp": self.vjp}

    def put(self, arrays: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
        return arrays

    def peers(self, args: tuple[Any, ...], m: int) -> dict[str, Callable[[], Any]]:
        return {}


MAKERS: dict[str, Callable[[], Any]] = {"torch": InTorch, "jax": InJax, "engine": InEngine, "numpy": InNumPy}


def best(call: Callable[[int], Any], times: int) -> float:
    """`call` is given a new seed each time: gradverify remembers the last answers of its oracle."""
    found = []
    for k in range(times):
        start = time.process_time()
        call(k + 1)
        found.append(time.process_time() - start)
    return min(found)


def memory() -> int:
    """The peak memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(framework: str, m: int, times: int) -> dict[str, Any]:
    """One row: seconds, power and memory at one size in one framework, and the stages of a verdict."""
    there = MAKERS[framework]()
    args = there.put(inputs(m))
    judge = partial(check, there.f, *args, **there.options)
    efforts = ["quick", *(["normal"] if m <= NORMAL_UP_TO else [])]
    check(there.f, *there.put(inputs(2)), **there.options)  # imports
    before = memory()
    verdict = judge(effort="quick")
    assert verdict, verdict.text()
    row: dict[str, Any] = {"framework": framework, "n": m * m + m, "power": verdict.power, "memory": memory() - before}
    row["typical"] = max(c.power_typical for c in verdict.comparisons if c.of.startswith("d"))
    if framework == "torch":
        # One ulp of room: the entry that is made wrong is itself rounded.
        at = tuple(int(i) for i in np.random.default_rng(7 * m).integers(m, size=2))
        wrong = check(there.spoilt(at, 1 + verdict.power + 2.0**-52), *args, effort="quick")
        if wrong.power > verdict.power:  # the factor is a literal of the formula, and known to two of its ulps
            wrong = check(there.spoilt(at, 1 + wrong.power + 2.0**-52), *args, effort="quick")
        row["caught"] = wrong.outcome is not Outcome.PASS and f"dw[{at[0]}, {at[1]}]" in wrong.message
    for effort in efforts:
        judge(effort=effort)  # what is compiled once per shape is
        row[effort] = best(lambda seed, effort=effort: judge(effort=effort, seed=seed), times)
    for name, peer in there.peers(args, m).items():
        peer()
        row[name] = best(lambda _, peer=peer: peer(), times)
    for effort in efforts:
        with measuring() as clock:
            for seed in range(times):
                judge(effort=effort, seed=100 + seed)
        row[f"{effort} stages"] = {k: v / times for k, v in clock.seconds.items()}
        row[f"{effort} calls"] = clock.times["subject"] / times
    return row


def seconds(x: float | None) -> str:
    """Three digits; a dash for what was not measured."""
    return "–" if x is None else f"{x:.3g}"


def table(rows: list[dict[str, Any]]) -> str:
    """The time beside the peers', as ratios."""
    lines = [
        "| | inputs | quick | normal | slow peer | fast peer | quick / slow | normal / slow | bytes per input "
        "| power, least | power, median | an error of that size |",
        "|---" * 12 + "|",
    ]
    for r in rows:
        slow = r.get("gradcheck slow", r.get("check_grads"))
        ratios = [f"{r[k] / slow:.2f}" if slow and k in r else "–" for k in ("quick", "normal")]
        peak = f"{r['memory'] / r['n']:.0f}" if r["n"] > 1000 else "–"
        caught = {True: "named", False: "MISSED", None: "–"}[r.get("caught")]
        times = [seconds(r.get(k)) for k in ("quick", "normal")] + [seconds(slow), seconds(r.get("gradcheck fast"))]
        cells = [
            r["framework"],
            f"{r['n']:,}",
            *times,
            *ratios,
            peak,
            f"{r['power']:.1e}",
            f"{r['typical']:.1e}",
            caught,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def stages(rows: list[dict[str, Any]]) -> str:
    """Milliseconds by stage, and calls of the judged function."""
    names = [*STAGES, "rest"]
    lines = [f"| | inputs | effort | calls | {' | '.join(names)} |", "|---" * (len(names) + 4) + "|"]
    for r in rows:
        for effort in ("quick", "normal"):
            spent = r.get(f"{effort} stages")
            if spent:
                cells = [f"{1000 * spent.get(n, 0.0):.1f}" for n in names]
                head = [r["framework"], f"{r['n']:,}", effort, f"{r[f'{effort} calls']:.0f}"]
                lines.append(f"| {' | '.join(head + cells)} |")
    return "\n".join(lines)


def merged(text: str, old: str) -> str:
    """The new tables with those rows of the old ones that were not measured; the old heading says whose run they are of."""

    def key(row: str) -> tuple[int, int]:
        framework, inputs = (cell.strip() for cell in row.split("|")[1:3])
        return FRAMEWORKS.index(framework), int(inputs.replace(",", ""))

    def rows(lines: Sequence[str]) -> list[str]:
        return [line for line in lines if line.startswith(tuple(f"| {f} |" for f in FRAMEWORKS))]

    heading, *parts = text.rstrip().split("\n\n")
    known = {key(row) for row in rows(text.splitlines())}
    left = [row for row in rows(old.splitlines()) if key(row) not in known]
    heads = [line for line in old.splitlines() if line.startswith(("`python bench/cost.py", "The other rows: "))]
    if not left:
        return text
    for k, part in enumerate(parts):
        lines = part.splitlines()
        mine = rows(lines)
        if mine:
            kept = [row for row in left if row.count("|") == mine[0].count("|")]
            parts[k] = "\n".join([*lines[:2], *sorted([*mine, *kept], key=key)])
    return (
        "\n\n".join([heading, "The other rows: " + heads[0].removeprefix("The other rows: "), *heads[1:], *parts])
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"save the tables as {RESULTS.name} in bench/results")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--framework", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--up-to", type=int, default=SIZES[-1], metavar="M", help="sizes m up to this")
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.size:
        print(json.dumps(measure(options.framework[0], options.size, options.repeat)))
        return
    rows = []
    for framework in options.framework:
        for m in (m for m in SIZES if m <= options.up_to):
            command = [sys.executable, __file__, "--size", str(m), "--repeat", str(options.repeat)]
            command += ["--framework", framework]
            rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
            print(rows[-1], file=sys.stderr, flush=True)
    names = ("torch", "jax", "numpy", "python-flint")
    head = f"`python bench/cost.py {' '.join(sys.argv[1:])}`: Python {platform.python_version()}, "
    head += (
        ", ".join(f"{p} {version(p)}" for p in names)
        + f"; CPU seconds, one thread. Our own function. Load {os.getloadavg()[1]:.1f}."
    )
    text = f"{head}\n\n{table(rows)}\n\n## By stage, in milliseconds\n\n{stages(rows)}\n"
    print(text)
    if options.write:
        text = merged(text, RESULTS.read_text(encoding="utf-8"))
        RESULTS.write_text(f"# What a verdict costs\n\n{(__doc__ or '').strip()}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
