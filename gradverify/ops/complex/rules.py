"""Complex operations as operations on pairs of reals, in the words of the op table.

Oracle, budget and judges know real numbers only. A function of complex arrays is judged as the function of real and
imaginary parts that it is; these rules say which one. `apply(xp, "multiply", z, w)` records in `xp` (a `Recorder`, or
any namespace of the same form, such as a tracer) and takes `Pair`s, real arrays and Python numbers, complex ones
included; it gives a `Pair`, or a real array where the result is real (`abs`, `angle`, `real`).

Each rule is in a form that keeps its digits, because the budget excuses what the rounding of that form does, and that
has no branch of its own: a mask has a kink where it flips, so where two regions need two forms, they part at a radius
that no natural point lies on, and on either side of it both forms are good.

Rounding. Frameworks compute with complex numbers so that the error is small against the *modulus* of the result: the
product has |error| <= sqrt(5) u |z w| (Brent, Percival & Zimmermann, "Error bounds on complex floating-point
multiplication", Math. Comp. 76, 2007); quotients (Smith's method), powers (exp(w log z)) and the rest are of that kind,
and no library promises digits of a part that is small beside the other one. A budget of each part by itself would
hold (-2)**3 against an imaginary part of exactly 0, where exp(3 log(-2)) gives 1e-15. So what is more than products
and sums ends in `normwise`: each part is allowed an error of u times the other part, by adding (y·3/4)/(3/4) - y, which
is zero and, in a floating-point rerun, sqrt(2) u |y| of noise. It is linear, so it makes no kink, leaves exact zeros
exact, and does the same to the pair of cotangents in the reverse pass. The product needs none: its parts ac - bd and
ad + bc are rounded at the size of their terms, in every library. The parts of exp, sin, … are products of real
functions in every library too.

Gradients. For L real, the gradient with respect to a pair is (dL/dx, dL/dy). PyTorch's is dL/dx + i dL/dy (docs,
"Autograd for Complex Numbers"), JAX's dL/dx - i dL/dy (docs, "The Autodiff Cookbook", complex numbers and
differentiation): both are readings of this pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...core.errors import ShapeError, Unsupported
from ...core.op import Array, Shape, Words, split_arguments
from .. import OPS
from ..build import Operators, Ref
from ..linalg import parsed
from ..shapes import broadcast, normal_axes, normal_axis

Rule = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class Pair(Operators):
    """A complex array under construction: real and imaginary part, of one shape (or two Python numbers)."""

    re: Array
    im: Array

    @property
    def shape(self) -> Shape:
        return self.re.shape if isinstance(self.re, Ref) else ()

    def _apply(self, op: str, *args: Any) -> Any:
        ref = next(part for part in (self.re, self.im) if isinstance(part, Ref))
        return apply(ref.recorder(), op, *args)


_RULES: dict[str, Rule] = {}
RULES: Mapping[str, Rule] = MappingProxyType(_RULES)
"""Name -> (xp, *args, **params) -> Pair or real array. Names and parameters are the op table's; `complex`, `polar`,
`real`, `imag`, `conj`, `angle`, `sgn` and the Fourier transforms, which it lacks, have those of the Array API standard
and of PyTorch."""


def apply(xp: Words, op: str, *args: Any, **params: Any) -> Any:
    """`op` over pairs, real arrays and Python numbers. Raises Unsupported where there is no rule.

    Positional arguments past the op's arity are its parameters in table order, as in the vocabulary.
    """
    rule = _RULES.get(op)
    spec = OPS.get(op)
    if spec is not None and not any(is_complex(a) for a in _flat(args)):
        return getattr(xp, op)(*args, **params)
    if rule is None:
        raise Unsupported(f"{op} of complex numbers")
    if spec is not None:
        args, given = split_arguments(spec, args)
        params = given | params
    return rule(xp, *(_as_pair(a) if isinstance(a, complex) else a for a in args), **params)


class Over:
    """A namespace of pairs over one of reals: what the definition of an op that has none but its definition runs in."""

    def __init__(self, xp: Words) -> None:
        self.xp = xp

    def __getattr__(self, op: str) -> Rule:
        if op.startswith("__"):
            raise AttributeError(op)
        return lambda *args, **params: apply(self.xp, op, *args, **params)

    def shape(self, x: Any) -> Shape:
        return shape_of(self.xp, x)


def is_complex(x: Any) -> bool:
    return isinstance(x, Pair | complex)


def shape_of(xp: Words, x: Any) -> Shape:
    return tuple(xp.shape(x.re if isinstance(x, Pair) else x))


def paired(xp: Words, x: Any) -> Pair:
    """x as a pair; a real array has an imaginary part of zeros."""
    if is_complex(x):
        return _as_pair(x)
    zero: Any = 0.0 if not isinstance(x, Ref) else _full(xp, 0.0, x.shape)
    return Pair(x, zero)


def _as_pair(x: Any) -> Pair:
    return x if isinstance(x, Pair) else Pair(x.real, x.imag)


def _flat(args: Sequence[Any]) -> list[Any]:
    return [x for a in args for x in (_flat(a) if isinstance(a, list | tuple) else [a])]


def _full(xp: Words, value: float, shape: Shape) -> Any:
    return xp.broadcast_to(value, shape=tuple(shape))


def _wide(xp: Words, x: Any, shape: Shape) -> Any:
    """x broadcast to the shape of the other part."""
    return x if isinstance(x, Ref) and x.shape == tuple(shape) else xp.broadcast_to(x, shape=tuple(shape))


def _same(xp: Words, re: Any, im: Any) -> Pair:
    """Both parts of the shape that they broadcast to."""
    shape = broadcast(tuple(xp.shape(re)), tuple(xp.shape(im)))
    return Pair(_wide(xp, re, shape), _wide(xp, im, shape))


def rule(names: str) -> Callable[[Rule], Rule]:
    def enter(f: Rule) -> Rule:
        for name in names.split():
            assert name not in _RULES, name
            _RULES[name] = f
        return f

    return enter


def pi(xp: Words) -> Any:
    """As an op: a literal would have the digits of a double only."""
    return xp.atan(1.0) * 4.0


# ---- rounding ---------------------------------------------------------------------------------------------------------


def normwise(xp: Words, z: Pair, size: float = 1.0) -> Pair:
    """The same pair, each part rounded at `size` times the other one too (see above)."""
    return Pair(z.re + _roundings(z.im, size), z.im + _roundings(z.re, size))


def _roundings(x: Any, size: float) -> Any:
    """Zero, computed in two roundings of size·x."""
    x = x if size == 1.0 else x * size
    return x * 0.75 / 0.75 - x


# ---- making and taking apart ------------------------------------------------------------------------------------------


@rule("complex")
def complex_(xp: Words, re: Any, im: Any) -> Pair:
    return _same(xp, re, im)


@rule("polar")
def polar(xp: Words, size: Any, angle: Any) -> Pair:
    return Pair(size * xp.cos(angle), size * xp.sin(angle))


@rule("real")
def real(xp: Words, z: Any) -> Any:
    return z.re if isinstance(z, Pair) else z


@rule("imag")
def imag(xp: Words, z: Any) -> Any:
    return z.im if isinstance(z, Pair) else _full(xp, 0.0, xp.shape(z))


@rule("conj")
def conj(xp: Words, z: Any) -> Any:
    return Pair(z.re, -z.im) if isinstance(z, Pair) else z


@rule("abs")
def modulus(xp: Words, z: Any) -> Any:
    return xp.hypot(z.re, z.im) if isinstance(z, Pair) else xp.abs(z)


@rule("angle")
def angle(xp: Words, z: Any) -> Any:
    """In (-pi, pi], with the cut along the negative real axis, and there pi: atan2 at an imaginary part of +0."""
    return xp.atan2(z.im, z.re) if isinstance(z, Pair) else xp.where(xp.less(z, 0.0), pi(xp), 0.0)


@rule("sgn sign")
def sgn(xp: Words, z: Any) -> Any:
    """z / |z|, and 0 at 0 (PyTorch's sgn, JAX's sign)."""
    if not isinstance(z, Pair):
        return xp.sign(z)
    size = modulus(xp, z)
    size = xp.where(xp.equal(size, 0.0), 1.0, size)
    return normwise(xp, Pair(z.re / size, z.im / size))


# ---- arithmetic -------------------------------------------------------------------------------------------------------


@rule("add")
def add(xp: Words, z: Any, w: Any) -> Pair:
    if isinstance(z, Pair) and isinstance(w, Pair):
        return _same(xp, xp.add(z.re, w.re), xp.add(z.im, w.im))
    z, x = (z, w) if isinstance(z, Pair) else (w, z)
    return _same(xp, xp.add(z.re, x), z.im)


@rule("subtract")
def subtract(xp: Words, z: Any, w: Any) -> Pair:
    return add(xp, z, negative(xp, w) if isinstance(w, Pair) else -w if isinstance(w, Ref | int | float) else w)


@rule("negative")
def negative(xp: Words, z: Pair) -> Pair:
    return Pair(-z.re, -z.im)


@rule("multiply")
def multiply(xp: Words, z: Any, w: Any) -> Pair:
    if not isinstance(z, Pair):
        z, w = w, z
    if not isinstance(w, Pair):
        return Pair(xp.multiply(z.re, w), xp.multiply(z.im, w))
    terms = [_product(xp, z.re, w.re), _product(xp, z.im, w.im), _product(xp, z.re, w.im), _product(xp, z.im, w.re)]
    ac, bd, ad, bc = terms
    re = ac if bd is None else -bd if ac is None else ac - bd
    im = ad if bc is None else bc if ad is None else ad + bc
    shape = broadcast(shape_of(xp, z), shape_of(xp, w))
    return Pair(_wide(xp, 0.0 if re is None else re, shape), _wide(xp, 0.0 if im is None else im, shape))


def _product(xp: Words, x: Any, y: Any) -> Any:
    """x·y; None for a literal factor of 0 (1j·z, 2·z), which nobody's rounding knows of."""
    for a, b in ((x, y), (y, x)):
        if not isinstance(a, Ref):
            if a == 0:
                return None
            if a == 1:
                return b
    return xp.multiply(x, y)


@rule("square")
def square(xp: Words, z: Pair) -> Pair:
    return multiply(xp, z, z)


@rule("divide")
def divide(xp: Words, z: Any, w: Any) -> Pair:
    """By the modulus, twice: no square that overflows before the quotient does, and no comparison of parts, as Smith's
    method has ("Algorithm 116", CACM 1962)."""
    if not isinstance(w, Pair):
        return Pair(xp.divide(z.re, w), xp.divide(z.im, w))
    size = modulus(xp, w)
    c, d = xp.divide(w.re, size), xp.divide(w.im, size)
    over = multiply(xp, z, Pair(c, -d))
    return normwise(xp, Pair(over.re / size, over.im / size))


@rule("reciprocal")
def reciprocal(xp: Words, z: Pair) -> Pair:
    size = modulus(xp, z)
    return normwise(xp, Pair(z.re / size / size, -(z.im / size) / size))


@rule("equal")
def equal(xp: Words, z: Any, w: Any) -> Any:
    z, w = paired(xp, z), paired(xp, w)
    return xp.logical_and(xp.equal(z.re, w.re), xp.equal(z.im, w.im))


@rule("not_equal")
def not_equal(xp: Words, z: Any, w: Any) -> Any:
    return xp.logical_not(equal(xp, z, w))


# ---- exponentials, logarithms, powers ---------------------------------------------------------------------------------


@rule("exp")
def exp(xp: Words, z: Pair) -> Pair:
    return polar(xp, xp.exp(z.re), z.im)


@rule("exp2")
def exp2(xp: Words, z: Pair) -> Pair:
    return polar(xp, xp.exp2(z.re), z.im * xp.log(2.0))


@rule("expm1")
def expm1(xp: Words, z: Pair) -> Pair:
    """cos y - 1 = -2 sin(y/2)^2, so that nothing cancels near 0."""
    half = xp.sin(z.im * 0.5)
    return normwise(xp, Pair(xp.expm1(z.re) * xp.cos(z.im) - 2.0 * xp.square(half), xp.exp(z.re) * xp.sin(z.im)))


INNER, OUTER = 0.6180339887, 1.6180339887
"""Between these radii log|z| is taken from |z|^2 - 1. At either, both forms have all their digits, and no natural point
has such a modulus (the golden ratio to ten decimals)."""


def _log_modulus(xp: Words, a: Any, b: Any, square_less_one: Any) -> Any:
    """log|a + bi|, accurate relative to the larger of itself and the angle.

    log(hypot) has no digits left near |z| = 1.
    """
    size = xp.hypot(a, b)
    near = xp.logical_and(xp.greater(size, INNER), xp.less(size, OUTER))
    return xp.where(near, 0.5 * xp.log1p(xp.where(near, square_less_one, 0.0)), xp.log(size))


@rule("log")
def log(xp: Words, z: Any) -> Pair:
    z = paired(xp, z)
    square_less_one = (z.re - 1.0) * (z.re + 1.0) + xp.square(z.im)
    return normwise(xp, Pair(_log_modulus(xp, z.re, z.im, square_less_one), xp.atan2(z.im, z.re)))


@rule("log1p")
def log1p(xp: Words, z: Pair) -> Pair:
    one = z.re + 1.0
    return normwise(xp, Pair(_log_modulus(xp, one, z.im, z.re * (z.re + 2.0) + xp.square(z.im)), xp.atan2(z.im, one)))


@rule("log2")
def log2(xp: Words, z: Pair) -> Pair:
    return divide(xp, log(xp, z), xp.log(2.0))


@rule("log10")
def log10(xp: Words, z: Pair) -> Pair:
    return divide(xp, log(xp, z), xp.log(10.0))


@rule("sqrt")
def sqrt(xp: Words, z: Pair) -> Pair:
    """By modulus and angle: its only cut is that of the angle, and what the angle's rounding does is of the size of the
    modulus already."""
    return polar(xp, xp.sqrt(modulus(xp, z)), angle(xp, z) * 0.5)


@rule("rsqrt")
def rsqrt(xp: Words, z: Pair) -> Pair:
    return polar(xp, xp.rsqrt(modulus(xp, z)), angle(xp, z) * -0.5)


@rule("pow")
def power(xp: Words, z: Any, w: Any) -> Pair:
    """z**w: for a literal integer a product, which is smooth where the angle jumps, and rounded like exp(w log z), whose
    exponent w log z is off by u·|w log z|; for a real exponent by modulus and angle; else exp(w log z)."""
    if isinstance(w, Pair) and not isinstance(w.im, Ref) and w.im == 0:
        w = w.re
    if not isinstance(w, Pair | Ref):
        return _fixed_power(xp, z, w)
    if not isinstance(w, Pair):
        return normwise(xp, polar(xp, xp.pow(modulus(xp, z), w), xp.multiply(angle(xp, z), w)))
    return normwise(xp, exp(xp, multiply(xp, w, log(xp, z))))


def _fixed_power(xp: Words, z: Pair, w: float) -> Pair:
    if float(w).is_integer() and abs(w) <= 1024:
        n = int(abs(w))
        if n == 0:
            return Pair(_full(xp, 1.0, shape_of(xp, z)), _full(xp, 0.0, shape_of(xp, z)))
        out = _repeated(xp, z, n)
        out = out if n <= 2 else normwise(xp, out, float(n))
        return out if w > 0 else reciprocal(xp, out)
    if w in (0.5, -0.5):
        return (sqrt if w > 0 else rsqrt)(xp, z)
    return normwise(xp, polar(xp, xp.pow(modulus(xp, z), float(w)), angle(xp, z) * float(w)))


def _repeated(xp: Words, z: Pair, n: int) -> Pair:
    if n == 1:
        return z
    half = _repeated(xp, z, n // 2)
    whole = multiply(xp, half, half)
    return multiply(xp, whole, z) if n % 2 else whole


# ---- circular and hyperbolic functions --------------------------------------------------------------------------------


def _turned(z: Pair) -> Pair:
    """i z"""
    return Pair(-z.im, z.re)


def _back(z: Pair) -> Pair:
    """-i z"""
    return Pair(z.im, -z.re)


@rule("sin")
def sin(xp: Words, z: Pair) -> Pair:
    return Pair(xp.sin(z.re) * xp.cosh(z.im), xp.cos(z.re) * xp.sinh(z.im))


@rule("cos")
def cos(xp: Words, z: Pair) -> Pair:
    return Pair(xp.cos(z.re) * xp.cosh(z.im), -(xp.sin(z.re) * xp.sinh(z.im)))


@rule("sinh")
def sinh(xp: Words, z: Pair) -> Pair:
    return Pair(xp.sinh(z.re) * xp.cos(z.im), xp.cosh(z.re) * xp.sin(z.im))


@rule("cosh")
def cosh(xp: Words, z: Pair) -> Pair:
    return Pair(xp.cosh(z.re) * xp.cos(z.im), xp.sinh(z.re) * xp.sin(z.im))


TAIL = 0.3183098862
"""tanh: below this value of sech(x)^2 the denominator is taken from 1 downwards, above it from 0 upwards; from either
side it has all its digits there."""


@rule("tanh")
def tanh(xp: Words, z: Pair) -> Pair:
    """tanh(x + iy) = (T + i s c S) / D.

    Here T = tanh x, S = sech(x)^2, s = sin y, c = cos y and D = c^2 + s^2 T^2 = 1 - s^2 S. S = 4 sigma(2x) sigma(-2x)
    neither overflows nor loses the tail, in which the derivative is S and no more; the first form of D keeps the digits
    next to the poles.
    """
    t, s, c = xp.tanh(z.re), xp.sin(z.im), xp.cos(z.im)
    twice = z.re * 2.0
    sech = 4.0 * (xp.sigmoid(twice) * xp.sigmoid(-twice))
    below = xp.square(c) + xp.square(s * t)
    d = xp.where(xp.less(sech, TAIL), 1.0 - xp.square(s) * sech, below)
    return normwise(xp, Pair(t / d, s * c * sech / d))


@rule("tan")
def tan(xp: Words, z: Pair) -> Pair:
    return _back(tanh(xp, _turned(z)))


@rule("sigmoid")
def sigmoid(xp: Words, z: Pair) -> Pair:
    """1 / (1 + exp(-z)) = p (p + q cos y + i q sin y) / D.

    Here p = sigma(x), q = sigma(-x) and D = |p + q exp(-iy)|^2 = (p - q)^2 + 4 p q cos(y/2)^2, of which neither term is
    negative; p - q = tanh(x/2).
    """
    p, q = xp.sigmoid(z.re), xp.sigmoid(-z.re)
    half = z.im * 0.5
    d = xp.square(xp.tanh(z.re * 0.5)) + 4.0 * (p * q) * xp.square(xp.cos(half))
    re = 1.0 - 2.0 * q * xp.square(xp.sin(half))
    return normwise(xp, Pair(p * re / d, p * q * xp.sin(z.im) / d))


@rule("silu")
def silu(xp: Words, z: Pair) -> Pair:
    return multiply(xp, z, sigmoid(xp, z))


# W. Kahan, "Branch cuts for complex elementary functions, or much ado about nothing's sign bit", in: The State of the
# Art in Numerical Analysis, 1987: the inverse functions from square roots of 1 - z and 1 + z, between which nothing
# cancels. Its atan(y / x) is atan2 here, which needs no case of x = 0.


def _roots(xp: Words, z: Pair) -> tuple[Pair, Pair]:
    """sqrt(1 - z) and sqrt(1 + z)."""
    return sqrt(xp, Pair(1.0 - z.re, -z.im)), sqrt(xp, Pair(1.0 + z.re, z.im))


@rule("asin")
def asin(xp: Words, z: Pair) -> Pair:
    minus, plus = _roots(xp, z)
    return normwise(
        xp,
        Pair(xp.atan2(z.re, multiply(xp, minus, plus).re), xp.asinh(multiply(xp, conj(xp, minus), plus).im)),
    )


@rule("acos")
def acos(xp: Words, z: Pair) -> Pair:
    minus, plus = _roots(xp, z)
    return normwise(xp, Pair(2.0 * xp.atan2(minus.re, plus.re), xp.asinh(multiply(xp, conj(xp, plus), minus).im)))


@rule("acosh")
def acosh(xp: Words, z: Pair) -> Pair:
    minus, plus = sqrt(xp, Pair(z.re - 1.0, z.im)), sqrt(xp, Pair(z.re + 1.0, z.im))
    return normwise(xp, Pair(xp.asinh(multiply(xp, conj(xp, minus), plus).re), 2.0 * xp.atan2(minus.im, plus.re)))


@rule("asinh")
def asinh(xp: Words, z: Pair) -> Pair:
    return _back(asin(xp, _turned(z)))


SIDE = -0.2718281828
"""atanh: left of this real part its logarithm is taken as minus that of the mirror image."""


@rule("atanh")
def atanh(xp: Words, z: Pair) -> Pair:
    """1/4 log1p(4x / ((1-x)^2 + y^2)) + i/2 atan2(2y, (1-x)(1+x) - y^2)."""
    mirrored = xp.less(z.re, SIDE)
    x = xp.where(mirrored, -z.re, z.re)
    size = 0.25 * xp.log1p(4.0 * x / (xp.square(1.0 - x) + xp.square(z.im)))
    turn = xp.atan2(2.0 * z.im, (1.0 - z.re) * (1.0 + z.re) - xp.square(z.im))
    return normwise(xp, Pair(xp.where(mirrored, -size, size), 0.5 * turn))


@rule("atan")
def atan(xp: Words, z: Pair) -> Pair:
    return _back(atanh(xp, _turned(z)))


# ---- what moves entries, or is linear in them -------------------------------------------------------------------------


def _each(op: str) -> Rule:
    """The op on either part."""

    def on_parts(xp: Words, z: Any, *rest: Any, **params: Any) -> Pair:
        z, parts = paired(xp, z), [paired(xp, r) if isinstance(r, Pair) else r for r in rest]
        one = [r.re if isinstance(r, Pair) else r for r in parts]
        other = [r.im if isinstance(r, Pair) else r for r in parts]
        call = getattr(xp, op)
        return Pair(call(z.re, *one, **params), call(z.im, *other, **params))

    return on_parts


for _op in (
    "reshape permute_dims matrix_transpose moveaxis expand_dims squeeze broadcast_to flip roll repeat tile pad tril triu "
    "diagonal diag_embed getitem embed take take_along_axis sum mean cumulative_sum trace im2col col2im avg_pool2d "
    "adaptive_avg_pool2d"
).split():
    rule(_op)(_each(_op))


def _joins(op: str) -> Rule:
    def joining(xp: Words, *zs: Any, **params: Any) -> Pair:
        pairs = [paired(xp, z) for z in zs]
        call = getattr(xp, op)
        return Pair(call([z.re for z in pairs], **params), call([z.im for z in pairs], **params))

    return joining


for _op in ("concat", "stack"):
    rule(_op)(_joins(_op))


def _adds(op: str) -> Rule:
    def adding(xp: Words, z: Any, indices: Any, updates: Any, **params: Any) -> Pair:
        z, updates = paired(xp, z), paired(xp, updates)
        call = getattr(xp, op)
        return Pair(call(z.re, indices, updates.re, **params), call(z.im, indices, updates.im, **params))

    return adding


for _op in ("index_add", "scatter_add"):
    rule(_op)(_adds(_op))


@rule("where")
def where(xp: Words, mask: Any, z: Any, w: Any) -> Pair:
    z, w = paired(xp, z), paired(xp, w)
    return _same(xp, xp.where(mask, z.re, w.re), xp.where(mask, z.im, w.im))


@rule("lerp")
def lerp(xp: Words, z: Any, w: Any, weight: Any) -> Any:
    over = Over(xp)
    return over.add(z, over.multiply(weight, over.subtract(w, z)))


@rule("addcmul")
def addcmul(xp: Words, z: Any, x: Any, y: Any, value: float = 1.0) -> Any:
    over = Over(xp)
    return over.add(z, over.multiply(over.multiply(x, y), value))


# ---- products and sums ------------------------------------------------------------------------------------------------


def _bilinear(op: str) -> Rule:
    def product(xp: Words, z: Any, w: Any, **params: Any) -> Pair:
        f = lambda x, y: getattr(xp, op)(x, y, **params)
        if not isinstance(z, Pair):
            return Pair(f(z, w.re), f(z, w.im))
        if not isinstance(w, Pair):
            return Pair(f(z.re, w), f(z.im, w))
        return Pair(f(z.re, w.re) - f(z.im, w.im), f(z.re, w.im) + f(z.im, w.re))

    return product


for _op in "matmul outer tensordot cross conv2d".split():
    rule(_op)(_bilinear(_op))


@rule("vecdot")
def vecdot(xp: Words, z: Any, w: Any, axis: int = -1) -> Pair:
    """The first vector conjugated (Array API standard, "linalg.vecdot")."""
    product: Pair = _bilinear("vecdot")(xp, conj(xp, z), w, axis=axis)
    return product


@rule("einsum")
def einsum(xp: Words, *zs: Any, subscripts: str) -> Pair:
    """From left to right, two operands at a time, keeping the letters that something still needs."""
    words, output, _ = parsed(subscripts, tuple(shape_of(xp, z) for z in zs))
    out, word = zs[0], words[0]
    if len(zs) == 1:
        return Pair(xp.einsum(f"{word}->{output}", out.re), xp.einsum(f"{word}->{output}", out.im))
    for k in range(1, len(zs)):
        later = output + "".join(words[k + 1 :])
        kept = "".join(c for c in dict.fromkeys(word + words[k]) if c in later) if k < len(zs) - 1 else output
        text = f"{word},{words[k]}->{kept}"
        if not isinstance(out, Pair) and not isinstance(zs[k], Pair):
            out = xp.einsum(text, out, zs[k])
        else:
            out = _bilinear_einsum(xp, text, out, zs[k])
        word = kept
    return paired(xp, out)


def _bilinear_einsum(xp: Words, text: str, z: Any, w: Any) -> Pair:
    class Texted:
        einsum = staticmethod(lambda x, y: xp.einsum(text, x, y))

    product: Pair = _bilinear("einsum")(Texted, z, w)
    return product


@rule("linear")
def linear(xp: Words, x: Any, w: Any, b: Any) -> Any:
    over = Over(xp)
    return over.add(over.matmul(x, over.matrix_transpose(w)), b)


@rule("matrix_power")
def matrix_power(xp: Words, z: Pair, n: int) -> Pair:
    if n == 1:
        return z
    half = matrix_power(xp, z, n // 2)
    over = Over(xp)
    whole: Pair = over.matmul(half, half)
    return over.matmul(whole, z) if n % 2 else whole


@rule("prod")
def prod(xp: Words, z: Pair, axis: Any = None, keepdims: bool = False) -> Pair:
    """Each axis halved until one entry is left: first half times second half."""
    over = Over(xp)
    shape = z.shape
    axes = normal_axes(axis, len(shape))
    for a in axes:
        z = _halved(over, z, a)
    out = tuple(n for i, n in enumerate(shape) if i not in axes)
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    result: Pair = over.reshape(z, shape=kept if keepdims else out)
    return result


def _halved(over: Over, z: Pair, axis: int) -> Pair:
    whole = ((None, None, 1),) * axis
    part = lambda z, start, stop: over.getitem(z, index=(*whole, (start, stop, 1)))
    n = z.shape[axis]
    if n == 0:
        one = tuple(1 if i == axis else m for i, m in enumerate(z.shape))
        return Pair(_full(over.xp, 1.0, one), _full(over.xp, 0.0, one))
    while n > 1:
        half = n // 2
        both = over.multiply(part(z, 0, half), part(z, half, 2 * half))
        z = over.concat([both, part(z, 2 * half, n)], axis=axis) if n % 2 else both
        n = half + n % 2
    return z


@rule("cumulative_prod")
def cumulative_prod(xp: Words, z: Pair, axis: int) -> Pair:
    """In steps of 1, 2, 4, … (Hillis & Steele, "Data parallel algorithms", CACM 1986): entry i times entry i - step."""
    over = Over(xp)
    axis = normal_axis(axis, len(z.shape))
    whole = ((None, None, 1),) * axis
    part = lambda z, start, stop: over.getitem(z, index=(*whole, (start, stop, 1)))
    n, step = z.shape[axis], 1
    while step < n:
        z = over.concat([part(z, 0, step), over.multiply(part(z, step, n), part(z, 0, n - step))], axis=axis)
        step *= 2
    return z


@rule("var")
def var(xp: Words, z: Pair, axis: Any = None, keepdims: bool = False, correction: float = 0.0) -> Any:
    """Of |z - mean|^2: those of the parts, added (PyTorch and NumPy)."""
    of = lambda x: xp.var(x, axis=axis, keepdims=keepdims, correction=correction)
    return of(z.re) + of(z.im)


@rule("std")
def std(xp: Words, z: Pair, axis: Any = None, keepdims: bool = False, correction: float = 0.0) -> Any:
    return xp.sqrt(var(xp, z, axis, keepdims, correction))


@rule("vector_norm")
def vector_norm(xp: Words, z: Pair, axis: Any = None, keepdims: bool = False, ord: float = 2.0) -> Any:
    """Of the moduli; the 2-norm of all parts at once, which is smooth where single entries are 0."""
    if ord != 2.0:
        return xp.vector_norm(modulus(xp, z), axis=axis, keepdims=keepdims, ord=ord)
    axes = normal_axes(axis, len(z.shape))
    both = xp.stack([z.re, z.im], axis=-1)
    norm = xp.vector_norm(both, axis=(*axes, len(z.shape)), ord=2.0)
    kept = tuple(1 if i in axes else n for i, n in enumerate(z.shape))
    return xp.reshape(norm, shape=kept) if keepdims else norm


# ---- linear algebra ---------------------------------------------------------------------------------------------------


def _embedded(xp: Words, z: Any) -> Any:
    """[[A, -B], [B, A]]: multiplying by it is multiplying by A + iB."""
    z = paired(xp, z)
    rows = [xp.concat([z.re, -z.im], axis=-1), xp.concat([z.im, z.re], axis=-1)]
    return xp.concat(rows, axis=-2)


def _upper_half(xp: Words, x: Any, n: int, axis: int) -> tuple[Any, Any]:
    rest = ((None, None, 1),) * (-1 - axis)
    return xp.getitem(x, index=("...", (0, n, 1), *rest)), xp.getitem(x, index=("...", (n, 2 * n, 1), *rest))


@rule("inv")
def inv(xp: Words, z: Pair) -> Pair:
    n = z.shape[-1]
    columns, _ = _upper_half(xp, xp.inv(_embedded(xp, z)), n, -1)
    return normwise(xp, Pair(*_upper_half(xp, columns, n, -2)))


@rule("solve")
def solve(xp: Words, a: Any, b: Any) -> Pair:
    b, n = paired(xp, b), shape_of(xp, a)[-1]
    axis = -1 if len(b.shape) == 1 else -2
    both = xp.solve(_embedded(xp, a), xp.concat([b.re, b.im], axis=axis))
    return normwise(xp, Pair(*_upper_half(xp, both, n, axis)))


@rule("solve_triangular")
def solve_triangular(xp: Words, a: Any, b: Any, upper: bool = False, unit_diagonal: bool = False) -> Pair:
    """The other triangle is never read; the system is then solved as any other."""
    over, n = Over(xp), shape_of(xp, a)[-1]
    k = int(unit_diagonal)
    read = over.triu(a, k=k) if upper else over.tril(a, k=-k)
    if unit_diagonal:
        read = over.add(read, xp.diag_embed(_full(xp, 1.0, (n,))))
    return solve(xp, read, b)


MINORS_UP_TO = 5
"""Expanding a determinant by its minors takes n 2^(n-1) products: 80 of 5 by 5 matrices."""


@rule("det")
def det(xp: Words, z: Pair) -> Pair:
    """By minors (Laplace), each computed once: no pivot to choose, smooth everywhere."""
    n = z.shape[-1]
    if z.shape[-2:] != (n, n):
        raise ShapeError(f"det: shape {z.shape} is not that of square matrices")
    if n > MINORS_UP_TO:
        raise Unsupported(f"the determinant of a complex matrix above {MINORS_UP_TO} by {MINORS_UP_TO}")
    over = Over(xp)
    entry = lambda i, j: over.getitem(z, index=("...", i, j))
    batch = z.shape[:-2]
    if n == 0:
        return Pair(_full(xp, 1.0, batch), _full(xp, 0.0, batch))
    minors: dict[tuple[int, ...], Any] = {(j,): entry(n - 1, j) for j in range(n)}
    for i in range(n - 2, -1, -1):  # minors of the rows from i on, by the columns that they keep
        larger: dict[tuple[int, ...], Any] = {}
        for columns in _choices(n, n - i):
            terms = [over.multiply(entry(i, j), minors[tuple(c for c in columns if c != j)]) for j in columns]
            total = terms[0]
            for k, term in enumerate(terms[1:], start=1):
                total = over.subtract(total, term) if k % 2 else over.add(total, term)
            larger[columns] = total
        minors = larger
    return normwise(xp, minors[tuple(range(n))])


LARGEST_FACTOR = 32
"""Rows of a matrix that is factored column by column: each column is two dozen nodes."""


@rule("cholesky")
def cholesky(xp: Words, z: Pair) -> Pair:
    """The lower factor of a positive definite Hermitian matrix, taken as Hermitian: of (Z + Z^H)/2, as the real op is of
    (X + X^T)/2. Column by column, the rest less each column's outer product (Golub & Van Loan, "Matrix Computations",
    section 4.2); its diagonal is real."""
    over, n = Over(xp), z.shape[-1]
    if n > LARGEST_FACTOR:
        raise Unsupported(f"the Cholesky factor of a complex matrix with more than {LARGEST_FACTOR} rows")
    lead = ((None, None, 1),) * (len(z.shape) - 2)
    adjoint = lambda w: over.conj(over.matrix_transpose(w))
    rest = over.multiply(over.add(z, adjoint(z)), 0.5)
    columns = []
    for j in range(n):
        at = lambda start, stop, j=j: (*lead, (start, stop, 1), (j, j + 1, 1))
        pivot = xp.sqrt(over.getitem(rest, index=at(j, j + 1)).re)
        column = Pair(
            xp.embed(pivot, index=at(j, j + 1), shape=z.shape),
            _full(xp, 0.0, z.shape),
        )
        if j + 1 < n:
            below = over.divide(over.getitem(rest, index=at(j + 1, n)), pivot)
            column = over.add(column, over.embed(below, index=at(j + 1, n), shape=z.shape))
            rest = over.subtract(rest, over.matmul(column, adjoint(column)))
        columns.append(column)
    total = columns[0]
    for column in columns[1:]:
        total = over.add(total, column)
    return normwise(xp, total)


@rule("logabsdet")
def logabsdet(xp: Words, z: Pair) -> Any:
    return xp.log(modulus(xp, det(xp, z)))


def _choices(n: int, size: int, start: int = 0) -> list[tuple[int, ...]]:
    if size == 0:
        return [()]
    return [(j, *rest) for j in range(start, n) for rest in _choices(n, size - 1, j + 1)]


# ---- Fourier transforms -----------------------------------------------------------------------------------------------

LARGEST_PRIME = 64
"""A length is taken apart into its prime factors (Cooley & Tukey 1965); a prime costs its square in multiplications."""


def _primes(n: int) -> list[int]:
    found, p = [], 2
    while n > 1:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return found


def _units(xp: Words, n: int, powers: Sequence[Sequence[int]], sign: int) -> Pair:
    """exp(sign·2 pi i k / n) for every k in `powers`.

    k/n of a turn is q quarters and a rest of at most an eighth, both exact, so that no sine or cosine has an argument
    above pi/4 and multiples of a quarter are exact.
    """
    rests = n // 2 + 1  # rest = m / n of a quarter turn with |m| <= n/2
    angles = xp.divide(tuple(float(m) for m in range(rests)), 2.0 * n) * pi(xp)
    c, s = xp.cos(angles), xp.sin(angles)
    one, nothing = (tuple(float(m == 0) for m in range(rests)), tuple(float(m != 0) for m in range(rests)))
    c = c * nothing + one  # cos 0 is 1, with no rounding
    table = xp.concat([c, s, -c, -s], axis=0)

    def place(k: int) -> tuple[int, int]:
        k %= n
        q = (8 * k + n) // (2 * n)
        m = 4 * k - q * n
        re, im = [(0, 1), (3, 0), (2, 3), (1, 2)][q % 4]  # of cos m, sin m, -cos m, -sin m
        if m < 0:
            re, im = (re ^ 2 if re % 2 else re), (im ^ 2 if im % 2 else im)
        return re * rests + abs(m), im * rests + abs(m)

    where = [[place(sign * k) for k in row] for row in powers]
    take = lambda part: xp.take(table, xp.indices(tuple(tuple(p[part] for p in row) for row in where)), axis=0)
    return Pair(take(0), take(1))


def _transform(xp: Words, z: Pair, n: int, sign: int) -> Pair:
    """The DFT along the last axis, of length n."""
    over = Over(xp)
    if n == 1:
        return z
    p = _primes(n)[0]
    m = n // p
    if m == 1:
        if p > LARGEST_PRIME:
            raise Unsupported(f"a Fourier transform whose length has the prime factor {p}: above {LARGEST_PRIME}")
        if p == 2:
            a, b = (over.getitem(z, index=("...", (k, k + 1, 1))) for k in (0, 1))
            both: Pair = over.concat([over.add(a, b), over.subtract(a, b)], axis=-1)
            return both
        matrix = _units(xp, p, [[j * k for k in range(p)] for j in range(p)], sign)
        return _rows(over, z, matrix)
    # x[m·j1 + j2] -> X[k1 + p·k2]: over j1, then the twiddles exp(2 pi i j2 k1 / n), then over j2.
    lead = z.shape[:-1]
    z = over.matrix_transpose(over.reshape(z, shape=(*lead, p, m)))  # (j2, j1)
    z = over.matrix_transpose(_transform(xp, z, p, sign))  # (k1, j2)
    z = over.multiply(z, _units(xp, n, [[j2 * k1 for j2 in range(m)] for k1 in range(p)], sign))
    z = over.matrix_transpose(_transform(xp, z, m, sign))  # (k2, k1)
    result: Pair = over.reshape(z, shape=(*lead, n))
    return result


def _rows(over: Over, z: Pair, matrix: Pair) -> Pair:
    vector = len(z.shape) == 1
    out: Pair = over.matmul(over.expand_dims(z, axis=0) if vector else z, matrix)
    return over.reshape(out, shape=z.shape) if vector else out


@rule("dft")
def dft(xp: Words, z: Any, axis: int = -1, inverse: bool = False) -> Pair:
    """sum_j z_j exp(-2 pi i j k / n) along an axis, with + for the inverse; not scaled."""
    over, z = Over(xp), paired(xp, z)
    ndim = len(z.shape)
    axis = normal_axis(axis, ndim)
    n = z.shape[axis]
    if n == 0:
        raise ShapeError("a Fourier transform of no elements")
    last = axis == ndim - 1
    out = _transform(xp, z if last else over.moveaxis(z, source=axis, destination=-1), n, 1 if inverse else -1)
    out = normwise(xp, out)
    return out if last else over.moveaxis(out, source=-1, destination=axis)


def scaled(xp: Words, z: Any, n: int, norm: str | None, inverse: bool) -> Any:
    """NumPy's `norm`: "backward" (None) scales the inverse by 1/n, "forward" the other, "ortho" both by 1/sqrt(n)."""
    if norm not in (None, "backward", "forward", "ortho"):
        raise Unsupported(f"norm={norm!r} of a Fourier transform")
    if norm == "ortho":
        return apply(xp, "divide", z, xp.sqrt(float(n)))
    scales = inverse if norm in (None, "backward") else not inverse
    return apply(xp, "divide", z, float(n)) if scales else z


def resized(xp: Words, z: Any, n: int | None, axis: int) -> Any:
    """Cut or filled up with zeros to n entries along an axis."""
    over, shape = Over(xp), shape_of(xp, z)
    axis = normal_axis(axis, len(shape))
    if n is None or n == shape[axis]:
        return z
    if n < shape[axis]:
        return over.getitem(z, index=((None, None, 1),) * axis + ((0, n, 1),))
    return over.pad(z, pads=tuple((0, n - m if i == axis else 0) for i, m in enumerate(shape)))


@rule("fft")
def fft(xp: Words, z: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Pair:
    z = resized(xp, paired(xp, z), n, axis)
    out: Pair = scaled(xp, dft(xp, z, axis), z.shape[axis], norm, False)
    return out


@rule("ifft")
def ifft(xp: Words, z: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Pair:
    z = resized(xp, paired(xp, z), n, axis)
    out: Pair = scaled(xp, dft(xp, z, axis, inverse=True), z.shape[axis], norm, True)
    return out


@rule("rfft")
def rfft(xp: Words, x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Pair:
    """The first n//2 + 1 entries of fft, of a real array."""
    x = resized(xp, paired(xp, x), n, axis)
    size = x.shape[axis]
    half: Pair = resized(xp, dft(xp, x, axis), size // 2 + 1, axis)
    out: Pair = scaled(xp, half, size, norm, False)
    return out


@rule("irfft")
def irfft(xp: Words, z: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of rfft: what it leaves out is the conjugate of what it keeps, and the imaginary parts of entry 0
    and, for even n, of the last one count for nothing."""
    over, z = Over(xp), paired(xp, z)
    axis = normal_axis(axis, len(z.shape))
    size = 2 * (z.shape[axis] - 1) if n is None else n
    if size < 1:
        raise ShapeError("a Fourier transform of no elements")
    kept = size // 2 + 1
    z = resized(xp, z, kept, axis)
    whole = ((None, None, 1),) * axis
    rest = over.conj(over.flip(over.getitem(z, index=(*whole, (1, (size + 1) // 2, 1))), axis=axis))
    ends = [float(0 < k < size / 2) for k in range(kept)]
    shape = tuple(kept if i == axis else 1 for i in range(len(z.shape)))
    z = Pair(z.re, z.im * xp.reshape(tuple(ends), shape=shape))
    full = over.concat([z, rest], axis=axis)
    return scaled(xp, dft(xp, full, axis, inverse=True).re, size, norm, True)


def _over_axes(one: str, over_last: bool | None = None) -> Rule:
    """A transform of several axes: one after another. `over_last` says whether `one` comes last (irfft) or first (rfft),
    and fft or ifft takes the other axes."""

    def several(xp: Words, z: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
        ndim = len(shape_of(xp, z))
        axes = tuple(range(ndim))[-len(s) if s is not None else 0 :] if axes is None else tuple(axes)
        sizes = [None] * len(axes) if s is None else [None if n == -1 else n for n in s]
        steps = [("ifft" if one.startswith("i") else "fft", a, n) for a, n in zip(axes, sizes)]
        if over_last is not None:
            last = (one, *steps.pop()[1:])
            steps = [*steps, last] if over_last else [last, *steps]
        for name, axis, n in steps:
            z = _RULES[name](xp, z, n=n, axis=axis, norm=norm)
        return z

    return several


rule("fftn")(_over_axes("fft"))
rule("ifftn")(_over_axes("ifft"))
rule("rfftn")(_over_axes("rfft", over_last=False))
rule("irfftn")(_over_axes("irfft", over_last=True))


def _two(name: str) -> Rule:
    return lambda xp, z, s=None, axes=(-2, -1), norm=None: _RULES[name](xp, z, s=s, axes=axes, norm=norm)


for _op in ("fft", "ifft", "rfft", "irfft"):
    rule(f"{_op}2")(_two(f"{_op}n"))


def _shifts(inverse: bool) -> Rule:
    def shifting(xp: Words, z: Any, axes: Any = None) -> Any:
        over, shape = Over(xp), shape_of(xp, z)
        for axis in normal_axes(axes, len(shape)):
            z = over.roll(z, shift=-(shape[axis] // 2) if inverse else shape[axis] // 2, axis=axis)
        return z

    return shifting


rule("fftshift")(_shifts(False))
rule("ifftshift")(_shifts(True))
