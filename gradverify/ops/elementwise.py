"""Elementwise ops and broadcasting binaries that every array library has, and the activations of PyTorch and JAX.

Rules stand in the form that keeps its digits in the tails and overflows only where the truth does; each departure from
the textbook form says what it is for.

`ulps` is the worst figure, over float32 and float64, of three published tables: the GNU C Library manual, "Known
Maximum Errors in Math Functions" (x86_64); the CUDA C++ Programming Guide, "Mathematical Functions" (standard ones);
and the `ulperr` columns of NumPy's `umath-validation-set` files, to which its SIMD loops are held. What is composed of
several kernels is declared by counting them: the sum of their ulps plus 0.5 for every rounded operation, rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..core.errors import ShapeError
from ..core.interval import INF, NONNEGATIVE, NONZERO, POSITIVE, REAL, Domain, Interval
from ..core.op import Array, OpSpec, Param, Shape, Vocabulary
from . import images
from .images import dip, loosened, monotone, wave
from .shapes import broadcast, same

BOOLEAN = Interval(0.0, 1.0)
NONPOLE: Domain = (Interval(-1.0, INF, "l"),)
ABOVE_ONE: Domain = (Interval(1.0, INF),)
SYMMETRIC_UNIT: Domain = (Interval(-1.0, 1.0),)
OPEN_SYMMETRIC_UNIT: Domain = (Interval(-1.0, 1.0, "lr"),)
OPEN_UNIT: Domain = (Interval(0.0, 1.0, "lr"),)


def pointwise(name: str, vjp: Any, image: Callable[[Interval], Interval], doc: str, **fields: Any) -> OpSpec:
    """An elementwise primitive of one argument; `vjp` and `image` take just that argument."""
    return OpSpec(
        name=name,
        define=lambda xp, x: getattr(xp, name)(x),
        vjp=(vjp,),
        image=lambda x, **_: image(x),
        doc=doc,
        shape=same,
        primitive=True,
        example=fields.pop("example", f"{name}(x)"),
        **fields,
    )


def composed(name: str, define: Any, vjp: Any, image: Any, doc: str, **fields: Any) -> OpSpec:
    """An elementwise op of one argument that is put together from kernels, with a rule of its own."""
    return OpSpec(
        name=name,
        define=define,
        vjp=(vjp,),
        image=(lambda x, **_: image(x)) if not fields.get("params") else image,
        doc=doc,
        shape=fields.pop("shape", same),
        example=fields.pop("example", f"{name}(x)"),
        **fields,
    )


def binary(
    name: str, vjp: tuple[Any, Any], image: Callable[[Interval, Interval], Interval], doc: str, **fields: Any
) -> OpSpec:
    """A broadcasting op of two arguments, primitive unless it has a `define`.

    Its VJPs need not sum back to the arguments' shapes.
    """
    return OpSpec(
        name=name,
        arity=2,
        primitive="define" not in fields,
        define=fields.pop("define", lambda xp, x, y: getattr(xp, name)(x, y)),
        vjp=vjp,
        image=lambda x, y, **_: image(x, y),
        doc=doc,
        shape=broadcast,
        broadcasts=True,
        example=fields.pop("example", f"{name}(x, y)"),
        **fields,
    )


def comparison(name: str, symbol: str, aliases: tuple[str, ...]) -> OpSpec:
    return OpSpec(
        name=name,
        arity=2,
        define=lambda xp, x, y: getattr(xp, name)(x, y),
        image=lambda x, y, **_: BOOLEAN,
        doc=f"x {symbol} y, a mask; it flips where x = y",
        shape=broadcast,
        primitive=True,
        broadcasts=True,
        result="bool",
        ulps=0,
        kinks=lambda xp, x, y: xp.abs(x - y),
        aliases=aliases,
        example=f"{name}(x, y)",
    )


def logical(name: str, arity: int, doc: str) -> OpSpec:
    return OpSpec(
        name=name,
        arity=arity,
        define=lambda xp, *masks: getattr(xp, name)(*masks),
        image=lambda *masks, **_: BOOLEAN,
        doc=doc,
        shape=broadcast,
        primitive=True,
        broadcasts=arity == 2,
        result="bool",
        arguments=("bool",),
        ulps=0,
        example=f"{name}(greater(x, 0))" if arity == 1 else f"{name}(greater(x, 0), less(x, y))",
    )


def zero(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    """The cotangent of a step function: zero wherever there is one."""
    return xp.zeros_like(g)


# ------------------------------------------------------------------------------------------------ domains and images


def denominator(x: Interval, y: Interval) -> bool:
    return 0.0 not in y


def power_domain(x: Interval, y: Interval) -> bool:
    """x > 0 with any exponent; any x with a fixed integer exponent, 0 only where that is not negative."""
    if y.is_point and float(y.lo).is_integer():
        return y.lo >= 0.0 or 0.0 not in x
    return x.lo > 0.0 or (x.lo == 0.0 and "l" in x.open)


def tangent_domain(x: Interval) -> bool:
    """Between two poles, away from them by more than the rounding of this very test."""
    if x.magnitude > 1e5:
        return False
    turns = lambda v: v / math.pi + 0.5
    return math.floor(turns(x.lo) - 1e-9) == math.floor(turns(x.hi) + 1e-9)


def quotient_domain(x: Interval, y: Interval) -> bool:
    """remainder: the quotient keeps its integer part only while it is small against 1/u (float32: 2^24)."""
    return 0.0 not in y and x.magnitude <= 1e3 * min(abs(y.lo), abs(y.hi))


def not_both_zero(x: Interval, y: Interval) -> bool:
    return 0.0 not in x or 0.0 not in y


def square_image(x: Interval) -> Interval:
    a = abs(x)
    return Interval(_squared(a.lo), _squared(a.hi)).widened()


def _squared(v: float) -> float:
    return v * v


def reciprocal_image(x: Interval) -> Interval:
    if 0.0 in (x.lo, x.hi) and x.lo < x.hi:
        edge = 1.0 / x.hi if x.lo == 0.0 else 1.0 / x.lo
        return Interval(edge, INF).widened() if x.lo == 0.0 else Interval(-INF, edge).widened()
    return Interval.point(1.0) / x


def tan_image(x: Interval) -> Interval:
    """Increasing between poles; near one, the double nearest to x decides, so be generous."""
    return loosened(x.increasing(math.tan), 2.0**-40) if tangent_domain(x) else Interval()


def cosh_image(x: Interval) -> Interval:
    return loosened(abs(x).increasing(math.cosh))


def maximum_image(x: Interval, y: Interval) -> Interval:
    return Interval(max(x.lo, y.lo), max(x.hi, y.hi))


def minimum_image(x: Interval, y: Interval) -> Interval:
    return Interval(min(x.lo, y.lo), min(x.hi, y.hi))


def hypot_image(x: Interval, y: Interval) -> Interval:
    a, b = abs(x), abs(y)
    return loosened(Interval(math.hypot(a.lo, b.lo), math.hypot(a.hi, b.hi)))


def atan2_image(y: Interval, x: Interval) -> Interval:
    """A box that meets neither the origin nor the cut has its extreme angles at its corners."""
    if x.lo > 0.0 or y.lo > 0.0 or y.hi < 0.0:
        angles = [math.atan2(b, a) for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
        return loosened(Interval(min(angles), max(angles)))
    return loosened(Interval(-math.pi, math.pi))


def remainder_image(x: Interval, y: Interval) -> Interval:
    return Interval(min(0.0, y.lo), max(0.0, y.hi))


def logaddexp_image(x: Interval, y: Interval) -> Interval:
    """Increasing in both."""
    f = lambda a, b: max(a, b) + math.log1p(math.exp(-abs(a - b))) if math.isfinite(a - b) else max(a, b)
    return _bracketed(f(x.lo, y.lo), f(x.hi, y.hi), x, y)


def logaddexp2_image(x: Interval, y: Interval) -> Interval:
    f = lambda a, b: max(a, b) + math.log2(1.0 + 2.0 ** -abs(a - b)) if math.isfinite(a - b) else max(a, b)
    return _bracketed(f(x.lo, y.lo), f(x.hi, y.hi), x, y)


def _bracketed(lo: float, hi: float, x: Interval, y: Interval) -> Interval:
    """Ends that cancel near zero are off by the rounding of the arguments."""
    slack = images.SLACK * max([1.0] + [abs(v) for v in (x.lo, x.hi, y.lo, y.hi) if math.isfinite(v)])
    return Interval(lo - slack, hi + slack)


def product_with_log(f: Callable[[float], float]) -> Callable[[Interval, Interval], Interval]:
    return lambda x, y: loosened(x * y.increasing(f))


def logit_image(x: Interval) -> Interval:
    """Near 1/2 the two logarithms cancel: absolute slack as well."""
    image = x.increasing(lambda v: math.log(v) - math.log1p(-v))
    return loosened(Interval(image.lo - 1e-14, image.hi + 1e-14))


def clip_image(x: Interval, min: float | None = None, max: float | None = None, **_: Any) -> Interval:
    return x.clipped(-INF if min is None else min, INF if max is None else max)


def clip_shape(shape: Shape, min: float | None = None, max: float | None = None) -> Shape:
    if min is not None and max is not None and min > max:
        raise ShapeError(f"clip: min={min} is above max={max}")
    return shape


def leaky_image(x: Interval, negative_slope: float, **_: Any) -> Interval:
    ends = [v if v > 0 else 0.0 if v == 0 else negative_slope * v if negative_slope else 0.0 for v in (x.lo, x.hi)]
    inside = [0.0] if x.lo < 0.0 < x.hi else []
    return loosened(Interval(min(ends + inside), max(ends + inside)))


def elu_image(x: Interval, alpha: float, **_: Any) -> Interval:
    return monotone(lambda v: v if v > 0 else alpha * math.expm1(v))(x)


def celu_image(x: Interval, alpha: float, **_: Any) -> Interval:
    return monotone(lambda v: v if v > 0 else alpha * math.expm1(v / alpha))(x)


def gelu_image(x: Interval, approximate: str, **_: Any) -> Interval:
    """The dips: -0.16997 at -0.75179, and -0.17004 at -0.75247 for the approximation."""
    return dip(images.gelu_tanh if approximate == "tanh" else images.gelu, -0.752, -0.1701)(x)


def lerp_image(x: Interval, y: Interval, w: Interval, **_: Any) -> Interval:
    return loosened(x + w * (y - x))


# --------------------------------------------------------------------------------------- definitions longer than a line


def clip(xp: Vocabulary, x: Array, min: float | None = None, max: float | None = None) -> Array:
    if min is not None:
        x = xp.maximum(x, min)
    return x if max is None else xp.minimum(x, max)


def clip_vjp(
    xp: Vocabulary, g: Array, out: Array, x: Array, min: float | None = None, max: float | None = None
) -> Array:
    """PyTorch's convention: a bound itself passes the cotangent."""
    if min is not None:
        g = xp.where(xp.greater_equal(x, min), g, xp.zeros_like(g))
    return g if max is None else xp.where(xp.less_equal(x, max), g, xp.zeros_like(g))


def clip_kinks(xp: Vocabulary, x: Array, min: float | None = None, max: float | None = None) -> Array:
    bounds = [xp.abs(x - bound) for bound in (min, max) if bound is not None]
    return xp.minimum(*bounds) if len(bounds) == 2 else bounds[0] if bounds else xp.ones_like(x)


def between(xp: Vocabulary, g: Array, x: Array, lo: float, hi: float) -> Array:
    return xp.where(xp.logical_and(xp.greater(x, lo), xp.less(x, hi)), g, xp.zeros_like(g))


def nearer(xp: Vocabulary, x: Array, lo: float, hi: float) -> Array:
    """Distance to the nearer of two points."""
    return xp.minimum(xp.abs(x - lo), xp.abs(x - hi))


def softplus(xp: Vocabulary, x: Array) -> Array:
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def elu(xp: Vocabulary, x: Array, alpha: float) -> Array:
    # expm1 of the positive part would overflow in the branch that is not taken.
    return xp.where(xp.greater(x, 0.0), x, alpha * xp.expm1(xp.minimum(x, 0.0)))


def celu(xp: Vocabulary, x: Array, alpha: float) -> Array:
    return xp.where(xp.greater(x, 0.0), x, alpha * xp.expm1(xp.minimum(x, 0.0) / alpha))


# Klambauer et al., "Self-Normalizing Neural Networks", 2017, appendix: the fixed point for zero mean and unit variance.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

# Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016: the cubic coefficient is part of the definition.
GELU_CUBIC = 0.044715


def gelu(xp: Vocabulary, x: Array, approximate: str) -> Array:
    """x Phi(x); by erfc, because 1 + erf loses the negative tail. 1 + tanh(u) is 2 sigmoid(2 u) for the same reason."""
    if approximate == "tanh":
        return x * xp.sigmoid(_gelu_scale(xp) * (x + GELU_CUBIC * (x * x * x)))
    return x * (0.5 * xp.erfc(-x / xp.sqrt2))


def _gelu_scale(xp: Vocabulary) -> Array:
    """2 sqrt(2/pi)"""
    return 2.0 * xp.sqrt2 / xp.pi**0.5


def gelu_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, approximate: str) -> Array:
    if approximate == "tanh":
        u = _gelu_scale(xp) * (x + GELU_CUBIC * (x * x * x))
        # Beyond |x| = 1000 the sigmoids saturate below exp(-10^7); the square of a large x would overflow to 0 * inf.
        small = xp.minimum(xp.abs(x), 1000.0)
        slope = _gelu_scale(xp) * (1.0 + 3.0 * (GELU_CUBIC * (small * small)))
        return g * xp.sigmoid(u) * (1.0 + x * xp.sigmoid(-u) * slope)
    density = xp.exp(-0.5 * (x * x)) / (xp.sqrt2 * xp.pi**0.5)
    return g * (0.5 * xp.erfc(-x / xp.sqrt2) + x * density)


def mish_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    s = softplus(xp, x)
    # 1/cosh(1000)**2 is below exp(-1990): a larger s adds nothing, and its cosh would make inf / inf in the end.
    return g * (xp.tanh(s) + x * xp.sigmoid(x) / xp.square(xp.cosh(xp.minimum(s, 1000.0))))


def pow_base_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, y: Array) -> Array:
    # x**-1 must not be formed where y = 0 and it is inf: 0 * inf is NaN (here and in its own derivative). Where it is
    # finite it stays: the slope 0 is that of y/x, and grows with y. One exponent for all entries stays one number: NumPy
    # has short ways for x**1 and x**2.
    beyond = xp.logical_and(xp.equal(y, 0.0), xp.logical_not(xp.isfinite(1.0 / x)))
    return g * (y * xp.where(beyond, x, xp.where(beyond, xp.ones_like(x), x) ** (y - 1.0)))


def pow_exponent_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, y: Array) -> Array:
    # 0**y is flat in y > 0: log(1) stands in for log(0). For y < 0 it is inf, and so is its slope.
    flat = xp.logical_and(xp.equal(x, 0.0), xp.isfinite(out))
    return g * (out * xp.log(xp.where(flat, xp.ones_like(x), x)))


def xlogy_masked(xp: Vocabulary, x: Array, y: Array) -> Array:
    """y, or 1 where x = 0: there x log(y) is 0 whatever y is."""
    return xp.where(xp.equal(x, 0.0), xp.ones_like(y), y)


def tie(xp: Vocabulary, g: Array, x: Array, y: Array) -> Array:
    """The cotangent goes where x > y; a tie shares it, as PyTorch and JAX do."""
    return xp.where(xp.equal(x, y), 0.5 * g, xp.where(xp.greater(x, y), g, xp.zeros_like(g)))


def cut_distance(xp: Vocabulary, y: Array, x: Array) -> Array:
    """atan2 jumps by 2 pi across the negative x axis, and has no slope at the origin."""
    return xp.where(xp.less(x, 0.0), xp.abs(y) + 0.0 * x, xp.hypot(x, y))


def integer_distance(xp: Vocabulary, x: Array) -> Array:
    return xp.abs(x - xp.round(x))


def where_vjp(first: bool) -> Any:
    def vjp(xp: Vocabulary, g: Array, out: Array, mask: Array, x: Array, y: Array) -> Array:
        nothing = xp.zeros_like(g)
        return xp.where(mask, g, nothing) if first else xp.where(mask, nothing, g)

    return vjp


ARITHMETIC = (
    binary("add", (lambda xp, g, out, x, y: g, lambda xp, g, out, x, y: g), lambda x, y: x + y, "x + y",
           example="x + y"),
    binary("subtract", (lambda xp, g, out, x, y: g, lambda xp, g, out, x, y: -g), lambda x, y: x - y, "x - y",
           aliases=("sub",), example="x - y"),
    binary("multiply", (lambda xp, g, out, x, y: g * y, lambda xp, g, out, x, y: g * x), lambda x, y: x * y, "x * y",
           aliases=("mul", "times"), example="x * y"),
    binary("divide", (lambda xp, g, out, x, y: g / y, lambda xp, g, out, x, y: -(g / y) * out), lambda x, y: x / y,
           "x / y; y**2 is never formed, it overflows before x / y does", joint=denominator,
           domain=(REAL, NONZERO), aliases=("div", "true_divide"), example="x / y"),
    binary("pow", (pow_base_vjp, pow_exponent_vjp), images.power,
           "x**y; for a base of 0 the exponent's cotangent is 0, and 0**0 is 1 and flat, as in PyTorch and JAX",
           joint=power_domain, ulps=4, aliases=("power", "float_power"), example="x ** 3"),
    binary("remainder", (lambda xp, g, out, x, y: g, lambda xp, g, out, x, y: -g * xp.floor(x / y)), remainder_image,
           "x - y floor(x / y), with the sign of y; it jumps where x / y is an integer",
           define=lambda xp, x, y: x - y * xp.floor(x / y), joint=quotient_domain,
           kinks=lambda xp, x, y: integer_distance(xp, x / y), ulps=2, aliases=("mod", "fmod")),
    pointwise("negative", lambda xp, g, out, x: -g, lambda x: -x, "-x", ulps=0, aliases=("neg",), example="-x"),
    pointwise("abs", lambda xp, g, out, x: g * xp.sign(x), abs, "absolute value; slope 0 at 0", ulps=0,
              kinks=lambda xp, x: xp.abs(x), aliases=("absolute", "fabs")),
    pointwise("sign", zero, lambda x: Interval(-1.0 if x.lo < 0 else 0.0 if x.lo == 0 else 1.0,
                                               1.0 if x.hi > 0 else 0.0 if x.hi == 0 else -1.0),
              "-1, 0 or 1", ulps=0, kinks=lambda xp, x: xp.abs(x), aliases=("sgn",)),
    pointwise("square", lambda xp, g, out, x: 2.0 * g * x, square_image, "x * x"),
    pointwise("sqrt", lambda xp, g, out, x: 0.5 * g / out, lambda x: loosened(x.increasing(math.sqrt)), "square root",
              domain=(NONNEGATIVE,), kinks=lambda xp, x: x),
    pointwise("reciprocal", lambda xp, g, out, x: -g * out * out, reciprocal_image, "1 / x", domain=(NONZERO,)),
    composed("rsqrt", lambda xp, x: 1.0 / xp.sqrt(x), lambda xp, g, out, x: -0.5 * g * out / x,
             lambda x: loosened(x.decreasing(lambda v: 1.0 / math.sqrt(v) if v < INF else 0.0)),
             "1 / sqrt(x) (PyTorch's and JAX's name)", domain=(POSITIVE,), ulps=1),
)  # fmt: skip

TRANSCENDENTAL = (
    pointwise("exp", lambda xp, g, out, x: g * out, monotone(math.exp), "e**x", ulps=3),
    pointwise("exp2", lambda xp, g, out, x: g * out * xp.ln2, monotone(lambda v: 2.0**v), "2**x", ulps=2),
    pointwise("expm1", lambda xp, g, out, x: g * xp.exp(x), monotone(math.expm1),
              "e**x - 1; its slope is exp(x), because out + 1 has no digits in the negative tail", ulps=3),
    pointwise("log", lambda xp, g, out, x: g / x, monotone(math.log), "natural logarithm", domain=(POSITIVE,), ulps=4,
              aliases=("ln",)),
    pointwise("log1p", lambda xp, g, out, x: g / (1.0 + x), monotone(math.log1p), "log(1 + x)", domain=(NONPOLE,),
              ulps=2),
    pointwise("log2", lambda xp, g, out, x: g / (x * xp.ln2), monotone(math.log2), "logarithm to base 2",
              domain=(POSITIVE,), ulps=3),
    pointwise("log10", lambda xp, g, out, x: g / (x * xp.ln10), monotone(math.log10), "logarithm to base 10",
              domain=(POSITIVE,), ulps=4),
    pointwise("sin", lambda xp, g, out, x: g * xp.cos(x), wave(math.sin, math.pi / 2), "sine", ulps=2),
    pointwise("cos", lambda xp, g, out, x: -g * xp.sin(x), wave(math.cos, 0.0), "cosine", ulps=2),
    pointwise("tan", lambda xp, g, out, x: g * (1.0 + out * out), tan_image, "tangent", joint=tangent_domain, ulps=4),
    pointwise("asin", lambda xp, g, out, x: g / xp.sqrt((1.0 - x) * (1.0 + x)), monotone(math.asin),
              "inverse sine; (1 - x)(1 + x) keeps the digits near 1 that 1 - x**2 loses", domain=(SYMMETRIC_UNIT,),
              kinks=lambda xp, x: 1.0 - xp.abs(x), ulps=4, aliases=("arcsin",)),
    pointwise("acos", lambda xp, g, out, x: -g / xp.sqrt((1.0 - x) * (1.0 + x)),
              lambda x: loosened(x.decreasing(math.acos)), "inverse cosine", domain=(SYMMETRIC_UNIT,),
              kinks=lambda xp, x: 1.0 - xp.abs(x), ulps=3, aliases=("arccos",)),
    pointwise("atan", lambda xp, g, out, x: g / (1.0 + x * x), monotone(math.atan), "inverse tangent", ulps=3,
              aliases=("arctan",)),
    pointwise("sinh", lambda xp, g, out, x: g * xp.cosh(x), monotone(math.sinh), "hyperbolic sine", ulps=3),
    pointwise("cosh", lambda xp, g, out, x: g * xp.sinh(x), cosh_image, "hyperbolic cosine", ulps=3),
    pointwise("tanh", lambda xp, g, out, x: g / xp.square(xp.cosh(x)), monotone(math.tanh),
              "hyperbolic tangent; 1/cosh(x)**2 keeps the digits in the tail that 1 - out**2 loses", ulps=2),
    pointwise("asinh", lambda xp, g, out, x: g / xp.hypot(x, xp.ones_like(x)), monotone(math.asinh),
              "inverse hyperbolic sine; hypot(x, 1), because x**2 overflows", ulps=3, aliases=("arcsinh",)),
    pointwise("acosh", lambda xp, g, out, x: g / (xp.sqrt(x - 1.0) * xp.sqrt(x + 1.0)), monotone(math.acosh),
              "inverse hyperbolic cosine", domain=(ABOVE_ONE,), kinks=lambda xp, x: x - 1.0, ulps=4,
              aliases=("arccosh",)),
    pointwise("atanh", lambda xp, g, out, x: g / ((1.0 - x) * (1.0 + x)), monotone(math.atanh),
              "inverse hyperbolic tangent", domain=(OPEN_SYMMETRIC_UNIT,), ulps=3, aliases=("arctanh",)),
    binary("atan2", (lambda xp, g, out, y, x: g * (x / xp.hypot(x, y)) / xp.hypot(x, y),
                     lambda xp, g, out, y, x: -g * (y / xp.hypot(x, y)) / xp.hypot(x, y)), atan2_image,
           "the angle of (x, y); the cut runs along negative x", joint=not_both_zero, kinks=cut_distance, ulps=3,
           aliases=("arctan2",), example="atan2(y, x)"),
    binary("hypot", (lambda xp, g, out, x, y: g * (x / xp.where(xp.equal(out, 0.0), xp.ones_like(out), out)),
                     lambda xp, g, out, x, y: g * (y / xp.where(xp.equal(out, 0.0), xp.ones_like(out), out))),
           hypot_image, "sqrt(x**2 + y**2) without overflow; slope 0 at the origin",
           kinks=lambda xp, x, y: xp.hypot(x, y), ulps=3),
    binary("logaddexp", (lambda xp, g, out, x, y: g * xp.sigmoid(x - y),
                         lambda xp, g, out, x, y: g * xp.sigmoid(y - x)), logaddexp_image,
           "log(exp(x) + exp(y)); its slope is sigmoid(x - y), because exp(x - out) loses digits where out is large",
           define=lambda xp, x, y: xp.maximum(x, y) + xp.log1p(xp.exp(-xp.abs(x - y))), ulps=7),
    binary("logaddexp2", (lambda xp, g, out, x, y: g * xp.sigmoid((x - y) * xp.ln2),
                          lambda xp, g, out, x, y: g * xp.sigmoid((y - x) * xp.ln2)),
           logaddexp2_image, "log2(2**x + 2**y)",
           define=lambda xp, x, y: xp.maximum(x, y) + xp.log1p(xp.exp2(-xp.abs(x - y))) / xp.ln2, ulps=6),
    binary("xlogy", (lambda xp, g, out, x, y: g * xp.log(y), lambda xp, g, out, x, y: g * (x / y)),
           product_with_log(math.log), "x log(y), and 0 where x = 0", domain=(REAL, POSITIVE),
           define=lambda xp, x, y: x * xp.log(xlogy_masked(xp, x, y)), ulps=5),
    binary("xlog1py", (lambda xp, g, out, x, y: g * xp.log1p(y), lambda xp, g, out, x, y: g * (x / (1.0 + y))),
           product_with_log(math.log1p), "x log(1 + y), and 0 where x = 0", domain=(REAL, NONPOLE),
           define=lambda xp, x, y: x * xp.log1p(xp.where(xp.equal(x, 0.0), xp.zeros_like(y), y)), ulps=3),
)  # fmt: skip

CHOICE = (
    binary("maximum", (lambda xp, g, out, x, y: tie(xp, g, x, y), lambda xp, g, out, x, y: tie(xp, g, y, x)),
           maximum_image, "the larger; a tie shares the cotangent", kinks=lambda xp, x, y: xp.abs(x - y), ulps=0),
    binary("minimum", (lambda xp, g, out, x, y: tie(xp, g, y, x), lambda xp, g, out, x, y: tie(xp, g, x, y)),
           minimum_image, "the smaller; a tie shares the cotangent", kinks=lambda xp, x, y: xp.abs(x - y), ulps=0),
    composed("clip", clip, clip_vjp, clip_image,
             "x kept in [min, max]; a bound itself passes the cotangent, as in PyTorch", shape=clip_shape,
             kinks=clip_kinks, aliases=("clamp",), example="clip(x, min=-1, max=1)",
             params={"min": Param("float", None, optional=True), "max": Param("float", None, optional=True)}),
    OpSpec(name="where", arity=3, define=lambda xp, mask, x, y: xp.where(mask, x, y),
           vjp=(None, where_vjp(True), where_vjp(False)), image=lambda mask, x, y, **_: x.hull(y),
           doc="x where the mask is true, y elsewhere; the branch that is not taken gets an exact zero",
           shape=broadcast, primitive=True, broadcasts=True, arguments=("bool", "float", "float"), ulps=0,
           aliases=("select",), example="where(greater(x, 0), x, y)"),
    comparison("equal", "==", ("eq",)),
    comparison("not_equal", "!=", ("ne",)),
    comparison("less", "<", ("lt",)),
    comparison("less_equal", "<=", ("le",)),
    comparison("greater", ">", ("gt",)),
    comparison("greater_equal", ">=", ("ge",)),
    logical("logical_and", 2, "both"),
    logical("logical_or", 2, "either, or both"),
    logical("logical_not", 1, "the mask the other way round"),
    pointwise("floor", zero, lambda x: x.increasing(lambda v: float(math.floor(v)) if math.isfinite(v) else v),
              "the largest integer <= x", ulps=0, kinks=integer_distance),
    pointwise("ceil", zero, lambda x: x.increasing(lambda v: float(math.ceil(v)) if math.isfinite(v) else v),
              "the smallest integer >= x", ulps=0, kinks=integer_distance),
    pointwise("trunc", zero, lambda x: x.increasing(lambda v: float(math.trunc(v)) if math.isfinite(v) else v),
              "the integer part, towards 0", ulps=0, aliases=("fix",),
              # 0 itself is no jump: within (-1, 1) the nearest one is at -1 or 1.
              kinks=lambda xp, x: xp.where(xp.less(xp.abs(x), 0.5), 1.0 - xp.abs(x), integer_distance(xp, x))),
    pointwise("round", zero, lambda x: x.increasing(lambda v: float(round(v)) if math.isfinite(v) else v),
              "the nearest integer, ties to even", ulps=0, aliases=("rint",),
              kinks=lambda xp, x: xp.abs(x - xp.floor(x) - 0.5)),
    OpSpec(name="lerp", arity=3, define=lambda xp, x, y, w: x + w * (y - x),
           vjp=(lambda xp, g, out, x, y, w: g * (1.0 - w), lambda xp, g, out, x, y, w: g * w,
                lambda xp, g, out, x, y, w: g * (y - x)), image=lerp_image,
           doc="x + w (y - x), the straight line from x to y (PyTorch's name)", shape=broadcast, broadcasts=True,
           ulps=2, example="lerp(x, y, w)"),
    OpSpec(name="addcmul", arity=3, define=lambda xp, x, y, z, value: x + value * (y * z),
           vjp=(lambda xp, g, out, x, y, z, value: g, lambda xp, g, out, x, y, z, value: g * (value * z),
                lambda xp, g, out, x, y, z, value: g * (value * y)),
           image=lambda x, y, z, value, **_: x + (y * z).scaled(value), doc="x + value y z (PyTorch's name)",
           shape=broadcast, broadcasts=True, ulps=2, params={"value": Param("float", 1.0)}, aliases=("fma",),
           example="addcmul(x, y, z)"),
)  # fmt: skip

ACTIVATIONS = (
    composed("relu", lambda xp, x: xp.maximum(x, 0.0),
             lambda xp, g, out, x: xp.where(xp.greater(x, 0.0), g, xp.zeros_like(g)), lambda x: x.clipped(lo=0.0),
             "max(x, 0); slope 0 at 0", ulps=0, kinks=lambda xp, x: xp.abs(x)),
    composed("relu6", lambda xp, x: xp.minimum(xp.maximum(x, 0.0), 6.0),
             lambda xp, g, out, x: between(xp, g, x, 0.0, 6.0), lambda x: x.clipped(0.0, 6.0), "min(max(x, 0), 6)",
             ulps=0, kinks=lambda xp, x: nearer(xp, x, 0.0, 6.0)),
    composed("leaky_relu", lambda xp, x, negative_slope: xp.where(xp.greater(x, 0.0), x, negative_slope * x),
             lambda xp, g, out, x, negative_slope: xp.where(xp.greater(x, 0.0), g, negative_slope * g), leaky_image,
             "x, or negative_slope x where x <= 0", ulps=1, kinks=lambda xp, x, negative_slope: xp.abs(x),
             params={"negative_slope": Param("float", 0.01)}, example="leaky_relu(x, negative_slope=0.1)"),
    composed("hardtanh", lambda xp, x: xp.minimum(xp.maximum(x, -1.0), 1.0),
             lambda xp, g, out, x: between(xp, g, x, -1.0, 1.0), lambda x: x.clipped(-1.0, 1.0), "x kept in [-1, 1]",
             ulps=0, kinks=lambda xp, x: nearer(xp, x, -1.0, 1.0), aliases=("hard_tanh",)),
    composed("hardsigmoid", lambda xp, x: xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0) / 6.0,
             lambda xp, g, out, x: between(xp, g / 6.0, x, -3.0, 3.0),
             monotone(lambda v: min(max(v + 3.0, 0.0), 6.0) / 6.0), "relu6(x + 3) / 6", ulps=1,
             kinks=lambda xp, x: nearer(xp, x, -3.0, 3.0), aliases=("hard_sigmoid",)),
    composed("hardswish", lambda xp, x: x * (xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0) / 6.0),
             lambda xp, g, out, x: xp.where(
                 xp.greater(x, 3.0), g, between(xp, g * ((2.0 * x + 3.0) / 6.0), x, -3.0, 3.0)),
             dip(lambda v: v * min(max(v + 3.0, 0.0), 6.0) / 6.0 if v > -3.0 else 0.0, -1.5, -0.375),
             "x relu6(x + 3) / 6", ulps=2, kinks=lambda xp, x: nearer(xp, x, -3.0, 3.0),
             aliases=("hard_swish", "hard_silu")),
    composed("sigmoid", lambda xp, x: xp.exp(xp.minimum(x, 0.0)) / (1.0 + xp.exp(-xp.abs(x))),
             lambda xp, g, out, x: g * out * xp.sigmoid(-x), monotone(images.sigmoid),
             "1 / (1 + exp(-x)) without overflow; its slope is out sigmoid(-x), because 1 - out loses the tail",
             ulps=7, aliases=("expit", "logistic")),
    composed("log_sigmoid", lambda xp, x: xp.minimum(x, 0.0) - xp.log1p(xp.exp(-xp.abs(x))),
             lambda xp, g, out, x: g * xp.sigmoid(-x), monotone(lambda v: -images.softplus(-v)), "log(sigmoid(x))",
             ulps=6, aliases=("logsigmoid",)),
    composed("softplus", softplus, lambda xp, g, out, x: g * xp.sigmoid(x), monotone(images.softplus),
             "log(1 + exp(x)), smooth: no threshold beyond which it is linear", ulps=6),
    composed("softsign", lambda xp, x: x / (1.0 + xp.abs(x)),
             lambda xp, g, out, x: g / (1.0 + xp.abs(x)) / (1.0 + xp.abs(x)),
             monotone(lambda v: v / (1.0 + abs(v)) if abs(v) < INF else math.copysign(1.0, v)),
             "x / (1 + |x|); its slope is continuous", ulps=1, aliases=("soft_sign",)),
    composed("silu", lambda xp, x: x * xp.sigmoid(x),
             lambda xp, g, out, x: g * xp.sigmoid(x) * (1.0 + x * xp.sigmoid(-x)),
             dip(images.silu, -1.2785, -0.2785), "x sigmoid(x)", ulps=8, aliases=("swish",)),
    composed("gelu", gelu, gelu_vjp, gelu_image,
             "x Phi(x), the normal distribution's; or its approximation by tanh", ulps=10,
             params={"approximate": Param("choice", "none", choices=("none", "tanh"))},
             example='gelu(x, approximate="tanh")'),
    composed("elu", elu,
             lambda xp, g, out, x, alpha: xp.where(xp.greater(x, 0.0), g, g * alpha * xp.exp(xp.minimum(x, 0.0))),
             elu_image, "x, or alpha (exp(x) - 1) where x <= 0", ulps=4, kinks=lambda xp, x, alpha: xp.abs(x),
             params={"alpha": Param("float", 1.0, lo=0.0)}, example="elu(x, alpha=0.5)"),
    composed("selu", lambda xp, x: SELU_SCALE * elu(xp, x, SELU_ALPHA),
             lambda xp, g, out, x: SELU_SCALE * g * xp.where(
                 xp.greater(x, 0.0), xp.ones_like(x), SELU_ALPHA * xp.exp(xp.minimum(x, 0.0))),
             monotone(lambda v: SELU_SCALE * (v if v > 0 else SELU_ALPHA * math.expm1(v))),
             "elu with the two constants of self-normalising networks", ulps=5, kinks=lambda xp, x: xp.abs(x)),
    composed("celu", celu,
             lambda xp, g, out, x, alpha: xp.where(xp.greater(x, 0.0), g, g * xp.exp(xp.minimum(x, 0.0) / alpha)),
             celu_image, "x, or alpha (exp(x / alpha) - 1) where x <= 0; its slope is continuous", ulps=5,
             params={"alpha": Param("float", 1.0, lo=2.0**-10)}, example="celu(x, alpha=0.5)"),
    composed("mish", lambda xp, x: x * xp.tanh(softplus(xp, x)), mish_vjp, dip(images.mish, -1.1925, -0.3089),
             "x tanh(softplus(x))", ulps=9),
    composed("logit", lambda xp, x: xp.log(x) - xp.log1p(-x), lambda xp, g, out, x: g / (x * (1.0 - x)), logit_image,
             "log(x / (1 - x)), the inverse of sigmoid", domain=(OPEN_UNIT,), ulps=7),
)  # fmt: skip

DECLARATIONS: tuple[OpSpec, ...] = ARITHMETIC + TRANSCENDENTAL + CHOICE + ACTIVATIONS
