# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""What `gradverify.check` says of each mutant's mistake, beside the mutant's own description.

    python -m bench.detection.hypotheses [--every N] [--only TEXT] [--limit SECONDS]

A mutant counts where the verdict is a FAIL about values; whether what is said is right is for a reader to judge.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import warnings

import numpy as np
import torch

from bench.detection.catalogue import Entry, mutants
from gradverify.api import check
from gradverify.core.errors import BadInput
from gradverify.core.limits import TimeLimit, time_limit
from gradverify.core.verdict import FailKind, Verdict


def verdict_of(entry: Entry, limit: float) -> Verdict | None:
    """The verdict of a call with default settings; None where there is none."""
    fn, args = entry.make()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            with time_limit(limit):
                if entry.framework != "jax":
                    return check(fn, *args)
                import jax

                with jax.enable_x64(True):
                    return check(fn, *args)
        except (BadInput, TimeLimit):
            return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="every n-th mutant")
    parser.add_argument("--only", default="", help="entries whose name contains this")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds per mutant (default 30)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count = {"mutants": 0, "wrong or imprecise values": 0, "a hypothesis is named": 0}
    for entry in [e for e in mutants() if options.only in e.name][:: options.every]:
        verdict = verdict_of(entry, options.limit)
        count["mutants"] += 1
        if verdict is None or verdict.kind not in (FailKind.WRONG, FailKind.PRECISION):
            continue
        count["wrong or imprecise values"] += 1
        said = verdict.facts.get("hypothesis")
        count["a hypothesis is named"] += said is not None
        print(
            f"{entry.bug} {entry.name}: {entry.about}\n    {said['name'] if said else '–'}: {said['text'] if said else ''}"
        )
    print("; ".join(f"{name}: {n}" for name, n in count.items()))


if __name__ == "__main__":
    main()
