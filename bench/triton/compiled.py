"""Triton kernels as they are compiled, against the truth of their interpreted traces. In two steps:

    TRITON_INTERPRET=1 python -m bench.triton.compiled --truths FILE [--only NAME ...]
    TRITON_INTERPRET=0 python -m bench.triton.compiled --judge FILE [--device cuda]

The first traces each kernel of `kernels/` under the interpreter, on a CPU, and saves it as a case: its graph, the point, the
cotangent, and the formats that it computes in. The second runs the kernel, compiled, on the GPU and judges what it gives by
that case. Exit code 1 where a kernel fails.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.triton.catalogue import DTYPES, Kernel, kernels
from gradverify.checker.question import Question
from gradverify.checker.trace_case import trace_case
from gradverify.core.errors import GradverifyError
from gradverify.frameworks import find
from gradverify.judge.decide import decide

Saved = tuple[str, str, Any]
"""Name of a kernel, dtype, and its case."""


def truths(chosen: list[Kernel]) -> list[Saved]:
    """The kernels' cases."""
    found: list[Saved] = []
    for kernel in chosen:
        for dtype in DTYPES:
            try:
                case, _ = trace_case(Question(kernel.function(), kernel.point(dtype)))
                found.append((kernel.name, dtype, case))
                print(f"{kernel.name:28} {dtype:9} {case.graph.ops} operations")
            except GradverifyError as e:
                print(f"{kernel.name:28} {dtype:9} not traced: {e}")
    return found


def over_arrays(kernel: Kernel, dtype: str) -> Callable[..., Any]:
    """The kernel's function of its tensors alone."""
    point = kernel.point(dtype)

    def call(*tensors: torch.Tensor) -> Any:
        given = iter(tensors)
        return kernel.function()(*(next(given) if isinstance(a, torch.Tensor) else a for a in point))

    return call


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truths", type=Path, metavar="FILE")
    parser.add_argument("--judge", type=Path, metavar="FILE")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME")
    options = parser.parse_args()
    known = {k.name: k for k in kernels() if options.only is None or k.name in options.only}
    if options.truths:
        options.truths.write_bytes(pickle.dumps(truths(list(known.values()))))
        return 0
    calls = {key: over_arrays(known[key[0]], key[1]) for key in ((n, d) for n in known for d in DTYPES)}
    torch.set_default_device(options.device)  # the kernels allocate their results without saying where
    subject = find("torch", options.device)
    failed = 0
    for name, dtype, case in pickle.loads(options.judge.read_bytes()):
        if (name, dtype) in calls:
            verdict = decide(case, subject, function=calls[name, dtype])
            failed += verdict.outcome.has_kind
            print(f"{name:28} {dtype:9} {verdict.outcome} {verdict.kind or ''} {verdict.message[:300]}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
