"""Linear algebra. Matrices are the last two axes; whatever stands before is a batch, and batches broadcast."""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ShapeError
from ..core.interval import Interval
from ..core.op import VARIADIC, Array, OpSpec, Param, Shape, Vocabulary
from .shapes import broadcast, matrix, normal_axis, square, without

# ---- products -------------------------------------------------------------------------------------------------------


def _batches(a: Shape, b: Shape) -> Shape:
    try:
        return broadcast(a[:-2], b[:-2])
    except ShapeError:
        raise ShapeError(f"shapes {a} and {b}: batches {a[:-2]} and {b[:-2]} do not broadcast") from None


def matmul_shape(a: Shape, b: Shape, **_: Any) -> Shape:
    """Array API standard, "matmul": a vector is a row on the left and a column on the right, and then dropped."""
    if not a or not b:
        raise ShapeError(f"shapes {a} and {b}: a scalar is no matrix; use multiply")
    rows, columns = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    if rows[-1] != columns[-2]:
        raise ShapeError(f"shapes {a} and {b}: inner sizes {rows[-1]} and {columns[-2]} differ")
    return (*_batches(rows, columns), *(a[-2:-1] if len(a) > 1 else ()), *(b[-1:] if len(b) > 1 else ()))


def _as_row(xp: Vocabulary, a: Array) -> Array:
    """The left operand of a product: a vector as a row."""
    return xp.expand_dims(a, 0) if len(xp.shape(a)) == 1 else a


def _as_column(xp: Vocabulary, b: Array) -> Array:
    """The right operand of a product: a vector as a column."""
    return xp.expand_dims(b, -1) if len(xp.shape(b)) == 1 else b


def _as_matrix(xp: Vocabulary, g: Array, a: Shape, b: Shape) -> Array:
    """The cotangent of a product of shapes a and b, with the axis of each vector that the product dropped."""
    if len(b) == 1:
        g = xp.expand_dims(g, -1)
    return xp.expand_dims(g, -2) if len(a) == 1 else g


def _matmul_vjp_a(xp: Vocabulary, g: Array, out: Array, a: Array, b: Array) -> Array:
    rows, columns = _as_matrix(xp, g, xp.shape(a), xp.shape(b)), _as_column(xp, b)
    return xp.sum_to(xp.matmul(rows, xp.matrix_transpose(columns)), xp.shape(a))


def _matmul_vjp_b(xp: Vocabulary, g: Array, out: Array, a: Array, b: Array) -> Array:
    rows, left = _as_matrix(xp, g, xp.shape(a), xp.shape(b)), _as_row(xp, a)
    if len(xp.shape(b)) <= 2 and len(xp.shape(left)) > 2:
        # One matrix for the whole batch: contract the batch along with the rows instead of summing products after.
        n = math.prod(xp.shape(left)[:-1])
        left = xp.reshape(left, (n, xp.shape(left)[-1]))
        rows = xp.reshape(rows, (n, xp.shape(rows)[-1]))
    product = xp.matmul(xp.matrix_transpose(left), rows)
    if len(xp.shape(b)) == 1:
        product = xp.squeeze(product, -1)
    return xp.sum_to(product, xp.shape(b))


def parsed(subscripts: str, shapes: tuple[Shape, ...]) -> tuple[list[str], str, dict[str, int]]:
    """(one word of letters per operand, the output's, the size of each letter). Raises ShapeError.

    An implicit output has the letters that appear once, in order, as NumPy's einsum. A letter twice in one operand
    means its diagonal. Every axis needs its letter: no ellipsis.
    """
    given = ", ".join(map(str, shapes))
    text = subscripts.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    words = inputs.split(",")
    if not all(c.isascii() and c.isalpha() for c in inputs.replace(",", "") + output):
        raise ShapeError(f"subscripts {subscripts!r}: only letters, commas and one '->' (every axis by name)")
    if len(words) != len(shapes):
        raise ShapeError(f"subscripts {subscripts!r} name {len(words)} operands, got {len(shapes)}: shapes {given}")
    sizes: dict[str, int] = {}
    for word, shape in zip(words, shapes):
        if len(word) != len(shape):
            raise ShapeError(f"subscripts {word!r} name {len(word)} axes of shape {shape} (in {subscripts!r})")
        for letter, n in zip(word, shape):
            if sizes.setdefault(letter, n) != n:
                raise ShapeError(f"subscripts {subscripts!r}, shapes {given}: {letter!r} is {sizes[letter]} and {n}")
    if not arrow:
        output = "".join(sorted(c for c in sizes if inputs.count(c) == 1))
    for letter in output:
        if letter not in sizes:
            raise ShapeError(f"subscripts {subscripts!r}: {letter!r} of the output is in no operand")
        if output.count(letter) > 1:
            raise ShapeError(f"subscripts {subscripts!r}: {letter!r} twice in the output")
    return words, output, sizes


def _einsum_shape(*shapes: Shape, subscripts: str, **_: Any) -> Shape:
    _words, output, sizes = parsed(subscripts, shapes)
    return tuple(sizes[c] for c in output)


def _einsum_image(*intervals: Interval, shapes: tuple[Shape, ...], subscripts: str, **_: Any) -> Interval:
    _words, output, sizes = parsed(subscripts, shapes)
    terms = math.prod(n for c, n in sizes.items() if c not in output)
    out = intervals[0]
    for i in intervals[1:]:
        out = out * i
    return out.scaled(terms) if terms else Interval.point(0.0)


def _einsum_vjp(xp: Vocabulary, i: int, g: Array, out: Array, *args: Any, subscripts: str) -> Array:
    """Another einsum: operand i and the output change places.

    A letter that only operand i has was summed: a vector of ones gives it back. A letter twice in operand i took a
    diagonal: an identity matrix puts it back.
    """
    words, output, sizes = parsed(subscripts, tuple(xp.shape(a) for a in args))
    others = [w for k, w in enumerate(words) if k != i]
    operands = [g, *(a for k, a in enumerate(args) if k != i)]
    terms = [output, *others]
    fresh = iter(c for c in map(chr, (*range(97, 123), *range(65, 91))) if c not in sizes)
    result = ""
    for letter in words[i]:
        new = letter
        if letter in result:
            new = next(fresh)
            terms.append(letter + new)
            operands.append(xp.eye(sizes[letter], like=args[i]))
        elif not any(letter in t for t in terms):
            terms.append(letter)
            operands.append(xp.ones((sizes[letter],), like=args[i]))
        result += new
    return xp.einsum(",".join(terms) + "->" + result, *operands)


def _outer_shape(a: Shape, b: Shape, **_: Any) -> Shape:
    if len(a) != 1 or len(b) != 1:
        raise ShapeError(f"shapes {a} and {b}: outer takes two vectors")
    return a + b


def _vecdot_shape(a: Shape, b: Shape, axis: int = -1, **_: Any) -> Shape:
    """The Array API's rule: `axis` is negative, counted from the end of both."""
    if axis >= 0 or -axis > min(len(a), len(b)):
        raise ShapeError(f"shapes {a} and {b}: axis {axis} must be negative and an axis of both")
    if a[axis] != b[axis]:
        raise ShapeError(f"shapes {a} and {b}: sizes {a[axis]} and {b[axis]} along axis {axis} differ")
    return without(broadcast(a, b), axis % max(len(a), len(b)))


def _tensordot_shape(a: Shape, b: Shape, axes: int = 2, **_: Any) -> Shape:
    if axes > min(len(a), len(b)) or a[len(a) - axes :] != b[:axes]:
        raise ShapeError(f"shapes {a} and {b}: the last {axes} axes of one are not the first {axes} of the other")
    return a[: len(a) - axes] + b[axes:]


def _tensordot(xp: Vocabulary, a: Array, b: Array, axes: int = 2) -> Array:
    left, right = xp.shape(a), xp.shape(b)
    free = left[: len(left) - axes]
    inner = math.prod(right[:axes])
    rows = xp.reshape(a, (math.prod(free), inner))
    return xp.reshape(xp.matmul(rows, xp.reshape(b, (inner, math.prod(right[axes:])))), free + right[axes:])


def _cross_shape(a: Shape, b: Shape, axis: int = -1, **_: Any) -> Shape:
    at = normal_axis(axis, len(a))
    if a != b or a[at] != 3:
        raise ShapeError(f"shapes {a} and {b}: cross takes equal shapes with 3 entries along axis {axis}")
    return a


def _cross(xp: Vocabulary, a: Array, b: Array, axis: int = -1) -> Array:
    one, two = lambda x: xp.roll(x, -1, axis), lambda x: xp.roll(x, -2, axis)
    return one(a) * two(b) - two(a) * one(b)


def _matrix_power(xp: Vocabulary, x: Array, n: int) -> Array:
    """By squaring."""
    if n == 1:
        return x
    half = _matrix_power(xp, x, n // 2)
    whole = xp.matmul(half, half)
    return xp.matmul(whole, x) if n % 2 else whole


# ---- systems and factors --------------------------------------------------------------------------------------------


def dominant(xp: Vocabulary, x: Array) -> Array:
    """Entries squeezed into [-1, 1] and n + 1 added to the diagonal: invertible by Gershgorin, condition below 2n."""
    n = xp.shape(x)[-1]
    return xp.tanh(x) + (n + 1) * xp.eye(n, like=x)


def _well_conditioned(xp: Vocabulary, x: Array, *rest: Array) -> tuple[Any, ...]:
    return (dominant(xp, x), *rest)


def _definite(xp: Vocabulary, x: Array) -> tuple[Any]:
    """Symmetric with dominant positive diagonal: positive definite by Gershgorin."""
    a = dominant(xp, x)
    return ((a + xp.matrix_transpose(a)) / 2,)


def _solve_shape(a: Shape, b: Shape, **_: Any) -> Shape:
    """Array API standard, "linalg.solve": b is one vector if it has one axis, and a stack of matrices otherwise."""
    square(a)
    if not b:
        raise ShapeError(f"shapes {a} and {b}: the right-hand side is a vector or a matrix")
    columns = (*b, 1) if len(b) == 1 else b
    if a[-1] != columns[-2]:
        raise ShapeError(f"shapes {a} and {b}: {a[-1]} unknowns, but {columns[-2]} rows on the right")
    out = (*_batches(a, columns), *columns[-2:])
    return out[:-1] if len(b) == 1 else out


def _triangular_shape(a: Shape, b: Shape, **_: Any) -> Shape:
    if len(b) < 2:
        raise ShapeError(f"shapes {a} and {b}: the right-hand side is a matrix, or a stack of them")
    return _solve_shape(a, b)


def _outer_of(xp: Vocabulary, rows: Any, columns: Any, b: Array) -> Array:
    """rows @ columns^T, where both are vectors if `b` is one."""
    if len(xp.shape(b)) == 1:
        rows, columns = xp.expand_dims(rows, -1), xp.expand_dims(columns, -1)
    return xp.matmul(rows, xp.matrix_transpose(columns))


def _adjoint_solve(xp: Vocabulary, g: Array, a: Array, b: Array) -> Array:
    """a^-T g, in the shape of the result."""
    transposed = xp.matrix_transpose(a)
    if len(xp.shape(b)) == 1:
        return xp.squeeze(xp.solve(transposed, xp.expand_dims(g, -1)), -1)
    return xp.solve(transposed, g)


def _solve_vjp_a(xp: Vocabulary, g: Array, out: Array, a: Array, b: Array) -> Array:
    return xp.sum_to(-_outer_of(xp, _adjoint_solve(xp, g, a, b), out, b), xp.shape(a))


def _solve_vjp_b(xp: Vocabulary, g: Array, out: Array, a: Array, b: Array) -> Array:
    return xp.sum_to(_adjoint_solve(xp, g, a, b), xp.shape(b))


def _triangular_adjoint(xp: Vocabulary, g: Array, a: Array, upper: bool, unit_diagonal: bool) -> Array:
    return xp.solve_triangular(xp.matrix_transpose(a), g, upper=not upper, unit_diagonal=unit_diagonal)


def _triangular_vjp_a(
    xp: Vocabulary, g: Array, out: Array, a: Array, b: Array, upper: bool = False, unit_diagonal: bool = False
) -> Array:
    """-a^-T g x^T, on the triangle that is read."""
    whole = -xp.matmul(_triangular_adjoint(xp, g, a, upper, unit_diagonal), xp.matrix_transpose(out))
    k = int(unit_diagonal)
    return xp.sum_to(xp.triu(whole, k) if upper else xp.tril(whole, -k), xp.shape(a))


def _triangular_vjp_b(
    xp: Vocabulary, g: Array, out: Array, a: Array, b: Array, upper: bool = False, unit_diagonal: bool = False
) -> Array:
    return xp.sum_to(_triangular_adjoint(xp, g, a, upper, unit_diagonal), xp.shape(b))


def _inv_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    """d(x^-1) = -x^-1 dx x^-1."""
    transposed = xp.matrix_transpose(out)
    return -xp.matmul(transposed, xp.matmul(g, transposed))


def _cholesky_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    """L^-T Phi(L^T g) L^-1, symmetrised; Phi takes the lower triangle and halves its diagonal.

    I. Murray, "Differentiation of the Cholesky decomposition", arXiv:1602.07527 (2016), eq. 10.
    """
    transposed = xp.matrix_transpose(out)
    middle = xp.matmul(transposed, g)
    phi = (xp.tril(middle) + xp.tril(middle, -1)) / 2
    left = xp.solve_triangular(transposed, phi, upper=True)
    both = xp.solve_triangular(transposed, xp.matrix_transpose(left), upper=True)
    return (both + xp.matrix_transpose(both)) / 2


def _signed_minors(xp: Vocabulary, x: Array, axis: int) -> Array:
    """Return `x` without row (axis -2) or column (axis -1) i, for all i, stacked along a new axis -3.

    Without an odd one, the first has its sign changed: the determinants have the signs of cofactors then.
    """
    rest = ((None, None, 1),) * (-1 - axis)
    part = lambda lo, hi: xp.getitem(x, ("...", (lo, hi, 1), *rest))
    n = xp.shape(x)[axis]
    without = [
        [part(0, i), part(i + 1, n)] if i % 2 == 0 else [-part(0, 1), part(1, i), part(i + 1, n)] for i in range(n)
    ]
    return xp.stack([xp.concat(parts, axis=axis) for parts in without], axis=-3)


MINORS_UP_TO = 8
"""n² determinants of order n - 1 cost O(n⁵), a tenth of a millisecond in LAPACK here: little beside a wrong gradient of a
singular matrix, and too much beyond."""


def cofactors(xp: Vocabulary, out: Array, x: Array) -> Array:
    """d det(x) / dx: from minors, which need no inverse, for small n; det(x) x^-T beyond."""
    n = xp.shape(x)[-1]
    if n > MINORS_UP_TO:
        return xp.expand_dims(xp.expand_dims(out, -1), -1) * xp.matrix_transpose(xp.inv(x))
    if not n:
        return xp.zeros_like(x)
    return xp.det(_signed_minors(xp, _signed_minors(xp, x, -2), -1))


def _on_matrix(xp: Vocabulary, g: Array) -> Array:
    """A cotangent per matrix, against each of its entries."""
    return xp.expand_dims(xp.expand_dims(g, -1), -1)


TRIANGLE = {"upper": Param("bool", default=False), "unit_diagonal": Param("bool", default=False)}


def _structured(name: str, **fields: Any) -> OpSpec:
    """An op whose argument needs structure that no interval expresses: `guard` gives it."""
    standard: dict[str, Any] = {"generate": False, "ulps": 4, "primitive": True}
    return OpSpec(name=name, **(standard | fields))


DECLARATIONS: tuple[OpSpec, ...] = (
    OpSpec(
        name="matmul", doc="the matrix product, of vectors, matrices and broadcasting stacks of them",
        example="x @ y", aliases=("mm", "bmm", "dot"), arity=2,
        define=lambda xp, a, b: xp.matmul(a, b),
        vjp=(_matmul_vjp_a, _matmul_vjp_b),
        image=lambda a, b, shapes, **_: (a * b).scaled(shapes[0][-1]) if shapes[0][-1] else Interval.point(0.0),
        shape=matmul_shape, primitive=True,
    ),
    OpSpec(
        name="einsum", doc="Einstein summation, each axis by its letter; a letter twice in an operand is its diagonal",
        example="einsum('ij,jk->ik', x, y)", arity=VARIADIC,
        define=lambda xp, *args, subscripts: xp.einsum(subscripts, *args),
        vjp=_einsum_vjp, image=_einsum_image,
        shape=_einsum_shape, params={"subscripts": Param("string")}, primitive=True, generate=False,
    ),
    OpSpec(
        name="outer", doc="the products of each entry of one vector with each of another", example="outer(x, y)",
        aliases=("ger",), arity=2,
        define=lambda xp, a, b: xp.expand_dims(a, 1) * xp.expand_dims(b, 0),
        # Not by matmul: products that are added up are rounded one by one, as those of a broadcasting product are.
        vjp=(lambda xp, g, out, a, b: xp.sum(g * xp.expand_dims(b, 0), axis=1),
             lambda xp, g, out, a, b: xp.sum(g * xp.expand_dims(a, 1), axis=0)),
        image=lambda a, b, **_: a * b,
        shape=_outer_shape,
    ),
    OpSpec(
        name="vecdot", doc="the inner products of vectors along an axis of two broadcasting arrays",
        example="vecdot(x, y, axis=-1)", arity=2, broadcasts=True,
        define=lambda xp, a, b, axis=-1: xp.sum(a * b, axis=axis),
        vjp=(lambda xp, g, out, a, b, axis=-1: xp.expand_dims(g, axis) * b,
             lambda xp, g, out, a, b, axis=-1: xp.expand_dims(g, axis) * a),
        image=lambda a, b, shapes, axis=-1, **_:
            (a * b).scaled(shapes[0][axis]) if shapes[0][axis] else Interval.point(0.0),
        shape=_vecdot_shape, params={"axis": Param("axis", default=-1)}, ulps=1,
    ),
    OpSpec(
        name="tensordot", doc="contracts the last `axes` axes of one array with the first of another",
        example="tensordot(x, y, axes=1)", arity=2,
        define=_tensordot,
        image=lambda a, b, shapes, axes=2, **_:
            (a * b).scaled(n) if (n := math.prod(shapes[1][:axes])) else Interval.point(0.0),
        shape=_tensordot_shape, params={"axes": Param("int", default=2, lo=0, hi=16)},
    ),
    OpSpec(
        name="cross", doc="the vector product along an axis of size 3", example="cross(x, y)", arity=2,
        define=_cross,
        image=lambda a, b, **_: a * b - a * b,
        shape=_cross_shape, params={"axis": Param("axis", default=-1)}, ulps=1,
    ),
    OpSpec(
        name="trace", doc="the sum of the diagonal of the last two axes", example="trace(x)",
        define=lambda xp, x: xp.sum(xp.diagonal(x), axis=-1),
        image=lambda x, shapes, **_: x.scaled(n) if (n := min(shapes[0][-2:])) else Interval.point(0.0),
        shape=lambda s, **_: matrix(s)[:-2],
    ),
    OpSpec(
        name="matrix_power", doc="the n-th power of a square matrix, n at least 1", example="matrix_power(x, n=3)",
        define=_matrix_power,
        shape=square, params={"n": Param("int", lo=1, hi=64)}, ulps=4, generate=False,
    ),
    _structured(
        "det", doc="the determinant; for matrices above 8 by 8 the gradient needs an inverse", example="det(x)",
        define=lambda xp, x: xp.det(x),
        vjp=(lambda xp, g, out, x: _on_matrix(xp, g) * cofactors(xp, out, x),),
        shape=lambda s, **_: square(s)[:-2], guard=_well_conditioned,
    ),
    _structured(
        "logabsdet", doc="log|det(x)|, the second result of slogdet", example="logabsdet(x)",
        define=lambda xp, x: xp.log(xp.abs(xp.det(x))),
        vjp=(lambda xp, g, out, x: _on_matrix(xp, g) * xp.matrix_transpose(xp.inv(x)),),
        shape=lambda s, **_: square(s)[:-2], guard=_well_conditioned, primitive=False,
    ),
    _structured(
        "inv", doc="the inverse of a matrix", example="inv(x)",
        define=lambda xp, x: xp.inv(x),
        vjp=(_inv_vjp,),
        shape=square, guard=_well_conditioned,
    ),
    _structured(
        "solve", doc="x with a @ x = b; b is one vector where it has one axis, matrices otherwise",
        example="solve(a, b)", arity=2,
        define=lambda xp, a, b: xp.solve(a, b),
        vjp=(_solve_vjp_a, _solve_vjp_b),
        shape=_solve_shape, guard=_well_conditioned,
    ),
    _structured(
        "cholesky", example="cholesky(x)",
        doc="the lower factor of a positive definite matrix, taken as symmetric: of (x + x^T)/2, so that the gradient"
            " is symmetric, as PyTorch's and JAX's are",
        define=lambda xp, x: xp.cholesky(x),
        vjp=(_cholesky_vjp,),
        shape=square, guard=_definite,
    ),
    _structured(
        "solve_triangular", doc="x with a @ x = b, reading one triangle of a only",
        example="solve_triangular(a, b, upper=True)", arity=2,
        define=lambda xp, a, b, upper=False, unit_diagonal=False:
            xp.solve_triangular(a, b, upper=upper, unit_diagonal=unit_diagonal),
        vjp=(_triangular_vjp_a, _triangular_vjp_b),
        shape=_triangular_shape, params=TRIANGLE, guard=_well_conditioned,
    ),
)  # fmt: skip
