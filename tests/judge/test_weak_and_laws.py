"""A function that loses digits keeps its laws: WEAK hides no FAIL."""

from __future__ import annotations

from typing import Any

import pytest

import gradverify
from gradverify import Outcome

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def as_if_contiguous(t: Any) -> Any:
    """What a kernel reads that is not told the strides."""
    return torch.as_strided(t, t.shape, torch.empty(t.shape).stride())


def function(of_x: Any = lambda x: x, of_g: Any = lambda g: g, spoil: bool = False) -> Any:
    """x**3 whose backward pass rounds x**2 to bfloat16: right, and less precise than need be."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return (x.float() ** 3).bfloat16()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            square = (of_x(x).float() ** 2).bfloat16().float()
            out = (3 * square * of_g(g).float()).bfloat16()
            if spoil:
                g.mul_(2)
            return out

    return Cube.apply


BROKEN = {
    "the strides of the argument": {"of_x": as_if_contiguous},
    "the strides of the cotangent": {"of_g": as_if_contiguous},
    "the cotangent written over": {"spoil": True},
}


@pytest.fixture
def x() -> Any:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()


def test_lost_digits_alone_are_weak(x: Any) -> None:
    verdict = gradverify.check(function(), x, effort="quick")
    assert verdict.outcome is Outcome.WEAK, verdict.text()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_law_is_said_where_digits_are_lost(name: str, x: Any) -> None:
    verdict = gradverify.check(function(**BROKEN[name]), x, effort="quick")
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert verdict.kind is gradverify.core.verdict.FailKind.LAW
