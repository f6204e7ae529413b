"""What recording costs a suite: the same suite with the watch and without, in turns in one process.

    python -m bench.suites.cost --folder /scratch/suites [--pairs N] entmax      (from the repository root)
    python -m bench.suites.cost --calls 900000                                    a loop of small calls, and its memory

CPU time of the tests alone (pytest's run loop), each run next to one without: the median ratio of the pairs, and the
smallest and largest. Importing gradverify (once per process) stands beside it, and is in none of the ratios; nor is judging.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ON = ("--gradverify-watch=project", "--gradverify-watch-seconds=0")


class Timer:
    """A pytest plugin: the CPU seconds of the tests, and of nothing around them."""

    seconds = 0.0
    outcome = 0

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        started = time.process_time()
        result = yield
        self.seconds = time.process_time() - started
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.nodeid.startswith("gradverify::"):
            self.outcome += hash((report.nodeid, report.when, report.outcome)) % 1_000_003


def run(arguments: list[str], *options: str) -> Timer:
    """One run of a suite in this process."""
    timer = Timer()
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["-q", "-p", "no:randomly", "-p", "no:cacheprovider", *options, *arguments], plugins=[timer])
    return timer


def in_turns(arguments: list[str], pairs: int) -> dict[str, Any]:
    """The ratios of a suite's CPU time with the watch to that without."""
    run(arguments)  # imports, and whatever else comes but once
    started = time.process_time()
    import gradverify.plugin.active
    import gradverify.plugin.watch  # noqa: F401

    importing = time.process_time() - started
    run(arguments, *ON)
    off, on = [], []
    for k in range(pairs):
        for watched in (False, True) if k % 2 == 0 else (True, False):
            (on if watched else off).append(run(arguments, *(ON if watched else ())))
    ratios = [b.seconds / a.seconds for a, b in zip(off, on)]
    return {
        "ratios": ratios, "off": statistics.median(a.seconds for a in off), "importing": importing,
        "unchanged": len({t.outcome for t in (*off, *on)}) == 1,
    }  # fmt: skip


TEST = 500
"""Calls of one test of the loop: in each the first sixteen are looked at anew, as in a suite."""


def loop(calls: int) -> None:
    """Run tests of small calls with and without a watch, in turns, and print the ratios and the memory."""
    import torch

    from gradverify.watch.imports import watching
    from gradverify.watch.record import Recorder

    class Step(torch.autograd.Function):
        """One step of an adjoint method: some arithmetic on a state, a time, and a step's size that is drawn anew."""

        @staticmethod
        def forward(ctx: Any, t: float, y: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
            ctx.t = t
            ctx.save_for_backward(y, f)
            return y + t * torch.sin(f)

        @staticmethod
        def backward(ctx: Any, *g: torch.Tensor) -> Any:
            _, f = ctx.saved_tensors
            return None, g[0], ctx.t * g[0] * torch.cos(f)

    def test(number: int) -> float:
        recorder.test = f"tests/test_step.py::test_{number}"
        generator = torch.Generator().manual_seed(number)
        f = torch.randn(4, generator=generator).requires_grad_()
        started = time.process_time()
        for k in range(TEST):
            Step.apply(1 / (k + 1), f, f).sum().backward()
        return time.process_time() - started

    gc.collect()
    gc.freeze()
    recorder = Recorder()
    for k in range(20):
        test(k)
    doors = {False: torch.autograd.Function.__dict__["apply"]}
    before, ratios = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    tests: dict[bool, list[float]] = {False: [], True: []}
    with watching(recorder):
        doors[True] = torch.autograd.Function.__dict__["apply"]
        for k in range(calls // TEST):
            seconds = {}
            for watched in (True, False) if k % 2 else (False, True):
                torch.autograd.Function.apply = doors[watched]  # type: ignore[method-assign]
                seconds[watched] = test(k)
            ratios.append(seconds[True] / seconds[False])
            for watched, spent in seconds.items():
                tests[watched].append(spent)
        torch.autograd.Function.apply = doors[True]  # type: ignore[method-assign]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    (entry,) = recorder.entries.values()
    least = " and ".join(
        f"{100 * (quantile(tests[True], q) / quantile(tests[False], q) - 1):+.2f} %" for q in (0.05, 0.25)
    )
    print(f"{entry.executed} calls in tests of {TEST}, {entry.looked_at} looked at, {len(entry.samples)} recorded "
          f"({recorder.size} bytes); {interval(ratios)}; of the tests least disturbed (quantiles 0.05 and 0.25) {least}; "
          f"peak memory {peak / 1024:.1f} MB more")  # fmt: skip


def quantile(seconds: list[float], q: float) -> float:
    """The smallest number that a share q of them does not exceed: other work on the machine makes tests longer only."""
    return sorted(seconds)[int(q * (len(seconds) - 1))]


def interval(ratios: list[float]) -> str:
    """The median ratio and its 95 % interval, in percent above 1; by order statistics (Conover 1999, 3.2)."""
    found, n = sorted(ratios), len(ratios)
    k = max(int((n - 1.96 * n**0.5) / 2), 0)
    low, mid, high = (100 * (r - 1) for r in (found[k], statistics.median(found), found[n - 1 - k]))
    return f"{mid:+.2f} % (95 % interval of the median {low:+.2f} to {high:+.2f}, {n} pairs)"


def spread(ratios: list[float]) -> str:
    """The median ratio in percent above 1, with the smallest and the largest."""
    low, mid, high = (100 * (f(ratios) - 1) for f in (min, statistics.median, max))
    return f"{mid:+.1f} % ({low:+.1f} to {high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="projects; all by default")
    parser.add_argument("--folder", type=Path, help="for sources")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one project")
    parser.add_argument("--calls", type=int, help="calls of a loop, instead of suites")
    parser.add_argument("--here", help=argparse.SUPPRESS)  # pytest's arguments: in a process of its own, in the project
    options = parser.parse_args()
    if options.here:
        print(json.dumps(in_turns(json.loads(options.here), options.pairs)))
        return
    if options.calls:
        loop(options.calls)
        return
    from bench.suites.projects import PROJECTS
    from bench.suites.run import environment, prepare

    for project in PROJECTS:
        if options.names and project.name not in options.names:
            continue
        path, tree = prepare(project, options.folder.resolve())
        done = subprocess.run(
            [sys.executable, "-m", "bench.suites.cost", "--pairs", str(options.pairs), "--here",
             json.dumps(project.tests)],
            cwd=tree, env=environment(path), capture_output=True, text=True, check=False, timeout=options.limit,
        )  # fmt: skip
        if done.returncode:
            print(f"{project.name}: {done.stderr[-800:]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{project.name}: {spread(found['ratios'])} of {found['off']:.2f} s; importing {found['importing']:.2f} s; "
              f"outcomes {'unchanged' if found['unchanged'] else 'CHANGED'}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
