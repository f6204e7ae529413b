"""Four kernels of bench/kernels with their bugs: the right ones pass, another formula fails, lost digits are reported."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import Outcome
from tests.helpers import judge

torch = pytest.importorskip("torch")

from bench.kernels.catalogue import DTYPES, Kernel, kernels  # noqa: E402
from bench.kernels.run import errors  # noqa: E402

CHOSEN = {
    "rms-norm": set(),
    "moe-combine": set(),
    "grouped-matmul": set(),
    "weight-norm-linear": {"projection"},
}
"""Kernel -> its precision bugs that cost too little to show."""

LITTLE = 4.0
"""Ulps of bfloat16 that rounding must excuse: a budget is SAFETY unit roundoffs, of half an ulp each, at least."""

ALL = {k.name: k for k in kernels()}


def ask(kernel: Kernel, bug: str, dtype: str) -> Any:
    return judge(kernel.function(bug), *kernel.point(DTYPES[dtype]))


@pytest.mark.parametrize("kernel", list(ALL.values()), ids=str)
def test_the_right_kernel_is_right_in_doubles(kernel: Kernel) -> None:
    assert errors(kernel, "", torch.float64)[0] < 1e-13
    for bug in kernel.bugs:
        assert errors(kernel, bug, torch.float64)[0] > 1e-6, bug


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("name", list(CHOSEN))
def test_the_right_kernel_passes(name: str, dtype: str) -> None:
    verdict = ask(ALL[name], "", dtype)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert verdict.formula.right


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", list(CHOSEN))
def test_another_formula_fails(name: str, dtype: str) -> None:
    for bug in ALL[name].formula:
        assert ask(ALL[name], bug, dtype).outcome is Outcome.FAIL, bug


@pytest.mark.parametrize("name", list(CHOSEN))
def test_lost_digits_are_reported(name: str) -> None:
    for bug in ALL[name].precision:
        verdict = ask(ALL[name], bug, "bfloat16")
        if bug in CHOSEN[name]:
            assert errors(ALL[name], bug, torch.bfloat16)[1] < LITTLE
        else:
            assert verdict.outcome in (Outcome.FAIL, Outcome.WEAK), verdict.text()
