"""The speed of drawing random graphs, and their composition.

    python bench/generate.py [--n 5000] [--seed 0]

Prints examples per second of CPU time of both drivers (Hypothesis with its default settings and no test body, and the
plain one of campaigns), the share of draws that are given up, how large the graphs are, and how often each op occurs.
One thread; a figure quoted elsewhere stands beside this command.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections import Counter
from random import Random

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings

from gradverify import strategies
from gradverify.core.case import Case
from gradverify.core.graph import Apply
from gradverify.generate import campaign
from gradverify.generate.structure import limits, plan
from gradverify.generate.values import fill


def hypothesis_rate(n: int) -> float:
    """Examples per second, generation alone."""
    count = 0

    @settings(
        max_examples=n, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(strategies.cases())
    def drawn(case: Case) -> None:
        nonlocal count
        count += 1

    start = time.process_time()
    drawn()
    return count / (time.process_time() - start)


def given_up(n: int, kinks: bool) -> tuple[float, float]:
    """The shares of draws that place no op, and of draws without usable values."""
    bounds = limits(kinks=kinks)
    plans = [plan(campaign._ints(Random(i), bounds.max_ops), bounds) for i in range(n)]
    filled = [fill(p, i, "float64", kinks) for i, p in enumerate(plans) if p is not None]
    return sum(p is None for p in plans) / n, sum(c is None for c in filled) / len(filled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    list(strategies.seeded_cases(args.seed + 1, args.n // 2))  # trials of ops are cached: measure the steady state
    start = time.process_time()
    cases = list(strategies.seeded_cases(args.seed, args.n))
    plain = args.n / (time.process_time() - start)
    print(f"examples/s   Hypothesis {hypothesis_rate(min(args.n, 2000)):.0f}, seeded {plain:.0f}")
    for kinks in (False, True):
        none, stuck = given_up(min(args.n, 2000), kinks)
        print(f"given up     kinks={kinks}: nothing placed {none:.1%}, values {stuck:.1%}")
    sizes = [c.graph.ops for c in cases]
    print(
        f"ops          mean {np.mean(sizes):.1f}; " + ", ".join(f"{k}: {v}" for k, v in sorted(Counter(sizes).items()))
    )
    inputs = Counter(len(c.graph.inputs) for c in cases)
    print("inputs       " + ", ".join(f"{k}: {v}" for k, v in sorted(inputs.items())))
    graphs = Counter(n.op for c in cases for n in c.graph.nodes if isinstance(n, Apply))
    known = limits().ops
    missing = sorted(set(known) - set(graphs))
    print(f"coverage     {len(known) - len(missing)} of {len(known)} ops; missing: {missing or 'none'}")
    print("counts       " + ", ".join(f"{op} {k}" for op, k in graphs.most_common()))


if __name__ == "__main__":
    main()
