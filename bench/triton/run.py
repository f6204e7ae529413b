# ruff: noqa: E402 - the interpreter is chosen, and thread counts set, before Triton and the frameworks are imported
"""What gradverify.check says of Triton kernels under the interpreter: each right, and with every one of its mutants.

    python -m bench.triton.run [--only NAME ...] [--dtypes NAME ...] [--no-mutants] [--json FILE] [--merge FILE ...]
        [--write]

One check at effort "quick" for each, without a reference. `--write` saves bench/results/triton.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from pathlib import Path

from bench.mutated import main
from bench.triton.catalogue import kernels

RESULTS = Path(__file__).parents[1] / "results" / "triton.md"

if __name__ == "__main__":
    main(kernels(), RESULTS, "Triton kernels judged under their interpreter", "python -m bench.triton.run")
