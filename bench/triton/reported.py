# ruff: noqa: E402 - the interpreter is chosen before Triton is imported
"""What gradverify.check says of public reports of wrong Triton backward passes: each kernel mended, and as it was reported.

    python -m bench.triton.reported [--only NAME ...] [--dtypes NAME ...] [--json FILE] [--merge FILE ...] [--write]

Each is our own small kernel, written from the report's text. `--write` saves bench/results/triton_reports.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from pathlib import Path

from bench.mutated import main
from bench.triton.catalogue import Kernel

FOLDER = Path(__file__).parent / "reports"
RESULTS = Path(__file__).parents[1] / "results" / "triton_reports.md"


def reports() -> list[Kernel]:
    return [Kernel(p) for p in sorted(FOLDER.glob("*.py")) if p.stem != "__init__"]


if __name__ == "__main__":
    main(reports(), RESULTS, "Public reports of wrong Triton backward passes", "python -m bench.triton.reported")
