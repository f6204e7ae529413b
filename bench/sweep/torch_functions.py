"""PyTorch's differentiable functions, and the points at which they are swept. How to read it: `points.parsed`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .points import Judgement, Point, at, parsed

NAMES: dict[str, Any] = {"torch": torch, "F": F, "math": math}


def array(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(a))


def versions() -> str:
    return f"torch {torch.__version__}"


ELEMENTWISE = """
torch.abs, torch.absolute, torch.sign, torch.sgn, torch.neg, torch.negative, torch.positive, torch.square, \
      torch.deg2rad: x = real(5)
    + layouts, zero, large, tiny
torch.ceil, torch.floor, torch.trunc, torch.round, torch.fix, torch.frac: x = real(5)
    + layouts, zero, halves, integers
torch.exp, torch.exp2: x = real(5)
    + layouts, zero, tiny
    in the tails: x = given(-700., -30., 30., 700.)
    underflow: x = given(-740., -1100.)
torch.expm1: x = real(5)
    + layouts, zero, tiny, tails
torch.log, torch.log2, torch.log10: x = positive(5)
    + layouts
    next to 1: x = given(1 - 1e-10, 1., 1 + 1e-10)
    large and tiny: x = given(1e-300, 1e-10, 1e10, 1e300)
    at 0: x = given(0.)
torch.log1p: x = within(-.9, 3., 5)
    + layouts, zero, tiny
    next to -1: x = given(-1 + 1e-10, -1 + 2.**-52)
torch.sqrt, torch.rsqrt: x = positive(5)
    + layouts
    large and tiny: x = given(1e-300, 1e-10, 1e10, 1e300)
    at 0: x = given(0.)
torch.reciprocal: x = real(5)
    + layouts
    large and tiny: x = given(-1e-150, 1e-10, 1e10, -1e150)
torch.sin, torch.cos: x = real(5)
    + layouts, zero, tiny
    large: x = given(1e5, 1e10, -1e15)
    next to pi/2: x = given(pi / 2, pi)
torch.tan: x = real(5)
    + layouts, zero, tiny
    next to the pole: x = given(pi / 2 - 1e-5, pi / 2, 1.5)
torch.asin, torch.acos, torch.atanh: x = unit(5)
    + layouts, zero, tiny
    next to the ends: x = given(-1 + 1e-10, 1 - 2.**-53)
    at the ends: x = given(-1., 1.)
torch.atan, torch.asinh: x = real(5)
    + layouts, zero, tiny, large
    beyond the square's range: x = given(1e200, -1e300)
torch.acosh: x = 1 + positive(5)
    + layouts
    next to 1: x = given(1 + 2.**-52, 1 + 1e-8)
    at 1: x = given(1.)
    large: x = given(1e10, 1e200)
torch.sinh, torch.cosh: x = real(5)
    + layouts, zero, tiny, far
torch.tanh, torch.sigmoid: x = real(5)
    + layouts, zero, tiny, tails, far
torch.erf, torch.erfc: x = real(5)
    + layouts, zero, tiny
    in the tails: x = given(-6., -4., 4., 6.)
torch.erfinv: x = unit(5)
    + layouts, zero, tiny
    next to the ends: x = given(-1 + 1e-10, 1 - 1e-14)
    at the ends: x = given(-1., 1.)
torch.digamma, torch.lgamma: x = positive(5)
    + layouts
    negative: x = given(-.5, -1.3, -2.7)
    next to the roots: x = given(1., 2., 1 + 1e-8, 1.4616321449683623)
    large: x = given(20., 1e5, 1e15)
    tiny: x = given(1e-10, 1e-300)
    at a pole: x = given(-1., 0.)
torch.i0: x = real(5)
    + layouts, zero, tiny
    large: x = given(-30., 8., 100.)
torch.sinc: x = real(5)
    + layouts, zero, tiny, integers
    small: x = given(1e-3, -1e-6)
torch.logit: x = chance(5)
    + layouts
    next to the ends: x = given(1e-10, 1 - 1e-10)
    at the ends: x = given(0., 1.)
    eps=: f(x, eps=.2) | x = chance(9)
    at eps: f(x, eps=.25) | x = given(.25, .5, .75)
torch.nan_to_num: x = real(5)
    + layouts, zero
torch.mvlgamma: f(x, 3) | x = 2 + positive(5)
    + layouts
torch.polygamma: f(1, x) | x = positive(5)
    + layouts
    order 0: f(0, x) | x = positive(4)
    order 2: f(2, x) | x = positive(4)
    order 3: f(3, x) | x = positive(4)
    large: x = given(50., 1e4, 1e8)
    small: x = given(1e-8, 1e-3)
torch.float_power: x = positive(4); y = real(4)
    number: f(x, 3) | x = real(4)
    float32 in, float64 out: f(x, 3) | x = single(real(4))
"""

BINARY = """
torch.add: x = real(3, 4); y = real(3, 4)
    broadcast: x = real(3, 1); y = real(4)
    alpha=: f(x, y, alpha=2.5) |
    a number: f(x, 3) | x = real(4)
    empty: x = zeros(0, 3); y = real(3)
    0-d and vector: x = scalar(2); y = real(3)
    cancellation: x = given(1., 1e16); y = given(-1., -1e16)
torch.sub: x = real(3, 4); y = real(3, 4)
    broadcast: x = real(3, 1); y = real(4)
    alpha=: f(x, y, alpha=2) |
torch.rsub: x = real(3, 4); y = real(3, 4)
    alpha=: f(x, y, alpha=2) |
torch.mul: x = real(3, 4); y = real(3, 4)
    broadcast: x = real(3, 1); y = real(4)
    zeros: x = zeros(3); y = given(0., 1., -0.)
    the same tensor: f(x, x) | x = real(4)
    underflow: x = given(1e-200, 1e-300); y = given(1e-200, 1e-20)
torch.div: x = real(3, 4); y = real(3, 4)
    broadcast: x = real(3, 1); y = real(4)
    floor: f(x, y, rounding_mode='floor') |
    trunc: f(x, y, rounding_mode='trunc') |
    tiny divisor: x = real(3); y = given(1e-150, 1e-100, -1e-10)
    by 0: x = real(2); y = zeros(2)
torch.true_divide: x = real(3, 4); y = real(4)
    a number: f(x, 3) | x = real(4)
torch.floor_divide: x = real(4); y = real(4)
torch.remainder: x = real(5); y = real(5)
    a number: f(x, 1.5) | x = real(5)
    multiples: x = given(3., -3., 6.); y = given(1.5, 1.5, -2.)
    of a number: f(5., x) | x = positive(3)
torch.fmod: x = real(5); y = real(5)
    a number: f(x, 1.5) | x = real(5)
    multiples: x = given(3., -3., 6.); y = given(1.5, 1.5, -2.)
torch.pow: x = positive(4); y = real(4)
    broadcast: x = positive(3, 1); y = real(4)
    cube: f(x, 3) | x = real(5)
    cube at 0: f(x, 3) | x = given(0., -0., 1.)
    power 0: f(x, 0) | x = given(0., 1., -2.)
    power .5 at 0: f(x, .5) | x = given(0., 4.)
    power -2.5: f(x, -2.5) | x = positive(4)
    of a number: f(2.5, x) | x = real(4)
    of 0: f(0., x) | x = given(.5, 1., 2.)
    0 to the 0: x = given(0., 0.); y = given(0., 2.)
    0 to the 1: x = given(0., 0.); y = given(1., .5)
    negative base, whole power: f(x, torch.tensor([2., 3.], dtype=torch.float64)) | x = given(-2., -1.)
    negative base, exponent asked: x = given(-2., -1.); y = given(2., 3.)
    power 1/3: f(x, 1 / 3) | x = positive(4)
    large: x = given(1e100, 1e-100); y = given(3., 3.)
    power 2 at tiny: f(x, 2) | x = given(1e-200, 1e-300)
torch.atan2: y = real(5); x = real(5)
    an argument 0: y = given(0., 1., -1.); x = given(1., 0., 0.)
    the cut: y = given(0., -0.); x = given(-1., -1.)
    the origin: y = zeros(2); x = given(0., -0.)
    large: y = given(1e200, 1e160); x = given(1e200, -1e150)
    tiny: y = given(1e-200, 1e-170); x = given(1e-200, 1e-160)
torch.hypot: x = real(5); y = real(5)
    an argument 0: x = given(0., 1.); y = given(1., 0.)
    the origin: x = zeros(2); y = zeros(2)
    large: x = given(1e200, 1e-200); y = given(1e200, 1e-200)
torch.maximum, torch.minimum: x = real(5); y = real(5)
    ties: x = given(1., 2., 0.); y = given(1., 2., -0.)
    broadcast: x = real(3, 1); y = real(4)
torch.fmax, torch.fmin: x = real(5); y = real(5)
    ties: x = given(1., 2.); y = given(1., 2.)
torch.logaddexp: x = real(5); y = real(5)
    equal: x = given(1., -3.); y = given(1., -3.)
    far apart: x = given(100., -700., 1e5); y = given(-100., 700., 0.)
    broadcast: x = real(3, 1); y = real(4)
torch.logaddexp2: x = real(5); y = real(5)
    equal: x = given(1., -3.); y = given(1., -3.)
    far apart: x = given(100., -700., 1e5); y = given(-100., 700., 0.)
torch.xlogy: x = real(5); y = positive(5)
    x = 0: x = given(0., 0.); y = given(.5, 2.)
    both 0: x = given(0.); y = given(0.)
    numbers: f(2., y) | y = positive(4)
torch.copysign: x = real(5); y = real(5)
    a number: f(x, -1.) | x = real(5)
    x = 0: x = given(0., -0.); y = given(1., -1.)
    y = 0: x = given(1., 2.); y = given(0., -0.)
torch.ldexp: x = real(4); k = whole(0, 1, 2, 5)
    negative exponents: x = real(4); k = whole(-3, 0, -1, 5)
    floating-point exponents: x = real(4); k = real(4)
torch.lerp: x = real(4); y = real(4); w = chance(4)
    a number: f(x, y, .3) | x = real(4); y = real(4)
    beyond the ends: x = real(3); y = real(3); w = given(-1., .5, 2.)
    w = 0 and 1: x = real(2); y = real(2); w = given(0., 1.)
torch.addcmul: x = real(3, 1); y = real(4); z = real(3, 4)
    value=: f(x, y, z, value=-.7) |
torch.addcdiv: x = real(3, 1); y = real(4); z = positive(3, 4)
    value=: f(x, y, z, value=-.7) |
torch.clamp: f(x, -1., 1.) | x = real(7)
    at the bounds: x = given(-1., 0., 1.)
    min only: f(x, min=.5) |
    max only: f(x, max=.5) |
    min above max: f(x, 1., -1.) |
    tensors: f(x, lo, hi) | x = real(5); lo = given(-1., -1., 0., 0., 1.); hi = given(1., 2., 1., 3., 2.)
    tensors, ties: f(x, lo, hi) | x = given(1., 2.); lo = given(1., 0.); hi = given(3., 2.)
    0-d: x = scalar(.3)
    empty: x = zeros(0)
torch.clip: f(x, -1., 1.) | x = real(7)
torch.clamp_min: f(x, .5) | x = real(5)
    at the bound: x = given(.5, 1.)
torch.clamp_max: f(x, .5) | x = real(5)
    at the bound: x = given(.5, 0.)
torch.where: m = mask(3, 4); x = real(3, 4); y = real(4)
    a number: f(m, x, 0.) | m = mask(4); x = real(4)
    a guarded pole: f(x > 0, torch.log(x.clamp(min=1e-3)), x) | x = real(6)
torch.heaviside: x = real(5); y = real(5)
    at 0: x = given(0., 1.); y = given(.5, .5)
torch.special.gammainc: a = positive(4); x = positive(4)
    only x: f(torch.tensor([.5, 1., 2., 9.], dtype=torch.float64), x) | x = positive(4)
torch.special.gammaincc: f(torch.tensor([.5, 1., 2., 9.], dtype=torch.float64), x) | x = positive(4)
"""

SPECIAL = """
torch.special.entr: x = positive(5)
    + layouts
    at 0: x = given(0.)
    large and tiny: x = given(1e-200, 1e100)
    negative: x = given(-1., 2.)
torch.special.erf, torch.special.erfc, torch.special.exp2, torch.special.expm1, torch.special.sinc: x = real(5)
    + layouts, zero
torch.special.erfcx: x = real(5)
    + layouts, zero, tiny
    in the tails: x = given(-5., 10., 30., 1e5)
torch.special.erfinv: x = unit(5)
    + layouts, zero
torch.special.expit: x = real(5)
    + layouts, zero, tails
torch.special.gammaln, torch.special.digamma, torch.special.psi: x = positive(5)
    + layouts
torch.special.i0, torch.special.i0e, torch.special.i1, torch.special.i1e: x = real(5)
    + layouts, zero, tiny
    large: x = given(-30., 8., 100.)
torch.special.log_ndtr, torch.special.ndtr: x = real(5)
    + layouts, zero, tiny
    in the tails: x = given(-30., -6., 6., 30.)
torch.special.ndtri: x = chance(5)
    + layouts
    the middle: x = given(.5)
    next to the ends: x = given(1e-10, 1 - 1e-10)
    at the ends: x = given(0., 1.)
torch.special.log1p: x = within(-.9, 3., 5)
    + layouts, zero
torch.special.logit: x = chance(5)
    + layouts
torch.special.round: x = real(5)
    + layouts, halves
torch.special.multigammaln: f(x, 2) | x = 2 + positive(5)
    + layouts
torch.special.polygamma: f(1, x) | x = positive(5)
    + layouts
torch.special.xlog1py: x = real(5); y = positive(5)
    x = 0: x = given(0., 0.); y = given(.5, -.5)
    y = -1: x = given(0., 1.); y = given(-1., -1 + 1e-8)
torch.special.xlogy: x = real(5); y = positive(5)
torch.special.zeta: f(torch.tensor([2., 3., 4.5], dtype=torch.float64), q) | q = positive(3)
    large q: f(2.5, q) | q = given(10., 1e3)
torch.special.logsumexp, torch.special.softmax, torch.special.log_softmax: f(x, dim=-1) | x = real(3, 4)
"""

REDUCTIONS = """
torch.sum: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    all: f(x) |
    two axes: f(x, dim=(0, 2)) | x = real(2, 3, 4)
    0-d: f(x) | x = scalar(1.5)
    empty: f(x) | x = zeros(0)
    cancellation: f(x) | x = given(1e16, 1., -1e16)
torch.mean: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    all: f(x) |
    two axes: f(x, dim=(0, 2)) | x = real(2, 3, 4)
    0-d: f(x) | x = scalar(1.5)
    of none: f(x) | x = zeros(0)
torch.prod: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    all: f(x) | x = real(5)
    zeros: f(x, dim=1) | x = given([[0., 2., 3.], [0., 0., 4.]])
    all of one zero: f(x) | x = given(2., 0., 3.)
    all of two zeros: f(x) | x = given(0., 0., 3.)
    0-d: f(x) | x = scalar(1.5)
    empty: f(x) | x = zeros(0)
    large and tiny: f(x) | x = given(1e200, 1e-200, 1e200)
torch.var: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    all: f(x) |
    correction=0: f(x, dim=0, correction=0) |
    equal entries: x = ones(3, 2)
    far from 0: x = 1e6 + real(5)
torch.std: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    all: f(x) |
    correction=0: f(x, dim=0, correction=0) |
    equal entries: x = ones(3, 2)
torch.var_mean, torch.std_mean, torch.nanmedian, torch.nanmean: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
torch.amax: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    ties: f(x, dim=1) | x = given([[1., 2., 2.], [3., 3., 3.]])
    all: f(x) |
    0-d: f(x) | x = scalar(1.5)
torch.amin: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    ties: f(x, dim=1) | x = given([[1., 2., 2.], [3., 3., 3.]])
    two axes: f(x, dim=(0, 1)) | x = real(2, 3, 4)
torch.aminmax: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    ties: f(x, dim=1) | x = given([[1., 2., 2.], [3., 3., 3.]])
    all: f(x) | x = real(5)
torch.max: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    ties: f(x, dim=1) | x = given([[1., 2., 2.], [3., 3., 3.]])
    all: f(x) |
    all, ties: f(x) | x = given([[1., 2., 2.], [3., 3., 3.]])
torch.min: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    ties: f(x, dim=1) | x = given([[1., 2., 2.], [3., 3., 3.]])
    all: f(x) |
torch.median: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    even: f(x) | x = real(4)
    all, ties: f(x) | x = given(3., 3., 3., 1.)
    ties: f(x, dim=1) | x = given([[1., 2., 2.], [3., 3., 3.]])
torch.nansum: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    all: f(x) |
torch.mode: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    ties: f(x, dim=1) | x = given([[1., 2., 2.], [3., 3., 3.]])
torch.kthvalue: f(x, 2, dim=1) | x = real(3, 4)
    ties: x = given([[1., 2., 2.], [3., 3., 3.]])
torch.quantile: f(x, .3, dim=1) | x = real(3, 5)
    at an entry: f(x, .5, dim=1) |
    several: f(x, torch.tensor([.1, .5, 1.], dtype=torch.float64)) | x = real(7)
    lower: f(x, .3, interpolation='lower') | x = real(6)
    higher: f(x, .3, interpolation='higher') | x = real(6)
    midpoint: f(x, .3, interpolation='midpoint') | x = real(6)
    nearest: f(x, .3, interpolation='nearest') | x = real(6)
    ties: f(x, .4, dim=1) | x = given([[1., 2., 2.], [3., 3., 3.]])
torch.nanquantile: f(x, .3, dim=1) | x = real(3, 5)
torch.logsumexp: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    far apart: x = given(-1000., 0., 1000.)
    equal: x = ones(3)
    two axes: f(x, dim=(0, 1)) | x = real(2, 3, 4)
torch.norm: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    keepdim=: f(x, dim=0, keepdim=True) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    all: f(x) |
    p=1: f(x, p=1) | x = real(4)
    p=inf: f(x, p=math.inf) | x = real(4)
    p=0: f(x, p=0) | x = real(4)
    p=3: f(x, p=3) | x = real(4)
    p=.5: f(x, p=.5) | x = real(4)
    at 0: f(x) | x = zeros(3)
    p=1 at 0: f(x, p=1) | x = given(0., 1., -0.)
    p=3 with zeros: f(x, p=3) | x = given(0., 1., -2.)
    nuc: f(x, p='nuc') |
    fro: f(x, p='fro') |
    large: f(x) | x = given(1e200, 1e200)
    tiny: f(x) | x = given(1e-200, 1e-200)
torch.cumsum: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
torch.cumprod: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    zeros: f(x, dim=1) | x = given([[0., 2., 3.], [0., 0., 4.]])
torch.cummax, torch.cummin: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    ties: f(x, dim=1) | x = given([[1., 2., 2.], [3., 3., 3.]])
torch.logcumsumexp: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    far apart: x = given(-1000., 0., 700.)
    falling: x = given(50., 0., -50.)
torch.topk: f(x, 2, dim=1) | x = real(3, 4)
    smallest: f(x, 2, largest=False) | x = real(5)
    ties: x = given([[1., 2., 2.], [3., 3., 3.]])
    none: f(x, 0) | x = real(5)
torch.sort: f(x, dim=0) | x = real(3, 4)
    one axis: f(x, dim=1) |
    last axis of three: f(x, dim=-1) | x = real(2, 3, 4)
    one entry: x = real(1, 3)
    transposed: f(x.T, dim=1) |
    descending: f(x, descending=True) | x = real(5)
    ties: f(x, dim=1, stable=True) | x = given([[1., 2., 2.], [3., 3., 3.]])
    0-d: f(x) | x = scalar(1)
torch.msort: x = real(4, 3)
torch.cov: x = real(3, 5)
    one variable: x = real(5)
    correction=0: f(x, correction=0) |
    fweights=: f(x, fweights=k) | x = real(3, 4); k = whole(1, 2, 1, 3)
    aweights=: f(x, aweights=a) | x = real(3, 4); a = positive(4)
torch.corrcoef: x = real(3, 5)
    one variable: x = real(5)
torch.trapezoid: y = real(3, 5)
    x=: f(y, x) | y = real(5); x = np.cumsum(positive(5))
    dx=: f(y, dx=.5) |
torch.trapz: y = real(3, 5)
torch.cumulative_trapezoid: y = real(3, 5)
    x=: f(y, x) | y = real(5); x = np.cumsum(positive(5))
torch.diff: x = real(3, 5)
    n=2: f(x, n=2) |
    prepend=: f(x, prepend=y) | x = real(4); y = real(2)
    beyond the length: f(x, n=3) | x = real(2)
torch.gradient: x = real(3, 5)
    edge_order=2: f(x, spacing=.5, edge_order=2) | x = real(5)
torch.renorm: f(x, p=2, dim=0, maxnorm=2.) | x = real(3, 4)
    within: f(x, p=2, dim=0, maxnorm=100.) |
    p=1: f(x, p=1, dim=1, maxnorm=.5) |
    zeros: x = zeros(2, 3)
torch.dist: x = real(4); y = real(4)
    p=1: f(x, y, p=1) |
    p=inf: f(x, y, p=math.inf) |
    equal: x = ones(3); y = ones(3)
    p=3: f(x, y, p=3) |
torch.cdist: x = real(3, 4); y = real(2, 4)
    p=1: f(x, y, p=1.) |
    p=inf: f(x, y, p=math.inf) |
    p=3: f(x, y, p=3.) |
    p=.5: f(x, y, p=.5) |
    p=0: f(x, y, p=0.) |
    a common row: x = given([[1., 2.], [3., 4.]]); y = given([[1., 2.]])
    batch: x = real(2, 3, 4); y = real(2, 2, 4)
    by matmul: f(x, y, compute_mode='use_mm_for_euclid_dist') |
    by matmul, close rows: f(x, y, compute_mode='use_mm_for_euclid_dist') | x = given([[1., 2.]]); \
      y = given([[1., 2 + 1e-6]])
    none: x = zeros(0, 4); y = real(2, 4)
    of width 0: x = zeros(2, 0); y = zeros(3, 0)
"""

MOVES = """
torch.cat: f([x, y], dim=1) | x = real(3, 2); y = real(3, 4)
    one empty: f([x, y]) | x = real(3); y = zeros(0)
    the same twice: f([x, x]) | x = real(3)
torch.concat: f([x, y]) | x = real(2, 3); y = real(1, 3)
torch.stack: f([x, y], dim=1) | x = real(3, 2); y = real(3, 2)
    0-d: f([x, y]) | x = scalar(1); y = scalar(2)
torch.hstack, torch.vstack, torch.dstack, torch.column_stack, torch.row_stack: f([x, y]) | x = real(2, 3); \
      y = real(2, 3)
    vectors: x = real(3); y = real(3)
torch.block_diag: x = real(2, 3); y = real(1, 2)
    with a vector: x = real(2, 2); y = real(3)
torch.chunk: f(x, 3) | x = real(7)
torch.split: f(x, [1, 3]) | x = real(4, 2)
    equal parts: f(x, 2) |
torch.tensor_split: f(x, 3) | x = real(7)
    at indices: f(x, (1, 4)) |
torch.hsplit: f(x, 2) | x = real(3, 4)
torch.vsplit: f(x, 2) | x = real(4, 3)
torch.dsplit: f(x, 2) | x = real(2, 3, 4)
torch.unbind: f(x, dim=1) | x = real(2, 3)
torch.reshape: f(x, (3, -1)) | x = real(2, 6)
    transposed: f(x.T, (-1,)) |
    empty: f(x, (0, 5)) | x = zeros(5, 0)
torch.flatten: f(x, 1) | x = real(2, 3, 2)
    0-d: f(x) | x = scalar(1)
torch.unflatten: f(x, 1, (2, 3)) | x = real(2, 6)
torch.ravel: f(x.T) | x = real(2, 3)
torch.squeeze: x = real(1, 3, 1)
    one axis: f(x, 0) |
    several: f(x, (0, 2)) |
torch.unsqueeze: f(x, 1) | x = real(2, 3)
torch.transpose: f(x, 0, 2) | x = real(2, 3, 4)
torch.permute: f(x, (2, 0, 1)) | x = real(2, 3, 4)
torch.movedim: f(x, 0, -1) | x = real(2, 3, 4)
torch.swapaxes, torch.moveaxis: f(x, 0, 1) | x = real(2, 3)
torch.t, torch.adjoint, torch.fliplr, torch.flipud: x = real(2, 3)
torch.flip: f(x, (0, 1)) | x = real(2, 3)
torch.roll: f(x, 2) | x = real(2, 3)
    axes: f(x, (1, -2), (0, 1)) |
torch.rot90: x = real(2, 3)
    k=2: f(x, 2) |
torch.tile: f(x, (2, 2)) | x = real(2, 3)
torch.repeat_interleave: f(x, 2, dim=0) | x = real(2, 3)
    counts: f(x, k, dim=0) | x = real(3, 2); k = whole(2, 0, 1)
torch.broadcast_to: f(x, (2, 3, 4)) | x = real(3, 1)
torch.broadcast_tensors: x = real(3, 1); y = real(4)
torch.diag: x = real(3)
    of a matrix: x = real(3, 4)
    off the middle: f(x, 1) |
torch.diagonal: x = real(3, 4)
    batch: f(x, -1, 0, 2) | x = real(3, 2, 4)
torch.diag_embed: x = real(2, 3)
    off the middle: f(x, 1) |
torch.diagflat: x = real(2, 2)
torch.diagonal_scatter: x = real(3, 4); y = real(3)
torch.tril: x = real(3, 4)
    diagonal=: f(x, 1) |
    batch: x = real(2, 3, 3)
torch.triu: x = real(3, 4)
    diagonal=: f(x, -1) |
torch.narrow: f(x, 1, 1, 2) | x = real(2, 4)
torch.select: f(x, 1, 2) | x = real(2, 4)
torch.select_scatter: f(x, y, 0, 1) | x = real(3, 4); y = real(4)
torch.slice_scatter: f(x, y, 0, 1, 3) | x = real(4, 2); y = real(2, 2)
torch.index_select: f(x, 0, k) | x = real(4, 2); k = whole(2, 0, 2)
    none: x = real(4, 2); k = ints(1, 0)
torch.index_add: f(x, 0, k, y) | x = real(4, 2); k = whole(2, 0, 2); y = real(3, 2)
    alpha=: f(x, 0, k, y, alpha=.5) |
torch.index_copy: f(x, 0, k, y) | x = real(4, 2); k = whole(2, 0); y = real(2, 2)
torch.index_fill: f(x, 0, k, 1.5) | x = real(4, 2); k = whole(2, 0)
torch.index_reduce: f(x, 0, k, y, 'prod') | x = real(4, 2); k = whole(2, 0, 2); y = real(3, 2)
    amax: f(x, 0, k, y, 'amax') |
    amin, not itself: f(x, 0, k, y, 'amin', include_self=False) |
torch.index_put: f(x, (k,), y) | x = real(4); k = whole(2, 0); y = real(2)
    accumulate: f(x, (k,), y, accumulate=True) | x = real(4); k = whole(2, 2); y = real(2)
torch.gather: f(x, 1, k) | x = real(2, 3); k = whole([[0, 2], [1, 1]])
    0-d: f(x, 0, k) | x = scalar(1); k = whole([0])
torch.scatter: f(x, 1, k, y) | x = real(2, 3); k = whole([[0, 2], [1, 0]]); y = real(2, 2)
    a number: f(x, 1, k, 1.5) | x = real(2, 3); k = whole([[0, 2], [1, 0]])
    reduce='add': f(x, 1, k, y, reduce='add') |
torch.scatter_add: f(x, 1, k, y) | x = real(2, 3); k = whole([[0, 0], [1, 0]]); y = real(2, 2)
torch.scatter_reduce: f(x, 0, k, y, 'sum') | x = real(3); k = whole(0, 0, 1, 2); y = real(4)
    prod: f(x, 0, k, y, 'prod', include_self=True) |
    prod, not itself: f(x, 0, k, y, 'prod', include_self=False) |
    mean: f(x, 0, k, y, 'mean', include_self=True) |
    mean, not itself: f(x, 0, k, y, 'mean', include_self=False) |
    amax: f(x, 0, k, y, 'amax', include_self=True) |
    amax, not itself: f(x, 0, k, y, 'amax', include_self=False) |
    amin: f(x, 0, k, y, 'amin', include_self=True) |
    amin, not itself: f(x, 0, k, y, 'amin', include_self=False) |
    prod with a zero: f(x, 0, k, y, 'prod') | x = given(2., 3., 4.); k = whole(0, 0, 1, 2); y = given(0., 2., 3., 4.)
    prod with two zeros: f(x, 0, k, y, 'prod') | x = given(2., 3., 4.); k = whole(0, 0, 1, 2); y = given(0., 0., 3., 4.)
    amax, ties: f(x, 0, k, y, 'amax') | x = given(2., 3., 4.); k = whole(0, 0, 1, 2); y = given(2., 2., 3., 1.)
torch.take: x = real(2, 3); k = whole(5, 0, 5)
torch.take_along_dim: f(x, k, 1) | x = real(2, 3); k = whole([[0, 2], [1, 1]])
torch.masked_select: x = real(2, 3); m = mask(2, 3)
    none: x = real(3); m = np.zeros(3, bool)
torch.masked_fill: f(x, m, 2.) | x = real(2, 3); m = mask(2, 3)
    a tensor: f(x, m, y) | x = real(2, 3); m = mask(2, 3); y = scalar(2)
    -inf before softmax: torch.softmax(f(x, m, -math.inf), 1) |
torch.masked_scatter: x = real(2, 3); m = mask(2, 3); y = real(6)
torch.meshgrid: f(x, y, indexing='ij') | x = real(2); y = real(3)
    xy: f(x, y, indexing='xy') |
torch.cartesian_prod: x = real(2); y = real(3)
torch.combinations: x = real(4)
    r=3: f(x, 3) |
torch.atleast_1d, torch.atleast_2d, torch.atleast_3d: x = real(3)
    0-d: x = scalar(1)
torch.as_strided: f(x, (2, 3), (1, 1)) | x = real(4)
    overlapping: f(x, (3, 2), (1, 1), 1) | x = real(6)
torch.constant_pad_nd: f(x, (1, 2), 3.) | x = real(2, 3)
torch.pixel_shuffle: f(x, 2) | x = real(1, 4, 2, 3)
torch.pixel_unshuffle: f(x, 2) | x = real(1, 1, 4, 2)
torch.channel_shuffle: f(x, 2) | x = real(1, 4, 2, 2)
torch.unsafe_chunk: f(x, 2) | x = real(4)
torch.view_copy: f(x, (6,)) | x = real(2, 3)
torch.narrow_copy: f(x, 0, 1, 2) | x = real(4)
torch.put: x = real(4); k = whole(2, 0); y = real(2)
    accumulate: f(x, k, y, accumulate=True) | x = real(4); k = whole(2, 2); y = real(2)
"""

LINEAR = """
torch.matmul: x = real(3, 4); y = real(4, 2)
    vectors: x = real(4); y = real(4)
    matrix and vector: x = real(3, 4); y = real(4)
    broadcast batch: x = real(2, 1, 3, 4); y = real(5, 4, 2)
    empty inside: x = zeros(3, 0); y = zeros(0, 2)
    empty: x = zeros(0, 4); y = real(4, 2)
    transposed: f(x.T, y.T) | x = real(4, 3); y = real(2, 4)
    the same tensor: f(x, x.T) | x = real(3, 4)
    cancellation: x = given([[1e8, -1e8, 1.]]); y = given([[1.], [1.], [1.]])
torch.mm: x = real(3, 4); y = real(4, 2)
torch.bmm: x = real(2, 3, 4); y = real(2, 4, 2)
    no batch: x = zeros(0, 3, 4); y = zeros(0, 4, 2)
torch.mv: x = real(3, 4); y = real(4)
torch.dot: x = real(4); y = real(4)
    empty: x = zeros(0); y = zeros(0)
torch.vdot: x = real(4); y = real(4)
torch.inner: x = real(3, 4); y = real(2, 4)
torch.outer, torch.ger: x = real(3); y = real(4)
torch.addmm: b = real(2); x = real(3, 4); y = real(4, 2)
    alpha=, beta=: f(b, x, y, alpha=.5, beta=-2.) |
    beta=0: f(b, x, y, beta=0) |
torch.addmv: b = real(3); x = real(3, 4); y = real(4)
    alpha=, beta=: f(b, x, y, alpha=.5, beta=-2.) |
    beta=0: f(b, x, y, beta=0) |
torch.addbmm: b = real(3, 2); x = real(2, 3, 4); y = real(2, 4, 2)
    alpha=, beta=: f(b, x, y, alpha=.5, beta=-2.) |
    beta=0: f(b, x, y, beta=0) |
torch.baddbmm: b = real(2, 3, 2); x = real(2, 3, 4); y = real(2, 4, 2)
    alpha=, beta=: f(b, x, y, alpha=.5, beta=-2.) |
    beta=0: f(b, x, y, beta=0) |
torch.addr: b = real(3, 2); x = real(3); y = real(2)
    alpha=, beta=: f(b, x, y, alpha=.5, beta=-2.) |
    beta=0: f(b, x, y, beta=0) |
torch.chain_matmul: x = real(2, 3); y = real(3, 4); z = real(4, 2)
torch.tensordot: f(x, y, dims=2) | x = real(2, 3, 4); y = real(3, 4, 2)
    axes: f(x, y, dims=([0], [1])) | x = real(3, 2); y = real(2, 3)
    dims=0: f(x, y, dims=0) | x = real(2); y = real(3)
torch.einsum: f('ij,jk->ik', x, y) | x = real(3, 4); y = real(4, 2)
    batch: f('bij,bjk->bik', x, y) | x = real(2, 3, 4); y = real(2, 4, 2)
    trace: f('ii', x) | x = real(3, 3)
    outer: f('i,j->ij', x, y) | x = real(3); y = real(2)
    three: f('ij,jk,kl->il', x, y, z) | x = real(2, 3); y = real(3, 4); z = real(4, 2)
    ellipsis: f('...ij->...ji', x) | x = real(2, 3, 4)
    diagonal: f('ii->i', x) | x = real(3, 3)
    sum: f('ij->', x) | x = real(3, 4)
torch.kron: x = real(2, 3); y = real(3, 2)
torch.cross: f(x, y, dim=-1) | x = real(2, 3); y = real(2, 3)
torch.trace: x = real(3, 4)
torch.det: x = regular(3, 3)
    singular: x = given([[1., 2.], [2., 4.]])
    rank 1 of 3: x = ones(3, 3)
    batch: x = regular(2, 3, 3)
    empty: x = zeros(0, 0)
    1 by 1: x = given([[0.]])
torch.logdet: x = spd(3, 3)
    negative: x = given([[0., 1.], [1., 0.]])
torch.slogdet, torch.inverse: x = regular(3, 3)
torch.pinverse, torch.qr: x = real(4, 3)
torch.cholesky: f(x @ x.T + torch.eye(3, dtype=x.dtype)) | x = real(3, 3)
torch.cholesky_inverse: f(x.tril()) | x = regular(3, 3)
    the triangle that is not read: f(x) | x = np.tril(regular(3, 3))
    upper: f(x.triu(), upper=True) | x = regular(3, 3)
torch.cholesky_solve: f(b, x.tril()) | b = real(3, 2); x = regular(3, 3)
    the triangle that is not read: f(b, x) | b = real(3, 2); x = np.tril(regular(3, 3))
    upper: f(b, x.triu(), upper=True) | b = real(3, 2); x = regular(3, 3)
torch.lu: f(x)[0] | x = regular(3, 3)
torch.lu_solve: f(b, *torch.linalg.lu_factor(x)) | b = real(3, 2); x = regular(3, 3)
torch.lu_unpack: f(*torch.linalg.lu_factor(x)) | x = regular(3, 3)
torch.svd: f(x)[1] | x = real(4, 3)
torch.matrix_exp: x = unit(3, 3)
    at 0: x = zeros(2, 2)
    large: x = 4 * unit(3, 3)
torch.matrix_power: f(x, 3) | x = unit(3, 3)
    inverse: f(x, -2) | x = regular(3, 3)
    0: f(x, 0) |
    1: f(x, 1) |
torch.triangular_solve: f(b, x)[0] | b = real(3, 2); x = np.triu(regular(3, 3))
    transposed: f(b, x, transpose=True)[0] |
    unitriangular: f(b, x, unitriangular=True)[0] |
torch.ormqr: f(*torch.geqrf(a), c) | a = real(3, 3); c = real(3, 2)
torch.geqrf: f(a)[0] | a = real(3, 3)
torch.bilinear: x = real(2, 3); y = real(2, 4); w = real(5, 3, 4); b = real(5)
"""

LINALG = """
torch.linalg.cholesky: f(x @ x.mT + torch.eye(3, dtype=x.dtype)) | x = real(3, 3)
    of the matrix itself: f((x + x.mT) / 2) | x = spd(3, 3)
    upper: f((x + x.mT) / 2, upper=True) | x = spd(3, 3)
    batch: f((x + x.mT) / 2) | x = spd(2, 3, 3)
    not symmetrised: x = spd(3, 3)
    ill-conditioned: f((x + x.mT) / 2) | x = given([[1., 1.], [1., 1 + 1e-8]])
torch.linalg.cholesky_ex: f((x + x.mT) / 2)[0] | x = spd(3, 3)
torch.linalg.cond: x = regular(3, 3)
    p=1: f(x, 1) |
    p=2: f(x, 2) |
    p=-2: f(x, -2) |
    p=fro: f(x, 'fro') |
    p=nuc: f(x, 'nuc') |
torch.linalg.cross: x = real(2, 3); y = real(2, 3)
torch.linalg.det: x = regular(3, 3)
    singular: x = given([[1., 2.], [2., 4.]])
torch.linalg.diagonal: x = real(2, 3, 3)
torch.linalg.eigh: f(x + x.mT) | x = regular(3, 3)
    values: f(x + x.mT)[0] |
    upper: f(x, UPLO='U')[0] | x = symmetric(3, 3)
    repeated, values: f(x)[0] | x = eye(3)
    repeated, vectors: f(x)[1] | x = eye(3)
torch.linalg.eigvalsh: f(x + x.mT) | x = regular(3, 3)
    not symmetrised: x = symmetric(3, 3)
    repeated: x = eye(3)
    1 by 1: x = given([[2.]])
torch.linalg.householder_product: x = np.tril(real(4, 3), -1); tau = chance(3)
torch.linalg.inv: x = regular(3, 3)
    batch: x = regular(2, 3, 3)
    ill-conditioned: x = given([[1., 1.], [1., 1 + 1e-8]])
    singular: x = ones(2, 2)
    empty: x = zeros(0, 0)
    transposed: f(x.T) |
torch.linalg.inv_ex, torch.linalg.lu_factor: f(x)[0] | x = regular(3, 3)
torch.linalg.ldl_factor: f(x)[0] | x = symmetric(3, 3)
torch.linalg.lstsq: f(a, b)[0] | a = real(4, 3); b = real(4, 2)
    wide: a = real(3, 4); b = real(3, 2)
torch.linalg.lu: x = regular(3, 3)
    tall: x = real(4, 3)
    wide: x = real(3, 4)
torch.linalg.lu_solve: f(*torch.linalg.lu_factor(x), b) | x = regular(3, 3); b = real(3, 2)
torch.linalg.matrix_exp: x = unit(3, 3)
    nilpotent: x = given([[0., 1.], [0., 0.]])
torch.linalg.matrix_norm: x = real(3, 4)
    ord="'nuc'": f(x, 'nuc') |
    ord='2': f(x, 2) |
    ord='-2': f(x, -2) |
    ord='1': f(x, 1) |
    ord='-1': f(x, -1) |
    ord='math.inf': f(x, math.inf) |
    ord='-math.inf': f(x, -math.inf) |
    at 0: x = zeros(2, 2)
    batch: x = real(2, 3, 3)
    ord=2, repeated: f(x, 2) | x = eye(2)
    ord='nuc', repeated: f(x, 'nuc') | x = eye(2)
    ord='nuc', singular: f(x, 'nuc') | x = ones(2, 2)
torch.linalg.matrix_power: f(x, 3) | x = unit(3, 3)
    inverse: f(x, -1) | x = regular(3, 3)
torch.linalg.multi_dot: f([x, y, z]) | x = real(2, 3); y = real(3, 4); z = real(4, 2)
torch.linalg.norm: x = real(3, 4)
    vector, ord=3: f(x, 3) | x = real(4)
    at 0: x = zeros(3)
torch.linalg.pinv: x = real(4, 3)
    square: x = regular(3, 3)
    wide: x = real(2, 4)
    deficient: x = given([[1., 2.], [2., 4.], [3., 6.]])
    hermitian: f(x + x.mT, hermitian=True) | x = regular(3, 3)
torch.linalg.qr: x = real(4, 3)
    square: x = regular(3, 3)
    wide: x = real(3, 4)
    complete: f(x, mode='complete') |
    R alone: f(x, mode='r')[1] |
    batch: x = real(2, 3, 3)
torch.linalg.slogdet: x = regular(3, 3)
    negative: x = given([[0., 1.], [1., 0.]])
    singular: x = ones(2, 2)
    the logarithm: f(x)[1] |
torch.linalg.solve: x = regular(3, 3); b = real(3, 2)
    vector: x = regular(3, 3); b = real(3)
    batch: x = regular(2, 3, 3); b = real(2, 3, 2)
    left=False: f(x, b, left=False) | x = regular(3, 3); b = real(2, 3)
    broadcast: x = regular(3, 3); b = real(2, 3, 2)
torch.linalg.solve_ex: f(x, b)[0] | x = regular(3, 3); b = real(3, 2)
torch.linalg.solve_triangular: f(x, b, upper=True) | x = np.triu(regular(3, 3)); b = real(3, 2)
    full matrix: x = regular(3, 3); b = real(3, 2)
    lower: f(x, b, upper=False) | x = regular(3, 3); b = real(3, 2)
    unitriangular: f(x, b, upper=True, unitriangular=True) |
    left=False: f(x, b, upper=True, left=False) | x = regular(3, 3); b = real(2, 3)
torch.linalg.svd: f(x, full_matrices=False)[1] | x = real(4, 3)
    all factors: f(x, full_matrices=False) |
    wide: x = real(2, 4)
    gauge-free: (lambda u, s, v: (u * s) @ v)(*f(x, full_matrices=False)) |
    repeated values: f(x)[1] | x = eye(3)
    a value 0: f(x)[1] | x = ones(2, 2)
torch.linalg.svdvals: x = real(4, 3)
    repeated: x = eye(3)
    a value 0: x = ones(2, 2)
    batch: x = real(2, 3, 3)
torch.linalg.tensorinv: f(x, ind=1) | x = regular(4, 4).reshape(4, 2, 2)
torch.linalg.tensorsolve: x = regular(4, 4).reshape(2, 2, 4); b = real(2, 2)
torch.linalg.vander: x = real(3)
    N=: f(x, N=5) |
    zeros: x = given(0., 1.)
torch.linalg.vecdot: x = real(3, 4); y = real(3, 4)
torch.linalg.vector_norm: x = real(3, 4)
    ord=1: f(x, 1) |
    ord=3: f(x, 3) |
    ord=math.inf: f(x, math.inf) |
    ord=-math.inf: f(x, -math.inf) |
    ord=.5: f(x, .5) |
    ord=0: f(x, 0) |
    ord=-1: f(x, -1) |
    at 0: x = zeros(3)
    a zero row: f(x, dim=1) | x = given([[0., 0.], [3., 4.]])
    ord=inf, ties: f(x, math.inf) | x = given(1., -1., .5)
    ord=1, zeros: f(x, 1) | x = given(0., 1.)
    ord=3, at 0: f(x, 3) | x = zeros(2)
    ord=1.5, zeros: f(x, 1.5) | x = given(0., 2.)
    0-d: x = scalar(2)
    empty: x = zeros(0)
    large: x = given(1e200, 1e200)
    tiny: x = given(1e-200, 1e-200)
"""

ACTIVATIONS = """
torch.nn.functional.relu: x = real(5)
    + layouts, zero, large, tiny
torch.nn.functional.relu6: x = real(5)
    + layouts
    at the bounds: x = given(0., 6., 3., 7.)
torch.nn.functional.elu, torch.nn.functional.selu: x = real(5)
    + layouts, zero, tails, far, tiny
torch.nn.functional.celu: x = real(5)
    + layouts, zero, tails
    alpha=: f(x, alpha=.3) |
torch.nn.functional.leaky_relu: x = real(5)
    + layouts, zero
    slope 0: f(x, 0.) |
    slope -1: f(x, -1.) |
torch.nn.functional.prelu: x = real(2, 3, 4); w = positive(3)
    at 0: x = given([[0., -1.]]); w = given(.2)
    one slope: x = real(5); w = given(.2)
torch.nn.functional.rrelu: x = real(5)
    + zero
    training: f(x, training=True) |
torch.nn.functional.glu: x = real(6)
    dim=0: f(x, 0) | x = real(2, 3)
    in the tails: x = given(1., 2., -40., 40.)
torch.nn.functional.gelu: x = real(5)
    + layouts, zero, tiny
    in the tails: x = given(-30., -8., -4., 4., 30.)
    approximate='tanh': f(x, approximate='tanh') |
    approximate='tanh', tails: f(x, approximate='tanh') | x = given(-10., -6., 6., 10.)
torch.nn.functional.logsigmoid: x = real(5)
    + layouts, zero, tails, far
torch.nn.functional.hardshrink, torch.nn.functional.softshrink: x = real(5)
    + layouts, zero, halves
    lambda: f(x, .2) |
torch.nn.functional.tanhshrink, torch.nn.functional.softsign: x = real(5)
    + layouts, zero, tiny
    small: x = given(1e-4, -1e-3)
    + tails
torch.nn.functional.softplus: x = real(5)
    + layouts, zero, tails, far
    beta=: f(x, beta=3.) |
    at the threshold: x = given(20., 19.9, 20.1)
    threshold=: f(x, threshold=1.) | x = given(-2., .5, 1., 1.5)
torch.nn.functional.hardtanh: x = real(5)
    + layouts
    at the bounds: x = given(-1., 0., 1.)
    other bounds: f(x, -.5, 2.) |
torch.nn.functional.hardsigmoid, torch.nn.functional.hardswish: x = real(5)
    + layouts
    at the bounds: x = given(-3., 0., 3., 5., -5.)
torch.nn.functional.silu, torch.nn.functional.mish: x = real(5)
    + layouts, zero, tails, far, tiny
torch.nn.functional.threshold: f(x, .5, -1.) | x = real(5)
    at the threshold: x = given(.5, .4, .6)
torch.nn.functional.tanh, torch.nn.functional.sigmoid: x = real(5)
    + layouts, zero, tails
torch.nn.functional.softmax, torch.nn.functional.log_softmax, torch.nn.functional.softmin: f(x, dim=-1) | x = real(3, 4)
    dim=0: f(x, dim=0) |
    0-d: x = scalar(2)
    empty: x = zeros(0, 4)
    one entry: x = real(3, 1)
    far apart: x = given([[-1000., 0., 1000.]])
    equal: x = ones(2, 3)
    nearly one: x = given([[0., 40., -3.]])
    transposed: f(x.T, dim=-1) |
    dtype=: f(x, dim=-1, dtype=torch.float64) |
torch.nn.functional.gumbel_softmax: f(x, tau=.7) | x = real(3, 4)
    hard: f(x, hard=True) |
torch.nn.functional.normalize: x = real(3, 4)
    p=1: f(x, p=1.) |
    a zero row: x = given([[0., 0.], [3., 4.]])
    a tiny row: x = given([[1e-14, 0.], [3., 4.]])
    dim=0: f(x, dim=0) |
"""

NORMALISATION = """
torch.nn.functional.batch_norm: f(x, None, None, w, b, training=True) | x = real(6, 3); w = positive(3); b = real(3)
    images: f(x, None, None, w, b, training=True) | x = real(2, 3, 2, 2); w = positive(3); b = real(3)
    without weights: f(x, None, None, training=True) | x = real(6, 3)
    evaluation: f(x, m, v, w, b) | x = real(4, 3); m = real(3); v = positive(3); w = positive(3); b = real(3)
    equal entries: f(x, None, None, w, b, training=True) | x = ones(4, 2); w = positive(2); b = real(2)
    far from 0: f(x, None, None, training=True) | x = 1e4 + real(6, 2)
    running statistics: f(x, m.clone(), v.clone(), training=True) | x = real(6, 3); m = zeros(3); v = ones(3)
torch.nn.functional.instance_norm: f(x, weight=w, bias=b) | x = real(2, 3, 5); w = positive(3); b = real(3)
    without weights: f(x) | x = real(2, 3, 2, 2)
torch.nn.functional.layer_norm: f(x, (4,), w, b) | x = real(3, 4); w = positive(4); b = real(4)
    without weights: f(x, (4,)) | x = real(3, 4)
    two axes: f(x, (3, 4)) | x = real(2, 3, 4)
    equal entries: f(x, (4,)) | x = ones(2, 4)
    eps=0: f(x, (4,), eps=0.) | x = real(3, 4)
    no rows: x = zeros(0, 4); w = positive(4); b = real(4)
    one entry: f(x, (1,)) | x = real(3, 1)
torch.nn.functional.group_norm: f(x, 2, w, b) | x = real(2, 4, 3); w = positive(4); b = real(4)
    without weights: f(x, 2) | x = real(2, 4, 2, 2)
    one group: f(x, 1) | x = real(2, 4)
torch.nn.functional.rms_norm: f(x, (4,), w) | x = real(3, 4); w = positive(4)
    without weights: f(x, (4,)) | x = real(3, 4)
    zeros: f(x, (4,), eps=1e-6) | x = zeros(2, 4)
torch.nn.functional.local_response_norm: f(x, 2) | x = real(1, 4, 5)
    images: f(x, 3, alpha=.1, beta=.5, k=2.) | x = real(1, 4, 2, 2)
torch.nn.functional.dropout, torch.nn.functional.alpha_dropout, torch.nn.functional.feature_alpha_dropout: f(x, \
      .4) | x = real(4, 5)
    evaluation: f(x, .4, training=False) |
    p=0: f(x, 0.) |
    p=1: f(x, 1.) |
torch.nn.functional.dropout1d: f(x, .4) | x = real(2, 3, 5)
torch.nn.functional.dropout2d: f(x, .4) | x = real(2, 3, 2, 2)
torch.nn.functional.dropout3d: f(x, .4) | x = real(1, 3, 2, 2, 2)
"""

CONVOLUTION = """
torch.nn.functional.conv1d: x = real(2, 3, 6); w = real(4, 3, 3); b = real(4)
    stride, padding, dilation: f(x, w, b, stride=2, padding=2, dilation=2) |
    'same': f(x, w, b, padding='same') |
    groups: f(x, w, groups=3) | x = real(1, 3, 6); w = real(6, 1, 3)
    unbatched: x = real(3, 6); w = real(4, 3, 3); b = real(4)
torch.nn.functional.conv2d: x = real(1, 2, 5, 4); w = real(3, 2, 3, 2); b = real(3)
    stride, padding, dilation: f(x, w, b, stride=(2, 1), padding=(1, 2), dilation=(1, 2)) |
    'same': f(x, w, padding='same') | x = real(1, 2, 4, 4); w = real(1, 2, 3, 3)
    groups: f(x, w, groups=2) | x = real(1, 2, 4, 4); w = real(4, 1, 2, 2)
    one by one: f(x, w) | x = real(1, 2, 3, 3); w = real(3, 2, 1, 1)
    no batch entries: f(x, w) | x = zeros(0, 2, 4, 4); w = real(3, 2, 2, 2)
    channels last: f(x.contiguous(memory_format=torch.channels_last), w, b) |
    rows left over: f(x, w, stride=3) | x = real(1, 1, 6, 6); w = real(1, 1, 2, 2)
torch.nn.functional.conv3d: x = real(1, 2, 3, 4, 3); w = real(2, 2, 2, 2, 2); b = real(2)
    stride, padding: f(x, w, b, stride=2, padding=1) |
torch.nn.functional.conv_transpose1d: x = real(2, 3, 4); w = real(3, 2, 3); b = real(2)
    stride, padding, output_padding: f(x, w, b, stride=2, padding=1, output_padding=1) |
    groups: f(x, w, groups=3) | x = real(1, 3, 4); w = real(3, 2, 3)
torch.nn.functional.conv_transpose2d: x = real(1, 2, 3, 3); w = real(2, 3, 2, 2); b = real(3)
    stride, dilation: f(x, w, b, stride=2, dilation=2) |
torch.nn.functional.conv_transpose3d: x = real(1, 2, 2, 3, 2); w = real(2, 2, 2, 2, 2); b = real(2)
torch.nn.functional.unfold: f(x, (2, 2)) | x = real(1, 2, 4, 3)
    stride, padding, dilation: f(x, (2, 2), dilation=2, padding=1, stride=2) |
torch.nn.functional.fold: f(x, (3, 4), (2, 2)) | x = real(1, 8, 6)
    padding, stride: f(x, (4, 4), (2, 2), padding=1, stride=2) | x = real(1, 4, 9)
torch.nn.functional.linear: x = real(3, 4); w = real(2, 4); b = real(2)
    without bias: f(x, w) | x = real(3, 4); w = real(2, 4)
    vector: x = real(4); w = real(2, 4); b = real(2)
    three axes: x = real(2, 3, 4); w = real(2, 4); b = real(2)
    no rows: x = zeros(0, 4); w = real(2, 4); b = real(2)
torch.nn.functional.bilinear: x = real(3, 2); y = real(3, 4); w = real(2, 2, 4); b = real(2)
    without bias: f(x, y, w) | x = real(3, 2); y = real(3, 4); w = real(2, 2, 4)
"""

POOLING = """
torch.nn.functional.avg_pool1d: f(x, 3) | x = real(1, 2, 7)
    stride, padding: f(x, 3, 2, 1) |
    padding not counted: f(x, 3, 2, 1, count_include_pad=False) |
    ceil_mode: f(x, 3, 2, ceil_mode=True) | x = real(1, 2, 6)
torch.nn.functional.avg_pool2d: f(x, 2) | x = real(1, 2, 4, 5)
    stride, padding: f(x, 3, 2, 1) |
    padding not counted: f(x, 3, 2, 1, count_include_pad=False) |
    ceil_mode: f(x, 2, ceil_mode=True) |
    divisor_override: f(x, 2, divisor_override=3) |
torch.nn.functional.avg_pool3d: f(x, 2) | x = real(1, 1, 4, 3, 4)
torch.nn.functional.max_pool1d: f(x, 3) | x = real(1, 2, 7)
    stride, padding, dilation: f(x, 3, 2, 1, 2) |
    ties: x = ones(1, 1, 6)
    ceil_mode: f(x, 3, ceil_mode=True) |
torch.nn.functional.max_pool2d: f(x, 2) | x = real(1, 2, 4, 5)
    overlapping: f(x, 3, 1, 1) |
    ties: x = ones(1, 1, 4, 4)
    ceil_mode: f(x, 2, ceil_mode=True) |
    dilation: f(x, 2, 1, 0, 2) |
    unbatched: x = real(2, 4, 5)
torch.nn.functional.max_pool3d: f(x, 2) | x = real(1, 1, 4, 3, 4)
    overlapping: f(x, 2, 1) |
torch.nn.functional.max_unpool1d: f(*F.max_pool1d(x, 2, return_indices=True), 2) | x = real(1, 2, 6)
torch.nn.functional.max_unpool2d: f(*F.max_pool2d(x, 2, return_indices=True), 2) | x = real(1, 2, 4, 4)
torch.nn.functional.max_unpool3d: f(*F.max_pool3d(x, 2, return_indices=True), 2) | x = real(1, 1, 4, 2, 2)
torch.nn.functional.lp_pool1d: f(x, 2., 3) | x = real(1, 2, 6)
    p=3: f(x, 3., 2) | x = positive(1, 2, 6)
    p=3, both signs: f(x, 3., 2) |
    a zero window: f(x, 2., 2) | x = given([[[0., 0., 1., 2.]]])
torch.nn.functional.lp_pool2d: f(x, 2., 2) | x = real(1, 2, 4, 4)
torch.nn.functional.lp_pool3d: f(x, 2., 2) | x = real(1, 1, 4, 2, 2)
torch.nn.functional.adaptive_max_pool1d, torch.nn.functional.adaptive_avg_pool1d: f(x, 3) | x = real(1, 2, 7)
    as long: f(x, 7) |
torch.nn.functional.adaptive_max_pool2d, torch.nn.functional.adaptive_avg_pool2d: f(x, (2, 3)) | x = real(1, 2, 5, 4)
    one: f(x, 1) |
torch.nn.functional.adaptive_max_pool3d, torch.nn.functional.adaptive_avg_pool3d: f(x, (2, 1, 2)) | x = real(1, \
      1, 4, 3, 3)
torch.nn.functional.fractional_max_pool2d: f(x, 2, output_size=2) | x = real(1, 1, 5, 5)
torch.nn.functional.fractional_max_pool3d: f(x, 2, output_size=2) | x = real(1, 1, 4, 4, 4)
"""

IMAGES = """
torch.nn.functional.pixel_shuffle: f(x, 2) | x = real(1, 4, 2, 3)
torch.nn.functional.pixel_unshuffle: f(x, 2) | x = real(1, 1, 4, 2)
torch.nn.functional.channel_shuffle: f(x, 2) | x = real(1, 4, 2, 2)
torch.nn.functional.pad: f(x, (1, 2), value=.5) | x = real(2, 3)
    cropping: f(x, (-1, 2, 1, -1)) | x = real(3, 4)
    reflect: f(x, (2, 1), mode='reflect') | x = real(1, 2, 5)
    replicate: f(x, (2, 1), mode='replicate') | x = real(1, 2, 5)
    circular: f(x, (2, 1), mode='circular') | x = real(1, 2, 5)
    reflect, 2d: f(x, (1, 1, 2, 0), mode='reflect') | x = real(1, 1, 4, 3)
    replicate, 2d: f(x, (1, 1, 2, 0), mode='replicate') | x = real(1, 1, 4, 3)
    replicate, 3d: f(x, (1, 1, 2, 0, 0, 1), mode='replicate') | x = real(1, 1, 2, 4, 3)
torch.nn.functional.interpolate: f(x, scale_factor=2) | x = real(1, 2, 3, 2)
    nearest down: f(x, size=2) | x = real(1, 2, 5)
    nearest-exact: f(x, size=4, mode='nearest-exact') | x = real(1, 2, 5)
    linear: f(x, size=7, mode='linear') | x = real(1, 2, 4)
    linear, corners: f(x, size=7, mode='linear', align_corners=True) | x = real(1, 2, 4)
    bilinear: f(x, scale_factor=1.7, mode='bilinear') | x = real(1, 1, 4, 3)
    bilinear, corners: f(x, size=(5, 5), mode='bilinear', align_corners=True) | x = real(1, 1, 4, 3)
    bilinear, antialias: f(x, size=(2, 2), mode='bilinear', antialias=True) | x = real(1, 1, 5, 6)
    bicubic: f(x, size=(5, 5), mode='bicubic') | x = real(1, 1, 4, 3)
    bicubic, corners: f(x, size=(5, 5), mode='bicubic', align_corners=True) | x = real(1, 1, 4, 3)
    trilinear: f(x, size=(3, 3, 2), mode='trilinear') | x = real(1, 1, 2, 2, 3)
    area: f(x, size=(2, 3), mode='area') | x = real(1, 1, 4, 5)
torch.nn.functional.upsample: f(x, scale_factor=2, mode='bilinear') | x = real(1, 1, 2, 3)
torch.nn.functional.affine_grid: f(t, (2, 1, 3, 4)) | t = real(2, 2, 3)
    corners: f(t, (2, 1, 3, 4), align_corners=True) |
    volume: f(t, (1, 1, 2, 3, 2)) | t = real(1, 3, 4)
torch.nn.functional.grid_sample: f(x, g) | x = real(1, 2, 4, 5); g = unit(1, 3, 3, 2)
    corners: f(x, g, align_corners=True) |
    nearest: f(x, g, mode='nearest') |
    bicubic: f(x, g, mode='bicubic') |
    border: f(x, g, padding_mode='border') | x = real(1, 2, 4, 5); g = 1.6 * unit(1, 3, 3, 2)
    reflection: f(x, g, padding_mode='reflection') | x = real(1, 2, 4, 5); g = 1.6 * unit(1, 3, 3, 2)
    outside: x = real(1, 2, 4, 5); g = 1.6 * unit(1, 3, 3, 2)
    volume: f(x, g) | x = real(1, 1, 3, 3, 3); g = unit(1, 2, 2, 2, 3)
    at a pixel: f(x, g, align_corners=True) | x = real(1, 1, 3, 3); g = zeros(1, 1, 1, 2)
"""

ATTENTION = """
torch.nn.functional.embedding: f(k, w) | k = whole([[0, 2], [2, 1]]); w = real(4, 3)
    padding_idx: f(k, w, padding_idx=2) |
    scale_grad_by_freq: f(k, w, scale_grad_by_freq=True) |
    max_norm: f(k, w.clone(), max_norm=1.) |
torch.nn.functional.embedding_bag: f(k, w) | k = whole([[0, 2], [2, 1]]); w = real(4, 3)
    sum: f(k, w, mode='sum') |
    max: f(k, w, mode='max') |
    weights: f(k, w, per_sample_weights=s, mode='sum') | k = whole([[0, 2], [2, 1]]); w = real(4, 3); s = real(2, 2)
    offsets: f(k, w, torch.tensor([0, 2, 2])) | k = whole(0, 2, 2, 1); w = real(4, 3)
torch.nn.functional.one_hot: f(k, 3) * x | k = whole(0, 2); x = real(2, 3)
torch.nn.functional.scaled_dot_product_attention: q = real(1, 2, 3, 4); k = real(1, 2, 5, 4); v = real(1, 2, 5, 4)
    causal: f(q, k, v, is_causal=True) | q = real(1, 1, 4, 4); k = real(1, 1, 4, 4); v = real(1, 1, 4, 4)
    mask: f(q, k, v, attn_mask=m) | q = real(1, 1, 2, 4); k = real(1, 1, 3, 4); v = real(1, 1, 3, 4); m = mask(2, 3)
    additive mask: f(q, k, v, attn_mask=m) | q = real(1, 1, 2, 4); k = real(1, 1, 3, 4); v = real(1, 1, 3, 4); \
      m = real(2, 3)
    scale=: f(q, k, v, scale=.3) |
    enable_gqa: f(q, k, v, enable_gqa=True) | q = real(1, 4, 3, 4); k = real(1, 2, 3, 4); v = real(1, 2, 3, 4)
    a masked row: f(q, k, v, attn_mask=m) | q = real(1, 1, 2, 4); k = real(1, 1, 2, 4); v = real(1, 1, 2, 4); \
      m = np.array([[True, True], [False, False]])
    dropout: f(q, k, v, dropout_p=.3) |
    sharp: q = 20 * real(1, 1, 3, 4); k = real(1, 1, 3, 4); v = real(1, 1, 3, 4)
torch.nn.functional.multi_head_attention_forward: f(x, x, x, 4, 2, wi, bi, None, None, False, 0., wo, \
      bo)[0] | x = real(3, 1, 4); wi = unit(12, 4); bi = real(12); wo = unit(4, 4); bo = real(4)
    weights, too: f(x, x, x, 4, 2, wi, bi, None, None, False, 0., wo, bo) |
"""

LOSSES = """
torch.nn.functional.pairwise_distance: x = real(3, 4); y = real(3, 4)
    p=1: f(x, y, p=1.) |
    p=inf: f(x, y, p=math.inf) |
    equal: f(x, y, eps=0.) | x = ones(1, 2); y = ones(1, 2)
    keepdim: f(x, y, keepdim=True) |
torch.nn.functional.cosine_similarity: x = real(3, 4); y = real(3, 4)
    dim=0: f(x, y, dim=0) |
    a zero row: x = given([[0., 0.], [1., 2.]]); y = given([[1., 2.], [3., 4.]])
    parallel: x = given([[1., 2.]]); y = given([[2., 4.]])
    broadcast: f(x, y, dim=-1) | x = real(3, 1, 4); y = real(2, 4)
    tiny: x = given([[1e-10, 2e-10]]); y = given([[1., 3.]])
torch.nn.functional.pdist: x = real(4, 3)
    p=1: f(x, 1.) |
    p=inf: f(x, math.inf) |
    p=3: f(x, 3.) |
    equal rows: x = given([[1., 2.], [1., 2.], [0., 1.]])
    one row: x = real(1, 3)
torch.nn.functional.l1_loss: x = real(3, 4); y = real(3, 4)
    + reductions
    ties: x = given(1., 2.); y = given(1., 3.)
    weight=: f(x, y, weight=w) | x = real(4); y = real(4); w = positive(4)
torch.nn.functional.mse_loss: x = real(3, 4); y = real(3, 4)
    + reductions
    empty: f(x, y, reduction='sum') | x = zeros(0); y = zeros(0)
    mean of none: x = zeros(0); y = zeros(0)
    broadcast: f(x, y.expand(3, 4)) | x = real(3, 4); y = real(4)
    weight=: f(x, y, weight=w) | x = real(4); y = real(4); w = positive(4)
torch.nn.functional.smooth_l1_loss: x = real(3, 4); y = real(3, 4)
    + reductions
    at beta: x = given(1., -1., 0.); y = zeros(3)
    beta=: f(x, y, beta=.3) |
    beta=0: f(x, y, beta=0.) |
torch.nn.functional.huber_loss: x = real(3, 4); y = real(3, 4)
    + reductions
    at delta: x = given(1., -1., 0.); y = zeros(3)
    delta=: f(x, y, delta=.3) |
    weight=: f(x, y, weight=w) | x = real(4); y = real(4); w = positive(4)
torch.nn.functional.soft_margin_loss: x = real(3, 4); y = np.sign(real(3, 4))
    + reductions
    large margins: x = given(-800., 50., 800.); y = given(1., 1., 1.)
torch.nn.functional.binary_cross_entropy: x = chance(3, 4); y = chance(3, 4)
    + reductions
    hard targets: x = chance(4); y = given(0., 1., 0., 1.)
    at the ends: x = given(0., 1.); y = given(0., 1.)
    at the wrong ends: x = given(1., 0.); y = given(0., 1.)
    next to the ends: x = given(1e-10, 1 - 1e-10); y = given(1., 0.)
    weight=: f(x, y, weight=w) | x = chance(4); y = chance(4); w = positive(4)
torch.nn.functional.binary_cross_entropy_with_logits: x = real(3, 4); y = chance(3, 4)
    + reductions
    in the tails: x = given(-40., 40., -800., 800.); y = given(0., 1., 1., 0.)
    at 0: x = given(0., -0.); y = given(0., 1.)
    weights: f(x, y, weight=w, pos_weight=p) | x = real(3, 4); y = chance(3, 4); w = positive(4); p = positive(4)
torch.nn.functional.poisson_nll_loss: x = real(3, 4); y = positive(3, 4)
    + reductions
    full: f(x, y, full=True) | x = real(4); y = given(.5, 1., 2., 5.)
    log_input=False: f(x, y, log_input=False) | x = positive(4); y = positive(4)
    log_input=False, at 0: f(x, y, log_input=False) | x = given(0.); y = given(1.)
torch.nn.functional.cosine_embedding_loss: x = real(4, 3); y = real(4, 3); t = whole(1, -1, 1, -1)
    margin=: f(x, y, t, margin=.3) |
torch.nn.functional.cross_entropy: f(x, k) | x = real(3, 4); k = whole(0, 3, 1)
    sum: f(x, k, reduction='sum') |
    none: f(x, k, reduction='none') |
    weight=: f(x, k, weight=w) | x = real(3, 4); k = whole(0, 3, 1); w = positive(4)
    ignore_index: f(x, k, ignore_index=3) |
    all ignored: f(x, k, reduction='sum') | x = real(2, 4); k = whole(-100, -100)
    label_smoothing: f(x, k, label_smoothing=.1) |
    smoothing, weight: f(x, k, weight=w, label_smoothing=.1) | x = real(3, 4); k = whole(0, 3, 1); w = positive(4)
    probabilities: f(x, p) | x = real(3, 4); p = chance(3, 4)
    far apart: x = given([[1000., 0., -1000.]]); k = whole(1)
    sure: x = given([[50., 0., -3.]]); k = whole(0)
    images: x = real(2, 3, 2, 2); k = ints(3, 2, 2, 2)
    one class: x = real(3, 1); k = whole(0, 0, 0)
    unbatched: x = real(4); k = np.array(2)
torch.nn.functional.nll_loss: f(x, k) | x = real(3, 4); k = whole(0, 3, 1)
    sum: f(x, k, reduction='sum') |
    none: f(x, k, reduction='none') |
    weight=: f(x, k, weight=w) | x = real(3, 4); k = whole(0, 3, 1); w = positive(4)
    images: x = real(2, 3, 2, 2); k = ints(3, 2, 2, 2)
torch.nn.functional.ctc_loss: f(F.log_softmax(x, 2), k, (5, 5), (2, 3)) | x = real(5, 2, 4); \
      k = whole([[1, 2, 0], [3, 1, 2]])
    sum: f(F.log_softmax(x, 2), k, (5, 5), (2, 3), reduction='sum') |
    repeated labels: f(F.log_softmax(x, 2), k, (5,), (2,)) | x = real(5, 1, 3); k = whole([[1, 1]])
    no labels: f(F.log_softmax(x, 2), k, (3,), (0,), reduction='sum') | x = real(3, 1, 3); k = whole([[1, 1]])
    the log probabilities themselves: f(x, k, (5,), (2,), reduction='sum') | x = -positive(5, 1, 3); k = whole([[1, 2]])
torch.nn.functional.gaussian_nll_loss: x = real(3, 4); y = real(3, 4); v = positive(3, 4)
    full: f(x, y, v, full=True) |
    small variance: x = real(2); y = real(2); v = given(1e-8, 1e-3)
    + reductions
torch.nn.functional.hinge_embedding_loss: x = real(4); y = given(1., -1., 1., -1.)
    at the margin: x = given(1., -1.); y = given(-1., 1.)
    + reductions
torch.nn.functional.kl_div: f(torch.log(x), y) | x = chance(3, 4); y = chance(3, 4)
    batchmean: f(torch.log(x), y, reduction='batchmean') |
    log_target: f(x, y, log_target=True, reduction='sum') | x = -positive(3, 4); y = -positive(3, 4)
    zero targets: f(x, torch.tensor([0., .5, .5], dtype=torch.float64), reduction='sum') | x = -positive(3)
    zero targets, asked: f(x, y, reduction='sum') | x = -positive(3); y = given(0., .5, .5)
torch.nn.functional.margin_ranking_loss: x = real(4); y = real(4); t = given(1., -1., 1., -1.)
    at the margin: f(x, y, t) | x = given(1., 2.); y = given(1., 2.); t = given(1., -1.)
    margin=: f(x, y, t, margin=.5, reduction='sum') |
torch.nn.functional.multilabel_margin_loss: f(x, k) | x = real(2, 4); k = whole([[3, 0, -1, 1], [1, -1, 2, 0]])
    none: f(x, k, reduction='none') |
torch.nn.functional.multilabel_soft_margin_loss: f(x, y) | x = real(2, 4); \
      y = given([[1., 0., 1., 1.], [0., 0., 1., 0.]])
    weight=: f(x, y, weight=w) | x = real(2, 4); y = given([[1., 0., 1., 1.], [0., 0., 1., 0.]]); w = positive(4)
torch.nn.functional.multi_margin_loss: f(x, k) | x = real(3, 4); k = whole(0, 3, 1)
    p=2: f(x, k, p=2) |
    weight=: f(x, k, weight=w) | x = real(3, 4); k = whole(0, 3, 1); w = positive(4)
    at the margin: x = given([[1., 0., 2.]]); k = whole(0)
torch.nn.functional.triplet_margin_loss: x = real(3, 4); y = real(3, 4); z = real(3, 4)
    p=1: f(x, y, z, p=1) |
    swap: f(x, y, z, swap=True, margin=3.) |
    sum: f(x, y, z, reduction='sum', margin=2.) |
    equal: f(x, y, z, eps=0.) | x = ones(1, 2); y = ones(1, 2); z = ones(1, 2)
torch.nn.functional.triplet_margin_with_distance_loss: x = real(3, 4); y = real(3, 4); z = real(3, 4)
"""

METHODS = """
torch.Tensor.expand: x.expand(2, 3, 4) | x = real(3, 1)
    to none: x.expand(0, 3) | x = real(1, 3)
torch.Tensor.expand_as: x.expand_as(y) + y | x = real(3, 1); y = real(3, 4)
torch.Tensor.repeat: x.repeat(2, 3) | x = real(2, 3)
    more axes: x.repeat(2, 1, 2) | x = real(2, 3)
torch.Tensor.unfold: x.unfold(0, 3, 1) | x = real(6)
    steps: x.unfold(1, 2, 2) | x = real(2, 5)
torch.Tensor.view: x.view(3, -1) | x = real(2, 6)
torch.Tensor.view_as: x.view_as(y) * y | x = real(6); y = real(2, 3)
torch.Tensor.reshape_as: x.reshape_as(y) * y | x = real(6); y = real(2, 3)
torch.Tensor.sum_to_size: x.sum_to_size(3, 1) | x = real(2, 3, 4)
torch.Tensor.type_as: x.type_as(y) * y | x = real(3); y = real(3)
torch.Tensor.contiguous: x.T.contiguous() | x = real(2, 3)
torch.Tensor.to: (x.to(torch.float64) * 1.5).to(torch.float32) | x = single(real(3))
torch.Tensor.float: x.double().float() | x = single(real(3))
torch.Tensor.T: x.T | x = real(2, 3)
torch.Tensor.mT: x.mT | x = real(2, 3, 4)
torch.Tensor.__getitem__: x[1:, ::2] | x = real(3, 4)
    integer: x[1] | x = real(3, 4)
    negative step by flip: x.flip(0)[::2] | x = real(5)
    None and ...: x[None, ..., 0] | x = real(3, 4)
    index array: x[k] | x = real(4, 2); k = whole(2, 0, 2)
    two index arrays: x[k, j] | x = real(4, 3); k = whole(2, 0, 2); j = whole(1, 1, 0)
    index array and slice: x[:, k, 1:] | x = real(2, 3, 4); k = whole(2, 0)
    mask: x[m] | x = real(2, 3); m = mask(2, 3)
    own mask: x[x > 0] | x = real(6)
    empty slice: x[2:2] | x = real(4)
torch.Tensor.__setitem__: (lambda z: (z.__setitem__(slice(1, 3), y), z)[1])(x.clone()) | x = real(4); y = real(2)
    mask: (lambda z: (z.__setitem__(x > 0, 0.), z)[1])(x * 2) | x = real(5)
    index array: (lambda z: (z.__setitem__(k, y), z)[1])(x * 2) | x = real(4); k = whole(2, 0); y = real(2)
torch.Tensor.add_: x.clone().add_(y, alpha=2) | x = real(3, 4); y = real(4)
torch.Tensor.sub_: x.clone().sub_(y) | x = real(3, 4); y = real(4)
torch.Tensor.mul_: (x * 1).mul_(y) | x = real(3, 4); y = real(4)
torch.Tensor.div_: (x * 1).div_(y) | x = real(3, 4); y = real(4)
torch.Tensor.pow_: (x * 1).pow_(2) | x = real(4)
torch.Tensor.exp_: (x * 1).exp_() | x = real(4)
torch.Tensor.sqrt_: (x * 1).sqrt_() | x = positive(4)
torch.Tensor.tanh_: (x * 1).tanh_() | x = unit(4)
torch.Tensor.sigmoid_: (x * 1).sigmoid_() | x = unit(4)
torch.Tensor.relu_: (x * 1).relu_() | x = real(4)
torch.Tensor.clamp_: (x * 1).clamp_(-1., 1.) | x = real(5)
torch.Tensor.zero_: (x * 1).zero_() + x | x = real(3)
torch.Tensor.fill_: (lambda z: (z[0].fill_(y), z)[1])(x * 1) | x = real(2, 3); y = scalar(2)
torch.Tensor.copy_: (lambda z: (z[0].copy_(y), z)[1])(x * 1) | x = real(2, 3); y = real(3)
torch.Tensor.fill_diagonal_: (x * 1).fill_diagonal_(0.) | x = real(3, 3)
torch.Tensor.tril_: (x * 1).tril_() | x = real(3, 3)
torch.Tensor.t_: (x * 1).t_() | x = real(2, 3)
torch.Tensor.squeeze_: (x * 1).squeeze_() | x = real(1, 3)
torch.Tensor.masked_fill_: (x * 1).masked_fill_(m, 2.) | x = real(2, 3); m = mask(2, 3)
torch.Tensor.index_put_: (x * 1).index_put_((k,), y, accumulate=True) | x = real(4); k = whole(2, 2); y = real(2)
torch.Tensor.index_add_: (x * 1).index_add_(0, k, y) | x = real(4); k = whole(2, 2); y = real(2)
torch.Tensor.scatter_: (x * 1).scatter_(0, k, y) | x = real(4); k = whole(2, 0); y = real(2)
torch.Tensor.scatter_add_: (x * 1).scatter_add_(0, k, y) | x = real(4); k = whole(2, 2); y = real(2)
torch.Tensor.addcmul_: (x * 1).addcmul_(y, z) | x = real(3); y = real(3); z = real(3)
torch.Tensor.addcdiv_: (x * 1).addcdiv_(y, z) | x = real(3); y = real(3); z = positive(3)
torch.Tensor.lerp_: (x * 1).lerp_(y, .3) | x = real(3); y = real(3)
torch.Tensor.__rpow__: 2 ** x | x = real(4)
torch.Tensor.__rtruediv__: 2 / x | x = real(4)
torch.Tensor.__rsub__: 2 - x | x = real(4)
torch.Tensor.__matmul__: x @ y | x = real(3, 4); y = real(4)
torch.Tensor.__rmod__: 5 % x | x = positive(4)
torch.Tensor.addmm_: (b * 1).addmm_(x, y) | b = real(3, 2); x = real(3, 4); y = real(4, 2)
torch.Tensor.baddbmm_: (b * 1).baddbmm_(x, y) | b = real(2, 3, 2); x = real(2, 3, 4); y = real(2, 4, 2)
torch.Tensor.new_zeros: x + x.new_zeros(3) | x = real(3)
torch.Tensor.select: x.select(0, 1) | x = real(3, 4)
torch.Tensor.diagonal: x.diagonal(0, -2, -1) | x = real(2, 3, 3)
torch.Tensor.cumsum_: (x * 1).cumsum_(0) | x = real(4)
torch.Tensor.sort: x.sort(descending=True).values | x = real(5)
torch.Tensor.clone: x.T.clone() | x = real(2, 3)
torch.Tensor.as_strided: x.as_strided((2, 2), (2, 1)) | x = real(6)
torch.Tensor.unflatten: x.unflatten(0, (2, -1)) | x = real(6)
torch.Tensor.split: x.split((1, 2)) | x = real(3)
torch.Tensor.abs_: (x * 1).abs_() | x = real(4)
torch.Tensor.neg_: (x * 1).neg_() | x = real(4)
torch.Tensor.log_: (x * 1).log_() | x = positive(4)
torch.Tensor.logit_: (x * 1).logit_() | x = chance(4)
"""

MEANT = (
    *at("torch.Tensor.detach", "x * x.detach() | x = real(3)", stop_gradients=True),
    *at("torch.Tensor.item", "x * x.detach().sum() | x = real(3)", stop_gradients=True),
)
"""What detaches on purpose."""

POINTS: tuple[Point, ...] = (
    *(
        p
        for text in (
            ELEMENTWISE,
            BINARY,
            SPECIAL,
            REDUCTIONS,
            MOVES,
            LINEAR,
            LINALG,
            ACTIVATIONS,
            NORMALISATION,
            CONVOLUTION,
            POOLING,
            IMAGES,
            ATTENTION,
            LOSSES,
            METHODS,
        )
        for p in parsed(text)
    ),
    *MEANT,
)


def gradient(call: str, x: str, entry: str = "[0]", dtype: str = "float64") -> str:
    return f"x = torch.tensor({x}, dtype=torch.{dtype}, requires_grad=True)\n{call}.sum().backward()\nx.grad{entry}"


COLUMN = "torch.tensor([[2., 9.], [3., 9.]], dtype=torch.float64)[:, 0]"
TRIGAMMA = "torch.digamma torch.special.digamma torch.special.psi torch.polygamma torch.special.polygamma"

JUDGEMENTS: tuple[Judgement, ...] = (
    # wrong
    Judgement(
        ("torch.det", "torch.linalg.det"), "wrong",
        "At a matrix that is exactly singular the gradient comes out as 0. The determinant is a polynomial; its gradient is "
        "the matrix of cofactors.",
        gradient("torch.linalg.det(x)", "[[1., 2.], [2., 4.]]", "[0, 0]"), "4",
    ),
    Judgement(
        ("torch.ldexp",), "wrong",
        "With an integer tensor of exponents the backward pass raises 2 to them in integers: 0 where they are negative.",
        gradient("torch.ldexp(x, torch.tensor([-3]))", "[1.5]"), "mpf(2) ** -3",
    ),
    Judgement(
        ("torch.linalg.cond",), "wrong",
        "The norms that need the inverse write into it after autograd has saved it: the backward pass raises.",
        gradient("torch.linalg.cond(x, 'fro')", "[[2., 1.], [0., 3.]]", "[0, 0]"),
        "norm = lambda a: sqrt(sum(v ** 2 for v in a))\n"
        "cond = lambda a: norm([a, 1, 0, 3]) * norm([3, -1, 0, a]) / (3 * a)\ndiff(cond, 2)",
    ),
    Judgement(
        ("torch.nn.functional.nll_loss",), "wrong",
        "The backward pass over images raises for scores that are not contiguous, such as channels-last ones.",
        "x = torch.randn(2, 3, 2, 2).to(memory_format=torch.channels_last).requires_grad_()\n"
        "F.nll_loss(x, torch.zeros(2, 2, 2, dtype=torch.int64)).backward()\nx.grad[0, 0, 0, 0]",
        "-mpf(1) / 8",
    ),
    Judgement(
        ("torch.nn.functional.batch_norm",), "wrong",
        "In evaluation the CPU kernel's backward pass reads a running variance that is not contiguous from other memory "
        "(and the weight with stride 1, as in training).",
        f"m, w = torch.zeros(2).double(), torch.ones(2).double()\nv = {COLUMN}\n"
        + gradient("(F.batch_norm(x, m, v, w, eps=0.) * torch.eye(2).double())", "[[1., 2.], [4., 8.]]", "[0, 0]"),
        "1 / sqrt(2)", ("evaluation",),
    ),
    Judgement(
        ("torch.nn.functional.batch_norm",), "wrong", "The CPU kernel's backward pass reads the weight with stride 1.",
        f"w = {COLUMN}\ng = torch.tensor([[1., 2.], [.5, -1.], [2., 1.]], dtype=torch.float64)\n"
        + gradient("(F.batch_norm(x, None, None, w, training=True) * g)", "[[1., 2.], [3., 5.], [4., -1.]]",
                   "[0, 1]"),
        "def f(a):\n    m = (a + 4) / 3\n    s = sqrt(((a - m)**2 + (5 - m)**2 + (-1 - m)**2) / 3 + mpf(1e-5))\n"
        "    return 3 * (2 * (a - m) - (5 - m) + (-1 - m)) / s\ndiff(f, 2)",
    ),
    Judgement(
        ("torch.cholesky_inverse", "torch.cholesky_solve"), "wrong",
        "The triangle that the function does not read gets a gradient.",
        gradient("torch.cholesky_inverse(x)", "[[2., 0.], [1., 3.]]", "[0, 1]"), "0", ("the triangle that is not read",),
    ),
    Judgement(
        ("torch.nn.functional.cosine_similarity",), "wrong",
        "The norms are clamped from below out of autograd's sight: below eps the gradient is not that of the documented "
        "formula x·y / (max(|x|, eps) max(|y|, eps)).",
        gradient("F.cosine_similarity(x, torch.tensor([[1., 3.]], dtype=torch.float64))", "[[1e-10, 2e-10]]", "[0, 0]"),
        "1 / (mpf('1e-8') * sqrt(10))",
    ),
    Judgement(
        ("torch.hypot",), "wrong",
        "NaN at the origin. There is no gradient there, but every one-sided or generalised one is bounded by 1, and "
        "`torch.linalg.vector_norm` of the same numbers has 0.",
        "y = torch.zeros(1, dtype=torch.float64)\n" + gradient("torch.hypot(x, y)", "[0.]"), "0",
    ),
    Judgement(
        ("torch.nn.functional.hardsigmoid",), "wrong",
        "The 1/6 of the backward kernel is a float32 literal, whatever the dtype.",
        gradient("F.hardsigmoid(x)", "[.5]"), "mpf(1) / 6",
    ),
    Judgement(
        ("torch.nn.functional.celu",), "wrong", "The backward pass rounds alpha to float32, whatever the dtype.",
        gradient("F.celu(x, alpha=.3)", "[-.5]"), "exp(mpf(-.5) / mpf(.3))", ("alpha=",),
    ),
    Judgement(
        ("torch.nn.functional.pdist",), "wrong",
        "The backward pass over no rows ends the process with a segmentation fault.",
        "import subprocess, sys\n"
        "code = 'import torch; torch.pdist(torch.zeros(0, 3, requires_grad=True)).sum().backward()'\n"
        "subprocess.run([sys.executable, '-c', code]).returncode", "0",
    ),
    Judgement(
        ("torch.kron",), "wrong",
        "What it multiplies is kept by views that share no version counter: an edit before the backward pass goes "
        "unnoticed, and the gradient comes from the edited values.",
        "y = torch.tensor([[3.]])\nx = torch.ones(1, 1, requires_grad=True)\nout = torch.kron(x, y)\ny.mul_(-2)\n"
        "out.backward()\nx.grad", "3",
    ),
    Judgement(
        ("torch.matrix_exp", "torch.linalg.matrix_exp"), "wrong",
        "The backward pass takes the exponential of a block matrix with the cotangent in it, and scales it by the norm of "
        "the whole: the larger the cotangent, the fewer digits the gradient has.",
        "x = torch.tensor([[.1, .2], [.3, .4]], requires_grad=True)\ng = torch.tensor([[2.**20, 0.], [0., 0.]])\n"
        "torch.linalg.matrix_exp(x).backward(g)\nx.grad[0, 0] / 2**20",
        "diff(lambda a: expm(matrix([[a, mpf(.2)], [mpf(.3), mpf(.4)]]))[0, 0], mpf(.1))",
    ),
    # what leaves the range
    Judgement(
        ("torch.nn.functional.soft_margin_loss",), "range",
        "exp(-x y) overflows in log(1 + exp(-x y)): in float32 from 89 on, in float64 from 710.",
        "F.soft_margin_loss(torch.tensor([-100.]), torch.tensor([1.]))", "log1p(exp(100))",
    ),
    Judgement(
        ("torch.asinh", "torch.acosh"), "range",
        "x² overflows in 1 / sqrt(x² ± 1): in float32 from 1.9e19 on, in float64 from 1.4e154.",
        gradient("torch.asinh(x)", "[1e200]"), "1 / sqrt(mpf(1e200) ** 2 + 1)",
    ),
    Judgement(
        ("torch.atan2",), "range", "x² + y² overflows and underflows in x / (x² + y²).",
        "y = torch.tensor([-1e200], dtype=torch.float64)\n" + gradient("torch.atan2(x, y)", "[1e200]"),
        "-1 / (2 * mpf(1e200))",
    ),
    Judgement(
        ("torch.norm", "torch.linalg.vector_norm"), "range", "The sum of squares overflows.",
        "torch.linalg.vector_norm(torch.tensor([1e200, 1e200], dtype=torch.float64))", "sqrt(2) * mpf(1e200)", ("large",),
    ),
    Judgement(
        ("torch.rsqrt",), "range", "The cube of the result overflows, and a cotangent of 0 times infinity is NaN.",
        "x = torch.tensor([1e-300], dtype=torch.float64, requires_grad=True)\n"
        "torch.rsqrt(x).backward(torch.zeros(1).double())\nx.grad", "0",
    ),
    # what loses digits
    Judgement(
        tuple(TRIGAMMA.split()), "precision", "Trigamma's asymptotic series stops after four terms.",
        gradient("torch.digamma(x)", "[1.5]"), "polygamma(1, mpf(1.5))",
    ),
    Judgement(
        ("torch.tanh", "torch.nn.functional.tanh", "torch.Tensor.tanh_"), "precision",
        "1 - out² cancels where tanh saturates.",
        gradient("torch.tanh(x)", "[12.]"), "sech(12) ** 2",
    ),
    Judgement(
        ("torch.sigmoid", "torch.special.expit", "torch.nn.functional.sigmoid", "torch.Tensor.sigmoid_",
         "torch.nn.functional.glu"), "precision", "1 - out cancels where the sigmoid is close to 1.",
        gradient("torch.sigmoid(x)", "[30.]"), "exp(-30) / (1 + exp(-30)) ** 2",
    ),
    Judgement(
        ("torch.sinc", "torch.special.sinc"), "precision",
        "cos(z) - sin(z)/z cancels near 0: 5 digits are left at 1e-6, none at 1e-8.",
        gradient("torch.sinc(x)", "[1e-6]"), "(cos(pi * mpf(1e-6)) - sinc(pi * mpf(1e-6))) / mpf(1e-6)",
    ),
    Judgement(
        ("torch.expm1", "torch.special.expm1"), "precision", "out + 1 cancels where out is close to -1.",
        gradient("torch.expm1(x)", "[-30.]"), "exp(-30)",
    ),
    Judgement(
        ("torch.logcumsumexp",), "precision", "exp(x - out) has the absolute error of out as its relative one.",
        gradient("torch.logcumsumexp(x, 0)[1]", "[699.3, 700.1]"), "1 / (1 + exp(mpf(700.1) - mpf(699.3)))",
    ),
    Judgement(
        ("torch.nn.functional.gelu",), "precision", "1 + erf, and 1 + tanh, cancel in the left tail.",
        "F.gelu(torch.tensor(-8., dtype=torch.float64))", "-8 * ncdf(-8)",
    ),
    Judgement(
        ("torch.linalg.householder_product",), "precision",
        "The backward pass takes the reflections back one by one with their inverses, which cancel for long vectors.",
        "x = torch.tensor([[0.], [1e6]], dtype=torch.float64)\n"
        "tau = torch.tensor([.5], dtype=torch.float64, requires_grad=True)\n"
        "torch.linalg.householder_product(x, tau).sum().backward()\ntau.grad", "-1 - mpf(1e6)",
    ),
    Judgement(
        ("torch.nn.functional.scaled_dot_product_attention",), "precision",
        "Where the softmax saturates, what the backward pass subtracts (the cotangent times the output) cancels.",
        "k = torch.tensor([[[[-1., -1.8], [-.4, 1.2]]]], dtype=torch.float64)\n"
        "v = torch.tensor([[[[.3, .3], [.7, .7]]]], dtype=torch.float64)\n"
        "x = torch.tensor([[[[-6.6, -16.3]]]], dtype=torch.float64, requires_grad=True)\n"
        "F.scaled_dot_product_attention(x, k, v)[0, 0, 0, 0].backward()\nx.grad[0, 0, 0, 0]",
        "t = (mpf(-6.6) * (mpf(-.4) + 1) + mpf(-16.3) * (mpf(1.2) + mpf(1.8))) / sqrt(2)\np = 1 / (1 + exp(t))\n"
        "p * (1 - p) * (mpf(.3) - mpf(.7)) * (-1 - mpf(-.4)) / sqrt(2)",
    ),
    # by design
    Judgement(
        ("torch.nn.functional.embedding",), "by design",
        "Documented: the gradient of a row is divided by how often it is looked up.",
        "k = torch.tensor([0, 0])\n" + gradient("F.embedding(k, x, scale_grad_by_freq=True)", "[[1.]]"), "2",
        ("scale_grad_by_freq",),
    ),
    Judgement(
        ("torch.nn.functional.embedding",), "by design",
        "Documented: rows beyond max_norm are scaled in place before the lookup, out of autograd's sight.",
        "k = torch.tensor([0])\n" + gradient("F.embedding(k, x.clone(), max_norm=1.)[:, 0]", "[[3., 4.]]", "[0, 0]"),
        "diff(lambda v: v / sqrt(v ** 2 + 16), 3)", ("max_norm",),
    ),
    Judgement(
        ("torch.nn.functional.gaussian_nll_loss",), "by design",
        "Documented: the variance is clamped from below, out of autograd's sight.",
        "y = torch.zeros(1, dtype=torch.float64)\n" + gradient("F.gaussian_nll_loss(y, y, x)", "[1e-8]"), "0",
    ),
    Judgement(
        ("torch.nn.functional.ctc_loss",), "by design",
        "The gradient holds behind log_softmax: it differs from that of the loss by the probabilities themselves, which "
        "log_softmax's own backward pass takes away. The documentation does not say so.",
        "k = torch.tensor([[1]])\n"
        + gradient("F.ctc_loss(x.log(), k, (2,), (1,), reduction='sum')", "[[[.2, .5, .3]], [[.1, .1, .8]]]", "[0, 0, 0]"),
        "p = lambda a: mpf(.5) * mpf(.1) + a * mpf(.1) + mpf(.5) * mpf(.1)\ndiff(lambda a: -log(p(a)), mpf(.2))",
        ("the log probabilities themselves",),
    ),
)  # fmt: skip
