"""Compositions of ops that mappings of several frameworks share.

Constants like pi are computed in the graph, because a literal would have the digits of a double only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .base import Tracer
from .value import Value

Map = Callable[..., Any]


def entering(table: dict[str, Map]) -> Callable[..., Callable[[Map], Map]]:
    """The decorator of a table's mappings, @maps("name another") or maps("name")(f); no name is entered twice."""

    def maps(*names: str) -> Callable[[Map], Map]:
        def enter(f: Map) -> Map:
            for name in " ".join(names).split():
                assert name not in table, name
                table[name] = f
            return f

        return enter

    return maps


def direct(op: str) -> Map:
    """As the table's op of this name."""
    f: Any = lambda xp, *xs: xp.call(op, *xs)
    f.op = op
    return f


# ---- elementwise ----------------------------------------------------------------------------------------------------


def pi(xp: Tracer) -> Value:
    return xp.atan(1.0) * 4.0


def times(x: Value, k: Any) -> Value:
    """x·k, without a node for a factor of 1."""
    return x if not isinstance(k, Value) and k == 1 else x * k


def floor_divide(xp: Tracer, x: Value, y: Value) -> Value:
    return xp.floor(xp.divide(x, y))


def fmod(xp: Tracer, x: Value, y: Value) -> Value:
    return xp.subtract(x, xp.multiply(xp.trunc(xp.divide(x, y)), y))


def frexp(xp: Tracer, x: Value) -> tuple[Value, None]:
    """The mantissa; the exponents are integers, and as such concrete."""
    return x * xp.concrete(np.ldexp(1.0, -xp.output(1))), None


def cbrt(xp: Tracer, x: Value) -> Value:
    return xp.sign(x) * xp.pow(xp.abs(x), xp.divide(1.0, 3.0))


def copysign(xp: Tracer, x: Value, y: Value) -> Value:
    if not isinstance(y, Value):
        return xp.abs(x) if math.copysign(1.0, y) > 0 else xp.negative(xp.abs(x))
    return xp.where(xp.less(y, 0.0), xp.negative(xp.abs(x)), xp.abs(x))


def heaviside(xp: Tracer, x: Value, at_zero: Any) -> Value:
    return xp.where(xp.equal(x, 0.0), at_zero, xp.where(xp.greater(x, 0.0), 1.0, 0.0))


def logical_xor(xp: Tracer, x: Value, y: Value) -> Value:
    return xp.logical_and(xp.logical_or(x, y), xp.logical_not(xp.logical_and(x, y)))


def where(xp: Tracer, mask: Any, x: Value, y: Value) -> Value:
    """Of masks too, which the table's op does not choose between."""
    if all(isinstance(v, Value) and v.kind == "bool" for v in (x, y)):
        return xp.logical_or(xp.logical_and(mask, x), xp.logical_and(xp.logical_not(mask), y))
    return xp.where(mask, x, y)


def log_ndtr(xp: Tracer, x: Value) -> Value:
    return xp.log_ndtr(x)


def ndtri(xp: Tracer, p: Value) -> Value:
    return xp.erfinv(2.0 * p - 1.0) * xp.sqrt(2.0)


# ---- arrays ---------------------------------------------------------------------------------------------------------


def along(xp: Tracer, x: Value, dim: int, start: int, stop: int, step: int = 1) -> Value:
    dim %= x.ndim
    return xp.getitem(x, index=((None, None, 1),) * dim + ((start, stop, step),))


def at(xp: Tracer, x: Value, dim: int, k: int) -> Value:
    return xp.getitem(x, index=((None, None, 1),) * (dim % x.ndim) + (k,))


def scalar(xp: Tracer, value: Any) -> Any:
    """A number as an operand of a table op."""
    return (
        value
        if isinstance(value, Value)
        else xp.concrete(np.asarray(value))
        if np.iscomplexobj(value)
        else float(value)
    )


def affine(xp: Tracer, x: Value, w: Value | None, b: Value | None) -> Value:
    x = x if w is None else x * w
    return x if b is None else x + b


def padded(xp: Tracer, x: Value, pairs: Sequence[tuple[int, int]], value: Any = 0) -> Value:
    """One (before, after) pair per axis; negative ones crop."""
    crop = tuple((max(0, -b), n - max(0, -a), 1) for (b, a), n in zip(pairs, x.shape))
    x = xp.getitem(x, index=crop) if any(b < 0 or a < 0 for b, a in pairs) else x
    pads = tuple((max(0, b), max(0, a)) for b, a in pairs)
    if not any(b or a for b, a in pads):
        return x
    if (not isinstance(value, Value) and value == 0) or x.kind == "bool":
        return xp.pad(x, pads=pads)
    inside = np.pad(np.ones(x.shape, dtype=bool), pads)
    return xp.where(xp.concrete(inside), xp.pad(x, pads=pads), scalar(xp, value))


def correlation(xp: Tracer, x: Value, w: Value, stride: Any, padding: Any, dilation: Any, groups: int) -> Value:
    """One, two or three axes, by conv2d: with an axis of size 1, or a sum over the first axis of the kernel."""
    n = w.ndim - 2
    if n == 2:
        return xp.conv2d(x, w, stride=tuple(stride), padding=tuple(padding), dilation=tuple(dilation), groups=groups)
    if n == 1:
        grow = lambda v: xp.expand_dims(v, axis=2)
        out = correlation(xp, grow(x), grow(w), [1, *stride], [0, *padding], [1, *dilation], groups)
        return xp.squeeze(out, axis=2)
    x = xp.pad(x, pads=((0, 0), (0, 0), (padding[0],) * 2, (0, 0), (0, 0)))
    batch, channels, depth, *plane = x.shape
    windows = (depth - dilation[0] * (w.shape[2] - 1) - 1) // stride[0] + 1
    total = None
    for k in range(w.shape[2]):
        first = k * dilation[0]
        layers = along(xp, x, 2, first, first + stride[0] * (windows - 1) + 1, stride[0])
        images = xp.reshape(xp.permute_dims(layers, axes=(0, 2, 1, 3, 4)), shape=(batch * windows, channels, *plane))
        part = correlation(xp, images, at(xp, w, 2, k), stride[1:], padding[1:], dilation[1:], groups)
        total = part if total is None else total + part
    assert total is not None
    out = xp.reshape(total, shape=(batch, windows, *total.shape[1:]))
    return xp.permute_dims(out, axes=(0, 2, 1, 3, 4))


# ---- factorisations, to which the op table has no op of their own --------------------------------------------------------

LARGEST_FACTOR = 32
"""Rows of a matrix that is eliminated column by column: each column is a handful of nodes."""


def eliminated(xp: Tracer, a: Value) -> Value:
    """Return L and U of a matrix with rows in pivot order, packed as LAPACK does.

    Gaussian elimination, one rank-one update per column (Golub & Van Loan, "Matrix Computations", section 3.2). `a` is
    (..., m, n)."""
    m, n = a.shape[-2:]
    xp.require(max(m, n) <= LARGEST_FACTOR, f"the elimination of a matrix with more than {LARGEST_FACTOR} rows")
    lead = a.ndim - 2
    whole = ((None, None, 1),) * lead
    out: Value | None = None
    rest = a
    for k in range(min(m, n)):
        row = xp.getitem(rest, index=(*whole, (k, k + 1, 1), (k, n, 1)))
        pivot = xp.getitem(rest, index=(*whole, (k, k + 1, 1), (k, k + 1, 1)))
        column = xp.getitem(rest, index=(*whole, (k + 1, m, 1), (k, k + 1, 1))) / pivot
        parts = [xp.embed(row, index=(*whole, (k, k + 1, 1), (k, n, 1)), shape=a.shape)]
        if k + 1 < m:
            parts.append(xp.embed(column, index=(*whole, (k + 1, m, 1), (k, k + 1, 1)), shape=a.shape))
            update = xp.embed(xp.matmul(column, row), index=(*whole, (k + 1, m, 1), (k, n, 1)), shape=a.shape)
            rest = rest - update
        for part in parts:
            out = part if out is None else out + part
    return a if out is None else out  # an empty matrix


def orthogonalised(xp: Tracer, a: Value, signs: np.ndarray) -> tuple[Value, Value]:
    """Return Q (..., m, k) and R (..., k, n), k = min(m, n), by modified Gram-Schmidt.

    `signs` are those of the diagonal of R, in which libraries differ. The columns must be independent."""
    m, n = a.shape[-2:]
    k = min(m, n)
    xp.require(a.kind != "complex", "the QR factors of a complex matrix")
    xp.require(0 < k <= LARGEST_FACTOR, f"the QR factors of a matrix with more than {LARGEST_FACTOR} columns, or none")
    lead = ((None, None, 1),) * (a.ndim - 1)
    columns: list[Value] = []
    for j in range(k):
        v = xp.getitem(a, index=(*lead, (j, j + 1, 1)))
        for q in columns:
            v = v - q * xp.sum(q * v, axis=-2, keepdims=True)
        unit = v / xp.vector_norm(v, axis=-2, keepdims=True)
        columns.append(unit * xp.concrete(signs[..., j][..., None, None].astype(np.float64)))
    q = xp.concat(columns, axis=-1)
    return q, xp.triu(xp.matmul(xp.matrix_transpose(q), a))


def backward_stable(xp: Tracer, a: Value, at: np.ndarray) -> Value:
    """Return the matrix `a`, whose value is `at`, with the rounding of a sum with n·max|a|.

    That is nothing to the oracle, and to the budget what a backward stable algorithm may make of it (LAPACK Users'
    Guide, 3rd ed. 1999, sections 4.7 and 4.9: the exact decomposition of a matrix moved by p(n)·u·|A|). Not a round
    number, lest the sum be exact."""
    size = 1.2345678 * max(at.shape[-2:]) * float(np.max(np.abs(at), initial=0.0))
    return (a + size) - size if size and np.isfinite(size) else a


def refinements(vectors: np.ndarray) -> int:
    """Return the number of Newton steps from these vectors.

    Each doubles the digits, those of a first and of a second derivative too, one and two steps' worth behind: of double
    precision 15 become 60, 45 and 30; of single precision 6 become 48, 42 and 36."""
    return 3 if vectors.dtype in (np.float32, np.complex64) else 2


def adjoint(xp: Tracer, x: Value) -> Value:
    """Return the conjugate transpose."""
    return xp.matrix_transpose(xp.conj(x) if x.kind == "complex" else x)


def _real(xp: Tracer, x: Value) -> Value:
    return xp.real(x) if x.kind == "complex" else x


def eigen(xp: Tracer, a: Value, vectors: np.ndarray) -> tuple[Value, Value]:
    """Eigenvalues (..., n) and eigenvectors of a Hermitian matrix, from good vectors to any precision.

    Newton's method for the pair of conditions X^H X = I and X^H A X diagonal (Ogita & Aishima, "Iterative refinement
    for symmetric eigenvalue decomposition", Japan J. Indust. Appl. Math. 35, 2018, algorithm 1). It converges
    quadratically, and so do its derivatives; it needs distinct eigenvalues, as the derivative itself does. The vectors
    keep the signs, or phases, of the given ones: x^H dx is real.
    """
    n = a.shape[-1]
    eye = xp.concrete(np.eye(n))
    off = xp.concrete(~np.eye(n, dtype=bool))
    x = xp.concrete(vectors)
    values = xp.concrete(np.empty(0))
    for _ in range(refinements(vectors)):
        xt = adjoint(xp, x)
        r = eye - xp.matmul(xt, x)
        s = xp.matmul(xt, xp.matmul(a, x))
        values = _real(xp, xp.diagonal(s)) / (1.0 - _real(xp, xp.diagonal(r)))
        rows, columns = xp.expand_dims(values, axis=-1), xp.expand_dims(values, axis=-2)
        gap = xp.where(off, columns - rows, 1.0)
        x = x + xp.matmul(x, xp.where(off, (s + r * columns) / gap, r * 0.5))
    return values, x


def eigen_general(
    xp: Tracer, a: Value, right: np.ndarray, left: np.ndarray | None = None
) -> tuple[Value, Value | None, Value]:
    """Eigenvalues (..., n), left (where some are given) and right eigenvectors of any matrix with distinct eigenvalues.

    Newton's method for X^-1 A X diagonal: with X(I + E) to first order, entry (i, j) of X^-1 A X is E_ij (λ_j - λ_i).
    The left vectors are the columns of X^-H. All have norm 1 and the phase of the given ones in their largest component,
    as LAPACK's xGEEV makes it real.
    """
    off = xp.concrete(~np.eye(a.shape[-1], dtype=bool))
    x = xp.concrete(right)
    values = xp.concrete(np.empty(0))
    for _ in range(refinements(right)):
        s = xp.solve(x, xp.matmul(a, x))
        values = xp.diagonal(s)
        gap = xp.where(off, xp.expand_dims(values, axis=-2) - xp.expand_dims(values, axis=-1), 1.0)
        x = x + xp.matmul(x, xp.where(off, s / gap, 0.0))
    lefts = None if left is None else _with_phases_of(xp, adjoint(xp, xp.inv(x)), left)
    return values, lefts, _with_phases_of(xp, x, right)


def _with_phases_of(xp: Tracer, x: Value, given: np.ndarray) -> Value:
    """Return the columns of `x` with norm 1, and the phases that `given` has in its columns' largest components."""
    n = given.shape[-2]
    largest = np.argmax(np.abs(given), axis=-2)[..., None, :]
    here = xp.concrete(np.arange(n)[:, None] == largest)
    top = np.take_along_axis(given, largest, axis=-2)
    component = xp.sum(xp.where(here, x, 0.0), axis=-2, keepdims=True)
    turn = xp.conj(component) * xp.concrete(top)
    return x * (turn / xp.abs(turn)) / xp.sqrt(xp.sum(xp.square(xp.abs(x)), axis=-2, keepdims=True))


def singular(xp: Tracer, a: Value, u: np.ndarray, v: np.ndarray) -> tuple[Value, Value, Value]:
    """Return U (..., m, k), the singular values (..., k) and V (..., n, k), refined to any precision.

    k = min(m, n). As `eigen`, with U^H U = I, V^H V = I and U^H A V diagonal. With U(I + F) and V(I + G) to first
    order, F + F^H = I - U^H U =: R, G + G^H = I - V^H V =: S, and entry (i, j) of F^H T + T + T G vanishes, T = U^H A
    V; entries (i, j) and (j, i) give F_ij and G_ij. Of the diagonal, whose phases are free, F takes what makes T real.
    Where m > n, what U lacks is (I - U (I + R) U^H) A V / sigma, which has no part in the span of U: (U^H U)^-1 = I + R.
    Distinct singular values are needed, and for m != n or complex ones none that is 0. The vectors keep the signs of the
    given ones; of complex ones, V keeps its phases: v^H dv is real."""
    m, n = a.shape[-2:]
    if m < n:
        right, values, left = singular(xp, adjoint(xp, a), v, u)
        return left, values, right
    eye, off = xp.concrete(np.eye(n)), xp.concrete(~np.eye(n, dtype=bool))
    left, right, values = xp.concrete(u), xp.concrete(v), xp.concrete(np.empty(0))
    for _ in range(refinements(u)):
        image = xp.matmul(a, right)
        ut = adjoint(xp, left)
        r = eye - xp.matmul(ut, left)
        s = eye - xp.matmul(adjoint(xp, right), right)
        t = xp.matmul(ut, image)
        both = _real(xp, xp.diagonal(r)) + _real(xp, xp.diagonal(s))
        values = _real(xp, xp.diagonal(t)) / (1.0 - both * 0.5)
        rows, columns = xp.expand_dims(values, axis=-1), xp.expand_dims(values, axis=-2)
        alpha, beta = t + columns * r, adjoint(xp, t) + columns * s
        gap = xp.where(off, (columns - rows) * (columns + rows), 1.0)
        turned = (t - adjoint(xp, t)) / (2.0 * columns) if t.kind == "complex" else 0.0
        f = xp.where(off, (alpha * columns + beta * rows) / gap, r * 0.5 + turned)
        g = xp.where(off, (alpha * rows + beta * columns) / gap, s * 0.5)
        step = xp.matmul(left, f)
        if m > n:
            step = step + (image - xp.matmul(left, t + xp.matmul(r, t))) / columns
        left, right = left + step, right + xp.matmul(right, g)
    return left, values, right


def least_squares(xp: Tracer, a: Value, b: Value) -> Value:
    """Return the least-squares solution of least norm of a x = b.

    By QR factors, for a matrix of full rank."""
    m, n = a.shape[-2:]
    swap = xp.matrix_transpose
    tall = a if m >= n else swap(a)
    q, r = orthogonalised(xp, tall, np.ones((*a.shape[:-2], min(m, n))))
    if m >= n:
        return xp.solve_triangular(r, xp.matmul(swap(q), b), upper=True)
    return xp.matmul(q, xp.solve_triangular(swap(r), b, upper=False))


def low_rank_inverse(xp: Tracer, left: Value, values: Value, right: Value, kept: np.ndarray) -> Value:
    """Return V diag(1/sigma) U^T over the `kept` values: the pseudo-inverse of the nearest matrix of that rank."""
    inverse = xp.where(xp.concrete(kept), xp.divide(1.0, xp.where(xp.concrete(kept), values, 1.0)), 0.0)
    return xp.matmul(right * xp.expand_dims(inverse, axis=-2), xp.matrix_transpose(left))


def matrix_exponential(xp: Tracer, a: Value, size: float) -> Value:
    """Return exp of a matrix of norm `size` at the point.

    By scaling to below 2^-8, 40 terms of the series, and squaring: 2^(-8*41)/41! is below 2^-490, and squaring keeps
    the relative error within a factor of 2 each time."""
    squarings = max(0, int(np.ceil(np.log2(max(size, 1e-300)))) + 8)
    xp.require(squarings <= 30, "the exponential of a matrix of norm above 2^22")
    small = a * 2.0**-squarings
    eye = xp.spread(xp.concrete(np.eye(a.shape[-1])), a.shape)
    out = eye
    for k in range(40, 0, -1):  # Horner's rule
        out = eye + xp.matmul(small, out) / float(k)
    for _ in range(squarings):
        out = xp.matmul(out, out)
    return out
