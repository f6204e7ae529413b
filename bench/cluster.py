"""Throughput of a campaign with one and two workers, local and on Dask, side by side in one run: `python bench/cluster.py`.

What is timed is the middle of each run, so that imports are left out. The four take turns, `--rounds` times, and what is
printed is the median of each: on a machine with other work to do the ratios mean something, the seconds little.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import statistics
import time
from collections import defaultdict

from gradverify.run import cluster
from gradverify.run.campaign.model import Campaign, campaign
from gradverify.run.campaign.workers import Judging
from gradverify.run.cluster import dask
from gradverify.run.runner import Settings
from gradverify.run.scheduling import local


def cpu() -> float:
    """Seconds of this process: the client, and under LocalCluster the scheduler."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(judge, c: Campaign) -> tuple[float, float, list]:
    """Verdicts a second, CPU seconds of client and scheduler for a verdict, and the entries.

    From a third of the entries to nine tenths: all workers have started by then, and none has run out of graphs.
    """
    entries, at, used = [], [], []
    for entry in judge(Judging.of(c), c.tasks(())):
        entries.append(entry)
        at.append(time.perf_counter())
        used.append(cpu())
    a, b = len(at) // 3, 9 * len(at) // 10
    return (b - a) / (at[b] - at[a]), (used[b] - used[a]) / (b - a), entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--subjects", default="engine")
    args = parser.parse_args()
    settings = Settings(subjects=tuple(args.subjects.split(",")), dtypes=("float64",))
    rates, costs, sizes, said = defaultdict(list), defaultdict(list), [], {}
    cluster.SECONDS = 2.0  # several ranges for each worker, in a run of half a minute
    for r in range(args.rounds):
        c = campaign(settings, range(args.graphs * r, args.graphs * (r + 1)))
        for name, judge in (
            ("local, 1", local(1)), ("Dask, 1", dask("", 1)), ("local, 2", local(2)), ("Dask, 2", dask("", 2))
        ):  # fmt: skip
            rate, cost, entries = timed(judge, c)
            rates[name].append(rate)
            costs[name].append(cost)
            sizes += [(len(json.dumps(e, separators=(",", ":"))) + 1, len(pickle.dumps(e))) for e in entries]
            outcome = {(e["i"], e["subject"]): e["is"] for e in entries}
            assert said.setdefault(r, outcome) == outcome, "the schedulers disagree"
            print(f"round {r + 1}: {name} worker(s): {rate:.1f} verdicts/s, load {os.getloadavg()[0]:.1f}", flush=True)
    median = {name: statistics.median(found) for name, found in rates.items()}
    for name, rate in median.items():
        print(f"{name}: {rate:.1f} verdicts/s; client and scheduler {1e3 * statistics.median(costs[name]):.2f} ms each")
    for a, b in (("local, 2", "local, 1"), ("Dask, 2", "Dask, 1"), ("Dask, 1", "local, 1"), ("Dask, 2", "local, 2")):
        print(f"{a} over {b}: {median[a] / median[b]:.2f}")
    log, sent = (statistics.mean(s) for s in zip(*sizes))
    print(f"an entry: {log:.0f} bytes in the log, {sent:.0f} pickled")


if __name__ == "__main__":
    main()
