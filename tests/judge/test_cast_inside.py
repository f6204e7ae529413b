"""Functions that cast their float64 arguments to float32 inside: what they leave at a true 0 is float32's rounding."""

from __future__ import annotations

from typing import Any

import pytest

import gradverify as gv
from gradverify.core.outcome import Outcome

torch = pytest.importorskip("torch")

MASKED = -3.4028234663852886e38


def tensor(*shape: int, seed: int = 3) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Attention(torch.autograd.Function):
    """Causal attention whose backward pass has p (dp - o·do), as FlashAttention's: the first row sees one key."""

    factor = 1.0

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
        scores = (q @ k.T / 4).masked_fill(torch.ones(len(q), len(k), dtype=torch.bool).triu(1), MASKED)
        top = scores.amax(-1, keepdim=True)
        weights = torch.exp(scores - top)
        total = weights.sum(-1, keepdim=True)
        out, lse = weights @ v / total, total.log() + top
        ctx.save_for_backward(q, k, v, out, lse)
        return out

    @classmethod
    def pull(cls, ctx: Any, g: Any) -> Any:
        q, k, v, out, lse = ctx.saved_tensors
        scores = (q @ k.T / 4).masked_fill(torch.ones(len(q), len(k), dtype=torch.bool).triu(1), MASKED)
        p = torch.exp(scores - lse)
        d = p * (g @ v.T - cls.factor * (g * out).cumsum(-1)[:, -1:])  # another order of roundings
        return d @ k / 4, d.T @ q / 4, p.T @ g

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return Attention.pull(ctx, g)


class Half(Attention):
    """With half of the term from the row sum: the first row's gradient is not 0 any more."""

    factor = 0.5

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return Half.pull(ctx, g)


class FromFirst(torch.autograd.Function):
    """w exp(x - c), where c is x in the first row and 0 elsewhere: the first row of dx is a difference of equal terms."""

    off = 0.0

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any) -> Any:
        out = w * torch.exp(x - torch.cat([x[:1], torch.zeros_like(x[1:])]))
        ctx.save_for_backward(x, w, out)
        return out

    @classmethod
    def pull(cls, ctx: Any, g: Any) -> Any:
        x, w, out = ctx.saved_tensors
        e = torch.exp(torch.cat([torch.zeros_like(x[:1]), x[1:]]))
        along = g * (w * 49) * e / 49  # other roundings than those of the forward pass
        return along - torch.cat([(g * out)[:1] * (1 - cls.off), torch.zeros_like(x[1:])]), g * e

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return FromFirst.pull(ctx, g)


class Leaking(FromFirst):
    """1e-4 of the first row's cotangent is left."""

    off = 1e-4

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return Leaking.pull(ctx, g)


def in_float32(f: Any) -> Any:
    return lambda *xs: f(*(x.float() for x in xs))


def judged(f: Any, *xs: Any) -> gv.Verdict:
    return gv.check(f, *xs, effort="quick", order=1)


@pytest.mark.parametrize("seed", range(3))
def test_rounding_at_true_zeros_is_that_of_the_cast(seed: int) -> None:
    q, k, v = (tensor(5, 19, seed=seed + j) for j in range(3))
    assert judged(in_float32(Attention.apply), q, k, v).outcome is Outcome.PASS
    assert (
        judged(in_float32(FromFirst.apply), tensor(3, 9, seed=seed), tensor(3, 9, seed=seed + 9)).outcome
        is Outcome.PASS
    )


def test_in_float64_it_is_float64s() -> None:
    q, k, v = (tensor(5, 19, seed=j) for j in range(3))
    assert judged(Attention.apply, q, k, v).outcome is Outcome.PASS


def test_a_wrong_term_is_not_excused() -> None:
    q, k, v = (tensor(5, 19, seed=j) for j in range(3))
    assert judged(in_float32(Half.apply), q, k, v).outcome is Outcome.FAIL
    assert judged(in_float32(Leaking.apply), tensor(3, 9), tensor(3, 9, seed=9)).outcome is Outcome.FAIL
