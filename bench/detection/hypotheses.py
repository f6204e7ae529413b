# ruff: noqa: E402 - thread counts must be set before the frameworks are imported
"""What `gradverify.check` says of each mutant's mistake, beside the mutant's own description.

    python -m bench.detection.hypotheses [--every N] [--only TEXT] [--limit SECONDS] [--foreign]

`--foreign` takes the public bug reports of bench/foreign instead.

A mutant counts where the verdict is a FAIL about values; whether what is said is right is for a reader to judge.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench.detection.catalogue import mutants
from bench.detection.tools import SEED, _x64
from gradverify.api import check
from gradverify.core.errors import BadInput
from gradverify.core.limits import TimeLimit, time_limit
from gradverify.core.verdict import FailKind, Verdict

Call = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]


@dataclass(frozen=True)
class Wrong:
    """A wrong function: its name, what is wrong, and how it is called."""

    name: str
    about: str
    call: Callable[[], Call]
    framework: str


def wrong_functions(foreign: bool) -> list[Wrong]:
    """The mutants, or the bugs of the public reports."""
    if foreign:
        from bench.foreign.catalogue import reports

        return [Wrong(r.source, r.about, r.bug, r.framework) for r in reports()]
    return [Wrong(f"{e.bug} {e.name}", e.about, lambda e=e: (*e.make(), {}), e.framework) for e in mutants()]


def verdict_of(wrong: Wrong, limit: float) -> Verdict | None:
    """The verdict of a call with default settings; None where there is none."""
    torch.manual_seed(SEED)
    with warnings.catch_warnings(), np.errstate(all="ignore"), _x64(wrong.framework == "jax"):
        warnings.simplefilter("ignore")
        fn, args, options = wrong.call()
        try:
            with time_limit(limit):
                return check(fn, *args, **options)
        except (BadInput, TimeLimit):
            return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="every n-th mutant")
    parser.add_argument("--only", default="", help="entries whose name contains this")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds per mutant (default 30)")
    parser.add_argument("--foreign", action="store_true", help="the public bug reports of bench/foreign")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count = {"mutants": 0, "wrong or imprecise values": 0, "a hypothesis is named": 0}
    for wrong in [w for w in wrong_functions(options.foreign) if options.only in w.name][:: options.every]:
        verdict = verdict_of(wrong, options.limit)
        count["mutants"] += 1
        if verdict is None or verdict.kind not in (FailKind.WRONG, FailKind.PRECISION):
            continue
        count["wrong or imprecise values"] += 1
        said = verdict.facts.get("hypothesis")
        count["a hypothesis is named"] += said is not None
        print(f"{wrong.name}: {wrong.about}")
        print(f"    {said['name']}: {said['text']}" if said else "    –", flush=True)
    print("; ".join(f"{name}: {n}" for name, n in count.items()))


if __name__ == "__main__":
    main()
