"""Arb balls (python-flint): every result encloses the exact one, its own rounding included.

F. Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic", IEEE Trans. Comp. 66 (2017).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from flint import acb, arb, arb_mat

from .objects import ObjectNamespace


def _pow(x: arb, y: arb) -> arb:
    n = y.unique_fmpz() if y.is_exact() else None
    return x**y if n is None else x ** int(n)


def _polygamma(x: arb, n: int) -> arb:
    """psi_n(x) = (-1)^(n+1) n! zeta(n+1, x) (DLMF 25.11.12); Arb has Hurwitz's zeta for x < 0 over complex balls alone."""
    if n == 0:
        return x.digamma()
    value = arb(n).fac() * (arb(n + 1).zeta(x) if x > 0 else acb(n + 1).zeta(acb(x)).real)
    return value if n % 2 else -value


def _atan2(y: arb, x: arb) -> arb:
    return arb.atan2(y, x)


def _round(x: arb) -> arb:
    """To the nearest integer, ties to even."""
    low = x.floor()
    rest = x - low
    up = rest > 0.5 or (not rest < 0.5 and not (low / 2).is_integer())
    return low + 1 if up else low


class BallNamespace(ObjectNamespace):
    """The op table's kernels over Arb balls.

    `undecided` counts comparisons of overlapping balls since it was last cleared: the kink detector's raw signal.
    """

    column = "balls"
    number = arb
    functions = {
        "add": lambda x, y: x + y,
        "subtract": lambda x, y: x - y,
        "multiply": lambda x, y: x * y,
        "divide": lambda x, y: x / y,
        "pow": _pow,
        "negative": lambda x: -x,
        "abs": abs,
        "sign": arb.sgn,
        "square": lambda x: x * x,
        "reciprocal": lambda x: 1 / x,
        "sqrt": arb.sqrt,
        "exp": arb.exp,
        "expm1": arb.expm1,
        "exp2": lambda x: arb(2) ** x,
        "log": arb.log,
        "log1p": arb.log1p,
        "log2": lambda x: x.log() / arb(2).log(),
        "log10": lambda x: x.log() / arb(10).log(),
        "sin": arb.sin,
        "cos": arb.cos,
        "tan": arb.tan,
        "asin": arb.asin,
        "acos": arb.acos,
        "atan": arb.atan,
        "sinh": arb.sinh,
        "cosh": arb.cosh,
        "tanh": arb.tanh,
        "asinh": arb.asinh,
        "acosh": arb.acosh,
        "atanh": arb.atanh,
        "atan2": _atan2,
        "hypot": lambda x, y: (x * x + y * y).sqrt(),
        # One of the two as it stands where they do not overlap: a later comparison must find it equal to itself.
        "maximum": lambda x, y: x if x > y else y if y > x else x if x is y else x.max(y),
        "minimum": lambda x, y: x if x < y else y if y < x else x if x is y else x.min(y),
        "floor": arb.floor,
        "ceil": arb.ceil,
        "trunc": lambda x: x.floor() if x >= 0 else x.ceil(),
        "round": _round,
        "erf": arb.erf,
        "erfc": arb.erfc,
        "erfinv": arb.erfinv,
        "lgamma": lambda x: abs(x.gamma()).log() if not x > 0 else x.lgamma(),
        "digamma": arb.digamma,
        "polygamma": lambda x, n=1: _polygamma(x, n),
    }

    def __init__(self) -> None:
        self.undecided = 0
        self.matrices: OrderedDict[Any, tuple[np.ndarray, arb_mat]] = OrderedDict()
        super().__init__("balls")

    # Properties: their precision is the one at work when they are asked for.
    pi = property(lambda self: arb.pi())
    ln2 = property(lambda self: arb(2).log())
    ln10 = property(lambda self: arb(10).log())
    sqrt2 = property(lambda self: arb(2).sqrt())

    def scalar(self, x: Any) -> arb:
        return x if isinstance(x, arb) else arb(int(x) if isinstance(x, bool | np.integer | np.bool_) else x)

    def compare(self, x: arb, y: arb) -> int:
        if x > y:
            return 1
        if x < y:
            return -1
        if x is y or (x.mid() == y.mid() and x.rad() == y.rad()):
            # The same computation met itself (x against the maximum it came from): equal, not undecided. Two
            # different ones that tie are found by the op's `kinks`.
            return 0
        if not (x.is_exact() and y.is_exact()):
            self.undecided += 1
            x, y = x.mid(), y.mid()
            return 1 if x > y else -1 if x < y else 0
        return 0

    def isfinite(self, x: Any) -> np.ndarray:
        return np.asarray(np.frompyfunc(lambda v: v.is_finite(), 1, 1)(self.asarray(x)), dtype=bool)

    def magnitude(self, x: arb) -> float:
        # A pivot that may be zero is no pivot.
        return 0.0 if x.contains(0) else abs(float(x.mid()))

    def det(self, x: Any) -> np.ndarray:
        """Arb's own: an enclosure for singular matrices too, where elimination finds no pivot that is surely not 0."""
        x = self.asarray(x)
        n = x.shape[-1]
        out = np.empty(x.shape[:-2], dtype=object)
        for at in np.ndindex(out.shape):
            out[at] = arb_mat(n, n, x[at].ravel().tolist()).det() if n else arb(1)
        return out

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        (n, k), m = a.shape, b.shape[1]
        if 0 in (n, k, m):
            return self.zeros((n, m))
        entries = (self._matrix(a) * self._matrix(b)).entries()
        out = np.empty(n * m, dtype=object)
        out[:] = entries
        return out.reshape(n, m)

    def _matrix(self, a: np.ndarray) -> arb_mat:
        """The array as Arb's own matrix. Making one costs as much as a product with a vector, and one operand often
        stays the same while the point moves: the last large ones are kept, with their arrays, so that an address
        means the same array."""
        if a.size < KEPT_SIZE:
            return arb_mat(a.shape[0], a.shape[1], a.ravel().tolist())
        key = (a.__array_interface__["data"][0], a.shape, a.strides)
        if key not in self.matrices:
            self.matrices[key] = (a, arb_mat(a.shape[0], a.shape[1], a.ravel().tolist()))
            while len(self.matrices) > KEPT_COUNT:
                self.matrices.popitem(last=False)
        return self.matrices[key][1]


KEPT_SIZE, KEPT_COUNT = 4096, 4

BALLS = BallNamespace()
