# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""What each gradient checker costs, and the smallest error that it catches: one script, one run, one table.

    python bench/peers.py [--quick] [--write]

Every tool gets the same function of x (n entries, float64, a vector output) and the same fault: the function is
composed with an identity whose VJP returns g·(1+δ), on all entries of dL/dx or on one. Each tool runs with its default
settings. `caught δ` is found by bisection of log10 δ; `seconds` is one check of the correct function, the median of
several after a warm-up. One thread.

Tools: gradverify (judging the PyTorch function against its expression), torch.autograd.gradcheck slow and fast,
jax.test_util.check_grads (order 1, reverse), autograd.test_util.check_grads (HIPS, order 1, reverse).
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import dataclasses
import itertools
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "peers.md"

# Decades of δ between which the bisection looks, and where it stops: 0.1 decades is a factor 1.26.
LOWEST, HIGHEST, RESOLUTION = -17.0, 4.0, 0.1

SEED = 20_24
_seeds = itertools.count(SEED)


@dataclass(frozen=True)
class Problem:
    """A function of x. `call(xp, x, w, b)` is written with names that torch, jax.numpy, autograd.numpy and NumPy share;
    `softplus` is the framework's own."""

    name: str
    expression: str
    call: Callable[..., Any]
    affine: bool = False  # uses w and b


PROBLEMS = (
    Problem("sin", "sin(x)", lambda xp, softplus, x, w, b: xp.sin(x)),
    Problem("softplus layer", "softplus(w @ x + b)", lambda xp, softplus, x, w, b: softplus(w @ x + b), affine=True),
    Problem(
        "6-op chain",
        "exp(tanh(w @ x)) * sin(x) + x",
        lambda xp, softplus, x, w, b: xp.exp(xp.tanh(w @ x)) * xp.sin(x) + x,
        affine=True,
    ),
)


@dataclass(frozen=True)
class Data:
    """x, w (n × n, scaled so that w @ x stays of order 1) and b; `mask` marks the entries of dx that the fault touches."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray

    @classmethod
    def draw(cls, n: int) -> Data:
        rng = np.random.default_rng([SEED, n])
        return cls(rng.uniform(-1, 1, n), rng.standard_normal((n, n)) / np.sqrt(n), rng.standard_normal(n))


def masks(n: int) -> dict[str, np.ndarray]:
    one = np.zeros(n)
    one[n // 2] = 1.0
    return {"all": np.ones(n), "one": one}


# A tool is given (problem, data, factor) and returns a check: () -> did the tool reject the function?
# `factor` is the array 1 + δ·mask that the fault multiplies dx by.
Check = Callable[[], bool]
Tool = Callable[[Problem, Data, np.ndarray], Check]


def torch_function(problem: Problem, data: Data, factor: np.ndarray) -> Callable[..., Any]:
    import torch

    scale = torch.from_numpy(factor)

    class Faulty(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * scale

    def function(x: Any, w: Any, b: Any) -> Any:
        return problem.call(torch, torch.nn.functional.softplus, Faulty.apply(x), w, b)

    return function


def gradcheck(fast: bool) -> Tool:
    def tool(problem: Problem, data: Data, factor: np.ndarray) -> Check:
        import torch

        function = torch_function(problem, data, factor)
        x, w, b = torch.from_numpy(data.x).requires_grad_(), torch.from_numpy(data.w), torch.from_numpy(data.b)

        def check() -> bool:
            torch.manual_seed(SEED)
            return not torch.autograd.gradcheck(
                lambda x: function(x, w, b), (x,), fast_mode=fast, raise_exception=False
            )

        return check

    return tool


def jax_check_grads(problem: Problem, data: Data, factor: np.ndarray) -> Check:
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    @jax.custom_vjp
    def faulty(x: Any) -> Any:
        return x

    faulty.defvjp(lambda x: (x, None), lambda _, g: (g * factor,))

    def check() -> bool:
        with jax.enable_x64(True):
            w, b = jnp.asarray(data.w), jnp.asarray(data.b)
            try:
                check_grads(
                    lambda x: problem.call(jnp, jax.nn.softplus, faulty(x), w, b),
                    (jnp.asarray(data.x),),
                    order=1,
                    modes=("rev",),
                )
            except AssertionError:
                return True
            return False

    return check


def hips_check_grads(problem: Problem, data: Data, factor: np.ndarray) -> Check:
    import autograd.numpy as anp
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    faulty = primitive(lambda x: x)
    defvjp(faulty, lambda ans, x: lambda g: g * factor)

    def check() -> bool:
        np.random.seed(SEED)  # its directions come from NumPy's global generator
        try:
            check_grads(
                lambda x: problem.call(anp, lambda u: anp.logaddexp(u, 0.0), faulty(x), data.w, data.b),
                modes=["rev"],
                order=1,
            )(data.x)
        except AssertionError:
            return True
        return False

    return check


def gradverify_judge(problem: Problem, data: Data, factor: np.ndarray) -> Check:
    """The PyTorch function held against the problem's expression, as `call:` in a spec does."""
    from gradverify.core.verdict import Outcome
    from gradverify.frameworks.torch.adapter import TorchFramework
    from gradverify.run.runner import Settings, judge_case
    from gradverify.spec.from_expression import expression_case

    function = torch_function(problem, data, factor)

    class Given(TorchFramework):
        forms = {}

        def function(self, graph: Any, dtype: str) -> Callable[..., Any]:
            return lambda x, w=None, b=None: function(x, w, b)

    inputs = {n: getattr(data, n) for n in ("x", "w", "b") if n == "x" or (problem.affine and n in problem.expression)}

    case = dataclasses.replace(expression_case(problem.expression, inputs), wrt=("x",))

    def check() -> bool:
        # A seed of its own for every check: truth and budget are remembered per case and seed, and their cost counts.
        verdict = judge_case(case, Given(), Settings(shrink=False, seed=next(_seeds)))
        if verdict.outcome is Outcome.INCONCLUSIVE:
            raise RuntimeError(f"no verdict: {verdict}")
        return verdict.outcome is Outcome.FAIL

    return check


TOOLS: dict[str, Tool] = {
    "gradverify": gradverify_judge,
    "torch gradcheck, slow": gradcheck(fast=False),
    "torch gradcheck, fast": gradcheck(fast=True),
    "jax check_grads, rev": jax_check_grads,
    "HIPS check_grads, rev": hips_check_grads,
}


def smallest_caught(tool: Tool, problem: Problem, data: Data, mask: np.ndarray, resolution: float) -> str:
    """The smallest δ that the tool rejects, as text; by bisection, which takes what is caught to be monotone in δ."""

    def caught(exponent: float) -> bool:
        return tool(problem, data, 1.0 + 10.0**exponent * mask)()

    if tool(problem, data, np.ones_like(mask))():
        return "rejects the correct one"
    if not caught(HIGHEST):
        return f"> {10**HIGHEST:.0e}"
    low, high = LOWEST, HIGHEST
    while high - low > resolution:
        middle = (low + high) / 2
        low, high = (low, middle) if caught(middle) else (middle, high)
    return f"{10**high:.1e}"


def seconds(check: Check, at_least: int = 3, for_seconds: float = 0.5) -> float:
    """Median wall-clock seconds of a check, after one to warm up; one run only where a run takes over 5 s."""
    times = []
    start = time.perf_counter()
    check()
    first = time.perf_counter() - start
    if first > 5.0:
        return first
    while len(times) < at_least or sum(times) < for_seconds:
        start = time.perf_counter()
        check()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@dataclass(frozen=True)
class Row:
    problem: str
    n: int
    tool: str
    seconds: float
    caught_all: str
    caught_one: str


def measure(sizes: tuple[int, ...], resolution: float, slow_limit: int) -> Iterator[Row]:
    for problem in PROBLEMS:
        for n in sizes:
            data = Data.draw(n)
            for name, tool in TOOLS.items():
                wall = seconds(tool(problem, data, np.ones(n)))
                # `--quick` does not bisect with a check that takes seconds.
                skip = n > slow_limit and wall > 1.0
                found = {
                    k: "not run" if skip else smallest_caught(tool, problem, data, m, resolution)
                    for k, m in masks(n).items()
                }
                yield Row(problem.name, n, name, wall, found["all"], found["one"])


def table(rows: list[Row]) -> str:
    lines = [
        "| function | n | tool | seconds | smallest δ caught, all entries | smallest δ caught, one entry |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(f"| {r.problem} | {r.n} | {r.tool} | {r.seconds:.2g} | {r.caught_all} | {r.caught_one} |")
    return "\n".join(lines)


def versions() -> str:
    found = []
    for package in ("gradverify", "torch", "jax", "autograd", "numpy"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} –")
    return f"Python {platform.python_version()}, " + ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="n = 10 and 100 only, δ to half a decade; under a minute")
    parser.add_argument("--write", action="store_true", help=f"save the table as {RESULTS.name} in bench/results")
    options = parser.parse_args()
    sizes, resolution = ((10, 100), 0.5) if options.quick else ((10, 100, 1000), RESOLUTION)
    rows = []
    for row in measure(sizes, resolution, slow_limit=100 if options.quick else 10**9):
        print(f"{row.problem}, n = {row.n}, {row.tool}: {row.seconds:.2g} s", file=sys.stderr, flush=True)
        rows.append(row)
    command = "python bench/peers.py" + " --quick" * options.quick + " --write" * options.write
    functions = "; ".join(f"{p.name}: `{p.expression}`" for p in PROBLEMS)
    text = f"`{command}`\n\n{versions()}; float64, CPU, one thread.\n\n{functions}.\n\n{table(rows)}\n"
    print(text)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("# The peers, measured side by side\n\n" + text)


if __name__ == "__main__":
    main()
