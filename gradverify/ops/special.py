"""Special functions, under PyTorch's names (the Array API standard has none).

`ulps` as in `elementwise`: the worst of the GNU C Library's and CUDA's tables (erf 2, erfc 5, erfinv 5, lgamma 7); our
own NumPy kernels stay below. digamma and polygamma are in neither table: 8 is what CUDA's neighbours (lgamma, j0 away
from its zeros) are held to.
"""

from __future__ import annotations

import math
from typing import Any

from ..core.interval import INF, POSITIVE, Domain, Interval, value_at
from ..core.op import Array, OpSpec, Param, Vocabulary
from .elementwise import OPEN_SYMMETRIC_UNIT, composed, pointwise
from .images import dip, hump, loosened, monotone
from .shapes import same

# No root of lgamma lies in (-2, 0), where |Gamma| > 2.3 (log: 0.83); further left both tables leave the accuracy open.
GAMMA_DOMAIN: Domain = (*POSITIVE, Interval(-1.0, 0.0, "lr"), Interval(-2.0, -1.0, "lr"))


def erfinv_image(x: Interval) -> Interval:
    """sqrt(pi/4) r <= erfinv <= r with r = sqrt(-log(1 - x**2)), for x >= 0 (Polya 1949; Chu 1955, Biometrika 42)."""

    def bound(v: float, factor: float) -> float:
        r = math.sqrt(-math.log1p(-v * v)) if abs(v) < 1.0 else INF
        # Where v**2 underflows, the tangent at 0 is the function.
        return math.copysign(max(factor * r, 0.0) if abs(v) > 1e-7 else abs(v) * (0.8862 if factor < 1 else 1.0), v)

    low, high = math.sqrt(math.pi / 4.0), 1.0
    return loosened(Interval(bound(x.lo, low if x.lo > 0 else high), bound(x.hi, high if x.hi > 0 else low)), 1e-9)


def lgamma_image(x: Interval) -> Interval:
    """A dip of -0.12149 at 1.46163 for x > 0; between the poles at 0, -1 and -2, dips of 1.26551 and 0.83397."""
    if x.lo >= 0.0:
        return dip(math.lgamma, 1.46163, -0.1215)(x)
    return Interval(0.833, INF)


def digamma_image(x: Interval) -> Interval:
    """Increasing, and log(x) - 1/x < digamma(x) < log(x) - 1/(2x) for x > 0 (Alzer 1997, Math. Comp. 66, eq. 2.2)."""
    if x.lo < 0.0:
        return Interval()
    low = value_at(lambda v: math.log(v) - 1.0 / v, x.lo, -INF)
    high = value_at(lambda v: math.log(v) - 0.5 / v, x.hi, INF)
    return loosened(Interval(low, high))


def polygamma_image(x: Interval, n: int, **_: Any) -> Interval:
    """Image of polygamma: its bounds are the first one and a half and the first two terms of the Stirling series.

    It has one sign and decreases in size:
    (n-1)!/x**n + n!/(2 x**(n+1)) < |psi_n(x)| < (n-1)!/x**n + n!/x**(n+1) (Alzer 1997; n >= 1, x > 0)."""
    if n == 0:
        return digamma_image(x)
    if x.lo < 0.0:
        return Interval()
    terms = lambda v, share: (math.factorial(n - 1) + share * math.factorial(n) / v) * v**-n
    small = value_at(lambda v: terms(v, 0.5), x.hi, 0.0)
    large = value_at(lambda v: terms(v, 1.0), x.lo, INF)
    size = loosened(Interval(min(small, large), large))
    return size if n % 2 else -size


def density(xp: Vocabulary, x: Array) -> Array:
    """The standard normal density."""
    return xp.exp(-0.5 * (x * x)) / (xp.sqrt2 * xp.pi**0.5)


def order(highest: int = 16) -> dict[str, Param]:
    """The parameter n of a family of functions."""
    return {"n": Param("int", lo=0, hi=highest)}


def family(name: str, vjp: Any, doc: str, **fields: Any) -> OpSpec:
    """An elementwise primitive with an order n, whose derivative is of that family again."""
    return OpSpec(
        name=name, define=lambda xp, x, n: getattr(xp, name)(x, n=n), vjp=(vjp,), doc=doc, shape=same, primitive=True,
        params=order(), example=f"{name}(x, n=1)", generate=False, **fields,
    )  # fmt: skip


def bessel_i_vjp(xp: Vocabulary, g: Array, out: Array, x: Array, n: int) -> Array:
    """DLMF 10.29.1, with I(-1) = I(1): both terms have one sign."""
    return g * (0.5 * (xp.bessel_i(x, n=abs(n - 1)) + xp.bessel_i(x, n=n + 1)))


def squareplus_image(x: Interval, b: float, **_: Any) -> Interval:
    """Increasing for b > 0, and never negative."""
    return Interval(0.0, INF)


DECLARATIONS: tuple[OpSpec, ...] = (
    pointwise("erf", lambda xp, g, out, x: g * (2.0 / xp.pi**0.5 * xp.exp(-(x * x))), monotone(math.erf),
              "error function", ulps=2),
    pointwise("erfc", lambda xp, g, out, x: -g * (2.0 / xp.pi**0.5 * xp.exp(-(x * x))),
              lambda x: loosened(x.decreasing(math.erfc)), "1 - erf(x), with all digits in the positive tail", ulps=5),
    pointwise("erfinv", lambda xp, g, out, x: g * (xp.pi**0.5 / 2.0 * xp.exp(out * out)), erfinv_image,
              "inverse error function", domain=(OPEN_SYMMETRIC_UNIT,), ulps=5),
    pointwise("lgamma", lambda xp, g, out, x: g * xp.digamma(x), lgamma_image, "log |Gamma(x)|", domain=(GAMMA_DOMAIN,),
              ulps=7, aliases=("gammaln", "loggamma")),
    pointwise("digamma", lambda xp, g, out, x: g * xp.polygamma(x, n=1), digamma_image,
              "the logarithmic derivative of Gamma", domain=(POSITIVE,), ulps=8, aliases=("psi",)),
    OpSpec(name="polygamma", define=lambda xp, x, n: xp.polygamma(x, n=n),
           vjp=(lambda xp, g, out, x, n: g * xp.polygamma(x, n=n + 1),), domain=(POSITIVE,), image=polygamma_image,
           doc="the n-th derivative of digamma", shape=same, primitive=True, ulps=8,
           params={"n": Param("int", lo=0, hi=16)}, example="polygamma(x, n=1)"),
    pointwise("erfcx", lambda xp, g, out, x: g * (-2.0 * xp.ierfcx(x, n=1)), lambda x: Interval(0.0, INF),
              "exp(x²) erfc(x), which neither over- nor underflows in the positive tail", ulps=8, generate=False),
    family("ierfcx", lambda xp, g, out, x, n: g * ((-2.0 * (n + 1)) * xp.ierfcx(x, n=n + 1)),
           "exp(x²) times the n-th repeated integral of erfc from x on (DLMF 7.18)", ulps=8),
    pointwise("log_ndtr", lambda xp, g, out, x: g * ((xp.sqrt2 / xp.pi**0.5) / xp.erfcx(-x / xp.sqrt2)),
              lambda x: Interval(-INF, 0.0), "log(ndtr(x)), with all digits in both tails", ulps=8, generate=False,
              domain=((Interval(-INF, 1e6),),)),
    pointwise("sinc", lambda xp, g, out, x: g * xp.dsinc(x, n=1), lambda x: Interval(-0.2173, 1.0),
              "sin(pi x) / (pi x), and 1 at 0", ulps=4, generate=False),
    family("dsinc", lambda xp, g, out, x, n: g * xp.dsinc(x, n=n + 1), "the n-th derivative of sinc", ulps=16),
    family("bessel_i", bessel_i_vjp, "the modified Bessel function of the first kind (DLMF 10.25.2)", ulps=8),
    OpSpec(name="squareplus", define=lambda xp, x, b: xp.squareplus(x, b=b),
           vjp=(lambda xp, g, out, x, b: g * (out / (2.0 * out - x)),), image=squareplus_image,
           doc="(x + sqrt(x² + b)) / 2, with all digits in the negative tail (J. Barron, 2021)", shape=same, primitive=True,
           ulps=4, params={"b": Param("float", 4.0, lo=2.0**-1000)}, example="squareplus(x)", generate=False),
    composed("ndtr", lambda xp, x: 0.5 * xp.erfc(-x / xp.sqrt2), lambda xp, g, out, x: g * density(xp, x),
             monotone(lambda v: 0.5 * math.erfc(-v / math.sqrt(2.0))),
             "the normal distribution's function; by erfc, which keeps the negative tail", ulps=6),
    composed("entr", lambda xp, x: -x * xp.log(x), lambda xp, g, out, x: -g * (xp.log(x) + 1.0),
             hump(lambda v: -v * math.log(v) if v > 0.0 else 0.0, math.exp(-1.0), 0.36788), "entropy, -x log(x)",
             domain=(POSITIVE,), ulps=5),
)  # fmt: skip
