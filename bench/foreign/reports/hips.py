"""HIPS autograd and tinygrad: formulas over NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..catalogue import Reports

REPORTS = T = Reports()
H = "HIPS/autograd#"

T.pair(
    H + "612",
    7,
    "norm of a complex vector: the gradient is conjugated",
    lambda z: z.abs().square().sum().sqrt(),
    lambda g, o, z: g * z.conj() / o,
    lambda g, o, z: g * z / o,
    lambda r: (torch.complex(r(3).detach(), r(3).detach()).requires_grad_(),),
)


def _norms_squared(x: Any) -> Any:
    import autograd.numpy as anp

    return anp.linalg.norm(x, axis=-1) ** 2


def _squares(x: Any) -> Any:
    import autograd.numpy as anp

    return anp.sum(x * x, axis=-1)


T.fn(
    H + "617",
    9,
    "norm(x, axis=-1)**2 at 0: NaN in place of 0",
    _norms_squared,
    _squares,
    lambda r: (np.array([[0.0, 0.0], [3.0, 4.0]]),),
    options={"framework": "autograd"},
    framework="autograd",
    live=True,
)


def _eigenvalue_gradient(g: Any, a: Any, lower: bool) -> Any:
    v = np.linalg.eigh(a)[1]
    d = (v * g) @ v.T
    return np.tril(d) + np.triu(d, 1).T if lower else d


T.numpy_pair(
    H + "527",
    2,
    "eigh reads the lower triangle: half of the gradient is put above the diagonal, which is never read",
    np.linalg.eigvalsh,
    lambda g, a: _eigenvalue_gradient(g, a, False),
    lambda g, a: _eigenvalue_gradient(g, a, True),
    lambda r: (r(3, 3),),
)


class _Svd(torch.autograd.Function):
    """The singular value decomposition of a square complex matrix, with the rule for real ones."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        u, s, vh = torch.linalg.svd(a)
        ctx.save_for_backward(u, s, vh)
        return u, s, vh

    @staticmethod
    def backward(ctx: Any, gu: Any, gs: Any, gvh: Any) -> Any:
        u, s, vh = ctx.saved_tensors
        e = s**2 - s[:, None] ** 2
        e.fill_diagonal_(1)
        skew = lambda m: m - m.mH
        left, right = skew(u.mH @ gu) / e, skew(vh @ gvh.mH) / e
        off = 1 - torch.eye(len(s), dtype=s.dtype)
        inner = (left * off) * s + s[:, None] * (right * off) + torch.diag(gs.to(u.dtype))
        return u @ inner @ vh


def _through_svd(decompose: Any) -> Any:
    def product(a: Any) -> Any:
        u, s, vh = decompose(a)
        return (u * s) @ vh

    return product


T.fn(
    "jax-ml/jax#5225",
    7,
    "svd of complex matrices by the rule for real ones: the part of the phases is missing",
    _through_svd(_Svd.apply),
    _through_svd(torch.linalg.svd),
    lambda r: (torch.complex(r(3, 3).detach(), r(3, 3).detach()).requires_grad_(),),
)


def _power_gradient(g: Any, x: Any, y: Any, safe: bool) -> Any:
    with np.errstate(all="ignore"):
        dy = g * x**y * np.log(x)
    return g * y * x ** (y - 1), np.where(x == 0, 0.0, dy) if safe else dy


T.numpy_pair(
    "tinygrad/tinygrad#155",
    10,
    "x ** y at x = 0: the gradient of the exponent is 0·log 0",
    lambda x, y: x**y,
    lambda g, x, y: _power_gradient(g, x, y, False),
    lambda g, x, y: _power_gradient(g, x, y, True),
    lambda r: (r.of([0.0, 2.0]), r.of([2.0, 3.0])),
)
T.numpy_pair(
    "KhawajaAbaid/micrograd_c#1",
    2,
    "subtraction: the second operand's gradient has the first one's sign",
    lambda x, y: x - y,
    lambda g, x, y: (g, g),
    lambda g, x, y: (g, -g),
    lambda r: (r(3), r(3)),
)
