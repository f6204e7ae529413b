"""Arb balls (python-flint): every result encloses the exact one, its own rounding included.

F. Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic", IEEE Trans. Comp. 66 (2017).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np
from flint import acb, arb, arb_mat, ctx

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


def _ierfcx(x: arb, n: int) -> arb:
    """exp(x²) times the n-th repeated integral of erfc: by Kummer's U (DLMF 7.18.10), and by its recurrence (DLMF 7.18.7)
    next to 0 and below, where U is of another branch."""
    if x > 0.5:
        return (x * x).hypgeom_u(arb(n + 1) / 2, arb(1) / 2) / (arb(2) ** n * arb.pi().sqrt())
    before, out = 2 / arb.pi().sqrt(), (x * x).exp() * x.erfc()
    for k in range(n):
        before, out = out, (before - 2 * x * out) / (2 * (k + 1))
    return out


def _log_ndtr(x: arb) -> arb:
    y = -x / arb(2).sqrt()
    if y > 0.5:  # erfc's own balls hold 0 from 10^5 on
        return (_ierfcx(y, 0) / 2).log() - y * y
    return (-(-y).erfc() / 2).log1p()


def _dsinc(x: arb, n: int) -> arb:
    """The n-th derivative of sinc, from x s(n) + n s(n-1) = π^(n-1) sin(πx + nπ/2); near 0 by its series, whose terms
    alternate and decrease from k = n + 4 on, so that the first one left out bounds the rest."""
    pi = arb.pi()
    if abs(x) > 1:
        out = x.sinc_pi()
        for k in range(1, n + 1):
            turned = (x.sin_pi(), x.cos_pi(), -x.sin_pi(), -x.cos_pi())[k % 4]
            out = (pi ** (k - 1) * turned - k * out) / x
        return out
    z, total, k = pi * x, arb(0), (n + 1) // 2
    term = arb(-1) ** k / ((2 * k + 1) * arb(2 * k - n).fac()) * z ** (2 * k - n)
    smallest = arb(2) ** -(ctx.prec + 16)
    while k < n + 4 or (not abs(term) < smallest * abs(total) and not (term == 0 and k > n + 4)):
        total += term
        k += 1
        term = arb(-1) ** k / ((2 * k + 1) * arb(2 * k - n).fac()) * z ** (2 * k - n)
        if k > 4 * ctx.prec:
            break
    return pi**n * (total + arb(0, abs(term).upper()))


def _bessel_i(x: arb, n: int) -> arb:
    """DLMF 10.39.9."""
    return (x / 2) ** n / arb(n).fac() * (x * x / 4).hypgeom_0f1(arb(n + 1))


def _squareplus(x: arb, b: float) -> arb:
    root = (x * x + b).sqrt()
    return b / (2 * (root - x)) if x < 0 else (x + root) / 2


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
        "erfcx": lambda x: _ierfcx(x, 0),
        "ierfcx": lambda x, n=1: _ierfcx(x, n),
        "log_ndtr": _log_ndtr,
        "sinc": arb.sinc_pi,
        "dsinc": lambda x, n=1: _dsinc(x, n),
        "bessel_i": lambda x, n=0: _bessel_i(x, n),
        "squareplus": lambda x, b=4.0: _squareplus(x, b),
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
        """Arb's own where that is surely not 0, else a tight enclosure of a singular matrix's as well."""
        x = self.asarray(x)
        n = x.shape[-1]
        out = np.empty(x.shape[:-2], dtype=object)
        for at in np.ndindex(out.shape):
            found = arb_mat(n, n, x[at].ravel().tolist()).det() if n else arb(1)
            out[at] = _det(x[at].tolist()) if found.contains(0) else found
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


def _det(rows: list[list[arb]]) -> arb:
    """The determinant by elimination with complete pivoting (Golub & Van Loan, §3.4.8).

    Where no pivot is left that is surely not 0, all entries that are left are next to 0, and so is Hadamard's bound of
    them. With pivots of one column alone, other columns of that bound may be of any size.
    """
    found = arb(1)
    while rows:
        sizes = {(i, j): abs(v).lower() for i, row in enumerate(rows) for j, v in enumerate(row) if not v.contains(0)}
        if not sizes:
            norms = (sum((abs(v).upper() ** 2 for v in row), arb(0)).sqrt() for row in rows)
            return found * arb(0, math.prod(norms, start=arb(1)))
        i, j = max(sizes, key=lambda at: sizes[at])
        pivot = rows[i]
        found = found * pivot[j] * (-1) ** (i + j)
        others = [row for k, row in enumerate(rows) if k != i]
        factors = [row[j] / pivot[j] for row in others]
        rows = [[v - f * w for k, (v, w) in enumerate(zip(row, pivot)) if k != j] for row, f in zip(others, factors)]
    return found


KEPT_SIZE, KEPT_COUNT = 4096, 4

BALLS = BallNamespace()
