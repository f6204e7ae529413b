# ruff: noqa: E402 - imports after it was found out whether Triton is there
"""Public reports of wrong Triton backward passes: each caught, faults in memory named, no mended twin called wrong."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import triton

if not triton.knobs.runtime.interpret:
    pytest.skip("TRITON_INTERPRET was not set before Triton was imported", allow_module_level=True)

import triton.language as tl

from bench.triton.reported import reports
from gradverify import Outcome
from gradverify.frameworks.torch.tracer import trace
from tests.helpers import judge

SAID = {
    "fla_1142": "elements of c beyond its end",
    "flaggems_1080": "6 of 24 entries of parts of rms_norm_backward are never written",
    "transformer_engine_2139": "of g beyond its end",
    "triton_distributed_180": "without atomics: a race",
    "unsloth_10617": "layout is broken",
    "unsloth_4533": "no gradient for w",
}
"""What is said, beyond that a gradient is off."""

KERNELS = {k.name: k for k in reports()}


@pytest.mark.parametrize("name", KERNELS)
def test_a_report(name: str) -> None:
    kernel = KERNELS[name]
    right = judge(kernel.function(), *kernel.point("float32"))
    assert right.outcome is Outcome.PASS, right.text()
    assert right.formula is not None
    assert right.formula.power < 1e-10
    for mutant in kernel.mutants:
        verdict = judge(kernel.function(mutant), *kernel.point("float32"))
        assert verdict.outcome is Outcome.FAIL, (mutant.about, verdict.text())
        assert SAID.get(name, "is off by") in verdict.message


def test_there_are_ten() -> None:
    assert len(KERNELS) >= 10
    assert all("#" in k.source.partition(":")[0] for k in KERNELS.values())


# ---- memory that PyTorch reads after a kernel has left it unwritten ----------------------------------------------------


@triton.jit
def some(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < n, other=0.0), mask=at < n)


def half_written(x: Any, read: Any) -> Any:
    y = torch.empty(2 * len(x))
    some[(1,)](x, y, len(x), 8)
    return read(y)


@pytest.mark.parametrize(
    ("read", "is_fault"),
    [
        (lambda y: y.sum(), True),
        (lambda y: (y * 0).sum().exp(), True),
        (lambda y: y.view(2, -1).max(0).values, True),
        (lambda y: y[:5] * 2, False),
        (lambda y: y[:5].sum(), False),
    ],
    ids=["sum", "product with 0", "maximum", "the written half", "the sum of that"],
)
def test_scratch_memory_that_is_read(read: Any, is_fault: bool) -> None:
    x = torch.randn(5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    faults = trace(lambda t: half_written(t, read), (x,), confirm=False).faults
    assert [("5 of 10 entries of y of some are never written" in f) for f in faults] == [True] * is_fault


def test_nan_of_the_caller_is_no_fault() -> None:
    """Scratch memory stays unwritten, and the result is NaN for another reason."""
    x = torch.tensor([float("nan"), 1.0, 2.0]).requires_grad_()
    assert not trace(lambda t: half_written(t, lambda y: y[:3].sum()), (x,), confirm=False).faults
