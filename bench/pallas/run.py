# ruff: noqa: E402 - thread counts are set before the frameworks are imported
"""What gradverify.check says of Pallas kernels under the interpreter: each right, and with every one of its mutants.

    python -m bench.pallas.run [--only NAME ...] [--dtypes NAME ...] [--no-mutants] [--json FILE] [--merge FILE ...]
        [--write]

One check at effort "quick" for each, without a reference. `--write` saves bench/results/pallas.md.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from pathlib import Path

from bench.mutated import main
from bench.pallas.catalogue import kernels

RESULTS = Path(__file__).parents[1] / "results" / "pallas.md"

if __name__ == "__main__":
    main(kernels(), RESULTS, "Pallas kernels judged under their interpreter", "python -m bench.pallas.run")
