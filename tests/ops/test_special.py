"""The special family: NumPy kernels measured against mpmath, definitions and declarations as for the elementwise."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import scipy.special
from mpmath import mp, mpf

from gradverify.core.interval import Interval
from gradverify.namespaces import NUMPY
from gradverify.namespaces import special as kernels
from gradverify.ops import FAMILIES, OPS
from gradverify.oracle.balls import BALLS
from gradverify.oracle.mp import MPMATH
from gradverify.oracle.precision import working
from gradverify.testing import check_op

NAMES = [spec.name for spec in FAMILIES["special"]]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_the_declaration_is_sound(name, seed):
    check_op(OPS[name], seed=seed)


def _abs_log_gamma(x):
    return mp.log(abs(mp.gamma(x)))


def errors(got, want, x, dtype):
    """In ulps of the true value; mpmath at 60 digits."""
    x = np.asarray(x).astype(dtype)
    values = got(x)
    assert values.dtype == dtype
    assert values.shape == x.shape
    found = []
    with mp.workdps(60):
        for a, b in zip(x.tolist(), values.tolist()):
            truth = want(mpf(a))
            ulp = mpf(float(np.spacing(np.abs(np.asarray(float(truth), dtype=dtype)))))
            found.append(float(abs(mpf(b) - truth) / ulp))
    return max(found)


def _log(rng, lo, hi, n=150):
    return 10.0 ** rng.uniform(lo, hi, n)


def _near(rng, point, n=150):
    """From both sides, at all distances down to a few ulps."""
    return point + rng.choice([-1, 1], n) * _log(rng, -15, -1, n)


ROOT = 1.4616321449683622
# kernel, mpmath's function, the figure of the kernel's docstring, where
MEASURED = [
    ("erf", mp.erf, 1, lambda r: np.r_[r.uniform(-6, 6, 200), _log(r, -300, -1), 0.0]),
    ("erfc", mp.erfc, 3, lambda r: np.r_[r.uniform(-6, 6, 200), r.uniform(6, 26.5, 200)]),
    ("erfinv", mp.erfinv, 2, lambda r: np.r_[r.uniform(-1, 1, 100), 1 - _log(r, -15.5, -1, 60), -_log(r, -300, -1)]),
    ("lgamma", _abs_log_gamma, 5, lambda r: np.r_[r.uniform(0.5, 3, 300), _near(r, 1.0), _near(r, 2.0)]),
    ("lgamma", _abs_log_gamma, 5, lambda r: np.r_[r.uniform(2, 20, 200), _log(r, -300, 0), _log(r, 1, 3)]),
    ("lgamma", mp.loggamma, 5, lambda r: _log(r, 3, 300)),
    ("lgamma", _abs_log_gamma, 5, lambda r: np.r_[r.uniform(-2, 0, 200), -_log(r, -300, -1)]),
    ("digamma", mp.digamma, 3, lambda r: np.r_[_near(r, ROOT, 300), r.uniform(0.5, 3, 200)]),
    ("digamma", mp.digamma, 3, lambda r: np.r_[r.uniform(2, 12, 200), _log(r, -300, 0), _log(r, 1, 300)]),
]  # fmt: skip


class TestKernels:
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    @pytest.mark.parametrize(("name", "want", "declared", "points"), MEASURED)
    def test_accuracy(self, name, want, declared, points, dtype):
        x = points(np.random.default_rng(1))
        if dtype == "float32":
            x = x[(np.abs(x) > 1e-30) & (np.abs(x) < 1e30)]
            rounded = x.astype(dtype)
            x = x[~np.isin(rounded, [-2, -1, 0, 1, 2]) & (np.abs(rounded) < 9 if name == "erfc" else True)]
        assert errors(getattr(kernels, name), want, x, dtype) <= (declared if dtype == "float64" else 0.51)

    @pytest.mark.parametrize("dtype", ["float32", "float16", ml_dtypes.bfloat16])
    @pytest.mark.parametrize("name", ["erf", "erfc"])
    def test_narrow_dtypes_at_any_size(self, name, dtype):
        """More numbers than fit in two blocks, down to subnormal ones; infinities and NaN."""
        rng = np.random.default_rng(3)
        x = np.r_[rng.uniform(-5, 5, 2 * kernels.BLOCK + 7), _log(rng, -44, 1, 1000), -_log(rng, -44, 1, 1000)].astype(
            dtype
        )
        exact = np.array([getattr(math, name)(float(v)) for v in x])
        got = getattr(kernels, name)(x)
        half = np.abs(np.spacing(exact.astype(np.float32)) if dtype == "float32" else exact.astype(dtype) - exact)
        slack = 0.51 if dtype == "float32" else 1.0
        assert got.dtype == x.dtype
        assert (np.abs(got.astype(float) - exact) <= slack * half + 1e-9 * np.abs(exact)).all()
        ends = np.array([np.inf, -np.inf, np.nan, -0.0], dtype)
        np.testing.assert_array_equal(
            getattr(kernels, name)(ends).astype(float), getattr(kernels, name)(ends.astype(float))
        )

    @pytest.mark.parametrize("n", [1, 2, 3, 7, 16])
    def test_polygamma(self, n):
        rng = np.random.default_rng(n)
        x = np.r_[rng.uniform(0, 3, 60), rng.uniform(3, 40, 60), _log(rng, -15, 0, 40), _log(rng, 1, 15, 40)]
        assert errors(lambda v: kernels.polygamma(v, n), lambda v: mp.polygamma(n, v), x, "float64") <= 8
        x = x[(x > 0.1) & (x < 100)]  # float32 holds 16! / 0.1**17
        assert errors(lambda v: kernels.polygamma(v, n), lambda v: mp.polygamma(n, v), x, "float32") <= 0.51

    def test_polygamma_beyond_the_powers_range(self):
        """n!/x**n is a double where x**-n alone is none."""
        # leading term 15!/x**16, and -1 for even n
        want = -float(mp.factorial(15) * mpf(10) ** -320)
        assert kernels.polygamma(np.array(1e20), 16) == pytest.approx(want, rel=1e-12, abs=0)
        assert kernels.polygamma(np.array([1e-100, np.inf]), 2).tolist() == pytest.approx([-2e300, 0.0], rel=1e-14)

    def test_negative_arguments(self):
        """Right to a unit of the terms; SciPy is the reference here, and good to 1e-13 itself."""
        x = np.array([-0.3, -0.504, -1.6, -2.457, -7.25, -20.4])
        np.testing.assert_allclose(kernels.lgamma(x), scipy.special.gammaln(x), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(kernels.digamma(x), scipy.special.digamma(x), rtol=1e-11, atol=1e-13)
        with mp.workdps(30):
            want = [float(mp.polygamma(1, mpf(v))) for v in x]
        np.testing.assert_allclose(kernels.polygamma(x, 1), want, rtol=1e-12)

    @pytest.mark.parametrize(
        ("name", "x", "want"),
        [
            ("erfinv", [-1.0, 1.0, 1.5, -0.0], [-np.inf, np.inf, np.nan, 0.0]),
            ("erf", [np.inf, -np.inf, np.nan], [1.0, -1.0, np.nan]),
            ("erfc", [np.inf, -np.inf, np.nan], [0.0, 2.0, np.nan]),
            ("lgamma", [0.0, -1.0, -3.0, np.inf, -np.inf, np.nan, 1.0, 2.0], [np.inf] * 5 + [np.nan, 0.0, 0.0]),
            ("digamma", [0.0, -0.0, -1.0, np.inf, -np.inf, np.nan], [-np.inf, np.inf, np.nan, np.inf, np.nan, np.nan]),
        ],
    )
    def test_at_the_ends(self, name, x, want):
        np.testing.assert_array_equal(getattr(kernels, name)(np.array(x)), want)

    def test_polygamma_at_the_ends(self):
        np.testing.assert_array_equal(kernels.polygamma(np.array([np.inf, -2.0, np.nan]), 1), [0.0, np.nan, np.nan])
        np.testing.assert_array_equal(kernels.polygamma(np.array([0.5, 2.0]), 0), kernels.digamma(np.array([0.5, 2.0])))

    @pytest.mark.parametrize("name", ["erf", "erfc", "erfinv", "lgamma", "digamma", "polygamma"])
    @pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3), (2, 3)])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_shape_and_dtype(self, name, shape, dtype):
        out = getattr(NUMPY, name)(np.full(shape, 0.25, dtype=dtype))
        assert out.shape == shape
        assert out.dtype == dtype

    def test_strided_input_is_left_alone(self):
        x = np.linspace(0.1, 0.9, 12).reshape(3, 4).T[::2]
        before = x.copy()
        for name in ("erf", "erfc", "erfinv", "lgamma", "digamma", "polygamma"):
            np.testing.assert_array_equal(getattr(NUMPY, name)(x), getattr(NUMPY, name)(before.copy()))
        np.testing.assert_array_equal(x, before)


class TestConstants:
    """The kernels' numbers, derived anew at 60 digits."""

    @staticmethod
    def chebyshev(f, lo, hi, n=64):
        """Discrete orthogonality at the n roots of T_n (Mason & Handscomb, "Chebyshev Polynomials", 2003, 4.6)."""
        angles = [mp.pi * (k + mpf(1) / 2) / n for k in range(n)]
        values = [f((hi - lo) / 2 * mp.cos(t) + (hi + lo) / 2) for t in angles]
        c = [2 * sum(v * mp.cos(j * t) for v, t in zip(values, angles)) / n for j in range(n)]
        return [c[0] / 2, *c[1:]]

    def check(self, table, f, lo, hi):
        exact = self.chebyshev(f, mpf(lo), mpf(hi))
        for have, want in zip(table, exact):
            assert abs(have - want) <= abs(want) * mpf(2) ** -53
        # What is left out is less than a roundoff of the smallest value.
        assert sum(abs(c) for c in exact[len(table) :]) < mpf(2) ** -56

    def test_digamma(self):
        with mp.workdps(60):
            root = mp.findroot(mp.digamma, mpf(ROOT))
            assert abs(mpf(kernels.ROOT_HIGH) + mpf(kernels.ROOT_LOW) - root) < mpf(2) ** -105
            self.check(kernels.DIGAMMA_SLOPE, lambda x: mp.digamma(x) / (x - root), 1, 2)

    def test_lgamma(self):
        with mp.workdps(60):
            self.check(kernels.LGAMMA_SLOPE, lambda z: mp.loggamma(2 + z) / z, -0.75, 0.75)

    def test_erfc_of_narrow_dtypes(self):
        """The series is of (1 + 2 x) exp(x**2) erfc(x), at least 1 everywhere. It leaves out what float32 does not see."""
        with mp.workdps(60):
            at = lambda t: 3 * (1 + t) / (1 - t)
            exact = self.chebyshev(lambda t: (1 + 2 * at(t)) * mp.exp(at(t) ** 2) * mp.erfc(at(t)), mpf(-1), mpf(1))
        for have, want in zip(kernels.ERFC_SCALED, exact):
            assert abs(have - want) <= abs(want) * mpf(2) ** -53
        assert sum(abs(c) for c in exact[len(kernels.ERFC_SCALED) :]) < 1.3e-10

    def test_bernoulli(self):
        assert list(kernels.BERNOULLI) == [float(mp.bernoulli(2 * k)) for k in range(1, 9)]


def special_integral(x, n):
    """The n-th repeated integral of erfc by Cauchy's formula, to 30 digits."""
    with mp.workdps(30):
        f = lambda v: mp.quad(lambda t: t ** (n - 1) * mp.erfc(v + t), [0, 1, 4, 30]) / mp.factorial(n - 1)
        return np.array([float(f(mpf(float(v)))) for v in x])


def sinc_derivative(x, n):
    """By the integral of cos(pi x t) over t from 0 to 1."""
    with mp.workdps(30):
        f = lambda v: mp.quad(lambda t: (mp.pi * t) ** n * mp.cos(mp.pi * v * t + n * mp.pi / 2), [0, 0.5, 1])
        return np.array([float(f(mpf(float(v)))) for v in x])


# Independent definitions, by SciPy in float64 ...
SCIPY = {
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "erfinv": scipy.special.erfinv,
    "lgamma": scipy.special.gammaln,
    "digamma": scipy.special.digamma,
    "polygamma": lambda x, n=3: scipy.special.polygamma(n, x),
    "erfcx": scipy.special.erfcx,
    "ierfcx": lambda x, n=3: np.exp(x * x) * special_integral(x, n),
    "log_ndtr": scipy.special.log_ndtr,
    "sinc": np.sinc,
    "dsinc": lambda x, n=3: sinc_derivative(x, n),
    "bessel_i": lambda x, n=3: scipy.special.iv(n, x),
    "squareplus": lambda x: (x + np.sqrt(x * x + 4.0)) / 2.0,
    "ndtr": scipy.special.ndtr,
    "entr": scipy.special.entr,
}
# ... and to 40 digits by other formulas in mpmath.
INTEGRAL = {
    "erf": lambda x: 2 / mp.sqrt(mp.pi) * mp.quad(lambda t: mp.exp(-t * t), [0, x]),
    "erfc": lambda x: mp.gammainc(mpf(1) / 2, x * x) / mp.sqrt(mp.pi),
    "lgamma": lambda x: mp.log(mp.quad(lambda t: t ** (x + 3) * mp.exp(-t), [0, 1, 10, 50, 200])) - mp.log(mp.rf(x, 4)),
    "digamma": lambda x: mp.quad(lambda t: (1 - t ** (x - 1)) / (1 - t), [0, 1]) - mp.euler,
    "erfcx": lambda x: 2 / mp.sqrt(mp.pi) * mp.quad(lambda t: mp.exp(-t * t - 2 * x * t), [0, 1, 4, 16]),
    "log_ndtr": lambda x: mp.log(mp.ncdf(x)),
    "sinc": lambda x: mp.quad(lambda t: mp.cos(mp.pi * x * t), [0, 1]),
    "squareplus": lambda x: x + 1 / ((x + mp.sqrt(x * x + 4)) / 2),
    "ndtr": mp.ncdf,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_definition_is_what_scipy_means_by_the_name(name):
    x = np.array([0.01, 0.3, 0.5, 0.75, 0.9]) if name == "erfinv" else np.array([0.01, 0.3, 1.25, 2.5, 7.0])
    params = {"n": 3} if "n" in OPS[name].params else {"b": 4.0} if name == "squareplus" else {}
    got = OPS[name].define(NUMPY, x, **params)
    # SciPy's own accuracy, cephes: 1e-15 to 1e-14 relative over these ranges
    np.testing.assert_allclose(got, SCIPY[name](x), rtol=2e-14, atol=1e-16 if name == "sinc" else 0)


@pytest.mark.parametrize("name", INTEGRAL)
@pytest.mark.parametrize("x", [0.75, 1.5, 3.25])
def test_the_definition_is_its_integral(name, x):
    with working(160):
        for xp in (BALLS, MPMATH):
            params = {"b": 4.0} if name == "squareplus" else {}
            got = np.asarray(OPS[name].define(xp, xp.asarray(x), **params))[()]
            got = got if xp is MPMATH else mpf(got.mid().str(50, radius=False))
            want = INTEGRAL[name](mpf(x))
            assert abs(got - want) < abs(want) * mpf(10) ** -35


def test_erfinv_is_the_inverse():
    with working(200):
        for y in (-0.999999, 0.25, 1 - 2.0**-53):
            for xp in (BALLS, MPMATH):
                back = np.asarray(xp.erf(xp.erfinv(y)))[()]
                assert abs(back - y) < 1e-50


class TestImages:
    @pytest.mark.parametrize(
        ("name", "interval", "params", "bounds"),
        [
            ("lgamma", (1.25, 1.75), {}, (-0.1216, -0.083)), ("lgamma", (-1.0, 0.0), {}, (0.833, np.inf)),
            ("digamma", (0.5, 2.0), {}, (-2.7, 0.45)), ("polygamma", (1.0, 2.0), {"n": 2}, (-3.0001, -0.374)),
            ("erfinv", (0.5, 0.5), {}, (0.475, 0.537)), ("entr", (0.0, 1.0), {}, (-1e-12, 0.36789)),
        ],
    )  # fmt: skip
    def test_are_useful(self, name, interval, params, bounds):
        image = OPS[name].image(Interval(*interval), **params)
        assert bounds[0] <= image.lo <= image.hi <= bounds[1]


def test_digits_near_the_roots_survive_in_the_ops_too():
    """lgamma and digamma an ulp away from their roots."""
    assert OPS["lgamma"].define(NUMPY, np.array(1 + 2.0**-52)) == pytest.approx(
        -0.5772156649015329 * 2.0**-52, rel=1e-15
    )
    root = np.array(ROOT)
    # digamma(root_high) = -digamma'(root) root_low, digamma'(root) = 0.967672...
    assert OPS["digamma"].define(NUMPY, root) == pytest.approx(-0.9676720454 * kernels.ROOT_LOW, rel=1e-9)
